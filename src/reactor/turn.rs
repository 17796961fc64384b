//! One turn of a reactor, in the order in which a message meets the steps.
//!
//! Lives here: the table of contents. Never here: what a step does to one link.

use std::io;
use std::time::{Duration, Instant};

use tracing::error;

use super::dispatch::Owner;
use super::routes::Route;
use super::{Lane, Phase, Reactor, stay_awake};
use crate::config::plan::Overflow;
use crate::kernel::Kernel;
use crate::lifecycle::Stage;
use crate::limits::{BUFFER_SIZE, BUFFERS_OFFERED_MAX, UNSENT_HIGH_WATER};

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    pub(super) fn turn(&mut self) -> io::Result<()> {
        self.park()?;
        let now = self.kernel.now();
        self.reap();
        self.dispatch(now); // bytes → frames → tickets → queues; sends and their results → queues
        self.take_in(now); // what services have fetched → tickets → queues
        self.obey(now); // what the coordinator asks
        self.tick(now); // connect, confirm → settle
        self.close_idle(now); // links that were silent for too long
        self.seal(now); // the drain's steps on the way in, into the room that was settled: nothing else may wake for it
        self.post_letters(now); // what was refused → the queues of dead letters
        self.flush(now); // one gathered send a link
        self.replenish(now); // buffers and seats → links that wait for them
        self.conclude(now); // sealed? drained? halted?
        self.publish(); // books → coordinator
        self.stay_awake(); // until the coordinator has answered
        self.close_gone(); // unless it asked for the end
        Ok(())
    }

    /// Sleeps until something happens or is due. The one system call of a turn under load.
    fn park(&mut self) -> io::Result<()> {
        if self.is_hosted || self.has_more_to_arm() {
            return self.kernel.park(Some(Duration::ZERO), Duration::ZERO, 0);
        }
        let now = self.kernel.now();
        let due = self.next_deadline(now);
        // It may hold up what is due: most often a look at confirmations, a millisecond after whatever was sent.
        let gather = if self.stage == Stage::Running { self.gathering.next() } else { Duration::ZERO };
        self.kernel.park(due.map(|due| due.saturating_duration_since(now)), gather, self.unhurried)
    }

    /// Whether links wait to be armed and buffers are there. Those that were armed before may be silent, so no event need
    /// come that would lead to the next turn.
    pub(super) fn has_more_to_arm(&self) -> bool {
        !self.unarmed.is_empty() && self.kernel.offered_bytes() >= self.worth_arming()
    }

    fn reap(&mut self) {
        self.kernel.reap(&mut self.completions);
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let lanes = self.lanes.iter().filter_map(|lane| lane.exit.next_deadline());
        let listeners = self.listeners.iter().filter_map(|(_, listener)| listener.paused_until());
        let links_wait = |lane: &&Lane<K>| !lane.held_back.is_empty() || !self.unarmed.is_empty();
        let stalls = self.lanes.iter().filter(links_wait).filter_map(|lane| lane.exit.stalls_at(now));
        let idle = self.next_idle.filter(|_| self.stage == Stage::Running);
        lanes.chain(listeners).chain(self.drain_deadline()).chain(stalls).chain(idle).min()
    }

    fn tick(&mut self, now: Instant) {
        for lane in &mut self.lanes {
            lane.exit.tick(&mut self.kernel, now);
        }
        if let Some(why) = self.lanes.iter().find_map(|lane| lane.exit.broken()) {
            self.broken("a sink can never be written to again", &why);
        }
        if self.lost_service() {
            self.broken("a source can never be read from again", "its service ended");
        }
    }

    fn broken(&self, what: &str, why: &str) {
        if !self.control.is_broken() {
            error!(why, "{what}; the relay ends");
            self.control.report_broken();
        }
    }

    fn flush(&mut self, now: Instant) {
        self.unhurried = 0;
        for lane in &mut self.lanes {
            self.unhurried += usize::from(lane.exit.flush(&mut self.kernel, now));
        }
    }

    /// Lends the kernel buffers as far as `max_in_flight` allows, and arms links that wait for some. None while all links are to wait:
    /// fewer go round, and stay in the processor's caches.
    ///
    /// Invariant: `in flight + offered <= max_in_flight`. Half of what is free is offered, since buffers cannot be taken back
    /// and a drain needs some of its own. Arming no link until a good part of them is there keeps a flood from arming each
    /// link for one buffer at a time.
    pub(super) fn replenish(&mut self, now: Instant) {
        let free = self.max_in_flight.saturating_sub(self.ledger.bytes_in_flight());
        if !self.all_wait(now) {
            self.kernel.offer(free / 2);
        }
        self.give_back_memory();
        self.release_held_back(now);
        if self.kernel.offered_bytes() >= self.worth_arming() {
            self.arm_waiting(self.kernel.offered_bytes() / BUFFER_SIZE, now);
        }
        self.resume_accepting(now);
    }

    /// Whether whatever link is armed next has to wait for a sink link.
    pub(super) fn all_wait(&self, now: Instant) -> bool {
        self.sources.iter().all(|source| source.plan.can_wait())
            && (0..self.lanes.len()).all(|lane| self.has_enough(lane, true, now))
    }

    /// The bytes of offered buffers that it takes to arm links: a quarter of the most that can be offered, or of one sink link's. Half
    /// of the reserve can be had always.
    fn worth_arming(&self) -> usize {
        let most = (self.share() / 2).min(BUFFERS_OFFERED_MAX * BUFFER_SIZE);
        let reserved = if self.reserve > 0 { self.reserve / 2 } else { most };
        most.min(reserved) / 4
    }

    fn release_held_back(&mut self, now: Instant) {
        for lane in 0..self.lanes.len() {
            if !self.has_enough(lane, true, now) {
                for key in std::mem::take(&mut self.lanes[lane].held_back) {
                    self.queue_for_buffers(key);
                }
            }
        }
    }

    fn arm_waiting(&mut self, at_most: usize, now: Instant) {
        let mut armed = 0;
        self.unarmed.begin_turn();
        while armed < at_most {
            let Some(key) = self.unarmed.pop() else { break };
            let Some(link) = self.links.get(key) else { continue };
            if !link.is_receiving() || link.is_armed() {
                continue;
            }
            if let Some(full) = self.holds_back(key, now) {
                self.lanes[full].held_back.push(key);
            } else if let Some(link) = self.links.get_mut(key) {
                link.arm(&mut self.kernel, Owner::source(key));
                armed += 1;
            }
        }
    }

    fn publish(&mut self) {
        let totals = self.ledger.totals();
        debug_assert!(totals.balances(), "the books balance at every moment: {totals:?}");
        let is_over = self.is_sealed() && self.has_told_all();
        debug_assert_eq!(
            is_over && totals.in_flight == 0,
            matches!(self.stage, Stage::Drained | Stage::Expired | Stage::Closing | Stage::Halted),
            "the coordinator takes for drained what is"
        );
        self.control.published.publish(&totals, is_over);
        if self.owes_report {
            self.control.report();
        }
    }

    /// A close takes as long as everything else that is done for a link: its peer is told, and perhaps woken. At the end nobody waits
    /// for it ([`Reactor::close_remaining`]).
    pub(super) fn close_gone(&mut self) {
        if self.control.asked() < Phase::Halt {
            self.gone.clear();
        }
    }

    /// Nothing else is left to do than what the answer to the report says.
    fn stay_awake(&mut self) {
        if std::mem::take(&mut self.owes_report) {
            stay_awake(|| self.control.asked() == Phase::Halt);
        }
    }

    /// Whether nothing new can enter the ledger, for ever.
    pub(super) fn is_sealed(&self) -> bool {
        let fed = self.fed.iter().any(|fed| !fed.inlet.is_sealed());
        self.stage != Stage::Running && self.listeners.is_empty() && self.links.is_empty() && !fed
    }

    /// Whether every queue and client has been told what became of its messages. One that will not be is gone by the end of its time.
    pub(super) fn has_told_all(&self) -> bool {
        self.fed.iter().all(|fed| fed.inlet.is_settled())
    }

    /// Whether one more buffer for this link may be read by a plain system call. What is only counted takes no room, nor does what
    /// is thrown away where there is none.
    pub(super) fn has_room(&self, key: usize) -> bool {
        let link = &self.links[key];
        let drops = self.sources[link.source].plan.overflow == Overflow::DropNewest;
        if self.stage == Stage::Expiring || drops {
            return true;
        }
        let used = self.ledger.bytes_in_flight() + self.kernel.offered_bytes();
        used + BUFFER_SIZE <= self.max_in_flight
            && !link.route.lanes().iter().any(|&lane| self.has_its_share(lane))
    }

    /// Whether nothing more can be taken for this route.
    pub(super) fn is_full(&self, route: &Route) -> bool {
        self.ledger.bytes_in_flight() >= self.shared_bytes()
            || route.lanes().iter().any(|&lane| self.has_its_share(lane))
    }

    /// What the sink links may hold together.
    fn shared_bytes(&self) -> usize {
        self.max_in_flight - self.reserve
    }

    /// What each sink link may hold of that, so that one which stalls leaves the others theirs.
    fn share(&self) -> usize {
        (self.shared_bytes() / self.lanes.len()).max(2 * BUFFER_SIZE)
    }

    /// Whether source links are to wait for a sink link: it has its share or, if they `can_wait`, is busy, since it takes what it is
    /// sent and that is plenty. Once one waits, all others that come do until much of it is sent: else those that are received
    /// from would keep the link as full as it is, and the one that waits would wait for ever.
    pub(super) fn has_enough(&self, lane: usize, can_wait: bool, now: Instant) -> bool {
        let Lane { exit, held_back, .. } = &self.lanes[lane];
        let (share, ahead) = match held_back.is_empty() {
            true => (self.share(), UNSENT_HIGH_WATER),
            false => (self.share() / 4 * 3, UNSENT_HIGH_WATER / 2),
        };
        let is_busy = exit.unsent_bytes() >= ahead && exit.stalls_at(now).is_some();
        exit.occupied() >= share || can_wait && is_busy
    }

    /// Whether a sink link holds as much as it may.
    pub(super) fn has_its_share(&self, lane: usize) -> bool {
        self.lanes[lane].exit.occupied() >= self.share()
    }
}
