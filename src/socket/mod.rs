//! Links: listeners, the connections that come in, and the ones that go out.
//!
//! Lives here: what happens on one link, with its state. Never here: what happens across links (that is `reactor`).

pub mod address;
mod backoff;
pub mod listener;
#[allow(unsafe_code, reason = "SO_ATTACH_FILTER has no safe wrapper")]
pub mod seal;
mod send_queue;
pub mod sink;
pub mod source;
pub mod tcp_info;
