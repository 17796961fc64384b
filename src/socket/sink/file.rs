//! A sink link into a file or standard output. Delivered means `written`: our kernel took the last byte.
//!
//! Lives here: writing, and waiting when the disk is full. Never here: opening (bring-up does that), rotation, whose turn it is
//! (`turn`).

use std::time::Instant;

use nix::errno::Errno;
use tracing::{info, warn};

use super::Turn;
use crate::backoff::{Backoff, Pace};
use crate::kernel::{CompletionOf, Event, Gather, Kernel, Token, Waits};
use crate::limits::RECONNECT_MIN;
use crate::socket::send_queue::SendQueue;

/// A link into a file.
pub struct FileSink<K: Kernel> {
    owner: K::Owner,
    name: String,
    waits: Waits,
    /// Where others write there too.
    turn: Option<Turn<K::Socket>>,
    queue: SendQueue,
    gather: Option<Gather>,
    backoff: Backoff,
    pace: Pace,
    state: State<K::Socket>,
}

enum State<S> {
    /// Open and at rest, or waiting until the next attempt.
    Ready {
        file: S,
        not_before: Option<Instant>,
    },
    /// There is something to write, and another link has the turn.
    Awaiting {
        file: S,
        token: Token,
    },
    /// A write is under way.
    Writing {
        file: S,
        token: Token,
    },
    /// An operation is under way whose end is the link's end.
    GivingUp,
    /// It can never be written to again.
    Broken(Errno),
    Closed,
}

impl<K: Kernel> FileSink<K> {
    /// A link that writes to `file` at its position, when it is its turn.
    pub fn new(
        owner: K::Owner,
        name: String,
        file: K::Socket,
        waits: Waits,
        turn: Option<Turn<K::Socket>>,
    ) -> FileSink<K> {
        let state = State::Ready { file, not_before: None };
        let (queue, backoff) = (SendQueue::default(), Backoff::new(RECONNECT_MIN));
        let (gather, pace) = (Some(Gather::default()), Pace::Steady);
        FileSink { owner, name, waits, turn, queue, gather, backoff, pace, state }
    }

    pub(super) fn queue(&self) -> &SendQueue {
        &self.queue
    }

    pub(super) fn queue_mut(&mut self) -> &mut SendQueue {
        &mut self.queue
    }

    pub(super) fn broken(&self) -> Option<Errno> {
        match self.state {
            State::Broken(errno) => Some(errno),
            State::Ready { .. }
            | State::Awaiting { .. }
            | State::Writing { .. }
            | State::GivingUp
            | State::Closed => None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Ready { not_before, .. } => not_before,
            State::Awaiting { .. }
            | State::Writing { .. }
            | State::GivingUp
            | State::Broken(_)
            | State::Closed => None,
        }
    }

    pub(super) fn flush(&mut self, kernel: &mut K, now: Instant) {
        let State::Ready { file, not_before } = &self.state else { return };
        if !self.queue.has_unsent() || not_before.is_some_and(|at| now < at) {
            return;
        }
        let file = file.clone();
        if let Some(turn) = self.turn.as_ref().filter(|turn| !turn.is_taken()) {
            let token = turn.await_on(kernel, self.owner);
            self.state = State::Awaiting { file, token };
            return;
        }
        let mut gather = self.gather.take().unwrap_or_default();
        self.queue.gather(&mut gather);
        let token = kernel.write(self.owner, &file, gather, self.waits);
        self.state = State::Writing { file, token };
    }

    pub(super) fn handle(&mut self, completion: CompletionOf<K>, now: Instant) {
        match completion.event {
            Event::Woken(result) => self.awaited(result),
            Event::Sent(result, mut gather) => {
                gather.clear();
                self.gather = Some(gather);
                match result {
                    Ok(bytes) if bytes > 0 => self.written(bytes, now),
                    Ok(_) => self.failed(Errno::EIO, now),
                    Err(errno) => self.failed(errno, now),
                }
                if !self.is_closed() {
                    self.pass_on();
                }
            }
            // It says nothing about its target.
            Event::Canceled => {}
            Event::Accepted(_)
            | Event::Received(_)
            | Event::Datagram(_)
            | Event::EndOfStream
            | Event::ReceiveFailed(_)
            | Event::Watched(_)
            | Event::HasRoom(_)
            | Event::Connected(_) => unreachable!("a file is only written to"),
        }
    }

    /// It is this link's turn, or the wait for it has to begin again.
    fn awaited(&mut self, result: Result<(), Errno>) {
        if let (Ok(()), Some(turn)) = (result, &mut self.turn) {
            turn.take();
        }
        self.at_rest(None);
    }

    /// The others' turn, unless they would go on in the middle of a message. Of a link that is broken no more will come.
    fn pass_on(&mut self) {
        let is_over = matches!(self.state, State::Broken(_)) || self.queue.is_at_boundary();
        if let Some(turn) = self.turn.as_mut().filter(|_| is_over) {
            turn.pass_on();
        }
    }

    fn written(&mut self, bytes: usize, now: Instant) {
        self.queue.advance(bytes, now);
        self.queue.confirm(self.queue.sent_bytes());
        if self.backoff.failures() > 0 {
            info!(sink = self.name, "writes again");
            self.backoff.reset();
        }
        self.at_rest(None);
    }

    fn failed(&mut self, errno: Errno, now: Instant) {
        if matches!(self.state, State::GivingUp) {
            return self.end();
        }
        if !may_pass(errno) {
            self.state = State::Broken(errno);
            return;
        }
        if self.backoff.failures() == 0 {
            warn!(sink = self.name, %errno, "cannot be written to; trying again, nothing is lost meanwhile");
        }
        let not_before = now + self.backoff.next(self.pace);
        self.at_rest(Some(not_before));
    }

    /// The kernel holds nothing of this link.
    fn at_rest(&mut self, not_before: Option<Instant>) {
        match &self.state {
            State::Awaiting { file, .. } | State::Writing { file, .. } => {
                self.state = State::Ready { file: file.clone(), not_before };
            }
            State::GivingUp => self.end(),
            State::Ready { .. } | State::Broken(_) | State::Closed => {}
        }
    }

    /// What is whole in the file counts as delivered, the rest as abandoned.
    fn end(&mut self) {
        // The others may still have time. Before it is forgotten how far this one came.
        self.pass_on();
        self.queue.rewind(self.queue.sent_bytes());
        self.queue.abandon();
        self.state = State::Closed;
    }

    /// Its reactor broke: what it has is abandoned as it is, and the others go on.
    pub(super) fn abandon(&mut self) {
        self.pass_on();
        self.queue.abandon();
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        self.pace = Pace::Hurried;
        if let State::Ready { not_before: Some(at), .. } = &mut self.state {
            *at = now;
        }
    }

    pub(super) fn give_up(&mut self, kernel: &mut K) {
        match self.state {
            State::Awaiting { token, .. } | State::Writing { token, .. } => {
                kernel.cancel(self.owner, token);
                self.state = State::GivingUp;
            }
            State::Ready { .. } | State::Broken(_) => self.end(),
            State::GivingUp | State::Closed => {}
        }
    }

    pub(super) fn close(&mut self, kernel: &mut K) {
        debug_assert!(self.queue.is_empty(), "a link is closed when everything on it is settled");
        self.give_up(kernel);
    }
}

/// Whether a failed write may succeed later: the disk is full, a quota is used up, the device answers badly, memory is short.
fn may_pass(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENOSPC
            | Errno::EDQUOT
            | Errno::EIO
            | Errno::EAGAIN
            | Errno::EINTR
            | Errno::ENOMEM
            | Errno::ENOBUFS
            | Errno::ECANCELED
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd, OwnedFd};
    use std::rc::Rc;
    use std::time::Duration;

    use bytes::Bytes;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::ledger::{Ledger, Way};
    use crate::limits::MAX_IN_FLIGHT_MIN;
    use crate::message::{Framing, Run};
    use crate::ring::{Doorbell, Ring, Support};
    use crate::socket::sink::shared_turn;

    const OWNER: u8 = 7;

    fn link(turn: &Doorbell, file: File) -> FileSink<Ring<u8>> {
        let end = |end: &OwnedFd| Rc::new(end.try_clone().unwrap());
        let turn = Turn::new(end(&turn.heard), end(&turn.rung));
        FileSink::new(OWNER, "file".to_owned(), Rc::new(file.into()), Waits::Anywhere, Some(turn))
    }

    fn push(link: &mut FileSink<Ring<u8>>, ledger: &Ledger) {
        let (head, body) = (Bytes::new(), Bytes::from_static(b"a line\n"));
        let ticket = ledger.admit(Way { source: 0, sink: 0 }, 1, body.len());
        link.queue_mut().push(
            Run { head, body, messages: 1, framing: Framing::Line },
            ticket,
            Instant::now(),
        );
    }

    /// Acts on what the kernel says until it is so.
    fn go_on(
        ring: &mut Ring<u8>,
        link: &mut FileSink<Ring<u8>>,
        is_so: impl Fn(&FileSink<Ring<u8>>) -> bool,
    ) {
        let (mut completions, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(10));
        while !is_so(link) {
            assert!(Instant::now() < deadline, "it hangs");
            ring.park(Some(Duration::from_millis(10)), Duration::ZERO, 0).unwrap();
            ring.reap(&mut completions);
            completions.drain(..).for_each(|completion| link.handle(completion, Instant::now()));
        }
    }

    fn is_free(turn: &Doorbell) -> bool {
        let mut heard = [PollFd::new(turn.heard.as_fd(), PollFlags::POLLIN)];
        poll(&mut heard, PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn one_that_is_given_up_while_it_writes_passes_its_turn_on() {
        let (ledger, turn) = (Ledger::new(1, 1), shared_turn().unwrap());
        let mut ring = Ring::new(Support::detect().unwrap(), MAX_IN_FLIGHT_MIN).unwrap();
        for ends in [FileSink::give_up, |link: &mut FileSink<_>, _: &mut Ring<u8>| link.abandon()] {
            let mut link = link(&turn, tempfile::tempfile().unwrap());
            push(&mut link, &ledger);
            link.flush(&mut ring, Instant::now());
            go_on(&mut ring, &mut link, |link| matches!(link.state, State::Ready { .. }));
            link.flush(&mut ring, Instant::now());
            assert!(matches!(link.state, State::Writing { .. }) && !is_free(&turn));
            ends(&mut link, &mut ring);
            if matches!(link.state, State::GivingUp) {
                go_on(&mut ring, &mut link, FileSink::is_closed);
            }
            assert!(is_free(&turn), "the others would wait for it until their time is up");
            std::mem::forget(link.turn.take());
        }
    }
}
