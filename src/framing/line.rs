//! Lines: messages end with LF (RFC 6587 section 3.4.2).
//!
//! CRLF is accepted. Every CR directly before an LF belongs to the delimiter: were one of several kept, the line would leave with
//! CRLF. One of them is not counted to the line's length. A CR elsewhere, NUL and any other byte are content. Lives here: that rule.
//! Never here: the framer (`delimited`).

use super::delimited::Ending;
use super::{CR, LF};
use crate::message::Framing;

/// LF, and the CRs before it.
#[derive(Debug)]
pub(super) struct Lf;

impl Ending for Lf {
    const BYTE: u8 = LF;
    const FRAMING: Framing = Framing::Line;
    const BEFORE: Option<u8> = Some(CR);

    fn trim(line: &[u8]) -> &[u8] {
        trim_cr(line)
    }
}

/// What is left of a line without the CRs at its end.
pub(super) fn trim_cr(line: &[u8]) -> &[u8] {
    let content = line.iter().rposition(|&byte| byte != CR).map_or(0, |last| last + 1);
    &line[..content]
}
