//! From one wire format to another.

use bytes::Bytes;

use super::counted::Header;
use super::line::trim_cr;
use super::octet::Digits;
use super::u32::BigEndian;
use super::wire::{frames, payloads};
use super::{CR, LF, NUL};
use crate::message::{Framing, Run};

/// The same messages, framed as `to`. Copies nothing if they are framed so already, else encodes them into one buffer.
///
/// One message stays one message. Some payloads hold what cannot travel (RFC 6587 section 3.4.2):
/// - in a line, an LF at its end, or CRLF, becomes the line's own; so do CRs at its end, which would be read as part of CRLF; any
///   other LF is sent as a space;
/// - among NUL-terminated messages, a NUL at its end becomes the message's own, and any other is sent as a space;
/// - if nothing is left, a single space is sent, since an empty message is none.
///
/// To [`Framing::Datagram`] messages are not reframed: each leaves in a datagram of its own, as a part of its run
/// ([`frames`](super::frames), [`slices`](super::slices)). Asked for it, the run stays as it is.
pub fn reframe(run: Run, to: Framing) -> Run {
    if run.framing == to {
        return run;
    }
    let body = match to {
        Framing::Line => delimited(&run, LF, push_line),
        Framing::Nul => delimited(&run, NUL, push_nul),
        Framing::Octet => counted::<Digits>(&run),
        Framing::U32 => counted::<BigEndian>(&run),
        Framing::Datagram => return run,
    };
    Run { head: Bytes::new(), body, messages: run.messages, framing: to }
}

fn counted<H: Header>(run: &Run) -> Bytes {
    let size = frames(run).map(|frame| H::len_of(frame.payload.len()) + frame.payload.len()).sum();
    let mut out = Vec::with_capacity(size);
    for payload in payloads(run) {
        H::write(payload.len(), &mut out);
        out.extend_from_slice(&payload);
    }
    debug_assert_eq!(out.len(), size);
    out.into()
}

fn delimited(run: &Run, delimiter: u8, push: fn(&[u8], &mut Vec<u8>)) -> Bytes {
    // At most that: a payload has at least one byte, and what is stripped from it only makes room.
    let size = frames(run).map(|frame| frame.payload.len() + 1).sum();
    let mut out = Vec::with_capacity(size);
    for payload in payloads(run) {
        push(&payload, &mut out);
        out.push(delimiter);
    }
    debug_assert!(out.len() <= size);
    out.into()
}

fn push_line(payload: &[u8], out: &mut Vec<u8>) {
    push_without(LF, trim_cr(payload.strip_suffix(&[LF]).unwrap_or(payload)), out);
    debug_assert_ne!(out.last(), Some(&CR));
}

fn push_nul(payload: &[u8], out: &mut Vec<u8>) {
    push_without(NUL, payload.strip_suffix(&[NUL]).unwrap_or(payload), out);
}

/// At least one byte, in which `delimiter` is a space.
fn push_without(delimiter: u8, content: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    match content {
        [] => out.push(b' '),
        content => out.extend_from_slice(content),
    }
    for byte in &mut out[start..] {
        *byte = if *byte == delimiter { b' ' } else { *byte };
    }
}
