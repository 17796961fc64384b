//! The monitor's books: how much was registered, how it ended, and what is left.
//!
//! `total = succeeded + failed + panicked + dropped + current`, after each of the functions below.
//! Lives here: plain fields, for one lock. Never here: futures, wakers, clocks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use super::progress::{Left, Outcomes, Progress};

/// How one piece of work ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
    Panicked,
    Dropped,
}

/// What a piece of work is called in a report.
#[derive(Clone, Debug)]
pub(super) enum Name {
    /// By where it was registered, as long as it has no name.
    At(&'static Location<'static>),
    Given(Arc<str>),
}

/// One piece of work that is not settled.
#[derive(Clone, Debug)]
struct Open {
    name: Name,
    since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    closed: bool,
    total: u64,
    outcomes: Outcomes,
    /// By number, so that the oldest come first.
    open: BTreeMap<u64, Open>,
    /// How many wait for the end.
    waiting: usize,
}

impl Books {
    /// Enters `count` pieces of work, and gives their numbers; none once the intake is closed.
    pub(super) fn enter(&mut self, count: usize, name: &Name, now: Instant) -> Option<Range<u64>> {
        if self.closed {
            return None;
        }
        let first = self.total + 1;
        self.total += count as u64;
        let numbers = first..self.total + 1;
        self.open.extend(numbers.clone().map(|number| (number, Open { name: name.clone(), since: now })));
        Some(numbers)
    }

    pub(super) fn rename(&mut self, number: u64, name: Arc<str>) {
        if let Some(open) = self.open.get_mut(&number) {
            open.name = Name::Given(name);
        }
    }

    pub(super) fn settle(&mut self, number: u64, outcome: Outcome) {
        let open = self.open.remove(&number);
        debug_assert!(open.is_some(), "each piece of work settles once");
        *self.column(outcome) += 1;
    }

    fn column(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Succeeded => &mut self.outcomes.succeeded,
            Outcome::Failed => &mut self.outcomes.failed,
            Outcome::Panicked => &mut self.outcomes.panicked,
            Outcome::Dropped => &mut self.outcomes.dropped,
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Closed, and nothing left: no work is there, and none will ever be.
    pub(super) fn is_drained(&self) -> bool {
        self.closed && self.open.is_empty()
    }

    pub(super) fn current(&self) -> u64 {
        self.open.len() as u64
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    pub(super) fn wait(&mut self) {
        self.waiting += 1;
    }

    pub(super) fn stop_waiting(&mut self) {
        self.waiting -= 1;
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0 && !self.open.is_empty()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let open = self.open.iter().map(|(number, open)| (*number, open.clone())).collect();
        Snapshot { closed: self.closed, total: self.total, outcomes: self.outcomes, open }
    }
}

/// A copy of the books that is cheap to take; names become text when the lock is free again.
pub(super) struct Snapshot {
    closed: bool,
    total: u64,
    outcomes: Outcomes,
    open: Vec<(u64, Open)>,
}

impl Snapshot {
    pub(super) fn into_progress(self, now: Instant) -> Progress {
        let left = self.open.into_iter().map(|(number, open)| open.into_left(number, now)).collect();
        Progress { closed: self.closed, total: self.total, outcomes: self.outcomes, left }
    }
}

impl Open {
    fn into_left(self, number: u64, now: Instant) -> Left {
        let name = match self.name {
            Name::At(location) => location.to_string(),
            Name::Given(name) => name.as_ref().to_owned(),
        };
        Left { number, name, age: now.saturating_duration_since(self.since) }
    }
}
