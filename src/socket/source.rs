//! A source link: one connection that messages come in on, or one socket for datagrams.
//!
//! ```text
//! Waiting → Open → Lingering → Frozen → Emptying → gone      a drain; a quiet link, and one for datagrams, skips Lingering
//!              └────────┴─────────────────────────→ Ending    the sender's FIN, a reset, or bytes that are no messages
//! ```
//! Lives here: its states, and how it is sealed. Never here: where its messages go, or when to seal.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::framing::Framer;
use crate::kernel::{Datagram, Input, Kernel, Medium, Socket, Token};
use crate::limits::{COPY_BELOW, QUIET_AFTER_FIN};

/// One accepted connection, or a socket for datagrams.
pub struct SourceLink<S, R> {
    /// Index of its source in the plan.
    pub source: usize,
    /// Where its messages go; kept, so that their order holds.
    pub route: R,
    /// Tells its messages apart.
    pub framer: Framer,
    /// Whether it holds one of its source's seats.
    pub seated: bool,
    /// Who holds it, where its source tells clients apart.
    pub client: Option<IpAddr>,
    /// Where it is in its life.
    pub intake: Intake,
    socket: S,
    medium: Medium,
    receiving: Option<Token>,
    /// Whether the end of `receiving` was asked for.
    cancelled: bool,
    /// Whether the stream ends because a freeze shut it, not because its sender did.
    shut: bool,
    /// Buffers that were filled since it was armed last.
    taken: usize,
    /// Bytes that were taken in all, as they count for whose turn it is: an eighth of a buffer at least for each that was filled.
    pub taken_in_all: u64,
    last_received: Instant,
    /// Datagrams that the kernel had dropped when that was last counted.
    dropped: u32,
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

impl<S: Socket, R> SourceLink<S, R> {
    /// A link on which nothing is received yet.
    pub fn new(source: usize, route: R, socket: S, medium: Medium, framer: Framer, now: Instant) -> Self {
        SourceLink {
            source,
            route,
            framer,
            seated: false,
            client: None,
            intake: Intake::Waiting,
            socket,
            medium,
            receiving: None,
            cancelled: false,
            shut: false,
            taken: 0,
            taken_in_all: 0,
            last_received: now,
            dropped: 0,
        }
    }

    /// Its socket, when nothing is done with it any more.
    pub fn into_socket(self) -> S {
        self.socket
    }

    /// What it receives over.
    pub fn medium(&self) -> Medium {
        self.medium
    }

    /// Receives, unless it does already.
    pub fn arm<K: Kernel<Socket = S>>(&mut self, kernel: &mut K, owner: K::Owner) {
        if self.receiving.is_none() {
            self.receiving = Some(match self.medium.is_datagrams() {
                true => kernel.receive_datagrams(owner, &self.socket),
                false => kernel.receive(owner, &self.socket),
            });
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

    /// So many bytes came, in one buffer.
    pub fn touched(&mut self, bytes: usize, now: Instant) {
        self.last_received = now;
        self.taken += 1;
        self.taken_in_all += bytes.max(COPY_BELOW) as u64;
    }

    /// Buffers that were filled since it was armed last.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The sender's address, for logs.
    pub fn peer(&self) -> Option<IpAddr> {
        self.socket.peer()
    }

    /// When something came last, or it was opened.
    pub fn last_received(&self) -> Instant {
        self.last_received
    }

    /// How many datagrams the kernel dropped since that was last counted, if it had dropped `dropped` in all; as far as is known
    /// now if it does not say.
    pub fn count_drops(&mut self, dropped: Option<u32>) -> u32 {
        let dropped = dropped.unwrap_or_else(|| self.socket.dropped());
        // The kernel's counter wraps; a datagram tells what it was when that came in, which may be less than was asked since.
        let more = dropped.wrapping_sub(self.dropped);
        if more == 0 || more > u32::MAX / 2 {
            return 0;
        }
        self.dropped = dropped;
        more
    }

    /// Whether nothing is there to be received at this moment.
    pub fn is_empty(&self) -> bool {
        self.socket.is_empty()
    }

    /// Two round trips, or `least` if that is longer.
    fn two_round_trips(&self, least: Duration) -> Duration {
        least.max(2 * self.socket.round_trip())
    }

    /// Whether silence alone does not mean that nothing is under way: in the middle of a message its rest is, and what our kernel
    /// dropped for want of room comes again, when the sender's timer says so.
    fn expects_more(&self) -> bool {
        !self.framer.is_at_boundary() || (self.medium == Medium::Tcp && self.socket.dropped() > 0)
    }

    /// Whether nothing of a message is held here or in our kernel, and nothing came for `least` or two round trips.
    pub fn is_quiet(&self, least: Duration, now: Instant) -> bool {
        !self.expects_more()
            && now >= self.last_received + self.two_round_trips(least)
            && self.socket.is_empty()
    }

    /// Begins to wait for the sender's end; with `half_close` it is told by FIN that it should stop.
    pub fn linger(&mut self, half_close: bool, now: Instant) {
        if half_close {
            self.socket.half_close();
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
        now >= since + linger || self.socket.is_empty()
    }

    /// From here on our kernel takes nothing more in on this link.
    pub fn freeze<K: Kernel<Socket = S>>(&mut self, kernel: &mut K, owner: K::Owner) {
        // Frozen, a unix stream ends either way; only before can it be told who ended it.
        if self.medium != Medium::Unix || !self.socket.peer_has_finished() {
            self.shut = self.medium == Medium::Unix;
            if let Err(error) = self.socket.freeze(self.medium) {
                warn!(%error, "cannot freeze a link; what arrives in this moment may be lost");
            }
        }
        self.intake = Intake::Frozen;
        self.cancel(kernel, owner);
    }

    /// Whether the end of the stream that was just seen is one that a freeze made.
    pub fn was_shut(&self) -> bool {
        self.shut
    }

    /// Takes nothing in any more, though more may be there.
    pub fn end<K: Kernel<Socket = S>>(&mut self, kernel: &mut K, owner: K::Owner) {
        self.intake = Intake::Ending;
        self.cancel(kernel, owner);
    }

    /// Ends an armed receive, unless that was asked for already. What it still brings is taken in.
    pub fn cancel<K: Kernel<Socket = S>>(&mut self, kernel: &mut K, owner: K::Owner) {
        if let Some(token) = self.receiving
            && !std::mem::replace(&mut self.cancelled, true)
        {
            kernel.cancel(owner, token);
        }
    }

    /// Receives by a plain system call. On a frozen link `Empty` is for ever.
    pub fn receive_now<K: Kernel<Socket = S>>(&self, kernel: &mut K) -> Input<K::Lease> {
        match kernel.receive_now(&self.socket) {
            Input::End if self.shut => Input::Empty,
            input => input,
        }
    }

    /// Receives a datagram by a plain system call. On a frozen link `Empty` is for ever.
    pub fn receive_datagram_now<K: Kernel<Socket = S>>(&self, kernel: &mut K) -> Input<Datagram<K::Lease>> {
        kernel.receive_datagram_now(&self.socket)
    }

    /// Makes the close a reset: the sender learns at once that what was not acknowledged did not arrive.
    pub fn reset_on_close(&self) {
        if self.medium == Medium::Tcp {
            // It fails only where nothing is connected any more.
            let _ = self.socket.reset_on_close();
        }
    }
}
