//! What one sink link has yet to send, and what it has sent and may have to send again.
//!
//! Positions count the bytes of the present connection. Invariant: `confirmed <= sent <= queued`, and `confirmed` is where the
//! front chunk begins, so that everything before it is settled. Lives here: that order. Never here: I/O.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::endpoint::Letter;
use crate::framing::{frames, joined, slices, whole_prefix};
use crate::kernel::Gather;
use crate::ledger::{Outcome, Ticket};
use crate::limits::{GATHER_BYTES, GATHER_PIECES, RUN_OVERHEAD, STALL};
use crate::message::Run;

struct Chunk {
    run: Run,
    ticket: Ticket,
    since: Instant,
}

/// A queue that grows holds its old places, and twice as many new ones.
const _: () = assert!(3 * size_of::<Chunk>() <= RUN_OVERHEAD);

/// Messages in the order in which they are sent; each is kept until it is confirmed.
#[derive(Default)]
pub struct SendQueue {
    chunks: VecDeque<Chunk>,
    confirmed: u64,
    sent: u64,
    /// Where `sent` is: so many whole chunks, and so many bytes of the next.
    cursor: (usize, usize),
    /// Bytes of memory that the chunks occupy.
    occupied: usize,
    /// Chunks that somebody who handed them in still has.
    handed: usize,
    /// Bytes that are queued and not sent.
    unsent: usize,
    /// When our kernel last took something.
    progressed: Option<Instant>,
    /// Messages that were refused for good, if somebody takes them.
    letters: Option<Vec<Letter>>,
}

impl SendQueue {
    /// Keeps what is refused for good for [`SendQueue::letters`].
    pub fn keep_letters(&mut self) {
        self.letters = Some(Vec::new());
    }

    /// Messages that were refused since the last look.
    pub fn letters(&mut self) -> Vec<Letter> {
        self.letters.as_mut().map_or_else(Vec::new, std::mem::take)
    }

    /// Appends messages. From here on the queue answers for their ticket.
    pub fn push(&mut self, run: Run, ticket: Ticket, now: Instant) {
        debug_assert_eq!(run.messages, ticket.messages(), "a ticket stands for its run");
        self.occupied += ticket.bytes();
        self.unsent += run.wire_len();
        self.handed += usize::from(ticket.origin().is_some());
        self.chunks.push_back(Chunk { run, ticket, since: now });
    }

    /// Whether nothing is left to send or to confirm.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether something was not yet handed to our kernel on this connection.
    pub fn has_unsent(&self) -> bool {
        self.cursor.0 < self.chunks.len()
    }

    /// Whether what was handed to our kernel ends with a whole message.
    pub fn is_at_boundary(&self) -> bool {
        let (chunk, bytes) = self.cursor;
        self.chunks.get(chunk).is_none_or(|chunk| whole_prefix(&chunk.run, bytes).bytes == bytes)
    }

    /// Bytes handed to our kernel on this connection.
    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Bytes handed to our kernel and not confirmed.
    pub fn unconfirmed_bytes(&self) -> u64 {
        self.sent - self.confirmed
    }

    /// Bytes that are queued and not handed to our kernel on this connection.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent
    }

    /// Until when our kernel has to take something, or the link counts as stalled; `None` if it does already.
    pub fn stalls_at(&self, now: Instant) -> Option<Instant> {
        self.progressed.map(|at| at + STALL).filter(|&at| at > now)
    }

    /// Bytes of memory that unsettled messages occupy.
    pub fn occupied(&self) -> usize {
        self.occupied
    }

    /// Whether somebody waits to be told what became of a message.
    pub fn is_awaited(&self) -> bool {
        self.handed > 0
    }

    /// Messages not settled.
    pub fn unsettled_messages(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.run.messages)).sum()
    }

    /// When the oldest unsettled message was queued.
    pub fn oldest(&self) -> Option<Instant> {
        self.chunks.front().map(|chunk| chunk.since)
    }

    /// Adds what is next to be sent, within the bounds of one send.
    pub fn gather(&self, gather: &mut Gather) {
        let (first, mut skip) = self.cursor;
        let mut bytes = 0;
        for chunk in self.chunks.range(first..) {
            if bytes >= GATHER_BYTES || gather.pieces() + 2 > GATHER_PIECES {
                break;
            }
            bytes += chunk.run.wire_len() - skip;
            gather.push(unsent(&chunk.run.head, &mut skip));
            gather.push(unsent(&chunk.run.body, &mut skip));
        }
    }

    /// The first messages that are not settled, each for a datagram of its own: as it is framed, or its payload alone. Those next
    /// to each other that are of one length, up to `longest`, leave together. `spare` gathers are used again.
    pub fn datagrams(
        &self,
        at_most: usize,
        payload_only: bool,
        longest: usize,
        spare: &mut Vec<Gather>,
    ) -> Vec<Gather> {
        let each =
            self.chunks.iter().flat_map(|chunk| frames(&chunk.run).map(move |frame| (&chunk.run, frame)));
        let mut gathers: Vec<Gather> = Vec::new();
        for (run, frame) in each.take(at_most) {
            let (head, body) = slices(run, if payload_only { frame.payload } else { frame.wire });
            let len = head.len() + body.len();
            match gathers.last_mut() {
                Some(gather) if gather.fits(len, longest) => gather.push_datagram(head, body),
                _ => {
                    let mut gather = spare.pop().unwrap_or_default();
                    gather.push_datagram(head, body);
                    gathers.push(gather);
                }
            }
        }
        gathers
    }

    /// The first message that is not settled left as a datagram, or never will.
    pub fn settle_first(&mut self, outcome: Outcome, now: Instant) {
        let keeps = self.letters.is_some() && outcome == Outcome::Failed;
        let Some(front) = self.chunks.front_mut() else { return };
        self.progressed = Some(now);
        if front.run.messages > 1 {
            let first = frames(&front.run).next().expect("a run has as many frames as messages");
            self.unsent -= first.wire.end;
            let kept = keeps.then(|| slices(&front.run, first.payload));
            let ticket = front.ticket.split_first(1);
            front.run.skip(first.wire.end, 1);
            self.end(ticket, kept, outcome);
        } else if let Some(last) = self.pop_first() {
            self.unsent -= last.run.wire_len();
            let frame = keeps.then(|| frames(&last.run).next()).flatten();
            self.end(last.ticket, frame.map(|frame| slices(&last.run, frame.payload)), outcome);
        }
    }

    fn pop_first(&mut self) -> Option<Chunk> {
        let first = self.chunks.pop_front()?;
        self.occupied -= first.ticket.bytes();
        self.handed -= usize::from(first.ticket.origin().is_some());
        Some(first)
    }

    /// Settles a message, or keeps it for the dead letters.
    fn end(&mut self, ticket: Ticket, kept: Option<(Bytes, Bytes)>, outcome: Outcome) {
        match (&mut self.letters, kept) {
            (Some(letters), Some((head, body))) => {
                letters.push(Letter { payload: joined(head, body), ticket });
            }
            _ => ticket.settle(outcome),
        }
    }

    /// Our kernel took the next `bytes`.
    pub fn advance(&mut self, bytes: usize, now: Instant) {
        self.progressed = Some(now);
        self.sent += bytes as u64;
        self.unsent -= bytes;
        self.cursor.1 += bytes;
        while let Some(chunk) = self.chunks.get(self.cursor.0) {
            if self.cursor.1 < chunk.run.wire_len() {
                break;
            }
            self.cursor = (self.cursor.0 + 1, self.cursor.1 - chunk.run.wire_len());
        }
        debug_assert!(self.has_unsent() || self.cursor.1 == 0, "no more is sent than was queued");
    }

    /// Everything up to `position` is confirmed: whole chunks are delivered. Whether there was any.
    pub fn confirm(&mut self, position: u64) -> bool {
        let before = self.chunks.len();
        while let Some(front) = self.chunks.front() {
            let end = self.confirmed + front.run.wire_len() as u64;
            if end > position.min(self.sent) {
                break;
            }
            self.confirmed = end;
            self.cursor.0 -= 1;
            let chunk = self.pop_first().expect("looked at above");
            chunk.ticket.settle(Outcome::Delivered);
        }
        self.chunks.len() < before
    }

    /// The connection is over, with everything up to `position` confirmed: what is whole within that is delivered, the rest
    /// stays to be sent from its beginning on the next one. Returns how many messages that will be sent again.
    pub fn rewind(&mut self, position: u64) -> u64 {
        let position = position.min(self.sent);
        self.confirm(position);
        self.deliver_part((position - self.confirmed) as usize);
        let again = self.chunks.iter().take(self.cursor.0).map(|chunk| u64::from(chunk.run.messages)).sum();
        (self.confirmed, self.sent, self.cursor) = (0, 0, (0, 0));
        self.unsent = self.chunks.iter().map(|chunk| chunk.run.wire_len()).sum();
        again
    }

    fn deliver_part(&mut self, confirmed: usize) {
        let Some(front) = self.chunks.front_mut() else { return };
        let whole = whole_prefix(&front.run, confirmed);
        if whole.messages > 0 {
            front.ticket.split_first(whole.messages).settle(Outcome::Delivered);
            front.run.skip(whole.bytes, whole.messages);
        }
    }

    /// Gives up everything that is not settled: it counts as abandoned.
    pub fn abandon(&mut self) {
        *self = SendQueue { letters: self.letters.take().map(|_| Vec::new()), ..SendQueue::default() };
    }
}

/// What is left of a slice after `skip` bytes; what was skipped is taken off `skip`.
fn unsent(slice: &Bytes, skip: &mut usize) -> Bytes {
    let skipped = slice.len().min(*skip);
    *skip -= skipped;
    slice.slice(skipped..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ledger, Totals, Way};
    use crate::message::Framing;

    fn push(queue: &mut SendQueue, ledger: &Ledger, head: &'static str, body: &'static str) {
        let messages = body.matches('\n').count() as u32;
        let (head, bytes) = (Bytes::from_static(head.as_bytes()), Bytes::from_static(body.as_bytes()));
        let run = Run { head, body: bytes, messages, framing: Framing::Line };
        let ticket = ledger.admit(Way { source: 0, sink: 0 }, messages, body.len());
        queue.push(run, ticket, Instant::now());
    }

    fn queued() -> (SendQueue, Ledger) {
        let (mut queue, ledger) = (SendQueue::default(), Ledger::new(1, 1));
        push(&mut queue, &ledger, "a", "bc\nde\n");
        push(&mut queue, &ledger, "", "fgh\n");
        (queue, ledger)
    }

    fn next(queue: &SendQueue) -> Vec<String> {
        let mut gather = Gather::default();
        queue.gather(&mut gather);
        gather.iter().map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect()
    }

    fn delivered_and_in_flight(ledger: &Ledger) -> (u64, u64) {
        let Totals { delivered, in_flight, .. } = ledger.totals();
        (delivered, in_flight)
    }

    #[test]
    fn a_short_send_goes_on_where_it_stopped() {
        let (mut queue, _ledger) = queued();
        assert_eq!(next(&queue), ["a", "bc\nde\n", "fgh\n"]);
        queue.advance(1, Instant::now());
        assert_eq!(next(&queue), ["bc\nde\n", "fgh\n"]);
        queue.advance(4, Instant::now());
        assert_eq!(next(&queue), ["e\n", "fgh\n"]);
        queue.advance(2, Instant::now());
        assert_eq!(next(&queue), ["fgh\n"]);
        queue.advance(4, Instant::now());
        assert!(!queue.has_unsent() && !queue.is_empty() && next(&queue).is_empty());
    }

    #[test]
    fn a_boundary_is_where_a_message_ends() {
        let (mut queue, _ledger) = queued();
        let at_boundary: String = (0..12)
            .map(|_| {
                let mark = if queue.is_at_boundary() { '|' } else { '.' };
                queue.advance(usize::from(queue.has_unsent()), Instant::now());
                mark
            })
            .collect();
        assert_eq!(at_boundary, "|...|..|...|");
    }

    #[test]
    fn only_what_was_sent_can_be_confirmed() {
        let (mut queue, ledger) = queued();
        queue.advance(7, Instant::now());
        assert!(queue.confirm(u64::MAX));
        assert_eq!(delivered_and_in_flight(&ledger), (2, 1));
        assert_eq!((queue.unconfirmed_bytes(), queue.unsettled_messages()), (0, 1));
        queue.advance(4, Instant::now());
        assert!(!queue.confirm(10));
        assert!(queue.confirm(11));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_rewind_delivers_whole_messages_and_sends_the_rest_again_from_its_beginning() {
        let (mut queue, ledger) = queued();
        queue.advance(9, Instant::now());
        assert_eq!(queue.rewind(5), 1, "the rest of the first chunk; the second had not been sent whole");
        assert_eq!(delivered_and_in_flight(&ledger), (1, 2));
        assert_eq!(next(&queue), ["de\n", "fgh\n"]);
        queue.advance(7, Instant::now());
        queue.confirm(7);
        assert_eq!(delivered_and_in_flight(&ledger), (3, 0));
    }

    #[test]
    fn each_message_leaves_in_a_datagram_of_its_own_and_is_settled_by_itself() {
        let (mut queue, ledger) = queued();
        let texts = |datagrams: Vec<Gather>| -> Vec<String> {
            let text = |gather: &Gather| gather.iter().flat_map(|piece| piece.to_vec()).collect();
            datagrams.iter().map(|gather| String::from_utf8(text(gather)).unwrap()).collect()
        };
        assert_eq!(texts(queue.datagrams(9, true, 0, &mut Vec::new())), ["abc", "de", "fgh"]);
        assert_eq!(texts(queue.datagrams(2, false, 0, &mut Vec::new())), ["abc\n", "de\n"]);
        queue.settle_first(Outcome::Delivered, Instant::now());
        assert_eq!(texts(queue.datagrams(9, true, 0, &mut Vec::new())), ["de", "fgh"]);
        queue.settle_first(Outcome::Failed, Instant::now());
        queue.settle_first(Outcome::Delivered, Instant::now());
        assert!(queue.is_empty() && queue.occupied() == 0 && !queue.has_unsent());
        assert_eq!((ledger.totals().delivered, ledger.totals().failed), (2, 1));
    }

    #[test]
    fn what_is_unsent_is_known_whatever_becomes_of_the_connection() {
        let (mut queue, _ledger) = queued();
        assert_eq!(queue.unsent_bytes(), 11);
        queue.advance(9, Instant::now());
        assert_eq!(queue.unsent_bytes(), 2);
        queue.confirm(9);
        assert_eq!(queue.unsent_bytes(), 2, "what is confirmed was sent");
        queue.rewind(9);
        assert_eq!(
            queue.unsent_bytes(),
            4,
            "a message that was sent in part is sent again from its beginning"
        );
        queue.settle_first(Outcome::Delivered, Instant::now());
        assert_eq!(queue.unsent_bytes(), 0);
    }

    #[test]
    fn a_link_that_takes_nothing_for_a_while_is_stalled() {
        let (mut queue, _ledger) = queued();
        let now = Instant::now();
        assert_eq!(queue.stalls_at(now), None, "nothing was ever taken");
        queue.advance(1, now);
        assert_eq!(queue.stalls_at(now), Some(now + STALL));
        assert_eq!(queue.stalls_at(now + STALL), None);
    }

    #[test]
    fn what_is_given_up_is_abandoned() {
        let (mut queue, ledger) = queued();
        queue.advance(9, Instant::now());
        queue.rewind(4);
        queue.abandon();
        assert_eq!((ledger.totals().delivered, ledger.totals().abandoned), (1, 2));
        assert!(queue.is_empty() && !queue.has_unsent());
    }
}
