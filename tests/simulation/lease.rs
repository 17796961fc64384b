//! A received buffer that the relay holds.
//!
//! Lives here: that it is counted. Never here: how many there may be (`kernel`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A received buffer, counted until it is dropped.
pub struct SimLease {
    bytes: Vec<u8>,
    leased: Arc<AtomicUsize>,
}

impl SimLease {
    pub fn new(bytes: Vec<u8>, leased: &Arc<AtomicUsize>) -> SimLease {
        leased.fetch_add(1, Ordering::Relaxed);
        SimLease { bytes, leased: Arc::clone(leased) }
    }
}

impl AsRef<[u8]> for SimLease {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for SimLease {
    fn drop(&mut self) {
        self.leased.fetch_sub(1, Ordering::Relaxed);
    }
}
