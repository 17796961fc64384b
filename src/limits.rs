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
/// Most that `max_in_flight` may be: beyond any core's memory, and far below where sums of it overflow.
pub const MAX_IN_FLIGHT_MAX: usize = 1 << 40;

/// Connections that one TCP source holds by default; more wait in the kernel's backlog.
pub const MAX_CONNECTIONS_DEFAULT: usize = 65_536;
/// Connections of one source that may be configured: descriptors that one process may open (`fs.nr_open`, proc(5)).
pub const MAX_CONNECTIONS_MAX: usize = 1 << 20;
/// Least `receive_buffer` of a source in bytes; the kernel takes little less (SO_RCVBUF, socket(7)).
pub const RECEIVE_BUFFER_MIN: usize = 4 * 1024;
/// Largest `receive_buffer` of a source in bytes: the kernel doubles it, in an `int`.
pub const RECEIVE_BUFFER_MAX: usize = 512 * 1024 * 1024;
/// Links of one sink per reactor that may be configured.
pub const SINK_CONNECTIONS_MAX: usize = 64;

/// How long a drain may take by default; below systemd's stop timeout of 90 s and Kubernetes' 30 s.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(25);
/// How long a drain reads on from a sender that goes on sending.
pub const LINGER_DEFAULT: Duration = Duration::from_secs(5);
/// Longest that a drain or a linger may be set to: a day. More is a slip of the pen, and could overflow the clock.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Cores that may be asked for, and above every core's number: what a `cpu_set_t` holds (sched_setaffinity(2)).
pub const CORES_MAX: usize = 1024;
/// Longest name that may be given to a source or a sink, in bytes: it stands in every log line about it.
pub const NAME_MAX: usize = 64;

const _: () = assert!(MAX_MESSAGE_DEFAULT <= MAX_MESSAGE_MAX);
const _: () = assert!(MAX_MESSAGE_DEFAULT <= MAX_IN_FLIGHT_MIN / 2);
const _: () =
    assert!(MAX_IN_FLIGHT_MIN <= MAX_IN_FLIGHT_DEFAULT && MAX_IN_FLIGHT_DEFAULT <= MAX_IN_FLIGHT_MAX);
