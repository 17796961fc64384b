//! Every bound in one place, each with its reason. Sums that depend on each other are checked when compiled.
//!
//! Lives here: constants only. Never here: what a user may set (that is `config`, whose defaults are taken from here).

use std::time::Duration;

/// Longest message by default, in bytes of payload; what syslog receivers commonly take (rsyslog: 8 KiB, syslog-ng: 64 KiB).
pub const MAX_MESSAGE_DEFAULT: usize = 64 * 1024;
/// Longest message that may be configured, in bytes: one must fit many times into the smallest in-flight bound.
pub const MAX_MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// Most digits of an octet count. Nine reach 1 GB; a tenth is garbage or an attack, never a message.
pub const OCTET_COUNT_DIGITS: usize = 9;

/// Received and not yet settled bytes per core by default.
pub const MAX_IN_FLIGHT_DEFAULT: usize = 64 * 1024 * 1024;
/// Least that `max_in_flight` may be: a few dozen receive buffers, or nothing would flow.
pub const MAX_IN_FLIGHT_MIN: usize = 1024 * 1024;

/// Connections that one TCP source holds by default; more wait in the kernel's backlog.
pub const MAX_CONNECTIONS_DEFAULT: usize = 65_536;
/// Links of one sink per reactor that may be configured.
pub const SINK_CONNECTIONS_MAX: usize = 64;

/// How long a drain may take by default; below systemd's stop timeout of 90 s and Kubernetes' 30 s.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(25);
/// How long a drain reads on from a sender that goes on sending.
pub const LINGER_DEFAULT: Duration = Duration::from_secs(5);

/// Threads of the load generator; beyond so many connections they share. More only adds switches between them.
pub const LOAD_THREADS_MAX: u32 = 64;
/// What the load generator hands to one bulk write, in bytes: large enough to hide the call, small enough to stay in the cache.
pub const LOAD_WRITE: usize = 64 * 1024;
/// What the counting sink reads at once, in bytes; a larger message makes its buffer grow.
pub const LOAD_READ: usize = 128 * 1024;
/// How long a load connection waits for its peer (to accept, to read, to acknowledge) before it is given up.
pub const LOAD_PATIENCE_DEFAULT: Duration = Duration::from_secs(30);
/// How long a load connection that was told to stop waits for its message in progress and for the last acknowledgement.
pub const LOAD_STOP_PATIENCE: Duration = Duration::from_secs(2);
