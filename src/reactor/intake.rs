//! The way in: connections, their bytes, and the messages in them, up to the queue of a sink link.
//!
//! Lives here: accept, frame, admit, route, offer, and the end of a source link. Never here: sealing (`drain`), or what sinks do.

use std::os::fd::OwnedFd;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use tracing::{debug, warn};

use super::dispatch::Owner;
use super::{Lane, Reactor};
use crate::framing::{Bounds, Framer, FramingError, reframe};
use crate::ledger::{Outcome, Way};
use crate::lifecycle::Stage;
use crate::limits::{BUFFER_SIZE, BUFFERS_A_TURN, COPY_BELOW, COPY_BLOCK, RUN_OVERHEAD};
use crate::message::Run;
use crate::ring::Lease;
use crate::route::least_loaded;
use crate::socket::listener::is_shortage;
use crate::socket::source::{Intake, SourceLink};

impl Reactor {
    /// A new connection: received from at once if its source has a free seat, otherwise when one is free.
    pub(super) fn accepted(&mut self, listener: usize, connection: OwnedFd, now: Instant) {
        let source = self.listeners[listener].source;
        let key = self.open_link(source, connection, now);
        match self.stage {
            Stage::Running if self.sources[source].seats.take() => self.seat(key),
            Stage::Running => {
                self.waiting.push_back(key);
                self.pause(listener, "max_connections is reached", now);
            }
            Stage::Sealing => self.linger(key, now),
            Stage::Expiring => self.freeze(key, now),
            Stage::Sealed | Stage::Drained | Stage::Expired | Stage::Closing | Stage::Halted => {
                unreachable!("a sealed reactor has no listener")
            }
        }
    }

    fn open_link(&mut self, source: usize, connection: OwnedFd, now: Instant) -> usize {
        let lane = least_loaded(self.lanes.iter().map(|lane| lane.load)).expect("a plan has a sink");
        self.lanes[lane].load += 1;
        let plan = &self.sources[source].plan;
        let bounds = Bounds { max_message: plan.max_message, oversize: plan.oversize };
        self.links.insert(SourceLink::new(source, lane, connection, Framer::new(plan.framing, bounds), now))
    }

    fn seat(&mut self, key: usize) {
        let link = &mut self.links[key];
        (link.seated, link.intake) = (true, Intake::Open);
        self.parked.push_back(key);
    }

    pub(super) fn not_accepted(&mut self, listener: usize, errno: Errno, now: Instant) {
        match errno {
            Errno::ECANCELED | Errno::ECONNABORTED | Errno::EINTR | Errno::EPROTO => {}
            errno if is_shortage(errno) => {
                self.pause(listener, &format!("{errno}: raise `ulimit -n` or LimitNOFILE="), now);
            }
            errno => self.pause(listener, &errno.to_string(), now),
        }
    }

    fn pause(&mut self, listener: usize, why: &str, now: Instant) {
        let (owner, listener) = (Owner::listener(listener), &mut self.listeners[listener]);
        listener.pause(&mut self.ring, owner, &self.sources[listener.source].seats, now, why);
    }

    /// Gives free seats to links that wait, and lets paused listeners go on when nobody waits any more.
    pub(super) fn resume_accepting(&mut self, now: Instant) {
        if self.stage != Stage::Running {
            return;
        }
        self.seat_waiting();
        let a_link_went = std::mem::take(&mut self.a_link_went);
        for (key, listener) in &mut self.listeners {
            if let Some(until) = listener.paused_until()
                && (a_link_went || until <= now)
            {
                let someone_waits =
                    self.waiting.iter().any(|&link| self.links[link].source == listener.source);
                listener.look_again(someone_waits, now);
            }
            listener.arm(&mut self.ring, Owner::listener(key));
        }
    }

    fn seat_waiting(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(key) = self.waiting.pop_front() else { break };
            if self.sources[self.links[key].source].seats.take() {
                self.seat(key);
            } else {
                self.waiting.push_back(key);
            }
        }
    }

    pub(super) fn received(&mut self, key: usize, lease: Lease, now: Instant) {
        let Some(link) = self.links.get_mut(key) else { return };
        if link.intake == Intake::Ending {
            return;
        }
        link.touched(now);
        let lane = &mut self.lanes[link.lane];
        let (bytes, occupied) = keep(lease, &mut lane.block);
        let framed = link.framer.feed(bytes, &mut self.runs);
        self.offer_runs(key, occupied, now);
        match framed {
            Ok(()) => self.take_turns(key),
            Err(error) => self.refuse(key, &error),
        }
    }

    /// Ends the receive of a link that had its turn while others wait, or whose sink link has its share.
    fn take_turns(&mut self, key: usize) {
        let others_wait = !(self.hungry.is_empty() && self.parked.is_empty());
        let had_its_turn = others_wait && self.links[key].taken() >= BUFFERS_A_TURN;
        if had_its_turn || self.has_its_share(self.links[key].lane) {
            self.links[key].cancel(&mut self.ring, Owner::source(key));
        }
    }

    /// Enters the runs that were found into the books, and hands them to the link's sink.
    fn offer_runs(&mut self, key: usize, mut occupied: usize, now: Instant) {
        let link = &mut self.links[key];
        let (lane, tally) = (&mut self.lanes[link.lane], link.framer.take_tally());
        let way = Way { source: link.source, sink: lane.sink };
        if tally.dropped > 0 {
            self.ledger.admit(way, tally.dropped, 0).settle(Outcome::Failed);
        }
        if tally.truncated > 0 {
            debug!(messages = tally.truncated, "truncated to max_message");
        }
        for run in self.runs.drain(..) {
            let (run, bytes) = lane.framed(run, std::mem::take(&mut occupied));
            let ticket = self.ledger.admit(way, run.messages, bytes);
            if self.stage != Stage::Expiring {
                lane.link.queue_mut().push(run, ticket, now);
            }
        }
    }

    /// Bytes that are no messages: where the next one begins is unknown, so the connection ends.
    fn refuse(&mut self, key: usize, error: &FramingError) {
        let link = &mut self.links[key];
        warn!(peer = ?link.peer(), reason = error.reason(), %error, "connection closed");
        link.end(&mut self.ring, Owner::source(key));
    }

    /// The sender's FIN.
    pub(super) fn ended(&mut self, key: usize, now: Instant) {
        let link = &mut self.links[key];
        if link.intake == Intake::Ending {
            return;
        }
        if link.framer.finish(&mut self.runs) {
            self.ledger.tear(link.source);
        }
        link.intake = Intake::Ending;
        self.offer_runs(key, 0, now);
    }

    /// The link broke: what is unfinished on it never was a message.
    pub(super) fn failed(&mut self, key: usize, errno: Errno) {
        let link = &mut self.links[key];
        if link.intake == Intake::Ending {
            return;
        }
        debug!(peer = ?link.peer(), %errno, "connection lost");
        if !link.framer.is_at_boundary() {
            self.ledger.tear(link.source);
        }
        link.intake = Intake::Ending;
    }

    /// The kernel holds nothing of this link any more: it is armed again, read empty, or gone.
    pub(super) fn after_last_receive(&mut self, key: usize, now: Instant) {
        match self.links[key].intake {
            Intake::Open | Intake::Lingering { .. } => self.wait_for_buffers(key),
            Intake::Frozen => self.empty(key, now),
            Intake::Ending => self.remove(key),
            Intake::Waiting | Intake::Emptying => unreachable!("such a link has no receive"),
        }
    }

    /// Lets a link wait for buffers. One that found none comes before one that had some, or a few would always take them all.
    fn wait_for_buffers(&mut self, key: usize) {
        let link = &self.links[key];
        if self.has_its_share(link.lane) {
            self.lanes[link.lane].held_back.push(key);
        } else if link.taken() == 0 {
            self.hungry.push_back(key);
        } else {
            self.parked.push_back(key);
        }
    }

    /// Closes a link of which the kernel holds nothing.
    pub(super) fn remove(&mut self, key: usize) {
        let link = self.links.remove(key);
        debug_assert!(!link.is_armed(), "a link goes after its last completion");
        self.lanes[link.lane].load -= 1;
        if link.seated {
            self.sources[link.source].seats.leave();
        }
        self.a_link_went = true;
    }
}

impl Lane {
    /// The run as this sink frames it, and the bytes of memory that it occupies: those of its buffer if it shares that, its own,
    /// and what is kept beside them.
    fn framed(&self, run: Run, buffer: usize) -> (Run, usize) {
        let (run, body) = match self.framing {
            Some(framing) if framing != run.framing => (reframe(run, framing), 0),
            _ => (run, buffer),
        };
        let bytes = run.head.len() + body.max(run.body.len()) + RUN_OVERHEAD;
        (run, bytes)
    }
}

/// Received bytes as long as they are needed, and the memory that they occupy. A short receive is copied next to the one before
/// it for the same sink link, so that it does not hold a whole buffer; blocks are per sink link, so that a slow one does not
/// hold what others have copied.
fn keep(lease: Lease, block: &mut BytesMut) -> (Bytes, usize) {
    let received = lease.as_ref();
    if received.len() >= COPY_BELOW {
        return (Bytes::from_owner(lease), BUFFER_SIZE);
    }
    if block.capacity() < received.len() {
        *block = BytesMut::with_capacity(COPY_BLOCK);
    }
    block.extend_from_slice(received);
    let bytes = block.split().freeze();
    let len = bytes.len();
    (bytes, len)
}
