//! Whether the sink reads.
//!
//! Lives here: the gate that every read passes. Never here: the reads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Open or stalled, and how many reads are under way.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stalled: bool,
    reading: usize,
}

/// The right to read once, until it is dropped.
#[derive(Debug)]
pub(super) struct Passage<'a>(&'a Gate);

impl Gate {
    /// Waits until the gate is open; `None` once `give_up` holds, which is looked at first and after each change.
    pub(super) fn enter(&self, give_up: impl Fn() -> bool) -> Option<Passage<'_>> {
        let blocked = |state: &mut State| state.stalled && !give_up();
        let mut state =
            self.changed.wait_while(self.state(), blocked).unwrap_or_else(PoisonError::into_inner);
        if give_up() {
            return None;
        }
        state.reading += 1;
        Some(Passage(self))
    }

    /// Closes the gate and waits until the reads that are under way are over.
    pub(super) fn stall(&self) {
        let mut state = self.state();
        state.stalled = true;
        drop(self.changed.wait_while(state, |state| state.stalled && state.reading > 0));
    }

    pub(super) fn resume(&self) {
        self.state().stalled = false;
        self.changed.notify_all();
    }

    /// Lets those who wait look whether to give up.
    pub(super) fn look_again(&self) {
        // Whoever looked before the condition changed and does not sleep yet still holds the lock.
        drop(self.state());
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.reading -= 1;
        if state.stalled && state.reading == 0 {
            self.0.changed.notify_all();
        }
    }
}
