//! The clock that a generator and a sink in two processes have in common.
//!
//! Lives here: reading it. Never here: what is measured with it.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the system's monotonic clock (CLOCK_MONOTONIC, clock_gettime(2)): the same in every process of one machine.
pub(super) fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
