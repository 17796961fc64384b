//! Links: listeners, the connections and datagrams that come in, and the ones that go out.
//!
//! Lives here: what happens on one link, with its state, and the system calls that it takes. Never here: what happens across
//! links (that is `reactor`).

pub mod address;

pub mod descriptors;
#[allow(unsafe_code, reason = "bpf(2), SO_ATTACH_BPF and SO_ATTACH_FILTER have no safe wrappers")]
pub mod filter;
mod linux;
pub mod listener;
pub mod seal;
mod send_queue;
pub mod sink;
pub mod socket_file;
pub mod source;
pub mod tcp_info;
pub mod window;
