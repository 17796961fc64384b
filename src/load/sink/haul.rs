//! What one read brought, in short.
//!
//! Lives here: folding messages into streaks of consecutive numbers, so that the shared books are opened once a read and
//! touched once a streak. Never here: what was read before.

use std::ops::Range;

use crate::load::clock::monotonic_nanos;
use crate::load::stamp::Stamp;

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

/// Messages of one stream with consecutive numbers and one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Streak {
    pub(super) run: u32,
    pub(super) connection: u32,
    /// Bytes of each from its mark to its end.
    pub(super) length: usize,
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
            Some((length, stamp)) => {
                self.add_stamp(length, stamp);
                self.time(Stamp::due(&message[message.len() - length..]));
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

    fn add_stamp(&mut self, length: usize, stamp: Stamp) {
        match self.streaks.last_mut() {
            Some(streak) if streak.goes_on_with(length, stamp) => streak.numbers.end += 1,
            Some(_) | None => self.streaks.push(Streak {
                run: stamp.run,
                connection: stamp.connection,
                length,
                numbers: stamp.sequence..stamp.sequence + 1,
            }),
        }
    }
}

impl Streak {
    fn goes_on_with(&self, length: usize, stamp: Stamp) -> bool {
        self.numbers.end == stamp.sequence
            && self.connection == stamp.connection
            && self.run == stamp.run
            && self.length == length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_numbers_are_one_streak() {
        let mut haul = Haul::default();
        for (connection, sequence) in [(1, 5), (1, 6), (1, 7), (2, 8), (1, 8), (1, 8)] {
            haul.add_stamp(60, Stamp { run: 9, connection, sequence });
        }
        let ranges: Vec<_> = haul.streaks.iter().map(|one| (one.connection, one.numbers.clone())).collect();
        assert_eq!(ranges, [(1, 5..8), (2, 8..9), (1, 8..9), (1, 8..9)]);
    }
}
