//! A reactor's books: what came in, what became of it, and what is still in flight.
//!
//! Lives here: [`Published`], the figures that the other threads may read. Never here: I/O, clocks, sockets.

mod published;

pub use published::{Published, Snapshot, Totals, all_drained};

/// The atomics of [`published`], named here so that `tests/model.rs` can put loom's in their place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// One line of cache: no reactor's publication slows down another's.
const _: () = assert!(size_of::<Published>() == 64 && align_of::<Published>() == 64);
