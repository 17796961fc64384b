//! Links: listeners, the connections and datagrams that come in, and the ones that go out.
//!
//! Lives here: what happens on one link, with its state, and the system calls that it takes. Never here: what happens across
//! links (that is `reactor`).

pub mod address;

pub mod descriptors;
mod linux;
pub mod listener;
#[allow(unsafe_code, reason = "SO_ATTACH_FILTER has no safe wrapper")]
pub mod seal;
mod send_queue;
pub mod sink;
pub mod socket_file;
pub mod source;
pub mod tcp_info;
