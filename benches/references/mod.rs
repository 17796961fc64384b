//! Two relays to measure ours beside: what a ring does without messages, and what one writes with tokio in an afternoon.
//!
//! Lives here: programs that forward and do nothing else. Never here: anything that the product uses.

pub mod byte_pipe;
pub mod tokio_relay;
