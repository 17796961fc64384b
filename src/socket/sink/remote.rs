//! A sink link to a peer: connects, sends, confirms, and starts again where it was when the connection breaks.
//!
//! ```text
//! Waiting → Connecting → Open → Ending → Waiting     a broken connection, until it works again
//!                          └──→ Ending → Closed      the relay ends
//! ```
//! `Ending` lasts until the kernel has let go of the connection's operations. While a link is open at an endpoint that is not its
//! best, it tries better ones beside that, and moves when everything is confirmed. Lives here: those states. Never here: the
//! order of what is sent (`send_queue`), one connection's sends (`connection`), which endpoint is next (`dial`).

use std::fmt::Display;
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;
use tracing::{info, warn};

use super::Terms;
use super::connection::{After, Connection, Sent};
use super::dial::{Choice, Dialer, Endpoint};
use crate::backoff::Pace;
use crate::kernel::{Address, CompletionOf, Event, Gather, Kernel, Token};
use crate::limits::{CONNECT_TIMEOUT, NOTICE_EVERY, PEER_CLOSE_GRACE, RETURN_GRACE};
use crate::socket::send_queue::SendQueue;

/// A link to one endpoint at a time, the first of several that is healthy.
pub struct RemoteSink<K: Kernel> {
    owner: K::Owner,
    terms: Rc<Terms>,
    dialer: Dialer,
    queue: SendQueue,
    gathers: Vec<Gather>,
    pace: Pace,
    after_ending: AfterEnding,
    /// Whether nothing will be queued any more.
    nothing_follows: bool,
    state: State<K::Socket>,
    spare: Spare<K::Socket>,
    /// When a message that is too large for a datagram was last logged.
    complained: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterEnding {
    ConnectAgain,
    Close,
    Abandon,
}

enum State<S> {
    /// The next socket is there already: when all descriptors are taken, this link still has its own.
    Waiting {
        until: Instant,
        reserve: Option<(Address, S)>,
    },
    Connecting(Attempt<S>),
    Open(Connection<S>),
    Ending(Connection<S>),
    Closed,
}

/// The connection to a better endpoint than the one that is used, in the making.
enum Spare<S> {
    None,
    Trying(Attempt<S>),
    Ready { endpoint: usize, socket: S, since: Instant },
}

struct Attempt<S> {
    endpoint: usize,
    socket: S,
    token: Token,
    deadline: Instant,
    cancelled: bool,
}

impl<K: Kernel> RemoteSink<K> {
    /// A link that connects at its first tick; `endpoints` are in its own order, best first, and at least one.
    ///
    /// # Errors
    /// As socket(2) and setsockopt(2).
    pub fn new(
        kernel: &mut K,
        owner: K::Owner,
        terms: Rc<Terms>,
        endpoints: Vec<Rc<Endpoint>>,
        now: Instant,
    ) -> std::io::Result<RemoteSink<K>> {
        let dialer = Dialer::new(endpoints, now);
        let first = dialer.address(0).clone();
        let socket = kernel.open(&first)?;
        Ok(RemoteSink {
            owner,
            terms,
            dialer,
            queue: SendQueue::default(),
            gathers: Vec::new(),
            pace: Pace::Steady,
            after_ending: AfterEnding::ConnectAgain,
            nothing_follows: false,
            state: State::Waiting { until: now, reserve: Some((first, socket)) },
            spare: Spare::None,
            complained: None,
        })
    }

    pub(super) fn queue(&self) -> &SendQueue {
        &self.queue
    }

    pub(super) fn queue_mut(&mut self) -> &mut SendQueue {
        &mut self.queue
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!((&self.state, &self.spare), (State::Closed, Spare::None))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Waiting { until, .. } => Some(*until),
            State::Connecting(attempt) => attempt.next_deadline(),
            State::Open(connection) => connection.next_deadline(),
            State::Ending(_) | State::Closed => None,
        };
        let spare = match &self.spare {
            Spare::None => self.return_at().map(|(_, at)| at),
            Spare::Trying(attempt) => attempt.next_deadline(),
            Spare::Ready { since, .. } => Some(*since + RETURN_GRACE),
        };
        [own, spare].into_iter().flatten().min()
    }

    pub(super) fn tick(&mut self, kernel: &mut K, now: Instant) {
        match &mut self.state {
            State::Waiting { until, .. } if *until <= now => self.dial(kernel, now),
            State::Connecting(attempt) => attempt.give_up_when_due(kernel, self.owner, now),
            State::Open(_) => self.tick_open(kernel, now),
            State::Waiting { .. } | State::Ending(_) | State::Closed => {}
        }
        if let Spare::Trying(attempt) = &mut self.spare {
            attempt.give_up_when_due(kernel, self.owner, now);
        }
    }

    /// Connects to the best endpoint that may be tried, or waits until one may.
    fn dial(&mut self, kernel: &mut K, now: Instant) {
        let endpoint = match self.dialer.choose(now) {
            Choice::Dial(endpoint) => endpoint,
            Choice::Wait(until) => return self.wait_until(kernel, until),
        };
        let reserve = match std::mem::replace(&mut self.state, State::Closed) {
            State::Waiting { reserve, .. } => reserve,
            State::Connecting(_) | State::Open(_) | State::Ending(_) | State::Closed => None,
        };
        let right = reserve.filter(|(address, _)| address == self.dialer.address(endpoint));
        match self.attempt(kernel, endpoint, right.map(|(_, socket)| socket), now) {
            Ok(attempt) => self.state = State::Connecting(attempt),
            Err(error) => self.not_connected(kernel, endpoint, &error, now),
        }
    }

    fn attempt(
        &self,
        kernel: &mut K,
        endpoint: usize,
        socket: Option<K::Socket>,
        now: Instant,
    ) -> std::io::Result<Attempt<K::Socket>> {
        let address = self.dialer.address(endpoint);
        let socket = socket.map_or_else(|| kernel.open(address), Ok)?;
        let token = kernel.connect(self.owner, &socket, address);
        Ok(Attempt { endpoint, socket, token, deadline: now + CONNECT_TIMEOUT, cancelled: false })
    }

    /// An attempt came to nothing: the next endpoint, or the same one later.
    fn not_connected(&mut self, kernel: &mut K, endpoint: usize, error: &dyn Display, now: Instant) {
        if self.dialer.failures(endpoint) == 0 {
            let (sink, to) = (&self.terms.name, self.dialer.name(endpoint));
            warn!(sink, to, %error, "not connected; trying again, nothing is lost meanwhile");
        }
        self.dialer.failed(endpoint, false, self.pace, now);
        self.wait_until(kernel, now);
    }

    /// Waits until `at`, or longer where no endpoint may be tried then.
    fn wait_until(&mut self, kernel: &mut K, at: Instant) {
        let until = match self.dialer.choose(at) {
            Choice::Dial(_) => at,
            Choice::Wait(until) => until,
        };
        // Gives the old descriptor back before the next one is taken.
        self.state = State::Closed;
        let address = self.dialer.address(self.dialer.likely()).clone();
        // What is missing now may be there when it is needed.
        let reserve = kernel.open(&address).ok().map(|socket| (address, socket));
        self.state = State::Waiting { until, reserve };
    }

    fn tick_open(&mut self, kernel: &mut K, now: Instant) {
        let State::Open(connection) = &mut self.state else { return };
        connection.look_for_confirmations(&mut self.queue, self.pace, now);
        if self.nothing_follows {
            connection.end_stream(&self.queue, now);
        }
        let settled = !connection.is_sending() && self.queue.unconfirmed_bytes() == 0;
        if connection.peer_closed.is_some_and(|grace| settled || grace <= now) {
            return self.end_connection(kernel, now, &"closed by the peer");
        }
        match &self.spare {
            Spare::None => self.try_better(kernel, now),
            Spare::Ready { since, .. } if settled || *since + RETURN_GRACE <= now => {
                self.end_connection(kernel, now, &"a better endpoint is back");
            }
            Spare::Trying(_) | Spare::Ready { .. } => {}
        }
    }

    /// Which better endpoint may be tried, and when; none in a drain, which has no time for it.
    fn return_at(&self) -> Option<(usize, Instant)> {
        match (&self.state, self.pace) {
            (State::Open(connection), Pace::Steady) => {
                self.dialer.better(connection.endpoint, connection.opened)
            }
            _ => None,
        }
    }

    fn try_better(&mut self, kernel: &mut K, now: Instant) {
        let Some((endpoint, _)) = self.return_at().filter(|(_, at)| *at <= now) else { return };
        match self.attempt(kernel, endpoint, None, now) {
            Ok(attempt) => self.spare = Spare::Trying(attempt),
            Err(_) => self.dialer.failed(endpoint, false, self.pace, now),
        }
    }

    pub(super) fn flush(&mut self, kernel: &mut K, now: Instant) -> bool {
        let State::Open(connection) = &mut self.state else { return false };
        connection.await_room(kernel, self.owner);
        let moves = matches!(self.spare, Spare::Ready { .. });
        if moves || !connection.may_send(now) || !self.queue.has_unsent() {
            return false;
        }
        if self.terms.medium.is_datagrams() {
            let (only, longest) = (self.terms.payload_only, connection.longest_segment);
            let at_most = connection.datagrams_at_once();
            let datagrams = self.queue.datagrams(at_most, only, longest, &mut self.gathers);
            connection.began(kernel.send_datagrams(self.owner, &connection.socket, datagrams));
            false
        } else {
            let mut gather = self.gathers.pop().unwrap_or_default();
            self.queue.gather(&mut gather);
            connection.began([kernel.send(self.owner, &connection.socket, gather)]);
            connection.leave_alone(&self.queue, self.pace, now)
        }
    }

    pub(super) fn handle(&mut self, kernel: &mut K, completion: CompletionOf<K>, now: Instant) {
        match completion.event {
            Event::Connected(result) => self.connected(kernel, completion.token, result, now),
            Event::Sent(result, gather) => self.sent(kernel, completion.token, result, gather, now),
            Event::Watched(result) => self.watched(kernel, result, now),
            Event::HasRoom(_) => self.room_came(kernel, now),
            Event::Canceled => {}
            Event::Accepted(_)
            | Event::Received(_)
            | Event::Datagram(_)
            | Event::EndOfStream
            | Event::ReceiveFailed(_)
            | Event::Woken(_) => unreachable!("a sink link connects, sends and watches"),
        }
    }

    fn connected(&mut self, kernel: &mut K, token: Token, result: Result<(), Errno>, now: Instant) {
        match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Trying(attempt) if attempt.token == token => {
                return self.spare_connected(attempt, result, now);
            }
            spare => self.spare = spare,
        }
        let State::Connecting(attempt) = &self.state else { return };
        debug_assert_eq!(attempt.token, token, "a link has two attempts at most");
        let (endpoint, socket, timed_out) = (attempt.endpoint, attempt.socket.clone(), attempt.cancelled);
        if self.after_ending != AfterEnding::ConnectAgain {
            return self.finish(None);
        }
        match result {
            Ok(()) => self.open(kernel, endpoint, socket, now),
            // A connect that waits in a worker of the kernel ends with EINTR.
            Err(_) if timed_out => self.not_connected(kernel, endpoint, &"connecting timed out", now),
            Err(errno) => self.not_connected(kernel, endpoint, &errno, now),
        }
    }

    fn spare_connected(&mut self, attempt: Attempt<K::Socket>, result: Result<(), Errno>, now: Instant) {
        let Attempt { endpoint, socket, .. } = attempt;
        if !self.is_needed() {
            return;
        }
        match result {
            Ok(()) => {
                self.spare = Spare::Ready { endpoint, socket, since: now };
                if let State::Open(connection) = &mut self.state {
                    connection.await_confirmations(self.pace, now);
                }
            }
            Err(_) => self.dialer.failed(endpoint, false, self.pace, now),
        }
    }

    fn open(&mut self, kernel: &mut K, endpoint: usize, socket: K::Socket, now: Instant) {
        match Connection::open(endpoint, socket, self.terms.medium, self.terms.confirm, now) {
            Ok(mut connection) => {
                let (sink, to) = (&self.terms.name, self.dialer.name(endpoint));
                info!(sink, to, failures = self.dialer.failures(endpoint), "connected");
                connection.watching = Some(kernel.watch(self.owner, &connection.socket));
                self.state = State::Open(connection);
            }
            Err(error) => self.not_connected(kernel, endpoint, &error, now),
        }
    }

    fn sent(
        &mut self,
        kernel: &mut K,
        token: Token,
        result: Result<usize, Errno>,
        mut gather: Gather,
        now: Instant,
    ) {
        let sent = Sent { result, datagrams: gather.datagrams(), segment: gather.segment() };
        gather.clear();
        self.gathers.push(gather);
        let (State::Open(connection) | State::Ending(connection)) = &mut self.state else { return };
        let after = connection.sent(token, sent, &mut self.queue, self.pace, now);
        match (after, &self.state) {
            (After::Broken(errno), State::Open(_)) => self.end_connection(kernel, now, &errno),
            (After::TooLarge(messages), _) => self.complain(messages, now),
            // Of an ending connection nothing more is expected: the watch was the first to learn of it.
            (After::Broken(_) | After::GoOn, _) => {}
        }
        self.finish_ending(kernel, now);
    }

    fn room_came(&mut self, kernel: &mut K, now: Instant) {
        if let State::Open(connection) | State::Ending(connection) = &mut self.state {
            connection.room_came();
        }
        self.finish_ending(kernel, now);
    }

    fn complain(&mut self, messages: u32, now: Instant) {
        if self.complained.is_none_or(|at| now >= at + NOTICE_EVERY) {
            self.complained = Some(now);
            let sink = &self.terms.name;
            warn!(
                sink,
                messages, "too large for a datagram: failed; lower max_message, or send over a stream"
            );
        }
    }

    fn watched(&mut self, kernel: &mut K, result: Result<usize, Errno>, now: Instant) {
        let (State::Open(connection) | State::Ending(connection)) = &mut self.state else { return };
        connection.watching = None;
        let is_stream = !self.terms.medium.is_datagrams();
        match (result, &mut self.state) {
            (Ok(0), State::Open(connection)) if is_stream => {
                connection.peer_closed = Some(now + PEER_CLOSE_GRACE);
                connection.await_confirmations(self.pace, now);
            }
            (Ok(_), State::Open(connection)) => {
                connection.watching = Some(kernel.watch(self.owner, &connection.socket));
            }
            (Err(errno), State::Open(_)) => self.end_connection(kernel, now, &errno),
            (_, _) => {}
        }
        self.finish_ending(kernel, now);
    }

    /// The connection is of no use any more: its operations are cancelled, and what it did not confirm is sent on the next.
    fn end_connection(&mut self, kernel: &mut K, now: Instant, reason: &dyn Display) {
        let State::Open(connection) = std::mem::replace(&mut self.state, State::Closed) else {
            unreachable!("only an open connection ends")
        };
        if self.is_needed() {
            let (sink, to) = (&self.terms.name, self.dialer.name(connection.endpoint));
            warn!(sink, to, reason = %reason, "connection ended; what is unconfirmed is sent again on the next");
        }
        connection.tokens().into_iter().for_each(|token| kernel.cancel(self.owner, token));
        self.state = State::Ending(connection);
        self.finish_ending(kernel, now);
    }

    fn finish_ending(&mut self, kernel: &mut K, now: Instant) {
        if !matches!(&self.state, State::Ending(connection) if connection.is_idle()) {
            return;
        }
        let State::Ending(mut connection) = std::mem::replace(&mut self.state, State::Closed) else { return };
        connection.settle_confirmed(&mut self.queue);
        let (endpoint, proven) = (connection.endpoint, connection.is_proven(now));
        self.finish(Some(connection));
        match self.is_needed() {
            true => self.go_on(kernel, endpoint, proven, now),
            false => self.drop_spare(kernel),
        }
    }

    /// Whether there is, or may come, what needs another connection.
    fn is_needed(&self) -> bool {
        self.after_ending == AfterEnding::ConnectAgain && !(self.nothing_follows && self.queue.is_empty())
    }

    /// After a connection to `endpoint`: to a better one that is there, or almost; else to the best that may be tried.
    fn go_on(&mut self, kernel: &mut K, endpoint: usize, proven: bool, now: Instant) {
        match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready { endpoint, socket, .. } => self.open(kernel, endpoint, socket, now),
            Spare::Trying(attempt) => {
                self.dialer.failed(endpoint, proven, self.pace, now);
                self.state = State::Connecting(attempt);
            }
            Spare::None => {
                self.dialer.failed(endpoint, proven, self.pace, now);
                self.wait_until(kernel, now);
            }
        }
    }

    /// The kernel holds nothing of the connection any more: last confirmations, then the descriptor goes.
    fn finish(&mut self, connection: Option<Connection<K::Socket>>) {
        self.state = State::Closed;
        if let Some(connection) = connection {
            self.rewind(&connection);
        }
        if self.after_ending == AfterEnding::Abandon {
            self.queue.abandon();
        }
    }

    fn rewind(&mut self, connection: &Connection<K::Socket>) {
        let confirmed = connection.confirmed(&self.queue);
        connection.part(confirmed >= self.queue.sent_bytes());
        let again = self.queue.rewind(confirmed);
        if again > 0 && self.after_ending == AfterEnding::ConnectAgain {
            info!(sink = self.terms.name, messages = again, "sent again on the next connection");
        }
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        self.pace = Pace::Hurried;
        self.dialer.hurry(now);
        match &mut self.state {
            State::Waiting { until, .. } => *until = now,
            State::Open(connection) => connection.await_confirmations(self.pace, now),
            State::Connecting(_) | State::Ending(_) | State::Closed => {}
        }
    }

    pub(super) fn nothing_follows(&mut self) {
        self.nothing_follows = true;
    }

    pub(super) fn give_up(&mut self, kernel: &mut K, now: Instant) {
        self.leave(kernel, AfterEnding::Abandon, now);
    }

    pub(super) fn close(&mut self, kernel: &mut K, now: Instant) {
        debug_assert!(self.queue.is_empty(), "a link is closed when everything on it is settled");
        self.leave(kernel, AfterEnding::Close, now);
    }

    fn leave(&mut self, kernel: &mut K, after_ending: AfterEnding, now: Instant) {
        self.after_ending = after_ending;
        self.drop_spare(kernel);
        match &self.state {
            State::Waiting { .. } => self.finish(None),
            State::Connecting(attempt) => kernel.cancel(self.owner, attempt.token),
            State::Open(_) => self.end_connection(kernel, now, &"the relay ends"),
            State::Ending(_) | State::Closed => {}
        }
    }

    /// No other connection is needed any more. An attempt is gone once the kernel has let go of it.
    fn drop_spare(&mut self, kernel: &mut K) {
        match &mut self.spare {
            Spare::None => {}
            Spare::Trying(attempt) => attempt.cancel(kernel, self.owner),
            Spare::Ready { .. } => self.spare = Spare::None,
        }
    }
}

impl<S> Attempt<S> {
    fn next_deadline(&self) -> Option<Instant> {
        (!self.cancelled).then_some(self.deadline)
    }

    fn give_up_when_due<K: Kernel>(&mut self, kernel: &mut K, owner: K::Owner, now: Instant) {
        if self.deadline <= now {
            self.cancel(kernel, owner);
        }
    }

    fn cancel<K: Kernel>(&mut self, kernel: &mut K, owner: K::Owner) {
        if !std::mem::replace(&mut self.cancelled, true) {
            kernel.cancel(owner, self.token);
        }
    }
}
