//! NUL-terminated messages, as GELF over TCP and glibc's syslog(3) over a stream socket send them.
//!
//! Empty ones are skipped. Any other byte, CR and LF too, is content.
//!
//! Lives here: what ends such a message. Never here: how it is found.

use super::NUL;
use super::delimited::Delimiter;
use crate::message::Framing;

/// What ends a NUL-terminated message.
pub(super) static NUL_TERMINATED: Delimiter = Delimiter { framing: Framing::Nul, end: NUL, lead: None };
