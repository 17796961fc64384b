//! How long to wait before the next attempt: exponential, with full jitter, so that many links do not come back in step.
//!
//! Lives here: the arithmetic. Never here: clocks or timers.

use std::time::Duration;

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

    /// A random wait between zero and `shortest * 2^failures`, at most `longest`. Counts one failure more.
    pub fn next(&mut self, longest: Duration) -> Duration {
        let ceiling = self.shortest.saturating_mul(1 << self.failures.min(16)).min(longest);
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
        let longest = Duration::from_secs(5);
        for failures in 0..40_u32 {
            let ceiling = Duration::from_millis(10 * (1 << failures.min(16))).min(longest);
            assert!(backoff.next(longest) <= ceiling);
        }
        backoff.reset();
        assert!(backoff.next(longest) <= Duration::from_millis(10));
    }
}
