//! The drain, step by step: listeners, source links, what is in flight, the sinks.
//!
//! The order is that of ARCHITECTURE, "The drain". Lives here: the steps across links, and which stage follows. Never here: how
//! one socket is frozen or one link tells that it is quiet (`socket`).

use std::time::Instant;

use super::dispatch::Owner;
use super::{Phase, Reactor};
use crate::kernel::{Accepted, Input, Kernel, Medium};
use crate::lifecycle::{Event, Stage};
use crate::limits::{ACCEPT_RETRY_DRAINING, LINGER_LOOK_MIN, QUIET, QUIET_AFTER_FIN};
use crate::socket::source::Intake;

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// Does what the coordinator asks, once.
    pub(super) fn obey(&mut self, now: Instant) {
        match self.control.asked() {
            Phase::Run => {}
            Phase::Drain => self.on(Event::DrainAsked, |reactor| reactor.begin_sealing(now)),
            Phase::Expire => self.on(Event::TimeUp, |reactor| reactor.begin_expiring(now)),
            Phase::Halt => self.on(Event::HaltAsked, |reactor| reactor.close_sinks(now)),
        }
    }

    /// Goes to the stage that follows, and begins it.
    fn on(&mut self, event: Event, begin: impl FnOnce(&mut Self)) {
        let next = self.stage.after(event);
        if next != self.stage {
            self.stage = next;
            self.owes_report |= matches!(next, Stage::Drained | Stage::Expired);
            begin(self);
        }
    }

    fn begin_sealing(&mut self, now: Instant) {
        self.lanes.iter_mut().for_each(|lane| lane.exit.hurry(now));
        self.seal_listeners();
        self.fed.iter().for_each(|fed| fed.inlet.seal());
        self.waiting.clear();
        for key in self.link_keys() {
            self.seal_link(key, now);
        }
    }

    /// Time is up: nothing more is delivered, and everything that our kernel acknowledged is counted.
    fn begin_expiring(&mut self, now: Instant) {
        self.note_unsettled(now);
        self.lanes.iter_mut().for_each(|lane| lane.exit.give_up(&mut self.kernel, now));
        self.seal_listeners();
        self.fed.iter().for_each(|fed| fed.inlet.expire());
        self.waiting.clear();
        for key in self.link_keys() {
            if matches!(self.links[key].intake, Intake::Waiting | Intake::Open | Intake::Lingering { .. }) {
                self.freeze(key, now);
            }
        }
    }

    fn seal_listeners(&mut self) {
        for (key, listener) in &mut self.listeners {
            listener.seal(&mut self.kernel, Owner::listener(key));
        }
    }

    pub(super) fn link_keys(&self) -> Vec<usize> {
        self.links.iter().map(|(key, _)| key).collect()
    }

    /// A quiet link is frozen at once; any other is read on from.
    fn seal_link(&mut self, key: usize, now: Instant) {
        let link = &self.links[key];
        match link.intake {
            Intake::Open if link.medium().is_datagrams() => self.freeze(key, now),
            Intake::Open if link.is_quiet(QUIET, now) => self.freeze(key, now),
            Intake::Open | Intake::Waiting => self.linger(key, now),
            Intake::Lingering { .. } | Intake::Frozen | Intake::Emptying | Intake::Ending => {}
        }
    }

    pub(super) fn linger(&mut self, key: usize, now: Instant) {
        let link = &mut self.links[key];
        let plan = &self.sources[link.source].plan;
        if plan.linger.is_zero() {
            return self.freeze(key, now);
        }
        link.linger(plan.half_close, now);
        self.lingering.push(key);
        self.next_look = Some(now);
        if !link.is_armed() {
            self.queue_for_buffers(key);
        }
    }

    /// From here on our kernel acknowledges nothing more on this link; what it has is read as soon as its receive is over.
    pub(super) fn freeze(&mut self, key: usize, now: Instant) {
        let link = &mut self.links[key];
        if link.medium() == Medium::Udp {
            // What is dropped from here on was never taken.
            self.ledger.note_kernel_drops(link.source, u64::from(link.count_drops(None)));
        }
        link.freeze(&mut self.kernel, Owner::source(key));
        if !link.is_armed() {
            self.empty(key, now);
        }
    }

    /// The drain's steps on the way in, as far as they can be done now. A link that was silent for too long takes the same ones.
    pub(super) fn seal(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Sealing | Stage::Expiring) {
            self.accept_the_rest(now);
        }
        self.look_at_lingering(now);
        self.empty_frozen(now);
    }

    /// Accepts what the kernel had taken before the listeners were frozen, and closes each when its queue is empty.
    fn accept_the_rest(&mut self, now: Instant) {
        self.accept_again = None;
        let keys: Vec<usize> = self.listeners.iter().map(|(key, _)| key).collect();
        for key in keys {
            while !self.listeners[key].is_armed() {
                match self.listeners[key].accept() {
                    Accepted::Connection(connection) => self.accepted(key, connection, now),
                    Accepted::Nothing => {
                        self.gone.push(self.listeners.remove(key).into_socket());
                        break;
                    }
                    Accepted::NotNow => {
                        self.accept_again = Some(now + ACCEPT_RETRY_DRAINING);
                        break;
                    }
                }
            }
        }
    }

    /// Freezes the links whose senders have had their time.
    fn look_at_lingering(&mut self, now: Instant) {
        if self.next_look.is_none_or(|at| now < at) {
            return;
        }
        let mut next_look = None;
        for key in std::mem::take(&mut self.lingering) {
            let Some(link) = self.links.get(key) else { continue };
            let linger = self.sources[link.source].plan.linger;
            let Some(until) = link.lingers_until(linger) else { continue };
            if until <= now && link.may_be_sealed(linger, now) {
                self.freeze(key, now);
                continue;
            }
            self.lingering.push(key);
            let look = if until <= now { now + QUIET_AFTER_FIN } else { until.max(now + LINGER_LOOK_MIN) };
            next_look = Some(next_look.map_or(look, |earliest: Instant| earliest.min(look)));
        }
        self.next_look = next_look;
    }

    fn empty_frozen(&mut self, now: Instant) {
        for _ in 0..self.emptying.len() {
            let Some(key) = self.emptying.pop_front() else { break };
            self.empty(key, now);
        }
    }

    /// Reads a frozen link until nothing is left, and closes it. Waits for room where `max_in_flight` is reached, unless
    /// what is read is only counted.
    pub(super) fn empty(&mut self, key: usize, now: Instant) {
        self.links[key].intake = Intake::Emptying;
        while self.links[key].intake == Intake::Emptying {
            if !self.has_room(key) || !self.read_frozen(key, now) {
                return self.emptying.push_back(key);
            }
        }
        self.remove(key);
    }

    /// Takes what one plain receive gives. False if there was no buffer for it.
    fn read_frozen(&mut self, key: usize, now: Instant) -> bool {
        let link = &self.links[key];
        if link.medium().is_datagrams() {
            match link.receive_datagram_now(&mut self.kernel) {
                Input::Data(datagram) => self.datagram(key, datagram, now),
                Input::Failed(errno) => self.failed(key, errno),
                Input::Empty | Input::End => self.seal_emptied(key),
                Input::NoBuffer => return false,
            }
        } else {
            match link.receive_now(&mut self.kernel) {
                Input::Data(lease) => self.received(key, lease, now),
                Input::End => self.ended(key, now),
                Input::Failed(errno) => self.failed(key, errno),
                Input::Empty => self.seal_emptied(key),
                Input::NoBuffer => return false,
            }
        }
        true
    }

    pub(super) fn seal_emptied(&mut self, key: usize) {
        let link = &mut self.links[key];
        if !link.framer.is_at_boundary() {
            self.ledger.tear(link.source);
        }
        link.reset_on_close();
        link.intake = Intake::Ending;
    }

    /// When the drain has something to do by itself.
    pub(super) fn drain_deadline(&self) -> Option<Instant> {
        let accept_again = match self.stage {
            Stage::Sealing | Stage::Expiring => self.accept_again,
            Stage::Running
            | Stage::Sealed
            | Stage::Drained
            | Stage::Expired
            | Stage::Closing
            | Stage::Halted => None,
        };
        [self.next_look, accept_again].into_iter().flatten().min()
    }

    /// Goes on to the next stage when this one is over.
    pub(super) fn conclude(&mut self, now: Instant) {
        if self.is_sealed() {
            self.on(Event::IntakeOver, Self::end_streams);
            // A queue is told of what was settled before the exit counts as safe.
            if self.ledger.totals().in_flight == 0 && self.has_told_all() {
                self.on(Event::AllSettled, |_| {});
            }
        }
        // The end may have been asked for before it came to that, and nothing else need wake it.
        if self.control.asked() == Phase::Halt {
            self.on(Event::HaltAsked, |reactor| reactor.close_sinks(now));
        }
        let services_are_gone = self.fed.iter().all(|fed| fed.inlet.is_closed());
        if services_are_gone && self.lanes.iter().all(|lane| lane.exit.is_closed()) {
            self.on(Event::LinksClosed, |_| {});
        }
    }

    /// What is on its way to the sinks is the last, unless some of it comes back and goes to another as a dead letter.
    fn end_streams(&mut self) {
        if self.lanes.iter().all(|lane| lane.dead_letter.is_none()) {
            self.lanes.iter_mut().for_each(|lane| lane.exit.nothing_follows());
        }
    }

    fn close_sinks(&mut self, now: Instant) {
        self.lanes.iter_mut().for_each(|lane| lane.exit.close(&mut self.kernel, now));
    }
}
