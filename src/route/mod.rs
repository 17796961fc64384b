//! Which sink link a message goes to. Pure.
//!
//! Lives here: balance rules, the key of a message, and the division of a run among links. Never here: links, sockets, health.

mod division;
mod key;
mod ranking;

pub use division::{partition, segments};
pub use key::key_of;
pub use ranking::Ranking;

/// The place of the least of several loads; the first of equals. `None` of nothing.
pub fn least_loaded(loads: impl Iterator<Item = usize>) -> Option<usize> {
    loads.enumerate().min_by_key(|&(_, load)| load).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_least_loaded() {
        assert_eq!(least_loaded([3, 1, 2, 1].into_iter()), Some(1));
        assert_eq!(least_loaded(std::iter::empty()), None);
    }
}
