//! Wire formats: bytes in, runs of whole messages out.
//!
//! Lives here: what tells one message from the next, one file a format. Never here: I/O, clocks, counters of the ledger.
