//! What the relay and its load ask of sockets.
//!
//! Lives here: one file a kind of socket or a question to the kernel. Never here: framing, counting, configuration.

pub mod tcp_info;
