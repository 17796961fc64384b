//! When the messages of a paced run are due.
//!
//! Lives here: arithmetic on the time since the start. Never here: a clock, sleeping, writing.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// Messages `0, 1, 2, …` of the whole run, dealt to its connections in turn, are due at even intervals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) per_second: u64,
    pub(super) connections: u32,
}

impl Pace {
    /// How many messages of `connection` are due `elapsed` after the start.
    pub(super) fn due(self, connection: u32, elapsed: Duration) -> u64 {
        // Message k of all is due at k / per_second.
        let all = elapsed.as_nanos() * u128::from(self.per_second) / NANOS + 1;
        let before = u128::from(connection);
        all.saturating_sub(before).div_ceil(u128::from(self.connections)) as u64
    }

    /// How long after the start message `number` of `connection` is due; rounded up, so that [`Pace::due`] agrees.
    pub(super) fn at(self, connection: u32, number: u64) -> Duration {
        let all = u128::from(number) * u128::from(self.connections) + u128::from(connection);
        Duration::from_nanos((all * NANOS).div_ceil(u128::from(self.per_second)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_has_as_many_as_asked_for() {
        let pace = Pace { per_second: 50_000, connections: 16 };
        let just_before = Duration::from_secs(1) - Duration::from_nanos(1);
        assert_eq!((0..16).map(|connection| pace.due(connection, just_before)).sum::<u64>(), 50_000);
    }

    proptest! {
        #[test]
        fn a_message_is_due_at_its_time_and_not_before(
            per_second in 1..10_000_000u64, connections in 1..2000u32, connection in 0..2000u32, number in 0..1_000_000u64,
        ) {
            let pace = Pace { per_second, connections };
            let connection = connection % connections;
            let at = pace.at(connection, number);
            prop_assert!(pace.due(connection, at) > number);
            if let Some(before) = at.checked_sub(Duration::from_nanos(1)) {
                prop_assert!(pace.due(connection, before) <= number);
            }
        }
    }
}
