//! Wire formats: bytes in, runs of whole messages out.
//!
//! Lives here: what tells one message from the next, one file a format. Never here: I/O, clocks, counters of the ledger.

/// What happens to a message that is longer than `max_message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// Its first `max_message` bytes are relayed, the rest is skipped.
    Truncate,
    /// It is skipped and counted as failed.
    Drop,
    /// Its connection is closed.
    Close,
}
