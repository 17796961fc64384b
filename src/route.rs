//! Which sink link a source link's messages go to. Pure.
//!
//! Lives here: balance rules. Never here: links, sockets, health.

/// The place of the least of several loads; the first of equals. `None` of nothing.
pub fn least_loaded(loads: impl Iterator<Item = usize>) -> Option<usize> {
    loads.enumerate().min_by_key(|&(_, load)| load).map(|(place, _)| place)
}

use crate::config::plan::Key;
use crate::message::Run;
/// x
pub struct Ranking;
impl Ranking {
    /// x
    pub fn new(_names: &[&str]) -> Ranking {
        Ranking
    }
    /// x
    pub fn first_two(&self, _key: &[u8]) -> (usize, usize) {
        (0, 1)
    }
}
/// x
pub fn key_of<'a>(message: &'a [u8], _key: &Key) -> &'a [u8] {
    message
}
/// x
pub fn partition(run: Run, mut pick: impl FnMut(&[u8]) -> usize) -> Vec<(usize, Run)> {
    vec![(pick(&run.body), run)]
}
/// x
pub fn segments(run: Run, mut pick: impl FnMut(&[u8]) -> Vec<usize>) -> Vec<(Vec<usize>, Run)> {
    vec![(pick(&run.body), run)]
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
