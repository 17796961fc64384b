//! From one wire format to another.

use bytes::Bytes;

use super::line::trim_cr;
use super::octet::Count;
use super::wire::{frames, payloads};
use super::{CR, LF};
use crate::message::{Framing, Run};

/// The same messages, framed as `to`. Copies nothing if they are framed so already, else encodes them into one buffer.
///
/// One message stays one message. An octet-counted payload may hold what cannot travel in a line (RFC 6587 section 3.4.2), so
/// there
/// - an LF at its end, or CRLF, becomes the line's own; so do CRs at its end, which would be read as part of CRLF;
/// - any other LF is sent as a space;
/// - if nothing is left, a single space is sent, since an empty line is no message.
pub fn reframe(run: Run, to: Framing) -> Run {
    if run.framing == to {
        return run;
    }
    let body = match to {
        Framing::Line => to_lines(&run),
        Framing::Octet => to_octets(&run),
        Framing::U32 | Framing::Nul | Framing::Datagram => unreachable!("no such run yet"),
    };
    Run { head: Bytes::new(), body, messages: run.messages, framing: to }
}

fn to_octets(run: &Run) -> Bytes {
    let size = frames(run).map(|frame| Count::header_of(frame.payload.len()) + frame.payload.len()).sum();
    let mut out = Vec::with_capacity(size);
    for payload in payloads(run) {
        Count::write(payload.len(), &mut out);
        out.extend_from_slice(&payload);
    }
    debug_assert_eq!(out.len(), size);
    out.into()
}

fn to_lines(run: &Run) -> Bytes {
    // At most that: a payload has at least one byte, and what is stripped from it only makes room.
    let size = frames(run).map(|frame| frame.payload.len() + 1).sum();
    let mut out = Vec::with_capacity(size);
    for payload in payloads(run) {
        push_line(&payload, &mut out);
    }
    debug_assert!(out.len() <= size);
    out.into()
}

fn push_line(payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    match trim_cr(payload.strip_suffix(&[LF]).unwrap_or(payload)) {
        [] => out.push(b' '),
        line => out.extend_from_slice(line),
    }
    for byte in &mut out[start..] {
        *byte = if *byte == LF { b' ' } else { *byte };
    }
    out.push(LF);
    debug_assert_ne!(out[out.len() - 2], CR);
}
