//! A listener: accepts while there are descriptors and seats, and is sealed without losing a connection that it had taken.
//!
//! Lives here: one listener's state, and the seats of a source. Never here: what becomes of a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::{debug, info, warn};

use crate::kernel::{Accepted, Kernel, Medium, Socket, Token};
use crate::limits::{ACCEPT_RETRY, NOTICE_EVERY, SEGMENT_OF_NEIGHBOUR};

/// The connections that a source may hold at once, over all reactors.
#[derive(Debug)]
pub struct Seats {
    limit: usize,
    taken: AtomicUsize,
    /// How many one client may hold, and how many each holds.
    per_client: Option<usize>,
    clients: Mutex<HashMap<IpAddr, usize>>,
    /// When each notice was last logged, by whichever reactor.
    announced: Mutex<[Option<Instant>; 4]>,
}

/// What is logged once in a while, however often it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A listener pauses.
    Pause = 0,
    /// A client is refused.
    Refusal = 1,
    /// The kernel dropped datagrams.
    Drops = 2,
    /// Messages were too long.
    Truncation = 3,
}

impl Seats {
    /// `limit` free seats, of which one client may take `per_client`.
    pub fn new(limit: usize, per_client: Option<usize>) -> Seats {
        let (taken, clients) = (AtomicUsize::new(0), Mutex::default());
        Seats { limit, taken, per_client, clients, announced: Mutex::default() }
    }

    /// Takes a seat, if one is free.
    pub fn take(&self) -> bool {
        let one_more = |taken| (taken < self.limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Gives a seat back.
    pub fn leave(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it has to be known who a client is.
    pub fn tells_clients_apart(&self) -> bool {
        self.per_client.is_some()
    }

    /// Lets a client in, unless it holds as many connections as one may.
    pub fn admit(&self, client: IpAddr) -> bool {
        let mut clients = self.clients();
        let held = clients.entry(client).or_default();
        let admitted = self.per_client.is_none_or(|limit| *held < limit);
        *held += usize::from(admitted);
        admitted
    }

    /// One of a client's connections is gone.
    pub fn dismiss(&self, client: IpAddr) {
        let mut clients = self.clients();
        let held = clients.get_mut(&client);
        if held.is_some_and(|held| {
            *held -= 1;
            *held == 0
        }) {
            clients.remove(&client);
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what happens now is to be logged: not when it was a moment ago, be it by another reactor.
    pub fn announces(&self, notice: Notice, now: Instant) -> bool {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut announced[notice as usize];
        let due = last.is_none_or(|at| now >= at + NOTICE_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// One listening socket of one reactor.
pub struct Listener<S> {
    /// Index of its source in the plan.
    pub source: usize,
    /// What its source is called, in logs.
    name: String,
    socket: S,
    medium: Medium,
    accepting: Option<Token>,
    state: State,
    /// Whether its pause was logged, and so its end is to be.
    announced: bool,
    /// Whether those that connect over TCP are asked for small segments.
    small_segments: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Accepting,
    /// Out of descriptors or seats until at least then.
    Paused {
        until: Instant,
    },
    /// Frozen; what the kernel had taken is still to be accepted.
    Sealing,
}

impl<S: Socket> Listener<S> {
    /// A listener that begins to accept at its first [`Listener::arm`].
    pub fn new(source: usize, name: &str, socket: S, medium: Medium) -> Listener<S> {
        Listener {
            source,
            name: name.to_owned(),
            socket,
            medium,
            accepting: None,
            state: State::Accepting,
            announced: false,
            small_segments: false,
        }
    }

    /// What its connections are.
    pub fn medium(&self) -> Medium {
        self.medium
    }

    /// Accepts, unless it does already or is not to.
    pub fn arm<K: Kernel<Socket = S>>(&mut self, kernel: &mut K, owner: K::Owner) {
        if self.state == State::Accepting && self.accepting.is_none() {
            self.accepting = Some(kernel.accept(owner, &self.socket));
        }
    }

    /// The accept ended and has to be armed again.
    pub fn ended(&mut self) {
        self.accepting = None;
    }

    /// Whether the kernel holds an accept of this listener.
    pub fn is_armed(&self) -> bool {
        self.accepting.is_some()
    }

    /// When to look again, if paused.
    pub fn paused_until(&self) -> Option<Instant> {
        match self.state {
            State::Paused { until } => Some(until),
            State::Accepting | State::Sealing => None,
        }
    }

    /// Settles whether those that connect over TCP from here on are asked for small segments ([`SEGMENT_OF_NEIGHBOUR`]). Not as long as
    /// few are connected: over 16 connections such take up to a quarter more of our processor time.
    pub fn ask_for_small_segments(&mut self, wanted: bool) {
        if self.medium != Medium::Tcp || self.small_segments == wanted {
            return;
        }
        self.small_segments = wanted;
        if let Err(error) = self.socket.bound_segments(if wanted { SEGMENT_OF_NEIGHBOUR } else { 0 }) {
            debug!(%error, "who connects sends in segments as before");
        }
    }

    /// Accepts nothing for a while. Connections wait in the kernel; established ones go on.
    pub fn pause<K: Kernel<Socket = S>>(
        &mut self,
        kernel: &mut K,
        owner: K::Owner,
        seats: &Seats,
        now: Instant,
        why: &str,
    ) {
        if self.state == State::Sealing {
            return;
        }
        if self.state == State::Accepting && seats.announces(Notice::Pause, now) {
            warn!(source = self.name, why, "accepting paused; new connections wait, established ones go on");
            self.announced = true;
        }
        self.state = State::Paused { until: now + ACCEPT_RETRY };
        if let Some(token) = self.accepting {
            kernel.cancel(owner, token);
        }
    }

    /// Goes on after a pause if a new connection would find a descriptor and nobody waits for a seat; else pauses on.
    pub fn look_again(&mut self, someone_waits: bool, now: Instant) {
        if someone_waits || !self.socket.leaves_descriptors() {
            self.state = State::Paused { until: now + ACCEPT_RETRY };
        } else {
            self.state = State::Accepting;
            if std::mem::take(&mut self.announced) {
                info!(source = self.name, "accepting resumed");
            }
        }
    }

    /// From here on no handshake completes any more. What the kernel had taken before is to be had by [`Listener::accept`]
    /// once the accept that was armed is over.
    pub fn seal<K: Kernel<Socket = S>>(&mut self, kernel: &mut K, owner: K::Owner) {
        if self.state == State::Sealing {
            return;
        }
        self.state = State::Sealing;
        if let Err(error) = self.socket.freeze(self.medium) {
            warn!(%error, "cannot freeze a listener; connections made in this moment may be reset");
        }
        if let Some(token) = self.accepting {
            kernel.cancel(owner, token);
        }
    }

    /// Accepts one connection by a plain system call.
    pub fn accept(&self) -> Accepted<S> {
        self.socket.accept()
    }

    /// The socket, to be closed.
    pub fn into_socket(self) -> S {
        self.socket
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::rc::Rc;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn small_segments_are_asked_for_while_they_are_wanted() {
        let socket = Rc::new(OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap()));
        let asked_for = || SockRef::from(&socket).tcp_mss().unwrap();
        let usual = asked_for();
        let mut listener = Listener::new(0, "in", Rc::clone(&socket), Medium::Tcp);
        listener.ask_for_small_segments(true);
        assert_eq!(asked_for(), SEGMENT_OF_NEIGHBOUR);
        listener.ask_for_small_segments(false);
        assert_eq!(asked_for(), usual);
    }

    #[test]
    fn a_client_has_as_many_connections_as_it_may_and_no_more() {
        let seats = Seats::new(10, Some(2));
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!([seats.admit(one), seats.admit(one), seats.admit(one)], [true, true, false]);
        assert!(seats.admit(other), "each has its own");
        seats.dismiss(one);
        assert!(seats.admit(one) && !seats.admit(one));
        for client in [one, one, other] {
            seats.dismiss(client);
        }
        assert!(seats.clients().is_empty(), "nobody is remembered who has gone");
    }

    #[test]
    fn what_happens_all_the_time_is_logged_once_in_a_while() {
        let (seats, now) = (Seats::new(1, None), Instant::now());
        assert!(seats.announces(Notice::Pause, now) && seats.announces(Notice::Refusal, now));
        assert!(!seats.announces(Notice::Pause, now + NOTICE_EVERY / 2));
        assert!(seats.announces(Notice::Pause, now + NOTICE_EVERY));
    }
}
