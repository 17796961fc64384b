//! From one wire format to another.
//!
//! Lives here: [`reframe`], and what becomes of what the other format cannot say. Never here: finding messages in bytes.

use bytes::Bytes;

use super::counted::Header;
use super::line::LINE;
use super::wire::{for_each_payload, frames, joined, slices};
use super::{CR, LF, NUL};
use crate::message::{Framing, Run};

/// The same messages, framed as `to`. Copies nothing if they are framed so already, else encodes them into one buffer.
///
/// One message stays one message. What cannot travel is made to (RFC 6587 section 3.4.2): in a line
/// - an LF at its end, or CRLF, becomes the line's own; so do CRs at its end, which would be read as part of CRLF;
/// - any other LF is sent as a space;
/// - if nothing is left, a single space is sent, since an empty line is no message.
///
/// In a NUL-terminated message each NUL is sent as a space. All other framings take any payload.
///
/// A datagram holds one message. A run of one becomes it, without a copy unless the payload spans head and body. A run of
/// several is left as it is: who sends a datagram a message takes them out of any run with [`frames`] and [`slices`].
pub fn reframe(run: Run, to: Framing) -> Run {
    if run.framing == to {
        return run;
    }
    let body = match to {
        Framing::Line => delimited(&run, push_line),
        Framing::Nul => delimited(&run, push_nul_terminated),
        Framing::Octet => counted(&run, Header::Octet),
        Framing::U32 => counted(&run, Header::U32),
        Framing::Datagram if run.messages > 1 => return run,
        Framing::Datagram => payload_of_one(&run),
    };
    Run { head: Bytes::new(), body, messages: run.messages, framing: to }
}

fn payload_of_one(run: &Run) -> Bytes {
    let payload = frames(run).next().map_or(0..0, |frame| frame.payload);
    let (head, body) = slices(run, payload);
    joined(head, body)
}

fn counted(run: &Run, header: Header) -> Bytes {
    let size = header.size_of_all(run.messages as usize, payload_bytes(run));
    let mut out = Vec::with_capacity(size);
    for_each_payload(run, |payload| {
        header.write(payload.len(), &mut out);
        out.extend_from_slice(payload);
    });
    debug_assert!(out.len() <= size);
    out.into()
}

/// What the payloads are together at most: each but a datagram's has a byte at least around it.
fn payload_bytes(run: &Run) -> usize {
    match run.framing {
        Framing::Datagram => run.wire_len(),
        Framing::Line | Framing::Nul | Framing::Octet | Framing::U32 => {
            run.wire_len() - run.messages as usize
        }
    }
}

fn delimited(run: &Run, push: impl Fn(&[u8], &mut Vec<u8>)) -> Bytes {
    // At most that: what is stripped from a payload only makes room.
    let size = payload_bytes(run) + run.messages as usize;
    let mut out = Vec::with_capacity(size);
    for_each_payload(run, |payload| push(payload, &mut out));
    debug_assert!(out.len() <= size);
    out.into()
}

fn push_line(payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    match LINE.trim(payload.strip_suffix(&[LF]).unwrap_or(payload)) {
        [] => out.push(b' '),
        line => out.extend_from_slice(line),
    }
    blank(&mut out[start..], LF);
    out.push(LF);
    debug_assert_ne!(out[out.len() - 2], CR);
}

fn push_nul_terminated(payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(payload);
    blank(&mut out[start..], NUL);
    out.push(NUL);
}

/// Makes every such byte a space.
fn blank(bytes: &mut [u8], unwanted: u8) {
    for byte in bytes {
        *byte = if *byte == unwanted { b' ' } else { *byte };
    }
}
