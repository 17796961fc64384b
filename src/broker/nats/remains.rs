//! What a session leaves to the next one: a handle names a message, not a connection.
//!
//! Lives here: what was said and may not have been heard, and messages that arrived and were not taken. Never here: a connection.

use std::cell::{Cell, RefCell};
use std::mem::take;
use std::time::Duration;

use async_nats::Subject;
use tokio::time::Instant;

use crate::broker::source::{Fetched, Verdict};

/// Empty at first.
#[derive(Default)]
pub(super) struct Remains {
    unconfirmed: RefCell<Vec<(Subject, Verdict)>>,
    arrived: RefCell<Vec<Fetched<Subject>>>,
    left: Cell<Option<Instant>>,
}

impl Remains {
    /// These were said, in vain if the connection breaks.
    pub(super) fn said(&self, verdicts: Vec<(Subject, Verdict)>) {
        self.unconfirmed.borrow_mut().extend(verdicts);
    }

    /// All that was said was heard.
    pub(super) fn heard(&self) {
        self.unconfirmed.borrow_mut().clear();
    }

    /// What may not have been heard.
    pub(super) fn unconfirmed(&self) -> Vec<(Subject, Verdict)> {
        self.unconfirmed.borrow().clone()
    }

    /// How much that is.
    pub(super) fn unconfirmed_len(&self) -> usize {
        self.unconfirmed.borrow().len()
    }

    /// The last of it.
    pub(super) fn last(&self) -> Option<(Subject, Verdict)> {
        self.unconfirmed.borrow().last().cloned()
    }

    /// A session ends, and these are still to be taken.
    pub(super) fn leave(&self, arrived: Vec<Fetched<Subject>>) {
        self.arrived.borrow_mut().extend(arrived);
        self.left.set(Some(Instant::now()));
    }

    /// What an earlier session left, unless that is so long ago that somebody else may have it.
    pub(super) fn inherit(&self, at_most: Duration) -> Vec<Fetched<Subject>> {
        let arrived = take(&mut *self.arrived.borrow_mut());
        let is_ours = self.left.take().is_some_and(|left| left.elapsed() < at_most);
        if is_ours { arrived } else { Vec::new() }
    }
}
