//! What one read brought, in short.
//!
//! Lives here: folding messages into streaks of consecutive numbers, so that the shared books are opened once a read and
//! touched once a streak. Never here: what was read before.

use std::ops::Range;

use crate::load::clock::monotonic_nanos;
use crate::load::stamp::{Marked, Stamp, Stamped};

/// The messages of one read.
#[derive(Debug, Default)]
pub(super) struct Haul {
    pub(super) streaks: Vec<Streak>,
    pub(super) bytes: u64,
    pub(super) foreign: u64,
    pub(super) torn: u64,
    pub(super) misframed: u64,
    /// How long after they were due messages came, in nanoseconds, of those that say so.
    pub(super) latencies: Vec<u64>,
    /// When they came, by the system's monotonic clock, once somebody asked.
    came: Option<u64>,
}

/// Messages of one stream with consecutive numbers, one length and one that was stamped: whether the two agree is found out once for
/// all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Streak {
    pub(super) run: u32,
    pub(super) connection: u32,
    /// Bytes of each from its mark to its end.
    pub(super) length: usize,
    pub(super) stamped: Stamped,
    pub(super) numbers: Range<u64>,
}

impl Haul {
    /// Forgets the last read; the room that it took is kept.
    pub(super) fn begin(&mut self, bytes: usize) {
        let mut streaks = std::mem::take(&mut self.streaks);
        let mut latencies = std::mem::take(&mut self.latencies);
        streaks.clear();
        latencies.clear();
        *self = Self { streaks, latencies, bytes: bytes as u64, ..Self::default() };
    }

    pub(super) fn add(&mut self, message: &[u8]) {
        match Stamp::find(message) {
            Some(marked) => {
                self.add_marked(&marked);
                self.time(marked.due());
            }
            None => self.foreign += 1,
        }
    }

    pub(super) fn tear(&mut self) {
        self.torn += 1;
    }

    pub(super) fn misframe(&mut self) {
        self.misframed += 1;
    }

    fn time(&mut self, due: Option<u64>) {
        if let Some(due) = due {
            let came = *self.came.get_or_insert_with(monotonic_nanos);
            self.latencies.push(came.saturating_sub(due));
        }
    }

    fn add_marked(&mut self, marked: &Marked<'_>) {
        match self.streaks.last_mut() {
            Some(streak) if streak.goes_on_with(marked) => streak.numbers.end += 1,
            Some(_) | None => self.streaks.push(Streak::of(marked)),
        }
    }
}

impl Streak {
    fn of(marked: &Marked<'_>) -> Self {
        let Stamp { run, connection, sequence } = marked.stamp;
        let (length, stamped) = (marked.length(), marked.stamped());
        Self { run, connection, length, stamped, numbers: sequence..sequence + 1 }
    }

    fn goes_on_with(&self, marked: &Marked<'_>) -> bool {
        self.numbers.end == marked.stamp.sequence
            && self.connection == marked.stamp.connection
            && self.run == marked.stamp.run
            && self.length == marked.length()
            && self.stamped == marked.stamped()
    }

    /// Whether its messages are as long as they were when they were stamped.
    pub(super) fn is_whole(&self) -> bool {
        self.stamped.agrees_with(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_numbers_are_one_streak() {
        let mut haul = Haul::default();
        for (connection, sequence) in [(1, 5), (1, 6), (1, 7), (2, 8), (1, 8), (1, 8)] {
            let mut message = [b' '; 60];
            Stamp { run: 9, connection, sequence }.write_into(&mut message);
            haul.add(&message);
        }
        let ranges: Vec<_> = haul.streaks.iter().map(|one| (one.connection, one.numbers.clone())).collect();
        assert_eq!(ranges, [(1, 5..8), (2, 8..9), (1, 8..9), (1, 8..9)]);
    }

    #[test]
    fn a_message_that_was_cut_or_stretched_is_a_streak_of_its_own() {
        let mut haul = Haul::default();
        for (sequence, stamped, comes) in [(0, 60, 60), (1, 70, 60), (2, 60, 60), (3, 60, 70)] {
            let mut message = [b' '; 70];
            Stamp { run: 9, connection: 1, sequence }.write_into(&mut message[..stamped]);
            haul.add(&message[..comes]);
        }
        assert_eq!(haul.streaks.iter().map(Streak::is_whole).collect::<Vec<_>>(), [true, false, true, false]);
    }
}
