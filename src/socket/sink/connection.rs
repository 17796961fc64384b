//! One established connection of a sink link, and what the kernel does for it.
//!
//! Lives here: its sends and its watch, and what of it is confirmed. Never here: connecting, or what follows its end (`remote`).

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::backoff::Pace;
use crate::config::plan::Confirm;
use crate::kernel::{Kernel, Medium, Socket, Token};
use crate::ledger::Outcome;
use crate::limits::{
    CONFIRM_LAZY_BYTES, CONFIRM_WAIT_LAZY, CONFIRM_WAIT_MAX, CONFIRM_WAIT_MIN, CONFIRM_WAIT_MIN_DRAINING,
    DATAGRAMS_AT_ONCE, FIN_AFTER, PROVEN_AFTER, SEND_BUFFER_NEAR, SEND_RETRY,
};
use crate::socket::send_queue::SendQueue;

/// An established connection, or a connected datagram socket.
pub(super) struct Connection<S> {
    /// The place of its endpoint in the link's order.
    pub(super) endpoint: usize,
    pub(super) socket: S,
    medium: Medium,
    confirm: Confirm,
    /// What was acknowledged when it opened; the handshake counts as one byte on the side that connected.
    baseline: u64,
    /// Sends that are under way, or whose predecessors are: one of a stream, a chain of datagrams.
    sends: VecDeque<Send>,
    pub(super) watching: Option<Token>,
    /// After which nothing can be sent on it.
    has_sent_fin: bool,
    /// Set once the peer sent FIN: until when what was sent before may be acknowledged.
    pub(super) peer_closed: Option<Instant>,
    /// Since when none of a stream was sent or acknowledged.
    still_since: Instant,
    /// When to look for confirmations, while something is unconfirmed.
    look_at: Option<Instant>,
    look_wait: Duration,
    /// Whether somebody waits until all is confirmed, however little it is.
    is_awaited: bool,
    /// When to send again after a shortage in our kernel.
    not_before: Option<Instant>,
    room: Room,
    /// The longest datagrams of which one call may put out several.
    pub(super) longest_segment: usize,
    pub(super) opened: Instant,
    /// Whether anything was delivered on it.
    delivered: bool,
}

/// Whether a datagram socket takes one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Plenty,
    /// It took none; that it has to be waited for is not yet known to the kernel.
    Wanted,
    Awaited(Token),
}

struct Send {
    token: Token,
    result: Option<Sent>,
}

/// What became of a send.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) result: Result<usize, Errno>,
    /// How many datagrams it was; 0 of a part of a stream.
    pub(super) datagrams: u32,
    /// How long each of several was.
    pub(super) segment: Option<u16>,
}

/// What a send's completion means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It goes on.
    GoOn,
    /// It goes on; so many messages were too large for a datagram, and failed.
    TooLarge(u32),
    /// It is of no use any more.
    Broken(Errno),
}

impl<S: Socket> Connection<S> {
    pub(super) fn open(
        endpoint: usize,
        socket: S,
        medium: Medium,
        confirm: Confirm,
        now: Instant,
    ) -> io::Result<Connection<S>> {
        if medium == Medium::Tcp && socket.is_connected_to_itself() {
            // At once and without TIME_WAIT: the port is the sink's.
            socket.reset_on_close()?;
            return Err(io::Error::other("nobody listens there; the connection was to itself"));
        }
        if medium == Medium::Tcp && socket.is_near() {
            socket.bound_send_buffer(SEND_BUFFER_NEAR)?;
        }
        let baseline = socket.acknowledged();
        Ok(Connection {
            endpoint,
            socket,
            medium,
            confirm,
            baseline,
            sends: VecDeque::new(),
            watching: None,
            has_sent_fin: false,
            peer_closed: None,
            still_since: now,
            look_at: None,
            look_wait: CONFIRM_WAIT_MIN,
            is_awaited: false,
            not_before: None,
            room: Room::Plenty,
            longest_segment: if medium == Medium::Udp { usize::from(u16::MAX) } else { 0 },
            opened: now,
            delivered: false,
        })
    }

    /// Whether the kernel holds nothing of it.
    pub(super) fn is_idle(&self) -> bool {
        self.sends.is_empty() && self.watching.is_none() && !matches!(self.room, Room::Awaited(_))
    }

    pub(super) fn is_sending(&self) -> bool {
        !self.sends.is_empty()
    }

    /// Whether it may send now.
    pub(super) fn may_send(&self, now: Instant) -> bool {
        let is_ready = self.room == Room::Plenty && self.not_before.is_none_or(|at| at <= now);
        is_ready && self.sends.is_empty() && self.peer_closed.is_none()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.look_at, self.peer_closed, self.not_before].into_iter().flatten().min()
    }

    /// How many datagrams it may be sent together. The first goes alone: where nobody listens, that is learnt from it (an ICMP answer
    /// fails the next call, udp(7)), and the others are still here.
    pub(super) fn datagrams_at_once(&self) -> usize {
        if self.delivered { DATAGRAMS_AT_ONCE } else { 1 }
    }

    /// Operations that are under way.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let unfinished = self.sends.iter().filter(|send| send.result.is_none()).map(|send| send.token);
        let room = match self.room {
            Room::Awaited(token) => Some(token),
            Room::Plenty | Room::Wanted => None,
        };
        unfinished.chain(self.watching).chain(room).collect()
    }

    /// Waits for room, if none was left for a datagram and nothing is under way any more.
    pub(super) fn await_room<K: Kernel<Socket = S>>(&mut self, kernel: &mut K, owner: K::Owner) {
        if self.room == Room::Wanted && self.sends.is_empty() {
            self.room = Room::Awaited(kernel.await_room(owner, &self.socket));
        }
    }

    /// There is room, or the wait is over for another reason, which the next send finds out.
    pub(super) fn room_came(&mut self) {
        self.room = Room::Plenty;
    }

    pub(super) fn began(&mut self, tokens: impl IntoIterator<Item = Token>) {
        self.not_before = None;
        self.sends.extend(tokens.into_iter().map(|token| Send { token, result: None }));
    }

    /// Whether it did its work: delivered something, or lasted. What was only written to a datagram socket proves nothing.
    pub(super) fn is_proven(&self, now: Instant) -> bool {
        let delivered = self.delivered && !self.medium.is_datagrams();
        delivered || now >= self.opened + PROVEN_AFTER
    }

    /// Takes the result of a send. What our kernel took is settled at `written`; else it is worth a look at once, since an
    /// acknowledgement may have come while the send ran, unless there is no hurry.
    pub(super) fn sent(
        &mut self,
        token: Token,
        sent: Sent,
        queue: &mut SendQueue,
        pace: Pace,
        now: Instant,
    ) -> After {
        if let Some(send) = self.sends.iter_mut().find(|send| send.token == token) {
            send.result = Some(sent);
        }
        let mut after = After::GoOn;
        // A chain's results count in its order, whatever order they come in.
        while let Some(sent) = self.sends.front().and_then(|send| send.result) {
            self.sends.pop_front();
            let of_this = match self.medium.is_datagrams() {
                true => self.datagrams_sent(sent, queue, now),
                false => self.stream_sent(sent.result, queue, pace, now),
            };
            after = after.and(of_this);
        }
        after
    }

    fn stream_sent(
        &mut self,
        result: Result<usize, Errno>,
        queue: &mut SendQueue,
        pace: Pace,
        now: Instant,
    ) -> After {
        match (result, self.confirm) {
            (Ok(bytes), Confirm::Written) => {
                queue.advance(bytes, now);
                self.settle_confirmed(queue);
                After::GoOn
            }
            (Ok(bytes), Confirm::Acked | Confirm::Replied) => {
                queue.advance(bytes, now);
                self.still_since = now;
                self.look_wait = shortest_look(pace);
                self.look_at = match self.has_time(queue, pace) {
                    true => self.look_at.or(Some(now + CONFIRM_WAIT_LAZY)),
                    false => Some(now),
                };
                After::GoOn
            }
            // A cancel that reached the kernel's worker shows as an interrupted call.
            (Err(Errno::ECANCELED | Errno::EINTR), _) => After::GoOn,
            (Err(errno), _) => After::Broken(errno),
        }
    }

    fn datagrams_sent(&mut self, sent: Sent, queue: &mut SendQueue, now: Instant) -> After {
        match (sent.result, sent.segment) {
            (Ok(_), _) => {
                (0..sent.datagrams).for_each(|_| queue.settle_first(Outcome::Delivered, now));
                self.delivered = true;
                After::GoOn
            }
            // More than a packet of this way holds; each alone is sent in fragments (`udp_send_skb` in net/ipv4/udp.c).
            (Err(Errno::EMSGSIZE | Errno::EINVAL), Some(segment)) => {
                self.longest_segment = usize::from(segment) - 1;
                After::GoOn
            }
            // This way's device, or what encrypts on it, cuts nothing (as above).
            (Err(Errno::EIO), Some(_)) => {
                self.longest_segment = 0;
                After::GoOn
            }
            (Err(errno), _) => self.datagram_failed(errno, queue, now),
        }
    }

    fn datagram_failed(&mut self, errno: Errno, queue: &mut SendQueue, now: Instant) -> After {
        match errno {
            Errno::EMSGSIZE => {
                queue.settle_first(Outcome::Failed, now);
                After::TooLarge(1)
            }
            // Those behind one that failed are cancelled, and sent again with it.
            Errno::ECANCELED | Errno::EINTR => After::GoOn,
            Errno::EAGAIN => {
                self.room = Room::Wanted;
                After::GoOn
            }
            Errno::ENOBUFS | Errno::ENOMEM => {
                self.not_before = Some(now + SEND_RETRY);
                After::GoOn
            }
            errno => After::Broken(errno),
        }
    }

    /// Settles what the peer has confirmed, if it is time to look.
    pub(super) fn look_for_confirmations(&mut self, queue: &mut SendQueue, pace: Pace, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        if self.settle_confirmed(queue) {
            self.still_since = now;
            self.look_wait = shortest_look(pace);
        }
        let wait = if self.has_time(queue, pace) { CONFIRM_WAIT_LAZY } else { self.look_wait };
        self.look_at = (queue.unconfirmed_bytes() > 0).then(|| now + wait);
        self.look_wait = (self.look_wait * 2).min(CONFIRM_WAIT_MAX);
    }

    /// Settles what is confirmed by now. Whether there was any.
    pub(super) fn settle_confirmed(&mut self, queue: &mut SendQueue) -> bool {
        let is_any = queue.confirm(self.confirmed(queue));
        self.delivered |= is_any;
        is_any
    }

    /// Whether nobody waits for confirmations, and so little is kept for them that it does not matter. To wake for each look would be
    /// most of what it takes to pass on a message now and then.
    fn has_time(&self, queue: &SendQueue, pace: Pace) -> bool {
        let is_awaited = self.is_awaited || queue.is_awaited() || pace == Pace::Hurried;
        !is_awaited && queue.occupied() <= CONFIRM_LAZY_BYTES
    }

    /// Leaves the send that just began alone until something else happens, unless somebody waits for it. Whether it does. Such a send is
    /// done as it is submitted: our kernel holds no more than the queue does, which is less than a send buffer. Should it wait all the
    /// same, for want of memory or since an operator made that smaller, the look for confirmations ends the wait.
    pub(super) fn leave_alone(&mut self, queue: &SendQueue, pace: Pace, now: Instant) -> bool {
        let is_left = self.confirm != Confirm::Written && self.has_time(queue, pace);
        if is_left {
            self.look_at = self.look_at.or(Some(now + CONFIRM_WAIT_LAZY));
        }
        is_left
    }

    /// Sends FIN behind what waits for its acknowledgement longer than it should: a peer may put that off where nothing comes behind it
    /// (Linux, of the second of two segments of one length after longer ones, for 40 ms; `tcp_measure_rcv_mss` and `__tcp_ack_snd_check`
    /// in net/ipv4/tcp_input.c). Never at once: behind what is not sent or not read yet, FIN itself has it put off, since a peer then waits
    /// for what it might have to answer (`tcp_fin`; `__tcp_cleanup_rbuf` in net/ipv4/tcp.c).
    pub(super) fn end_stream(&mut self, queue: &SendQueue, now: Instant) {
        let all_is_sent = !self.is_sending() && !queue.has_unsent();
        let awaits_confirmation = all_is_sent && queue.unconfirmed_bytes() > 0;
        if !awaits_confirmation || self.has_sent_fin || self.medium.is_datagrams() {
            return;
        }
        if self.socket.unsent() > 0 {
            self.still_since = now;
        } else if now >= self.still_since + FIN_AFTER + self.socket.round_trip() {
            self.has_sent_fin = true;
            self.socket.half_close();
        }
    }

    /// From now on somebody waits until all is confirmed: looks at once, and more often.
    pub(super) fn await_confirmations(&mut self, pace: Pace, now: Instant) {
        self.is_awaited = true;
        self.look_wait = shortest_look(pace);
        self.look_at = self.look_at.map(|_| now);
    }

    fn acknowledged(&self) -> u64 {
        self.socket.acknowledged().saturating_sub(self.baseline)
    }

    /// Bytes of this connection that are confirmed at the level that its sink asks for.
    pub(super) fn confirmed(&self, queue: &SendQueue) -> u64 {
        match self.confirm {
            Confirm::Written => queue.sent_bytes(),
            Confirm::Acked | Confirm::Replied => self.acknowledged(),
        }
    }

    /// Says goodbye: gracefully, or by a reset, so that what our kernel holds does not arrive after what is sent on the next.
    pub(super) fn part(&self, gracefully: bool) {
        if self.medium.is_datagrams() {
            return;
        }
        if gracefully {
            self.socket.say_goodbye();
        } else {
            // It fails only where nothing is connected any more.
            let _ = self.socket.reset_on_close();
        }
    }
}

impl After {
    fn and(self, next: After) -> After {
        match (self, next) {
            (After::Broken(errno), _) | (_, After::Broken(errno)) => After::Broken(errno),
            (After::TooLarge(one), After::TooLarge(other)) => After::TooLarge(one + other),
            (After::TooLarge(count), After::GoOn) | (After::GoOn, After::TooLarge(count)) => {
                After::TooLarge(count)
            }
            (After::GoOn, After::GoOn) => After::GoOn,
        }
    }
}

fn shortest_look(pace: Pace) -> Duration {
    match pace {
        Pace::Steady => CONFIRM_WAIT_MIN,
        Pace::Hurried => CONFIRM_WAIT_MIN_DRAINING,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::rc::Rc;

    use bytes::Bytes;
    use socket2::SockRef;

    use super::*;
    use crate::ledger::{Ledger, Origin, Ticket, Way};
    use crate::message::{Framing, Run};

    #[test]
    fn our_kernel_holds_little_of_what_a_near_peer_is_sent() {
        let most: usize =
            std::fs::read_to_string("/proc/sys/net/core/wmem_max").unwrap().trim().parse().unwrap();
        let bound = 2 * SEND_BUFFER_NEAR.min(most);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let is_bounded = |_| {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let socket = Rc::new(OwnedFd::from(stream));
            Connection::open(0, Rc::clone(&socket), Medium::Tcp, Confirm::Acked, Instant::now()).unwrap();
            SockRef::from(&socket).send_buffer_size().unwrap() == bound
        };
        // On a machine that is busy one handshake may take long.
        assert!((0..100).any(is_bounded));
    }

    const WAY: Way = Way { source: 0, sink: 0 };

    /// A queue with the message of this ticket, two bytes that were not sent yet.
    fn queued(ticket: Ticket) -> SendQueue {
        let body = Bytes::from_static(b"a\n");
        let mut queue = SendQueue::default();
        queue.push(
            Run { head: Bytes::new(), body, messages: 1, framing: Framing::Line },
            ticket,
            Instant::now(),
        );
        queue
    }

    /// A queue whose only message was sent and is not confirmed.
    fn unconfirmed() -> SendQueue {
        let mut queue = queued(Ledger::new(1, 1).admit(WAY, 1, 2));
        queue.advance(2, Instant::now());
        queue
    }

    /// Somebody who waits for a message's end.
    struct Waiting;

    impl Origin for Waiting {
        fn settled(&self, _: Outcome) {}

        fn id(&self) -> &'static str {
            "an-id"
        }
    }

    #[test]
    fn only_what_somebody_waits_for_and_what_is_much_is_looked_for_soon() {
        let (listener, ledger) = (TcpListener::bind("127.0.0.1:0").unwrap(), Ledger::new(1, 1));
        let now = Instant::now();
        let sent = |ticket: Ticket, pace| {
            let socket = Rc::new(OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap()));
            let mut connection = Connection::open(0, socket, Medium::Tcp, Confirm::Acked, now).unwrap();
            let mut queue = queued(ticket);
            assert_eq!(connection.stream_sent(Ok(2), &mut queue, pace, now), After::GoOn);
            (connection, queue)
        };
        let soon = |(connection, _): (Connection<_>, SendQueue)| connection.next_deadline() == Some(now);
        assert!(soon(sent(ledger.admit(WAY, 1, 2), Pace::Hurried)));
        assert!(soon(sent(ledger.admit(WAY, 1, CONFIRM_LAZY_BYTES + 1), Pace::Steady)));
        assert!(soon(sent(ledger.admit_from(Rc::new(Waiting), WAY, 2), Pace::Steady)));

        let (mut connection, mut queue) = sent(ledger.admit(WAY, 1, CONFIRM_LAZY_BYTES), Pace::Steady);
        let lazily = now + CONFIRM_WAIT_LAZY;
        assert_eq!(connection.next_deadline(), Some(lazily));
        connection.stream_sent(Ok(0), &mut queue, Pace::Steady, now + CONFIRM_WAIT_MIN);
        assert_eq!(connection.next_deadline(), Some(lazily), "it does not wait anew for each");
        connection.look_for_confirmations(&mut queue, Pace::Steady, lazily);
        assert_eq!(connection.next_deadline(), Some(lazily + CONFIRM_WAIT_LAZY), "nothing was acknowledged");
        connection.await_confirmations(Pace::Steady, lazily);
        assert_eq!(connection.next_deadline(), Some(lazily));
        connection.look_for_confirmations(&mut queue, Pace::Steady, lazily);
        assert_eq!(connection.next_deadline(), Some(lazily + CONFIRM_WAIT_MIN));
    }

    #[test]
    fn fin_does_not_follow_what_may_still_be_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let socket = Rc::new(OwnedFd::from(stream.try_clone().unwrap()));
        let opened = Instant::now();
        let mut connection = Connection::open(0, socket, Medium::Tcp, Confirm::Acked, opened).unwrap();
        let (queue, long) = (unconfirmed(), Duration::from_secs(1));

        connection.end_stream(&queue, opened + FIN_AFTER);
        assert!(!connection.has_sent_fin, "it may be on its way");
        stream.set_nonblocking(true).unwrap();
        let full = std::iter::from_fn(|| Some(stream.write(&[b'a'; 4096]))).find_map(Result::err);
        assert_eq!(full.unwrap().kind(), ErrorKind::WouldBlock);
        connection.end_stream(&queue, opened + long);
        assert!(!connection.has_sent_fin, "our kernel has not sent all");
        let deadline = Instant::now() + 10 * long;
        while connection.socket.unsent() > 0 {
            assert!(Instant::now() < deadline, "it hangs");
            assert!(peer.read(&mut [0; 65_536]).unwrap() > 0);
        }
        connection.end_stream(&queue, opened + long + FIN_AFTER);
        assert!(!connection.has_sent_fin, "that was sent only now");
        connection.end_stream(&queue, opened + 2 * long);
        assert!(connection.has_sent_fin);
    }
}
