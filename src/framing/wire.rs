//! What can be asked of a framed run: where its messages are.
//!
//! Lives here: reading of canonical runs. Never here: reading of what comes from a link and may be anything, which the framers do.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memrchr};

use super::counted::Header;
use super::{LF, NUL};
use crate::message::{Framing, Run};

/// Whole messages at the beginning of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// Their length on the wire, in bytes.
    pub bytes: usize,
    /// How many they are.
    pub messages: u32,
}

/// How many whole messages of the run lie within its first `bytes` wire bytes, and how many wire bytes those are.
pub fn whole_prefix(run: &Run, bytes: usize) -> Whole {
    if bytes >= run.wire_len() {
        return Whole { bytes: run.wire_len(), messages: run.messages };
    }
    match run.framing {
        Framing::Line => whole_delimited(run, LF, bytes),
        Framing::Nul => whole_delimited(run, NUL, bytes),
        Framing::Octet | Framing::U32 => whole_counted(run, bytes),
        Framing::Datagram => Whole::default(),
    }
}

fn whole_delimited(run: &Run, end: u8, bytes: usize) -> Whole {
    let within = &run.body[..bytes.saturating_sub(run.head.len())];
    let Some(last) = memrchr(end, within) else { return Whole::default() };
    Whole { bytes: run.head.len() + last + 1, messages: memchr_iter(end, within).count() as u32 }
}

fn whole_counted(run: &Run, bytes: usize) -> Whole {
    let within = frames(run).take_while(|frame| frame.wire.end <= bytes);
    within
        .fold(Whole::default(), |whole, frame| Whole { bytes: frame.wire.end, messages: whole.messages + 1 })
}

/// Each message of the run without its delimiter, count or length, in order. The one that spans head and body is copied.
pub fn payloads(run: &Run) -> impl Iterator<Item = Cow<'_, [u8]>> {
    frames(run).map(|frame| payload(run, frame.payload))
}

/// The same, to be looked at one after another: the fastest way through a run.
pub fn for_each_payload(run: &Run, mut each: impl FnMut(&[u8])) {
    match run.framing {
        Framing::Line => for_each_delimited(run, LF, each),
        Framing::Nul => for_each_delimited(run, NUL, each),
        Framing::Octet | Framing::U32 | Framing::Datagram => payloads(run).for_each(|payload| each(&payload)),
    }
}

fn for_each_delimited(run: &Run, end: u8, mut each: impl FnMut(&[u8])) {
    let mut begin = 0;
    for at in memchr_iter(end, &run.body) {
        match begin == 0 && !run.head.is_empty() {
            true => each(&[&run.head, &run.body[..at]].concat()),
            false => each(&run.body[begin..at]),
        }
        begin = at + 1;
    }
}

fn payload(run: &Run, at: Range<usize>) -> Cow<'_, [u8]> {
    let (in_head, in_body) = parts(run, at);
    match (in_head.is_empty(), in_body.is_empty()) {
        (true, _) => Cow::Borrowed(&run.body[in_body]),
        (false, true) => Cow::Borrowed(&run.head[in_head]),
        (false, false) => Cow::Owned([&run.head[in_head], &run.body[in_body]].concat()),
    }
}

/// The two pieces of a run that make up these wire bytes, of its head and of its body, in this order; either may be empty.
/// They share the run's bytes and keep them alive; nothing is copied.
///
/// # Panics
/// If the range goes beyond the run.
pub fn slices(run: &Run, range: Range<usize>) -> (Bytes, Bytes) {
    let (in_head, in_body) = parts(run, range);
    (run.head.slice(in_head), run.body.slice(in_body))
}

/// One slice of what may lie in two; copied only then.
pub fn joined(head: Bytes, body: Bytes) -> Bytes {
    if head.is_empty() {
        return body;
    }
    if body.is_empty() {
        return head;
    }
    let mut both = BytesMut::with_capacity(head.len() + body.len());
    both.extend_from_slice(&head);
    both.extend_from_slice(&body);
    both.freeze()
}

/// Which bytes of the head and which of the body these wire bytes are.
fn parts(run: &Run, range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let head = run.head.len();
    let in_head = range.start.min(head)..range.end.min(head);
    let in_body = range.start.saturating_sub(head)..range.end.saturating_sub(head);
    (in_head, in_body)
}

/// Where one message is, in wire bytes from the run's beginning: its head first, then its body.
///
/// Invariant: wire.start ≤ payload.start < payload.end ≤ wire.end, and the last byte on the wire is in the body. One frame
/// begins where the one before it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// All of it, with its delimiter, count or length.
    pub wire: Range<usize>,
    /// Its payload alone; never empty.
    pub payload: Range<usize>,
}

/// Where each message of the run is, in order. [`slices`] gives the bytes without copying them.
pub fn frames(run: &Run) -> impl Iterator<Item = Frame> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let frame = match run.framing {
            Framing::Line => delimited_at(run, LF, at),
            Framing::Nul => delimited_at(run, NUL, at),
            Framing::Octet => counted_at(run, Header::Octet, at),
            Framing::U32 => counted_at(run, Header::U32, at),
            Framing::Datagram => datagram_at(run, at),
        }?;
        let Range { start, end } = frame.wire;
        debug_assert!(start == at && at < end && end > run.head.len() && end <= run.wire_len());
        at = end;
        Some(frame)
    })
}

fn delimited_at(run: &Run, end: u8, at: usize) -> Option<Frame> {
    // The head holds no delimiter: that would be a message which ended in an earlier receive.
    let from = at.saturating_sub(run.head.len());
    let end = run.head.len() + from + memchr(end, &run.body[from..])?;
    Some(Frame { wire: at..end + 1, payload: at..end })
}

fn counted_at(run: &Run, header: Header, at: usize) -> Option<Frame> {
    let count = match at.checked_sub(run.head.len()) {
        Some(from) => header.read(run.body[from..].iter().copied()),
        None => header.read(run.head[at..].iter().chain(&run.body).copied()),
    };
    debug_assert!(count.is_ok(), "a run is canonical");
    let count = count.ok()??;
    let end = at + count.frame();
    Some(Frame { wire: at..end, payload: at + count.header..end })
}

fn datagram_at(run: &Run, at: usize) -> Option<Frame> {
    let rest = at..run.wire_len();
    (!rest.is_empty()).then(|| Frame { wire: rest.clone(), payload: rest })
}
