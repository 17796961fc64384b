//! Consistent hashing: for each key its own order of the endpoints, of which each keeps its place when another comes or goes.
//!
//! Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on
//! Networking 6(1), 1998): every endpoint scores every key, and the highest score is the first choice. What an endpoint scores
//! depends on nothing but its name and the key, so the order is the same after a restart, on another machine, and in another
//! version. Lives here: scores and their order. Never here: health.

use std::cmp::Reverse;

use twox_hash::XxHash3_64;

/// The endpoints of one sink, as they are ranked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// One for each, the hash of its name.
    identities: Vec<u64>,
}

impl Ranking {
    /// Of endpoints that are called so; at least two, no name twice.
    pub fn new(names: &[&str]) -> Ranking {
        let identity = |name: &&str| XxHash3_64::oneshot(name.as_bytes());
        Ranking { identities: names.iter().map(identity).collect() }
    }

    /// The first choice of a key, and the one to fall back to.
    pub fn first_two(&self, key: &[u8]) -> (usize, usize) {
        let (mut first, mut second) = ((0, None), (0, None));
        for (place, score) in self.scores(key).enumerate() {
            if Some(score) > first.1 {
                second = first;
                first = (place, Some(score));
            } else if Some(score) > second.1 {
                second = (place, Some(score));
            }
        }
        (first.0, second.0)
    }

    /// All endpoints, the first choice first.
    pub fn order(&self, key: &[u8]) -> Vec<usize> {
        let mut scored: Vec<(u64, usize)> = self.scores(key).zip(0..).collect();
        scored.sort_unstable_by_key(|&(score, place)| (Reverse(score), place));
        scored.into_iter().map(|(_, place)| place).collect()
    }

    fn scores(&self, key: &[u8]) -> impl Iterator<Item = u64> {
        let key = XxHash3_64::oneshot(key);
        self.identities.iter().map(move |identity| mix(key ^ identity))
    }
}

/// Every bit of the result depends on every bit of `x` (the finaliser of SplitMix64, Steele, Lea and Flood, OOPSLA 2014).
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u32 = 100_000;
    const NAMES: [&str; 5] = ["tcp://a:1", "tcp://b:1", "tcp://c:1", "tcp://d:1", "tcp://e:1"];

    fn choices(names: &[&str]) -> Vec<String> {
        let ranking = Ranking::new(names);
        (0..KEYS).map(|key| names[ranking.first_two(&key.to_le_bytes()).0].to_owned()).collect()
    }

    #[test]
    fn keys_are_shared_out_evenly() {
        let choices = choices(&NAMES);
        for name in NAMES {
            let share = choices.iter().filter(|choice| *choice == name).count();
            assert!((19_000..21_000).contains(&share), "{name}: {share}");
        }
    }

    #[test]
    fn an_endpoint_that_is_lost_moves_only_its_own_share_and_to_all_others() {
        let (before, after) = (choices(&NAMES), choices(&NAMES[1..]));
        let mut moved = [0; 5];
        for (before, after) in before.iter().zip(&after) {
            if before != NAMES[0] {
                assert_eq!(before, after);
            } else if let Some(place) = NAMES.iter().position(|name| name == after) {
                moved[place] += 1;
            }
        }
        assert!(moved[1..].iter().all(|share| (4_500..5_500).contains(share)), "{moved:?}");
    }

    #[test]
    fn the_one_to_fall_back_to_is_who_would_be_first_without_the_first() {
        let ranking = Ranking::new(&NAMES);
        for key in 0..1000_u32 {
            let key = key.to_le_bytes();
            let (first, second) = ranking.first_two(&key);
            let without: Vec<&str> = NAMES.iter().copied().filter(|name| *name != NAMES[first]).collect();
            assert_eq!(without[Ranking::new(&without).first_two(&key).0], NAMES[second]);
            assert_eq!(ranking.order(&key)[..2], [first, second]);
        }
    }

    #[test]
    fn the_order_is_the_same_in_every_version() {
        let ranking = Ranking::new(&NAMES);
        let orders = ["", "a", "host-17"].map(|key| ranking.order(key.as_bytes()));
        assert_eq!(orders, [[0, 4, 3, 2, 1], [0, 1, 3, 2, 4], [0, 1, 3, 4, 2]]);
    }
}
