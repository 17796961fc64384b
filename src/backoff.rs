//! How long to wait before the next attempt: exponential, with full jitter, so that many links do not come back in step.
//!
//! Lives here: the arithmetic. Never here: clocks or timers.

use std::time::Duration;

use crate::limits::{RECONNECT_MAX, RECONNECT_MAX_DRAINING};

/// How urgent the relay is; a drain cuts waits short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Waits are as long as is polite.
    Steady,
    /// The exit waits for it.
    Hurried,
}

impl Pace {
    /// The pace of whoever is to be quick, or not.
    pub fn of(is_hurried: bool) -> Pace {
        if is_hurried { Pace::Hurried } else { Pace::Steady }
    }

    fn longest_wait(self) -> Duration {
        match self {
            Pace::Steady => RECONNECT_MAX,
            Pace::Hurried => RECONNECT_MAX_DRAINING,
        }
    }
}

/// Counts failed attempts since the last success.
#[derive(Debug)]
pub struct Backoff {
    shortest: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is at most `shortest`.
    pub fn new(shortest: Duration) -> Backoff {
        Backoff { shortest, failures: 0 }
    }

    /// A random wait between zero and `shortest * 2^failures`, at most [`RECONNECT_MAX`], or [`RECONNECT_MAX_DRAINING`] in a hurry. Counts
    /// one failure more.
    pub fn next(&mut self, pace: Pace) -> Duration {
        let ceiling = self.shortest.saturating_mul(1 << self.failures.min(16)).min(pace.longest_wait());
        self.failures += 1;
        ceiling.mul_f64(fastrand::f64())
    }

    /// Failed attempts since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// An attempt succeeded.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_start_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(10));
        for (pace, longest) in [(Pace::Steady, RECONNECT_MAX), (Pace::Hurried, RECONNECT_MAX_DRAINING)] {
            for failures in 0..40_u32 {
                let ceiling = Duration::from_millis(10 * (1 << failures.min(16))).min(longest);
                assert!(backoff.next(pace) <= ceiling);
            }
            backoff.reset();
            assert!(backoff.next(pace) <= Duration::from_millis(10));
            backoff.reset();
        }
    }
}
