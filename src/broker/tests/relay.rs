//! A reactor made small: the same steps and stages, without a ring.
//!
//! Lives here: what a turn does between the two contracts, and that the books balance after each. Never here: a service.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::dice::Dice;
use super::recipient;
use super::{SLACK, Weather};
use crate::endpoint::{Bell, Inlet, Letter, Outlet, Pulled};
use crate::ledger::{Ledger, Origin, Outcome, Ticket, Totals, Way};
use crate::limits::{GOODBYE_TIMEOUT, RETURN_TIMEOUT};

const WAY: Way = Way { source: 0, sink: 0 };
/// Messages in flight at which it takes in no more.
const ROOM: u64 = 8;

/// What became of each delivery of a queue, as the ledger said it.
pub(super) type Truth = Rc<RefCell<HashMap<u64, Outcome>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Running,
    Sealing,
    Expiring,
    Closing,
    Halted,
}

pub(super) struct Relay {
    pub(super) ledger: Ledger,
    pub(super) bell: Bell,
    pub(super) truth: Truth,
    pub(super) inlet: Option<Inlet>,
    pub(super) outlet: Option<Outlet>,
    /// Looks at everything when the drain counts as over.
    pub(super) when_safe: Box<dyn Fn()>,
    /// Who is to know that a drain has begun.
    recipient: Option<Rc<recipient::State>>,
    dice: Rc<Dice>,
    stage: Stage,
    /// Messages of its own that it is still to make.
    unmade: u32,
    made: u32,
    next_made: Instant,
    /// Where there is no outlet: what is settled when, and how.
    held: Vec<(Instant, Outcome, Ticket)>,
    drains_at: Instant,
    expires_at: Instant,
    has_expired: bool,
    was_sealed: bool,
}

/// Hears what the ledger tells an origin.
struct Witness {
    origin: Rc<dyn Origin>,
    truth: Truth,
}

impl Origin for Witness {
    fn settled(&self, outcome: Outcome) {
        let before = self.truth.borrow_mut().insert(delivery_of(self.id()), outcome);
        assert!(before.is_none(), "a delivery is settled once");
        self.origin.settled(outcome);
    }

    fn id(&self) -> &str {
        self.origin.id()
    }
}

/// A made-up queue names its deliveries, not its messages: so each can be told from its repetition.
fn delivery_of(id: &str) -> u64 {
    id.parse().unwrap()
}

impl Relay {
    pub(super) fn new(dice: &Rc<Dice>, unmade: u32) -> Relay {
        let drains_at = Instant::now() + dice.millis(600);
        let patience = match dice.weather() {
            Weather::Fair | Weather::Clearing | Weather::Severed => Duration::from_secs(30),
            Weather::Foul | Weather::Doom => dice.millis(3000),
        };
        // Time may be up without a drain, too.
        let at_once = matches!(dice.weather(), Weather::Foul | Weather::Doom) && dice.is(5);
        Relay {
            ledger: Ledger::new(1, 2),
            bell: Bell::default(),
            truth: Truth::default(),
            inlet: None,
            outlet: None,
            when_safe: Box::new(|| {}),
            recipient: None,
            dice: Rc::clone(dice),
            stage: Stage::Running,
            unmade,
            made: 0,
            next_made: Instant::now(),
            held: Vec::new(),
            drains_at,
            expires_at: if at_once { drains_at } else { drains_at + patience },
            has_expired: false,
            was_sealed: false,
        }
    }

    pub(super) fn hears_of_drain(&mut self, recipient: Rc<recipient::State>) {
        self.recipient = Some(recipient);
    }

    /// Runs until both services are gone, within the bound; true if everything was settled in time.
    pub(super) async fn run(&mut self) -> bool {
        loop {
            self.turn(Instant::now());
            if self.stage == Stage::Halted {
                break;
            }
            tokio::task::yield_now().await;
            tokio::select! {
                () = self.bell.rung() => {}
                () = sleep_until(self.next_due()) => {}
            }
        }
        let late = Instant::now().saturating_duration_since(self.expires_at);
        assert!(late <= RETURN_TIMEOUT + GOODBYE_TIMEOUT + SLACK, "the exit took {late:?} too long");
        assert_eq!((self.ledger.totals().in_flight, self.ledger.bytes_in_flight()), (0, 0));
        assert!(
            self.outlet.as_ref().is_none_or(|outlet| outlet.occupied() == 0 && outlet.unsent_bytes() == 0)
        );
        !self.has_expired
    }

    fn next_due(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3);
        let held = self.held.iter().map(|held| held.0);
        let made = (self.unmade > 0 && self.stage == Stage::Running).then_some(self.next_made);
        let drain = (self.stage == Stage::Running).then_some(self.drains_at);
        let end = matches!(self.stage, Stage::Running | Stage::Sealing).then_some(self.expires_at);
        held.chain(made).chain(drain).chain(end).chain([far]).min().unwrap()
    }

    fn turn(&mut self, now: Instant) {
        self.take_in(now);
        self.obey(now);
        self.make(now);
        self.settle_due(now);
        self.post_letters();
        self.conclude();
        let all = [vec![self.ledger.totals()], self.ledger.sources(), self.ledger.sinks()].concat();
        assert!(all.iter().all(Totals::balances), "{all:?}");
    }

    fn obey(&mut self, now: Instant) {
        let lost = self.inlet.as_ref().is_some_and(Inlet::is_sealed)
            || self.outlet.as_ref().is_some_and(Outlet::is_broken);
        assert!(!lost || self.stage != Stage::Running || self.dice.is_doomed(), "a service ended by itself");
        if self.stage == Stage::Running && (now >= self.drains_at || lost) {
            self.stage = Stage::Sealing;
            self.outlet.iter().for_each(Outlet::hurry);
            self.inlet.iter().for_each(Inlet::seal);
            self.recipient.iter().for_each(|recipient| recipient.is_hurried.set(true));
            self.dice.drained();
        }
        if self.stage == Stage::Sealing && now >= self.expires_at {
            self.stage = Stage::Expiring;
            self.has_expired = true;
            self.outlet.iter().for_each(Outlet::give_up);
            self.held.clear();
            self.inlet.iter().for_each(Inlet::expire);
        }
    }

    fn take_in(&mut self, now: Instant) {
        let Some(inlet) = self.inlet.take() else { return };
        assert!(!self.was_sealed || inlet.is_empty(), "what is sealed brings nothing more");
        while self.stage != Stage::Running || self.ledger.totals().in_flight < ROOM {
            let Some(Pulled { payload, origin, .. }) = inlet.take() else { break };
            let origin = Rc::new(Witness { origin, truth: Rc::clone(&self.truth) });
            self.take_in_one(&payload, origin, now);
        }
        self.was_sealed = inlet.is_sealed();
        let has_room = self.stage == Stage::Running && self.ledger.totals().in_flight < ROOM;
        inlet.open(has_room && inlet.is_empty());
        self.inlet = Some(inlet);
    }

    fn take_in_one(&mut self, payload: &Bytes, origin: Rc<Witness>, now: Instant) {
        let bytes = payload.len();
        let ticket = self.ledger.admit_from(origin, WAY, bytes);
        match &self.outlet {
            _ if self.stage != Stage::Running => ticket.settle(Outcome::Returned),
            _ if payload.is_empty() => ticket.settle(Outcome::Failed),
            Some(outlet) => {
                let line = format!("{}\n", str::from_utf8(payload).unwrap());
                outlet.push_lines(line, ticket, now.into_std());
            }
            // Filtered: it has no way to go.
            None if self.dice.is(10) => ticket.settle(Outcome::Delivered),
            None => {
                let outcome = match self.dice.below(20) {
                    0 => Outcome::Failed,
                    1 => Outcome::Spilled,
                    2 => Outcome::Returned,
                    _ => Outcome::Delivered,
                };
                self.held.push((now + self.dice.millis(40), outcome, ticket));
            }
        }
    }

    /// Messages of a source that has none to give back.
    fn make(&mut self, now: Instant) {
        let Some(outlet) = &self.outlet else { return };
        while self.stage == Stage::Running && self.unmade > 0 && now >= self.next_made {
            let messages = self.unmade.min(1 + self.dice.below(4));
            let lines: String =
                (self.made..self.made + messages).map(|number| format!("{number}\n")).collect();
            let ticket = self.ledger.admit(WAY, messages, lines.len());
            outlet.push_lines(lines, ticket, now.into_std());
            self.unmade -= messages;
            self.made += messages;
            self.next_made = now + self.dice.millis(30);
        }
    }

    /// How many messages of its own it made.
    pub(super) fn made(&self) -> u32 {
        self.made
    }

    fn settle_due(&mut self, now: Instant) {
        for (_, outcome, ticket) in self.held.extract_if(.., |held| held.0 <= now) {
            ticket.settle(outcome);
        }
    }

    fn post_letters(&mut self) {
        for Letter { ticket, .. } in self.outlet.iter().flat_map(Outlet::letters) {
            self.ledger.admit_letter(ticket, 1, 1).settle(Outcome::Delivered);
        }
    }

    fn conclude(&mut self) {
        let is_over = self.ledger.totals().in_flight == 0
            && self.inlet.as_ref().is_none_or(|inlet| inlet.is_sealed() && inlet.is_settled());
        if self.stage == Stage::Expiring && self.ledger.totals().in_flight > 0 {
            let late = Instant::now().saturating_duration_since(self.expires_at);
            assert!(late <= SLACK, "what is in hand is let go of at once");
        }
        if is_over && matches!(self.stage, Stage::Sealing | Stage::Expiring) {
            if self.stage == Stage::Sealing {
                (self.when_safe)();
            }
            self.outlet.iter().for_each(Outlet::close);
            self.stage = Stage::Closing;
        }
        let is_closed = self.inlet.as_ref().is_none_or(Inlet::is_closed)
            && self.outlet.as_ref().is_none_or(Outlet::is_closed);
        if is_closed && self.stage == Stage::Closing {
            self.stage = Stage::Halted;
        }
    }
}
