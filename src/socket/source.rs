//! A source link: one connection that messages come in on.
//!
//! ```text
//! Waiting → Open → Lingering → Frozen → Emptying → gone      a drain; a quiet link skips Lingering
//!              └────────┴─────────────────────────→ Ending    the sender's FIN, a reset, or bytes that are no messages
//! ```
//! Lives here: its states, and how it is sealed. Never here: where its messages go, or when to seal.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use socket2::SockRef;
use tracing::warn;

use super::seal::{freeze, reset_on_close};
use super::tcp_info::{dropped_segments, tcp_info};
use crate::framing::Framer;
use crate::limits::QUIET_AFTER_FIN;
use crate::ring::{Lease, Ring, Token};

/// One accepted connection.
pub struct SourceLink {
    /// Index of its source in the plan.
    pub source: usize,
    /// Index of the sink link that its messages go to; kept, so that their order holds.
    pub lane: usize,
    /// Tells its messages apart.
    pub framer: Framer,
    /// Whether it holds one of its source's seats.
    pub seated: bool,
    /// Where it is in its life.
    pub intake: Intake,
    socket: Rc<OwnedFd>,
    receiving: Option<Token>,
    /// Whether the end of `receiving` was asked for.
    cancelled: bool,
    /// Buffers that were filled since it was armed last.
    taken: usize,
    last_received: Instant,
}

/// What is taken in from a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Nothing yet: its source has no free seat.
    Waiting,
    /// Whatever comes.
    Open,
    /// Whatever comes, until the sender stops, is quiet, or its time is over.
    Lingering {
        /// When that began, with FIN to the sender if so configured.
        since: Instant,
        /// Silence that means that nothing is under way.
        quiet_after: Duration,
    },
    /// Only what our kernel had acknowledged; an armed receive is being cancelled.
    Frozen,
    /// The same, read by plain system calls until nothing is left.
    Emptying,
    /// Nothing any more; an armed receive is being cancelled.
    Ending,
}

/// What a plain receive gave.
pub enum Input {
    /// Bytes.
    Data(Lease),
    /// The sender's FIN.
    End,
    /// Nothing is left: on a frozen link, for ever.
    Empty,
    /// No buffer is free; try again when messages are settled.
    NoBuffer,
    /// The link is broken.
    Failed(Errno),
}

impl SourceLink {
    /// A link on which nothing is received yet.
    pub fn new(source: usize, lane: usize, socket: OwnedFd, framer: Framer, now: Instant) -> SourceLink {
        let (seated, intake, receiving) = (false, Intake::Waiting, None);
        SourceLink {
            source,
            lane,
            framer,
            seated,
            intake,
            socket: Rc::new(socket),
            receiving,
            cancelled: false,
            taken: 0,
            last_received: now,
        }
    }

    /// Receives, unless it does already.
    pub fn arm<O: Copy>(&mut self, ring: &mut Ring<O>, owner: O) {
        if self.receiving.is_none() {
            self.receiving = Some(ring.receive(owner, &self.socket));
            (self.cancelled, self.taken) = (false, 0);
        }
    }

    /// Whether the kernel holds a receive of this link.
    pub fn is_armed(&self) -> bool {
        self.receiving.is_some()
    }

    /// The receive is over.
    pub fn disarmed(&mut self) {
        self.receiving = None;
    }

    /// Whether bytes are wanted as they come.
    pub fn is_receiving(&self) -> bool {
        matches!(self.intake, Intake::Open | Intake::Lingering { .. })
    }

    /// Something came.
    pub fn touched(&mut self, now: Instant) {
        self.last_received = now;
        self.taken += 1;
    }

    /// Buffers that were filled since it was armed last.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The sender's address, for logs.
    pub fn peer(&self) -> Option<SocketAddr> {
        SockRef::from(&self.socket).peer_addr().ok()?.as_socket()
    }

    /// Two round trips, or `least` if that is longer.
    fn two_round_trips(&self, least: Duration) -> Duration {
        let rtt = tcp_info(self.socket.as_fd()).map_or(0, |info| info.rtt_micros);
        least.max(2 * Duration::from_micros(u64::from(rtt)))
    }

    /// Whether silence alone does not mean that nothing is under way: in the middle of a message its rest is, and what our kernel
    /// dropped for want of room comes again, when the sender's timer says so.
    fn expects_more(&self) -> bool {
        !self.framer.is_at_boundary()
            || dropped_segments(self.socket.as_fd()).is_ok_and(|dropped| dropped > 0)
    }

    /// Whether nothing of a message is held here or in our kernel, and nothing came for `least` or two round trips.
    pub fn is_quiet(&self, least: Duration, now: Instant) -> bool {
        !self.expects_more()
            && now >= self.last_received + self.two_round_trips(least)
            && self.nothing_queued()
    }

    fn nothing_queued(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.socket.as_raw_fd(), &mut [0; 1], flags) == Err(Errno::EAGAIN)
    }

    /// Begins to wait for the sender's end; with `half_close` it is told by FIN that it should stop.
    pub fn linger(&mut self, half_close: bool, now: Instant) {
        if half_close {
            // A sender that is gone already shows in the next receive.
            let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        }
        self.intake = Intake::Lingering { since: now, quiet_after: self.two_round_trips(QUIET_AFTER_FIN) };
    }

    /// When a lingering link has waited long enough if nothing comes until then; `linger` bounds it.
    ///
    /// Where more is expected silence is not enough: it may be on its way for as long as `linger` says. A sender that has been
    /// silent for so long already has had that time.
    pub fn lingers_until(&self, linger: Duration) -> Option<Instant> {
        let Intake::Lingering { since, quiet_after } = self.intake else { return None };
        let silence = match self.expects_more() {
            true => self.last_received + linger,
            false => self.last_received.max(since) + quiet_after,
        };
        Some((since + linger).min(silence))
    }

    /// Whether a lingering link whose time has come may be sealed: always at the end of `linger`, before that only when our
    /// kernel holds nothing more of it.
    pub fn may_be_sealed(&self, linger: Duration, now: Instant) -> bool {
        let Intake::Lingering { since, .. } = self.intake else { return false };
        now >= since + linger || self.nothing_queued()
    }

    /// From here on our kernel takes nothing more in on this link.
    pub fn freeze<O: Copy>(&mut self, ring: &mut Ring<O>, owner: O) {
        if let Err(error) = freeze(&self.socket) {
            warn!(%error, "cannot freeze a connection; what arrives in this moment may be lost");
        }
        self.intake = Intake::Frozen;
        self.cancel(ring, owner);
    }

    /// Takes nothing in any more, though more may be there.
    pub fn end<O: Copy>(&mut self, ring: &mut Ring<O>, owner: O) {
        self.intake = Intake::Ending;
        self.cancel(ring, owner);
    }

    /// Ends an armed receive, unless that was asked for already. What it still brings is taken in.
    pub fn cancel<O: Copy>(&mut self, ring: &mut Ring<O>, owner: O) {
        if let Some(token) = self.receiving
            && !std::mem::replace(&mut self.cancelled, true)
        {
            ring.cancel(owner, token);
        }
    }

    /// Receives by a plain system call.
    pub fn receive<O: Copy>(&self, ring: &mut Ring<O>) -> Input {
        let Some(mut blank) = ring.take_buffer() else { return Input::NoBuffer };
        match recv(self.socket.as_raw_fd(), blank.as_mut_slice(), MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Input::End,
            Ok(bytes) => Input::Data(blank.filled(bytes)),
            Err(Errno::EAGAIN) => Input::Empty,
            Err(errno) => Input::Failed(errno),
        }
    }

    /// Makes the close a reset: the sender learns at once that what was not acknowledged did not arrive.
    pub fn reset_on_close(&self) {
        let _: io::Result<()> = reset_on_close(&self.socket);
    }
}
