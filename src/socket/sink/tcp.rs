//! A sink link over TCP: connects, sends, confirms, and starts again where it was when the connection breaks.
//!
//! ```text
//! Waiting → Connecting → Open → Ending → Waiting     a broken connection, until it works again
//!                          └──→ Ending → Closed      the relay ends
//! ```
//! `Ending` lasts until the kernel has let go of the connection's operations. Lives here: those states. Never here: the order
//! of what is sent (`send_queue`), what the sink is called on the network (`address`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use tracing::{info, warn};

use super::Pace;
use crate::config::plan::Confirm;
use crate::limits::{
    ANSWER_BUFFER, CONFIRM_WAIT_MAX, CONFIRM_WAIT_MIN, CONFIRM_WAIT_MIN_DRAINING, CONNECT_TIMEOUT,
    PARTING_READS, PEER_CLOSE_GRACE, PROVEN_AFTER, RECONNECT_MAX, RECONNECT_MAX_DRAINING, RECONNECT_MIN,
};
use crate::ring::{Completion, Event, Gather, Ring, Token};
use crate::socket::address;
use crate::socket::backoff::Backoff;
use crate::socket::seal::reset_on_close;
use crate::socket::send_queue::SendQueue;
use crate::socket::tcp_info::tcp_info;

/// A link to one TCP address, or to the first of several that answers.
pub struct TcpSink<O> {
    owner: O,
    name: String,
    addresses: Rc<[SocketAddr]>,
    confirm: Confirm,
    queue: SendQueue,
    gather: Option<Box<Gather>>,
    backoff: Backoff,
    pace: Pace,
    after_ending: AfterEnding,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterEnding {
    ConnectAgain,
    Close,
    Abandon,
}

enum State {
    /// The next socket is there already: when all descriptors are taken, this link still has its own.
    Waiting {
        until: Instant,
        socket: Option<OwnedFd>,
    },
    Connecting {
        socket: Rc<OwnedFd>,
        token: Token,
        deadline: Instant,
        cancelled: bool,
    },
    Open(Connection),
    Ending(Connection),
    Closed,
}

/// One established connection and what the kernel does for it.
struct Connection {
    socket: Rc<OwnedFd>,
    /// `tcpi_bytes_acked` when it opened; the handshake counts as one byte on the side that connected.
    baseline: u64,
    sending: Option<Token>,
    watching: Option<Token>,
    /// Set once the peer sent FIN: until when what was sent before may be acknowledged.
    peer_closed: Option<Instant>,
    /// When to look for confirmations, while something is unconfirmed.
    look_at: Option<Instant>,
    look_wait: Duration,
    opened: Instant,
    /// Whether anything was delivered on it.
    delivered: bool,
}

impl Connection {
    fn open(socket: Rc<OwnedFd>, now: Instant) -> io::Result<Connection> {
        if address::is_connected_to_itself(&socket) {
            // At once and without TIME_WAIT: the port is the sink's.
            reset_on_close(&socket)?;
            return Err(io::Error::other("nobody listens there; the connection was to itself"));
        }
        let baseline = tcp_info(socket.as_fd())?.bytes_acked;
        Ok(Connection {
            socket,
            baseline,
            sending: None,
            watching: None,
            peer_closed: None,
            look_at: None,
            look_wait: CONFIRM_WAIT_MIN,
            opened: now,
            delivered: false,
        })
    }

    /// Bytes of this connection that the peer's TCP has acknowledged.
    fn acknowledged(&self) -> u64 {
        tcp_info(self.socket.as_fd()).map_or(0, |info| info.bytes_acked.saturating_sub(self.baseline))
    }

    fn is_idle(&self) -> bool {
        self.sending.is_none() && self.watching.is_none()
    }
}

impl<O: Copy> TcpSink<O> {
    /// A link that connects at its first tick.
    ///
    /// # Errors
    /// As socket(2) and setsockopt(2).
    pub fn new(
        owner: O,
        name: String,
        addresses: Rc<[SocketAddr]>,
        confirm: Confirm,
        now: Instant,
    ) -> io::Result<TcpSink<O>> {
        let socket = Some(address::sink_socket(addresses[0])?);
        Ok(TcpSink {
            owner,
            name,
            addresses,
            confirm,
            queue: SendQueue::default(),
            gather: Some(Box::default()),
            backoff: Backoff::new(RECONNECT_MIN),
            pace: Pace::Steady,
            after_ending: AfterEnding::ConnectAgain,
            state: State::Waiting { until: now, socket },
        })
    }

    pub(super) fn queue(&self) -> &SendQueue {
        &self.queue
    }

    pub(super) fn queue_mut(&mut self) -> &mut SendQueue {
        &mut self.queue
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until, .. } => Some(*until),
            State::Connecting { cancelled: true, .. } => None,
            State::Connecting { deadline, .. } => Some(*deadline),
            State::Open(connection) => {
                [connection.look_at, connection.peer_closed].into_iter().flatten().min()
            }
            State::Ending(_) | State::Closed => None,
        }
    }

    pub(super) fn tick(&mut self, ring: &mut Ring<O>, now: Instant) {
        match &mut self.state {
            State::Waiting { until, socket } if *until <= now => {
                let socket = socket.take();
                self.connect(ring, socket, now);
            }
            State::Connecting { token, deadline, cancelled, .. } if *deadline <= now && !*cancelled => {
                *cancelled = true;
                let token = *token;
                ring.cancel(self.owner, token);
            }
            State::Open(_) => self.tick_open(ring, now),
            State::Waiting { .. } | State::Connecting { .. } | State::Ending(_) | State::Closed => {}
        }
    }

    fn next_address(&self) -> SocketAddr {
        self.addresses[self.backoff.failures() as usize % self.addresses.len()]
    }

    fn connect(&mut self, ring: &mut Ring<O>, socket: Option<OwnedFd>, now: Instant) {
        let address = self.next_address();
        match socket.map_or_else(|| address::sink_socket(address), Ok) {
            Ok(socket) => {
                let socket = Rc::new(socket);
                let token = ring.connect(self.owner, &socket, address);
                self.state =
                    State::Connecting { socket, token, deadline: now + CONNECT_TIMEOUT, cancelled: false };
            }
            Err(error) => self.wait(now, &error),
        }
    }

    fn wait(&mut self, now: Instant, error: &dyn std::fmt::Display) {
        if self.backoff.failures() == 0 {
            warn!(sink = self.name, %error, "not connected; trying again, nothing is lost meanwhile");
        }
        self.back_off(now);
    }

    fn back_off(&mut self, now: Instant) {
        let until = now + self.backoff.next(self.longest_wait());
        // Gives the old descriptor back before the next one is taken.
        self.state = State::Closed;
        // What is missing now may be there when it is needed.
        self.state = State::Waiting { until, socket: address::sink_socket(self.next_address()).ok() };
    }

    fn tick_open(&mut self, ring: &mut Ring<O>, now: Instant) {
        self.look_for_confirmations(now);
        let State::Open(connection) = &self.state else { return };
        let Some(grace) = connection.peer_closed else { return };
        let settled = connection.sending.is_none() && self.queue.unconfirmed_bytes() == 0;
        if settled || grace <= now {
            self.end_connection(ring, now, &"closed by the peer");
        }
    }

    fn look_for_confirmations(&mut self, now: Instant) {
        let State::Open(connection) = &mut self.state else { return };
        if connection.look_at.is_none_or(|at| now < at) {
            return;
        }
        if self.queue.confirm(connection.acknowledged()) {
            connection.delivered = true;
            connection.look_wait = shortest_look(self.pace);
        }
        let unconfirmed = self.queue.unconfirmed_bytes() > 0;
        connection.look_at = unconfirmed.then(|| now + connection.look_wait);
        connection.look_wait = (connection.look_wait * 2).min(CONFIRM_WAIT_MAX);
    }

    pub(super) fn flush(&mut self, ring: &mut Ring<O>) {
        let State::Open(connection) = &mut self.state else { return };
        if connection.sending.is_some() || connection.peer_closed.is_some() || !self.queue.has_unsent() {
            return;
        }
        let mut gather = self.gather.take().unwrap_or_default();
        self.queue.gather(&mut gather);
        connection.sending = Some(ring.send(self.owner, &connection.socket, gather));
    }

    pub(super) fn handle(&mut self, ring: &mut Ring<O>, completion: Completion<O>, now: Instant) {
        match completion.event {
            Event::Connected(result) => self.connected(ring, result, now),
            Event::Sent(result, gather) => self.sent(ring, result, gather, now),
            Event::Watched(result) => self.watched(ring, result, now),
            Event::Canceled => {}
            Event::Accepted(_)
            | Event::Received(_)
            | Event::EndOfStream
            | Event::ReceiveFailed(_)
            | Event::Woken(_) => unreachable!("a sink link connects, sends and watches"),
        }
    }

    fn connected(&mut self, ring: &mut Ring<O>, result: Result<(), Errno>, now: Instant) {
        let State::Connecting { socket, .. } = &self.state else { return };
        if self.after_ending != AfterEnding::ConnectAgain {
            return self.finish(None);
        }
        match result {
            Ok(()) => {
                let socket = Rc::clone(socket);
                self.open(ring, socket, now);
            }
            Err(Errno::ECANCELED) => self.wait(now, &"connecting timed out"),
            Err(errno) => self.wait(now, &errno),
        }
    }

    fn open(&mut self, ring: &mut Ring<O>, socket: Rc<OwnedFd>, now: Instant) {
        match Connection::open(socket, now) {
            Ok(mut connection) => {
                info!(sink = self.name, failures = self.backoff.failures(), "connected");
                connection.watching = Some(ring.watch(self.owner, &connection.socket));
                self.state = State::Open(connection);
            }
            Err(error) => self.wait(now, &error),
        }
    }

    fn sent(
        &mut self,
        ring: &mut Ring<O>,
        result: Result<usize, Errno>,
        mut gather: Box<Gather>,
        now: Instant,
    ) {
        gather.clear();
        self.gather = Some(gather);
        let (State::Open(connection) | State::Ending(connection)) = &mut self.state else { return };
        connection.sending = None;
        match (result, &self.state) {
            (Ok(bytes), _) => self.took(bytes, now),
            // A cancel that reached the kernel's worker shows as an interrupted call.
            (Err(Errno::ECANCELED | Errno::EINTR), _) => {}
            (Err(errno), State::Open(_)) => self.end_connection(ring, now, &errno),
            // The watch was the first to learn of it.
            (Err(_), _) => {}
        }
        self.finish_ending(now);
    }

    /// Our kernel took `bytes`. At `written` that is delivered; otherwise it is worth a look at once, since an
    /// acknowledgement may have come while the send ran.
    fn took(&mut self, bytes: usize, now: Instant) {
        self.queue.advance(bytes);
        match (self.confirm, &mut self.state) {
            (Confirm::Written, State::Open(connection)) => {
                connection.delivered |= self.queue.confirm(self.queue.sent_bytes());
            }
            (Confirm::Acked, State::Open(connection)) => {
                connection.look_at = Some(now);
                connection.look_wait = shortest_look(self.pace);
            }
            (_, _) => {}
        }
    }

    fn watched(&mut self, ring: &mut Ring<O>, result: Result<usize, Errno>, now: Instant) {
        let (State::Open(connection) | State::Ending(connection)) = &mut self.state else { return };
        connection.watching = None;
        match (result, &mut self.state) {
            (Ok(0), State::Open(connection)) => connection.peer_closed = Some(now + PEER_CLOSE_GRACE),
            (Ok(_), State::Open(connection)) => {
                connection.watching = Some(ring.watch(self.owner, &connection.socket));
            }
            (Err(errno), State::Open(_)) => self.end_connection(ring, now, &errno),
            (_, _) => {}
        }
        self.finish_ending(now);
    }

    /// The connection is of no use any more: its operations are cancelled, and what it did not confirm is sent on the next.
    fn end_connection(&mut self, ring: &mut Ring<O>, now: Instant, reason: &dyn std::fmt::Display) {
        let State::Open(connection) = std::mem::replace(&mut self.state, State::Closed) else {
            unreachable!("only an open connection ends")
        };
        if self.after_ending == AfterEnding::ConnectAgain {
            warn!(sink = self.name, reason = %reason, "connection lost; what is unconfirmed is sent again on the next");
        }
        for token in [connection.sending, connection.watching].into_iter().flatten() {
            ring.cancel(self.owner, token);
        }
        self.state = State::Ending(connection);
        self.finish_ending(now);
    }

    fn finish_ending(&mut self, now: Instant) {
        let State::Ending(connection) = &self.state else { return };
        if !connection.is_idle() {
            return;
        }
        let State::Ending(connection) = std::mem::replace(&mut self.state, State::Closed) else { return };
        let proven = connection.delivered || now >= connection.opened + PROVEN_AFTER;
        self.finish(Some(connection));
        if self.after_ending == AfterEnding::ConnectAgain {
            self.wait_after(proven, now);
        }
    }

    /// A connection that did its work is made again at once; one that was closed before it did any counts as a failure.
    fn wait_after(&mut self, proven: bool, now: Instant) {
        if proven {
            self.backoff.reset();
        }
        self.back_off(now);
    }

    fn longest_wait(&self) -> Duration {
        match self.pace {
            Pace::Steady => RECONNECT_MAX,
            Pace::Hurried => RECONNECT_MAX_DRAINING,
        }
    }

    /// The kernel holds nothing of this link any more: last confirmations, then the descriptor goes.
    fn finish(&mut self, connection: Option<Connection>) {
        self.state = State::Closed;
        if let Some(connection) = connection {
            self.rewind(&connection);
        }
        if self.after_ending == AfterEnding::Abandon {
            self.queue.abandon();
        }
    }

    fn rewind(&mut self, connection: &Connection) {
        let confirmed = self.confirmed_on(connection);
        part(&connection.socket, confirmed >= self.queue.sent_bytes());
        let again = self.queue.rewind(confirmed);
        if again > 0 && self.after_ending == AfterEnding::ConnectAgain {
            info!(sink = self.name, messages = again, "sent again on the next connection");
        }
    }

    fn confirmed_on(&self, connection: &Connection) -> u64 {
        match self.confirm {
            Confirm::Written => self.queue.sent_bytes(),
            Confirm::Acked => connection.acknowledged(),
        }
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        self.pace = Pace::Hurried;
        match &mut self.state {
            State::Waiting { until, .. } => *until = now,
            State::Open(connection) => {
                connection.look_wait = CONFIRM_WAIT_MIN_DRAINING;
                connection.look_at = connection.look_at.map(|_| now);
            }
            State::Connecting { .. } | State::Ending(_) | State::Closed => {}
        }
    }

    pub(super) fn give_up(&mut self, ring: &mut Ring<O>, now: Instant) {
        self.leave(ring, AfterEnding::Abandon, now);
    }

    pub(super) fn close(&mut self, ring: &mut Ring<O>) {
        debug_assert!(self.queue.is_empty(), "a link is closed when everything on it is settled");
        self.leave(ring, AfterEnding::Close, Instant::now());
    }

    fn leave(&mut self, ring: &mut Ring<O>, after_ending: AfterEnding, now: Instant) {
        self.after_ending = after_ending;
        match &self.state {
            State::Waiting { .. } => self.finish(None),
            State::Connecting { token, .. } => {
                let token = *token;
                ring.cancel(self.owner, token);
            }
            State::Open(_) => self.end_connection(ring, now, &"the relay ends"),
            State::Ending(_) | State::Closed => {}
        }
    }
}

fn shortest_look(pace: Pace) -> Duration {
    match pace {
        Pace::Steady => CONFIRM_WAIT_MIN,
        Pace::Hurried => CONFIRM_WAIT_MIN_DRAINING,
    }
}

/// Says goodbye to a connection. Gracefully: FIN, and what the peer still said is read first, since closing a socket with
/// unread input sends a reset that can destroy what we sent. Otherwise a reset: what our kernel holds must not arrive after
/// what is sent on the next connection.
fn part(socket: &OwnedFd, gracefully: bool) {
    if !gracefully {
        drop(reset_on_close(&socket));
        return;
    }
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
    let mut answer = [0; ANSWER_BUFFER];
    for _ in 0..PARTING_READS {
        if !recv(socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).is_ok_and(|bytes| bytes > 0) {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn nothing_is_sent_to_itself() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap();
        socket.connect(&address).unwrap();
        assert!(Connection::open(Rc::new(socket.into()), Instant::now()).is_err());
        let sink = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        sink.bind(&address).unwrap();
        sink.listen(1).expect("the port is free at once");
    }
}
