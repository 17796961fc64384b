//! Starts what the tests need and ends it again, whatever happens.
//!
//! Lives here: processes and waiting for conditions. Never here: assertions about a behaviour.

pub mod relay;

use std::time::{Duration, Instant};

/// No step of any test takes this long; only a hang does.
pub const HANG: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; for what has no event to wait for (a figure in /proc, a line in another's file).
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
