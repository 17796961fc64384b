//! Octet counts or lines, told by the first byte, as syslog receivers do (rsyslog's imtcp, syslog-ng's `syslog()` source).
//!
//! A syslog line begins with `<`, an octet count with a digit; what begins with neither is a line too.
//!
//! Lives here: that choice, made once for a connection and anew for each datagram. Never here: what follows it.

use crate::message::Framing;

/// How the messages are framed whose first byte is `first`.
pub(super) fn framing_of(first: u8) -> Framing {
    if first.is_ascii_digit() { Framing::Octet } else { Framing::Line }
}
