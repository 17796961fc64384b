//! The order in which source links get buffers.
//!
//! Lives here: that order. Never here: which links wait, or for what else they wait.

use std::collections::VecDeque;

/// Links that wait for buffers, by their keys. One that found none when it had its turn comes before all that found some: else those
/// that take every buffer would always be the first again, and a link beside them would never be read.
#[derive(Debug, Default)]
pub(super) struct Unarmed {
    found_none: VecDeque<usize>,
    others: VecDeque<usize>,
}

impl Unarmed {
    /// Lets a link wait that filled so many buffers in its last turn; one that had no turn yet found none.
    pub(super) fn push(&mut self, link: usize, filled: usize) {
        match filled {
            0 => self.found_none.push_back(link),
            _ => self.others.push_back(link),
        }
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.found_none.pop_front().or_else(|| self.others.pop_front())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found_none.is_empty() && self.others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_found_no_buffer_comes_before_those_that_found_some() {
        let mut unarmed = Unarmed::default();
        for (link, filled) in [(1, 16), (2, 0), (3, 1), (4, 0)] {
            unarmed.push(link, filled);
        }
        let order: Vec<usize> = std::iter::from_fn(|| unarmed.pop()).collect();
        assert_eq!(order, [2, 4, 1, 3]);
        assert!(unarmed.is_empty());
    }

    #[test]
    fn a_link_that_takes_every_buffer_keeps_no_other_from_its_turn() {
        let mut unarmed = Unarmed::default();
        (0..10).for_each(|link| unarmed.push(link, 0));
        let mut served = Vec::new();
        // Each turn all are armed, and the first takes every buffer; they wait again in the order in which they were armed.
        for _ in 0..10 {
            let armed: Vec<usize> = std::iter::from_fn(|| unarmed.pop()).collect();
            served.push(armed[0]);
            armed.iter().enumerate().for_each(|(n, link)| unarmed.push(*link, if n == 0 { 16 } else { 0 }));
        }
        assert_eq!(served, Vec::from_iter(0..10));
    }
}
