//! How long a reactor waits for more beside the first thing that comes.
//!
//! Lives here: the choice, by what was asked for or by what came. Never here: the wait itself (`Kernel::park`).

use std::mem::take;
use std::time::Duration;

use crate::limits::{GATHER_DATAGRAMS, GATHER_DATAGRAMS_MAX};

/// What was asked for, and what came since the last wait.
pub(super) struct Gathering {
    asked: Option<Duration>,
    came: Came,
    /// Datagrams of a turn in the mean, times [`MEMORY`]; those of earlier turns count for less and less.
    recent: usize,
}

/// Turns that the mean is of, more or less.
const MEMORY: usize = 8;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Came {
    #[default]
    Nothing,
    /// So many datagrams by UDP, and nothing else.
    Datagrams(usize),
    Others,
}

impl Gathering {
    /// Whatever comes it waits for as long as is asked for; `None`: for more datagrams after a few, and for nothing else.
    pub(super) fn new(asked: Option<Duration>) -> Gathering {
        Gathering { asked, came: Came::Nothing, recent: 0 }
    }

    /// Something came by a stream or a socket file, which is not waited for: a stream gathers in the kernel while we work, and who sends
    /// to a socket file is made to wait once ten datagrams are unread (`net.unix.max_dgram_qlen`).
    pub(super) fn note_others(&mut self) {
        self.came = Came::Others;
    }

    /// So many datagrams came by UDP, with those that the kernel dropped before them.
    pub(super) fn note_datagrams(&mut self, count: usize) {
        self.came = match self.came {
            Came::Nothing => Came::Datagrams(count),
            Came::Datagrams(others) => Came::Datagrams(others + count),
            Came::Others => Came::Others,
        };
    }

    /// How long the wait that now begins may go on. What comes after it, when nothing has come for so long, ends it at once, so a
    /// message that comes alone waits for no other.
    pub(super) fn next(&mut self) -> Duration {
        let Came::Datagrams(came) = take(&mut self.came) else {
            return self.asked.unwrap_or_default();
        };
        self.recent = self.recent - self.recent / MEMORY + came;
        let are_few = self.recent <= GATHER_DATAGRAMS_MAX * MEMORY;
        self.asked.unwrap_or(if are_few { GATHER_DATAGRAMS } else { Duration::ZERO })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wait after each of some turns, of so many datagrams each.
    fn waits(gathering: &mut Gathering, turns: impl IntoIterator<Item = usize>) -> Vec<Duration> {
        let mut wait = |datagrams| {
            gathering.note_datagrams(datagrams);
            gathering.next()
        };
        turns.into_iter().map(&mut wait).collect()
    }

    #[test]
    fn after_a_few_datagrams_more_are_waited_for_however_long_it_goes_on() {
        for few in 1..=GATHER_DATAGRAMS_MAX {
            assert_eq!(waits(&mut Gathering::new(None), [few; 100]), [GATHER_DATAGRAMS; 100], "{few}");
        }
    }

    #[test]
    fn a_flood_is_not_waited_for_nor_for_a_while_after_it() {
        let mut gathering = Gathering::new(None);
        assert_eq!(waits(&mut gathering, [2 * GATHER_DATAGRAMS_MAX; 100]).last(), Some(&Duration::ZERO));
        let after = waits(&mut gathering, [1; 100]);
        assert_eq!((after[0], after[99]), (Duration::ZERO, GATHER_DATAGRAMS));
        let lost = 1000;
        assert_eq!(waits(&mut gathering, [1 + lost, 1]), [Duration::ZERO; 2]);
    }

    #[test]
    fn with_anything_else_and_after_nothing_there_is_no_wait() {
        let mut gathering = Gathering::new(None);
        assert_eq!(gathering.next(), Duration::ZERO);
        for others_first in [true, false] {
            if others_first {
                gathering.note_others();
            }
            gathering.note_datagrams(1);
            gathering.note_datagrams(1);
            if !others_first {
                gathering.note_others();
            }
            assert_eq!(gathering.next(), Duration::ZERO, "{others_first}");
        }
        gathering.note_datagrams(1);
        assert_eq!((gathering.next(), gathering.next()), (GATHER_DATAGRAMS, Duration::ZERO));
    }

    #[test]
    fn what_is_asked_for_holds_whatever_comes() {
        for asked in [Duration::ZERO, Duration::from_micros(200)] {
            let mut gathering = Gathering::new(Some(asked));
            assert_eq!(gathering.next(), asked);
            assert_eq!(waits(&mut gathering, [1, 1000, 1]), [asked; 3]);
            gathering.note_others();
            assert_eq!(gathering.next(), asked);
        }
    }
}
