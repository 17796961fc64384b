//! The books of all connections, shared by their threads.
//!
//! Lives here: the lock, and waiting for a figure. Never here: what a message does to the books.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::books::Books;
use super::haul::Haul;
use super::report::{Latency, Report, Tally};

/// Taken once per read, not once per message.
#[derive(Debug, Default)]
pub(super) struct Counter {
    state: Mutex<State>,
    reached: Condvar,
}

#[derive(Debug)]
struct State {
    books: Books,
    /// The fewest distinct messages, foreign ones among them, that someone waits for: below it nobody is woken.
    wanted: u64,
    interrupted: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { books: Books::default(), wanted: u64::MAX, interrupted: false }
    }
}

/// Ends the waits of a sink from another thread, a signal's for example.
#[derive(Clone, Debug)]
pub struct Interrupter(Arc<Counter>);

impl Interrupter {
    pub(super) fn of(counter: &Arc<Counter>) -> Self {
        Self(Arc::clone(counter))
    }

    /// Lets every wait return, now and from now on.
    pub fn interrupt(&self) {
        self.0.state().interrupted = true;
        self.0.reached.notify_all();
    }

    /// Whether it did.
    pub fn is_interrupted(&self) -> bool {
        self.0.state().interrupted
    }
}

impl Counter {
    pub(super) fn record(&self, haul: &Haul) {
        let mut state = self.state();
        state.books.record(haul);
        if state.books.tally().distinct() >= state.wanted {
            state.wanted = u64::MAX;
            self.reached.notify_all();
        }
    }

    pub(super) fn opened(&self) {
        self.state().books.opened();
        self.reached.notify_all();
    }

    /// The kernel threw so many datagrams away.
    pub(super) fn dropped(&self, datagrams: u64) {
        self.state().books.dropped(datagrams);
    }

    pub(super) fn tally(&self) -> Tally {
        self.state().books.tally()
    }

    pub(super) fn take_latency(&self) -> Option<Latency> {
        self.state().books.take_latency()
    }

    pub(super) fn report(&self) -> Report {
        self.state().books.report()
    }

    pub(super) fn wait_for(&self, messages: u64, timeout: Duration) -> bool {
        self.wait(|_| messages, timeout, |tally| tally.distinct() >= messages)
    }

    pub(super) fn wait_for_numbered(&self, messages: u64, timeout: Duration) -> bool {
        let wanted = |tally: Tally| messages.saturating_add(tally.foreign);
        self.wait(wanted, timeout, |tally| tally.numbered() >= messages)
    }

    pub(super) fn wait_for_connections(&self, connections: u64, timeout: Duration) -> bool {
        self.wait(|_| u64::MAX, timeout, |tally| tally.connections >= connections)
    }

    /// Waits for `done`, which holds only after `wanted` messages or an opened connection.
    fn wait(&self, wanted: impl Fn(Tally) -> u64, timeout: Duration, done: impl Fn(Tally) -> bool) -> bool {
        let pending = |state: &mut State| {
            let tally = state.books.tally();
            state.wanted = state.wanted.min(wanted(tally));
            !state.interrupted && !done(tally)
        };
        let waited = self.reached.wait_timeout_while(self.state(), timeout, pending);
        done(waited.unwrap_or_else(PoisonError::into_inner).0.books.tally())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
