//! What a monitor tells about the work: plain values, and their text.
//!
//! Lives here: the figures of one moment, and what a missed deadline looks like. Never here: the books themselves.

use std::fmt;
use std::time::Duration;

/// Pieces of work that a text names, of those that are left: the oldest, which are what others wait for. A line of log has room
/// for no more; [`Progress::left`] has them all.
const NAMED_IN_TEXT: usize = 8;

/// How many pieces of work ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Came to a good end.
    pub succeeded: u64,
    /// Came to an end, which was an error.
    pub failed: u64,
    /// Panicked: in the future itself, in its destructor, or in what judged its output.
    pub panicked: u64,
    /// Were thrown away before they came to an end: aborted, cancelled by a `select!`, never polled at all.
    pub dropped: u64,
}

impl Outcomes {
    /// All of them.
    pub fn settled(&self) -> u64 {
        self.succeeded + self.failed + self.panicked + self.dropped
    }

    /// Whether all work succeeded.
    pub fn is_clean(&self) -> bool {
        self.settled() == self.succeeded
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcomes { succeeded, failed, panicked, dropped } = self;
        write!(f, "{succeeded} succeeded, {failed} failed, {panicked} panicked, {dropped} dropped")
    }
}

/// A piece of work that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its place in the order of registration, from 1. Names may occur twice, numbers do not.
    pub number: u64,
    /// The name that it was given ([`Work::named`](super::Work::named)), else where it was registered: `src/main.rs:17:5`.
    pub name: String,
    /// How long ago it was registered.
    pub age: Duration,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} `{}` for {:.1?}", self.number, self.name, self.age)
    }
}

/// All figures of one moment. They belong together: `total = outcomes.settled() + left.len()`, however busy the monitor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether nothing new can be registered.
    pub closed: bool,
    /// Registered since the start.
    pub total: u64,
    /// What has ended, and how.
    pub outcomes: Outcomes,
    /// What has not, the oldest first.
    pub left: Vec<Left>,
}

impl Progress {
    /// Closed, and nothing left. Once true it stays true; nothing left while the intake is open proves nothing.
    pub fn is_drained(&self) -> bool {
        self.closed && self.left.is_empty()
    }
}

/// `4 registered: 1 succeeded, 1 failed, 0 panicked, 1 dropped, 1 left: #3 `POST 7` for 2.5s`
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} registered: {}, {} left", self.total, self.outcomes, self.left.len())?;
        for (index, left) in self.left.iter().take(NAMED_IN_TEXT).enumerate() {
            write!(f, "{} {left}", if index == 0 { ":" } else { "," })?;
        }
        match self.left.len().saturating_sub(NAMED_IN_TEXT) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// The deadline passed first. Holds what was so at that moment; the text names what is stuck.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at the deadline: {}", if self.0.closed { "not drained" } else { "the intake was still open" }, self.0)]
pub struct Overdue(pub Progress);
