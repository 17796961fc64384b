//! Messages that end with NUL, as Python's `SysLogHandler` sends them over TCP. Every other byte is content.
//!
//! Lives here: that rule. Never here: the framer (`delimited`).

use super::delimited::Ending;
use crate::message::Framing;

/// NUL.
#[derive(Debug)]
pub(super) struct Nul;

impl Ending for Nul {
    const BYTE: u8 = 0;
    const FRAMING: Framing = Framing::Nul;
    const BEFORE: Option<u8> = None;

    fn trim(message: &[u8]) -> &[u8] {
        message
    }
}
