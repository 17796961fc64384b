//! The way in: connections and datagrams, and the messages in them, up to the queues of sink links.
//!
//! Lives here: accept, frame, and the end of a source link. Never here: whom it goes to (`routes`), sealing (`drain`), or what
//! sinks do.

use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use slab::Slab;
use tracing::{debug, warn};

use super::dispatch::Owner;
use super::routes::{Block, Route};
use super::{Reactor, SourceOf};
use crate::config::plan::{Overflow, Source};
use crate::framing::{Bounds, Framer, FramingError};
use crate::kernel::{Datagram, Kernel, Medium, Socket};
use crate::lifecycle::Stage;
use crate::limits::{
    BUFFER_SIZE, BUFFERS_A_TURN, COPY_BELOW, COPY_BLOCK, DATAGRAMS_A_TURN, IDLE_LOOKS, NEIGHBOURS,
};
use crate::socket::descriptors::is_shortage;
use crate::socket::listener::Notice;
use crate::socket::source::{Intake, SourceLink};
use crate::socket::window;

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// A new connection: received from at once if its source has a free seat, otherwise when one is free.
    pub(super) fn accepted(&mut self, listener: usize, connection: K::Socket, now: Instant) {
        let (source, medium) = (self.listeners[listener].source, self.listeners[listener].medium());
        let Ok(client) = self.admit_client(source, &connection) else {
            return self.refuse_client(source, &connection, now);
        };
        if medium == Medium::Tcp {
            self.listeners[listener].ask_for_small_segments(self.links.len() >= NEIGHBOURS);
            self.grant_unread(source, &connection);
        }
        let key = self.open_link(source, connection, medium, now);
        self.links[key].client = client;
        match self.stage {
            Stage::Running if self.sources[source].seats.take() => self.seat(key, now),
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

    /// Whether a client may connect, and who it is where connections are counted by client.
    fn admit_client(&self, source: usize, connection: &K::Socket) -> Result<Option<IpAddr>, ()> {
        let source = &self.sources[source];
        if source.plan.allow.is_empty() && !source.seats.tells_clients_apart() {
            return Ok(None);
        }
        // Nobody knows who it was that is gone already.
        let client = connection.peer().filter(|client| is_allowed(&source.plan, *client)).ok_or(())?;
        match source.seats.tells_clients_apart() {
            false => Ok(None),
            true => source.seats.admit(client).then_some(Some(client)).ok_or(()),
        }
    }

    fn refuse_client(&mut self, source: usize, connection: &K::Socket, now: Instant) {
        // It fails only where nothing is connected any more.
        let _ = connection.reset_on_close();
        self.ledger.refuse(source, 1);
        self.announce_refusal(source, connection.peer(), now);
    }

    fn announce_refusal(&self, source: usize, client: Option<IpAddr>, now: Instant) {
        let SourceOf { plan, seats } = &self.sources[source];
        if seats.announces(Notice::Refusal, now) {
            let (source, client) = (&plan.name, client.map(|client| client.to_string()));
            warn!(source, client, "refused: not in `allow`, or over `max_connections_per_client`");
        }
    }

    /// Settles how much a connection may leave unread, unless the plan does. Not before it is accepted: a thousand that wait to be would
    /// all have the window of one.
    fn grant_unread(&self, source: usize, connection: &K::Socket) {
        if self.sources[source].plan.receive_buffer.is_some() {
            return;
        }
        if let Err(error) = window::grant(connection, self.links.len()) {
            debug!(%error, "a connection's receive buffer stays as it is");
        }
    }

    /// A link on which nothing is received yet.
    pub(super) fn open_link(
        &mut self,
        source: usize,
        socket: K::Socket,
        medium: Medium,
        now: Instant,
    ) -> usize {
        let route = Rc::new(self.open_route(source));
        let plan = &self.sources[source].plan;
        let bounds = Bounds { max_message: plan.max_message, oversize: plan.oversize };
        let framer = Framer::new(plan.framing, bounds);
        self.links.insert(SourceLink::new(source, route, socket, medium, framer, now))
    }

    fn seat(&mut self, key: usize, now: Instant) {
        let link = &mut self.links[key];
        link.seated = true;
        let idle_timeout = self.sources[link.source].plan.idle_timeout;
        self.begin_receiving(key);
        if let Some(timeout) = idle_timeout {
            let look = now + timeout;
            self.next_idle = Some(self.next_idle.map_or(look, |next| next.min(look)));
        }
    }

    /// Whatever comes is taken in from here on.
    pub(super) fn begin_receiving(&mut self, key: usize) {
        self.links[key].intake = Intake::Open;
        self.queue_for_buffers(key);
    }

    /// Parts with the links that were silent for too long, as a drain does.
    pub(super) fn close_idle(&mut self, now: Instant) {
        if self.stage != Stage::Running || self.next_idle.is_none_or(|at| now < at) {
            return;
        }
        let mut next: Option<Instant> = None;
        for key in self.link_keys() {
            let link = &self.links[key];
            let Some(timeout) = self.sources[link.source].plan.idle_timeout else { continue };
            // One that is not received from has no say in how long it is silent.
            let silent_since = if link.is_armed() { link.last_received() } else { now };
            if link.intake == Intake::Open && silent_since + timeout <= now && link.is_empty() {
                debug!(peer = ?link.peer(), "closed: silent for idle_timeout");
                self.linger(key, now);
            } else if matches!(link.intake, Intake::Open | Intake::Waiting) {
                let look = (silent_since + timeout).max(now + timeout / IDLE_LOOKS);
                next = Some(next.map_or(look, |earliest| earliest.min(look)));
            }
        }
        self.next_idle = next;
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
        listener.pause(&mut self.kernel, owner, &self.sources[listener.source].seats, now, why);
    }

    /// Gives free seats to links that wait, and lets paused listeners go on when nobody waits any more.
    pub(super) fn resume_accepting(&mut self, now: Instant) {
        if self.stage != Stage::Running {
            return;
        }
        self.seat_waiting(now);
        let a_link_went = std::mem::take(&mut self.a_link_went);
        for (key, listener) in &mut self.listeners {
            if let Some(until) = listener.paused_until()
                && (a_link_went || until <= now)
            {
                let someone_waits =
                    self.waiting.iter().any(|&link| self.links[link].source == listener.source);
                listener.look_again(someone_waits, now);
            }
            listener.arm(&mut self.kernel, Owner::listener(key));
        }
    }

    fn seat_waiting(&mut self, now: Instant) {
        for _ in 0..self.waiting.len() {
            let Some(key) = self.waiting.pop_front() else { break };
            if self.sources[self.links[key].source].seats.take() {
                self.seat(key, now);
            } else {
                self.waiting.push_back(key);
            }
        }
    }

    pub(super) fn received(&mut self, key: usize, lease: K::Lease, now: Instant) {
        self.gathering.note_others();
        let Some(link) = self.links.get_mut(key) else { return };
        if link.intake == Intake::Ending {
            return;
        }
        let all = 0..lease.as_ref().len();
        link.touched(all.len(), now);
        let (bytes, occupied) = keep(lease, all, &link.route, &mut self.blocks);
        let framed = link.framer.feed(bytes, &mut self.runs);
        self.offer_runs(key, occupied, now);
        match framed {
            Ok(()) => self.take_turns(key, now),
            Err(error) => self.refuse(key, &error),
        }
    }

    /// All of a datagram is one or more messages; what is none in it spoils no other.
    pub(super) fn datagram(&mut self, key: usize, datagram: Datagram<K::Lease>, now: Instant) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.touched(datagram.payload.len(), now);
        let (source, medium) = (link.source, link.medium());
        let lost = datagram.dropped.map_or(0, |dropped| link.count_drops(Some(dropped)));
        self.note_drops(source, lost, now);
        match medium {
            Medium::Udp => self.gathering.note_datagrams(1 + lost as usize),
            _ => self.gathering.note_others(),
        }
        let Datagram { lease, payload, cut, from, .. } = datagram;
        if from.is_some_and(|from| !is_allowed(&self.sources[source].plan, from)) {
            self.ledger.refuse(source, 1);
            self.announce_refusal(source, from, now);
            return self.take_turns(key, now);
        }
        let link = &mut self.links[key];
        let (bytes, occupied) = keep(lease, payload, &link.route, &mut self.blocks);
        let framed = link.framer.feed_datagram(bytes, cut, &mut self.runs);
        self.offer_runs(key, occupied, now);
        match framed {
            Ok(torn) => (0..u32::from(torn)).for_each(|_| self.ledger.tear(source)),
            Err(error) => {
                self.ledger.misframe(source);
                debug!(?from, reason = error.reason(), %error, "datagram thrown away");
            }
        }
        self.take_turns(key, now);
    }

    fn note_truncated(&self, source: usize, messages: u32, now: Instant) {
        let SourceOf { plan, seats } = &self.sources[source];
        if seats.announces(Notice::Truncation, now) {
            let (source, max_message) = (&plan.name, plan.max_message);
            warn!(source, messages, max_message, "truncated to max_message");
        }
    }

    fn note_drops(&mut self, source: usize, more: u32, now: Instant) {
        if more == 0 {
            return;
        }
        self.ledger.note_kernel_drops(source, u64::from(more));
        let SourceOf { plan, seats } = &self.sources[source];
        if seats.announces(Notice::Drops, now) {
            let source = &plan.name;
            warn!(
                source,
                more, "the kernel dropped datagrams for want of room: a larger receive_buffer holds more"
            );
        }
    }

    /// Ends the receive of a link that had its turn while others wait, or that has to wait for a sink link. Where all have to, it ends by
    /// itself, without buffers, and no call is spent on it.
    fn take_turns(&mut self, key: usize, now: Instant) {
        let Some(link) = self.links.get(key) else { return };
        let others_wait = !self.unarmed.is_empty();
        let turn = if link.medium().is_datagrams() { DATAGRAMS_A_TURN } else { BUFFERS_A_TURN };
        let had_its_turn = others_wait && link.taken() >= turn;
        let is_to_wait =
            self.holds_back(key, now).is_some_and(|full| self.has_its_share(full) || !self.all_wait(now));
        if had_its_turn || is_to_wait {
            self.links[key].cancel(&mut self.kernel, Owner::source(key));
        }
    }

    /// Enters the runs that were found into the books, and hands them to the link's sinks.
    fn offer_runs(&mut self, key: usize, mut occupied: usize, now: Instant) {
        let link = &mut self.links[key];
        let (source, tally) = (link.source, link.framer.take_tally());
        let route = Rc::clone(&link.route);
        if tally.dropped > 0 {
            self.fail(source, &route, tally.dropped);
        }
        if tally.truncated > 0 {
            self.note_truncated(source, tally.truncated, now);
        }
        let mut runs = std::mem::take(&mut self.runs);
        for run in runs.drain(..) {
            self.offer(source, &route, run, std::mem::take(&mut occupied), now);
        }
        self.runs = runs;
    }

    /// Bytes that are no messages: where the next one begins is unknown, so the connection ends.
    fn refuse(&mut self, key: usize, error: &FramingError) {
        let link = &mut self.links[key];
        warn!(peer = ?link.peer(), reason = error.reason(), %error, "connection closed");
        self.ledger.misframe(link.source);
        link.end(&mut self.kernel, Owner::source(key));
    }

    /// The sender's FIN.
    pub(super) fn ended(&mut self, key: usize, now: Instant) {
        let link = &mut self.links[key];
        if link.intake == Intake::Ending {
            return;
        }
        if link.was_shut() {
            // The freeze ended it, in the middle of a message perhaps.
            return self.seal_emptied(key);
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
        if link.medium().is_datagrams() && link.is_receiving() {
            // It has no connection that could be lost.
            return debug!(%errno, "a receive of datagrams failed; receiving on");
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
            Intake::Open | Intake::Lingering { .. } => self.wait_for_buffers(key, now),
            Intake::Frozen => self.empty(key, now),
            Intake::Ending => self.remove(key),
            Intake::Waiting | Intake::Emptying => unreachable!("such a link has no receive"),
        }
    }

    /// Lets a link wait for its sink links, or for buffers.
    fn wait_for_buffers(&mut self, key: usize, now: Instant) {
        match self.holds_back(key, now) {
            Some(full) => self.lanes[full].held_back.push(key),
            None => self.queue_for_buffers(key),
        }
    }

    /// Lets a link wait for buffers, if it is still there.
    pub(super) fn queue_for_buffers(&mut self, key: usize) {
        if let Some(link) = self.links.get_mut(key) {
            link.taken_in_all = self.unarmed.push(key, link.taken_in_all, link.taken() > 0);
        }
    }

    /// The sink link that has enough, and for which this link therefore waits.
    pub(super) fn holds_back(&self, key: usize, now: Instant) -> Option<usize> {
        let link = &self.links[key];
        let plan = &self.sources[link.source].plan;
        match plan.overflow {
            Overflow::Block => {
                link.route.lanes().iter().copied().find(|&lane| self.has_enough(lane, plan.can_wait(), now))
            }
            Overflow::DropNewest => None,
        }
    }

    /// Ends a link of which the kernel holds nothing. Its socket is closed at the end of the turn.
    pub(super) fn remove(&mut self, key: usize) {
        let link = self.links.remove(key);
        debug_assert!(!link.is_armed(), "a link goes after its last completion");
        self.close_route(&link.route);
        let seats = &self.sources[link.source].seats;
        if link.seated {
            seats.leave();
        }
        if let Some(client) = link.client {
            seats.dismiss(client);
        }
        self.a_link_went = true;
        // Gone, its senders over UDP would be another reactor's: what they send meanwhile would overtake what they sent before.
        let is_kept = link.medium() == Medium::Udp;
        let sockets = if is_kept { &mut self.frozen } else { &mut self.gone };
        sockets.push(link.into_socket());
    }
}

fn is_allowed(source: &Source, client: IpAddr) -> bool {
    source.allow.is_empty() || source.allow.iter().any(|block| block.contains(&client))
}

/// Received bytes as long as they are needed, and the memory that they occupy. A short receive is copied next to the one before
/// it along the same links, so that it does not hold a whole buffer; what is divided among links is copied when it is.
fn keep<L: AsRef<[u8]> + Send + 'static>(
    lease: L,
    part: Range<usize>,
    route: &Route,
    blocks: &mut Slab<Block>,
) -> (Bytes, usize) {
    if part.len() >= COPY_BELOW {
        return (Bytes::from_owner(lease).slice(part), BUFFER_SIZE);
    }
    if route.divides() {
        return (Bytes::from_owner(lease).slice(part), 0);
    }
    let block = &mut blocks[route.block()].bytes;
    let received = &lease.as_ref()[part];
    if block.capacity() < received.len() {
        *block = BytesMut::with_capacity(COPY_BLOCK);
    }
    block.extend_from_slice(received);
    let bytes = block.split().freeze();
    let len = bytes.len();
    (bytes, len)
}
