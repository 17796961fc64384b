//! The order in which source links get buffers.
//!
//! Lives here: that order. Never here: which links wait, or for what else they wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::limits::{BUFFER_SIZE, BUFFERS_OFFERED_MAX};

/// The bytes that a turn brings at most. All have as much before any has more. With a finer measure those would come first of which
/// little was taken last, and of them little is to be had again: of a thousand that took a tenth to a fifth more processor time.
const A_ROUND: u64 = (BUFFERS_OFFERED_MAX * BUFFER_SIZE) as u64;

/// Links that wait for buffers, by their keys. Those come first of which less was taken in all, in rounds ([`A_ROUND`]): else one that
/// may leave much unread would have the most of a reactor, since all that it left is taken in one turn, as what another left is. Of
/// these, whoever waits for more turns; and of these the ones that found no buffer when they had theirs, in the order in which they
/// came: else those that take every buffer would always be the first again, and a link beside them would hardly be read.
///
/// What a link had no use for is not made up for, as in start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): one that comes
/// anew is in the round of the foremost, and none is further behind them than the round before.
#[derive(Debug, Default)]
pub(super) struct Unarmed {
    waiting: BinaryHeap<Reverse<Place>>,
    /// The round of those of which most was taken.
    foremost: u64,
    turns: u64,
    pushed: u64,
}

/// Where a link stands, by what comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    round: u64,
    turn: u64,
    found_some: bool,
    pushed: u64,
    link: usize,
}

impl Unarmed {
    /// Lets a link wait of which so many bytes were taken in all, none where it comes anew, and which found some buffers in its last turn
    /// or, as one that had no turn yet, none. Returns what counts as taken of it from here on.
    pub(super) fn push(&mut self, link: usize, taken: u64, found_some: bool) -> u64 {
        let earliest = if taken == 0 { self.foremost } else { self.foremost.saturating_sub(1) };
        let taken = taken.max(earliest * A_ROUND);
        let round = taken / A_ROUND;
        self.foremost = self.foremost.max(round);
        self.waiting.push(Reverse(Place { round, turn: self.turns, found_some, pushed: self.pushed, link }));
        self.pushed += 1;
        taken
    }

    /// Those that wait from here on wait for one turn less.
    pub(super) fn begin_turn(&mut self) {
        self.turns += 1;
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.waiting.pop().map(|Reverse(place)| place.link)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Links with what each leaves unread in a turn, and what was taken of it in all.
    #[derive(Default)]
    struct Links {
        unarmed: Unarmed,
        unread: Vec<u64>,
        counted: Vec<u64>,
        taken: Vec<u64>,
    }

    impl Links {
        fn new(unread: impl IntoIterator<Item = u64>) -> Links {
            let mut links = Links::default();
            unread.into_iter().for_each(|unread| links.come(unread));
            links
        }

        fn come(&mut self, unread: u64) {
            self.unread.push(unread);
            self.taken.push(0);
            self.counted.push(0);
            self.wait(self.unread.len() - 1, false);
        }

        fn wait(&mut self, link: usize, found_some: bool) {
            self.counted[link] = self.unarmed.push(link, self.counted[link], found_some);
        }

        /// All are armed, as many of the first are served as there are buffers for, and they wait again in that order.
        fn turn(&mut self, mut offered: u64) -> Vec<usize> {
            self.unarmed.begin_turn();
            let armed: Vec<usize> = std::iter::from_fn(|| self.unarmed.pop()).collect();
            let mut served = Vec::new();
            for link in armed {
                let found = self.unread[link].min(offered);
                offered -= found;
                self.counted[link] += found;
                self.taken[link] += found;
                if found > 0 {
                    served.push(link);
                }
                self.wait(link, found > 0);
            }
            served
        }

        fn turns(&mut self, count: usize, offered: u64) -> Vec<usize> {
            (0..count).flat_map(|_| self.turn(offered)).collect()
        }

        /// As much is taken of both, but for two rounds.
        #[track_caller]
        fn assert_same_from_now_on(&mut self, one: usize, other: usize) {
            let before = self.taken.clone();
            self.turns(100, A_ROUND);
            let since = |link: usize| self.taken[link] - before[link];
            assert!(since(one).abs_diff(since(other)) <= 2 * A_ROUND, "{} and {}", since(one), since(other));
        }
    }

    #[test]
    fn whoever_found_no_buffer_comes_before_those_that_found_some() {
        let mut unarmed = Unarmed::default();
        for (link, found_some) in [(1, true), (2, false), (3, true), (4, false)] {
            unarmed.push(link, 0, found_some);
        }
        unarmed.begin_turn();
        unarmed.push(5, 0, false);
        let order: Vec<usize> = std::iter::from_fn(|| unarmed.pop()).collect();
        assert_eq!(order, [2, 4, 1, 3, 5]);
        assert!(unarmed.is_empty());
    }

    #[test]
    fn a_link_that_takes_every_buffer_keeps_no_other_from_its_turn() {
        for offered in [1, A_ROUND / 32, A_ROUND] {
            let served = Links::new([A_ROUND; 10]).turns(20, offered);
            assert_eq!(served, Vec::from_iter((0..10).chain(0..10)), "{offered}");
        }
    }

    #[test]
    fn as_much_is_taken_of_those_that_leave_little_unread() {
        for offered in [A_ROUND / 17, A_ROUND] {
            let mut links = Links::new((0..64).map(|link| if link < 16 { A_ROUND } else { A_ROUND / 17 }));
            links.turns(64 * 17 * 20, offered);
            let (least, most) = (links.taken.iter().min().unwrap(), links.taken.iter().max().unwrap());
            assert!(most - least <= 2 * A_ROUND, "{least} and {most}");
            assert!(*least >= 18 * A_ROUND, "{least}");
        }
    }

    #[test]
    fn whoever_comes_anew_has_what_each_has_from_then_on() {
        // One that has always little to give is behind the other, and the third is not to make up for that.
        let mut links = Links::new([A_ROUND, A_ROUND / 1000]);
        links.turns(100, A_ROUND);
        links.come(A_ROUND);
        links.assert_same_from_now_on(0, 2);
    }

    #[test]
    fn those_that_come_and_go_keep_no_other_from_its_turn() {
        let mut links = Links::new([A_ROUND]);
        links.turns(3, A_ROUND);
        let before = links.taken[0];
        for _ in 0..30 {
            // It gives less than a round, and nothing more.
            links.come(A_ROUND / 2);
            let come = links.unread.len() - 1;
            links.turn(A_ROUND / 2);
            links.unread[come] = 0;
        }
        assert!(links.taken[0] - before >= 10 * A_ROUND / 2, "{}", links.taken[0] - before);
    }

    #[test]
    fn silence_is_made_up_for_by_a_round_at_most() {
        let mut links = Links::new([A_ROUND; 2]);
        links.unread[1] = 0;
        links.turns(100, A_ROUND);
        links.unread[1] = A_ROUND;
        links.assert_same_from_now_on(0, 1);
    }
}
