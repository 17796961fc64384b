//! Lines: messages end with LF (RFC 6587 section 3.4.2).
//!
//! CRLF is accepted and empty lines are skipped. Every CR directly before an LF belongs to the delimiter: were one of several
//! kept, the line would leave with CRLF. One of them is not counted to the line's length. A CR elsewhere, NUL and any other
//! byte are content.
//!
//! Lives here: what ends a line. Never here: how it is found.

use super::delimited::Delimiter;
use super::{CR, LF};
use crate::message::Framing;

/// What ends a line.
pub(super) static LINE: Delimiter = Delimiter { framing: Framing::Line, end: LF, lead: Some(CR) };
