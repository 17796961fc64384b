//! A listener: accepts while there are descriptors and seats, and is sealed without losing a connection that it had taken.
//!
//! Lives here: one listener's state, and the seats of a source. Never here: what becomes of a connection.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use socket2::SockRef;
use tracing::{info, warn};

use super::seal::freeze;
use crate::limits::{ACCEPT_RETRY, DESCRIPTOR_RESERVE, PAUSE_LOG_EVERY};
use crate::ring::{Ring, Token};

/// The connections that a source may hold at once, over all reactors.
#[derive(Debug)]
pub struct Seats {
    limit: usize,
    taken: AtomicUsize,
    /// When a pause of any of its listeners was last logged.
    announced: Mutex<Option<Instant>>,
}

impl Seats {
    /// `limit` free seats.
    pub fn new(limit: usize) -> Seats {
        Seats { limit, taken: AtomicUsize::new(0), announced: Mutex::new(None) }
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

    /// Whether a pause that begins now is to be logged: not when another reactor's was, or the one before a moment ago.
    fn announces(&self, now: Instant) -> bool {
        let mut last = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| now >= at + PAUSE_LOG_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// One listening socket of one reactor.
pub struct Listener {
    /// Index of its source in the plan.
    pub source: usize,
    socket: Rc<OwnedFd>,
    accepting: Option<Token>,
    state: State,
    /// Whether its pause was logged, and so its end is to be.
    announced: bool,
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

/// What accepting by a plain system call gave.
pub enum Accepted {
    /// A connection.
    Connection(OwnedFd),
    /// The queue is empty: after a freeze, for ever.
    Nothing,
    /// There may be more, but not now: no descriptor is free.
    NotNow,
}

impl Listener {
    /// A listener that begins to accept at its first [`Listener::arm`].
    pub fn new(source: usize, socket: OwnedFd) -> Listener {
        Listener {
            source,
            socket: Rc::new(socket),
            accepting: None,
            state: State::Accepting,
            announced: false,
        }
    }

    /// Accepts, unless it does already or is not to.
    pub fn arm<O: Copy>(&mut self, ring: &mut Ring<O>, owner: O) {
        if self.state == State::Accepting && self.accepting.is_none() {
            self.accepting = Some(ring.accept(owner, &self.socket));
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

    /// Accepts nothing for a while. Connections wait in the kernel; established ones go on.
    pub fn pause<O: Copy>(&mut self, ring: &mut Ring<O>, owner: O, seats: &Seats, now: Instant, why: &str) {
        if self.state == State::Sealing {
            return;
        }
        if self.state == State::Accepting && seats.announces(now) {
            warn!(why, "accepting paused; new connections wait, established ones go on");
            self.announced = true;
        }
        self.state = State::Paused { until: now + ACCEPT_RETRY };
        if let Some(token) = self.accepting {
            ring.cancel(owner, token);
        }
    }

    /// Goes on after a pause if a new connection would find a descriptor and nobody waits for a seat; else pauses on.
    pub fn look_again(&mut self, someone_waits: bool, now: Instant) {
        if someone_waits || !has_descriptors(&self.socket) {
            self.state = State::Paused { until: now + ACCEPT_RETRY };
        } else {
            self.state = State::Accepting;
            if std::mem::take(&mut self.announced) {
                info!("accepting resumed");
            }
        }
    }

    /// From here on no handshake completes any more. What the kernel had taken before is to be had by [`Listener::accept`]
    /// once the accept that was armed is over.
    pub fn seal<O: Copy>(&mut self, ring: &mut Ring<O>, owner: O) {
        if self.state == State::Sealing {
            return;
        }
        self.state = State::Sealing;
        if let Err(error) = freeze(&self.socket) {
            warn!(%error, "cannot freeze a listener; connections made in this moment may be reset");
        }
        if let Some(token) = self.accepting {
            ring.cancel(owner, token);
        }
    }

    /// Accepts one connection by a plain system call.
    pub fn accept(&self) -> Accepted {
        let socket = SockRef::from(&self.socket);
        match socket.set_nonblocking(true).and_then(|()| socket.accept()) {
            Ok((connection, _)) => Accepted::Connection(connection.into()),
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EAGAIN => Accepted::Nothing,
                Errno::ECONNABORTED | Errno::EINTR => self.accept(),
                errno if is_shortage(errno) => Accepted::NotNow,
                _ => Accepted::Nothing,
            },
        }
    }
}

/// Whether a new connection would leave the reserve of descriptors alone. `any` is one that is open.
pub fn has_descriptors(any: &impl AsFd) -> bool {
    // The lowest free number is the one that a duplicate gets.
    any.as_fd().try_clone_to_owned().is_ok_and(|lowest| is_below_reserve(&lowest, descriptor_limit()))
}

/// The most descriptors that this process may have open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

fn is_below_reserve(descriptor: &OwnedFd, limit: u64) -> bool {
    u64::try_from(descriptor.as_raw_fd()).is_ok_and(|number| number + DESCRIPTOR_RESERVE < limit)
}

/// What to do about an error, where that is to have more descriptors; empty otherwise. For the end of a message.
pub fn shortage_remedy(error: &io::Error) -> &'static str {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EMFILE | Errno::ENFILE => {
            "\nremedy: raise the limit (`ulimit -n`, or LimitNOFILE= in the unit)"
        }
        _ => "",
    }
}

/// Whether accepting failed for want of something that comes back: descriptors or memory (accept(2)).
pub fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
}
