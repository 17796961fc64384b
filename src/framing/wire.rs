//! What can be asked of a framed run: where its messages are.
//!
//! Lives here: reading of canonical runs. What comes from a link, and may be anything, is read by the framers.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memrchr};

use super::counted::Header;
use super::octet::Digits;
use super::u32::BigEndian;
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
        Framing::Line => whole_delimited(run, bytes, LF),
        Framing::Nul => whole_delimited(run, bytes, NUL),
        Framing::Octet | Framing::U32 => whole_frames(run, bytes),
        Framing::Datagram => Whole::default(),
    }
}

fn whole_delimited(run: &Run, bytes: usize, delimiter: u8) -> Whole {
    let within = &run.body[..bytes.saturating_sub(run.head.len())];
    let Some(last) = memrchr(delimiter, within) else { return Whole::default() };
    Whole { bytes: run.head.len() + last + 1, messages: memchr_iter(delimiter, within).count() as u32 }
}

fn whole_frames(run: &Run, bytes: usize) -> Whole {
    let within = frames(run).take_while(|frame| frame.wire.end <= bytes);
    within
        .fold(Whole::default(), |whole, frame| Whole { bytes: frame.wire.end, messages: whole.messages + 1 })
}

/// Each message of the run without its delimiter or count, in order. The one that spans head and body is copied.
pub fn payloads(run: &Run) -> impl Iterator<Item = Cow<'_, [u8]>> {
    frames(run).map(|frame| payload(run, frame.payload))
}

fn payload(run: &Run, at: Range<usize>) -> Cow<'_, [u8]> {
    let head = run.head.len();
    if at.start >= head {
        return Cow::Borrowed(&run.body[at.start - head..at.end - head]);
    }
    let in_head = &run.head[at.start..at.end.min(head)];
    Cow::Owned([in_head, &run.body[..at.end.saturating_sub(head)]].concat())
}

/// The bytes of a run from `range.start` to before `range.end`, in wire bytes from its beginning: those in its head, and those in
/// its body. Either may be empty; nothing is copied.
pub fn slices(run: &Run, range: Range<usize>) -> (Bytes, Bytes) {
    let head = run.head.len();
    let in_head = run.head.slice(range.start.min(head)..range.end.min(head));
    let in_body = run.body.slice(range.start.max(head) - head..range.end.max(head) - head);
    (in_head, in_body)
}

/// Where one message is, in wire bytes from the run's beginning.
///
/// Invariant: wire.start ≤ payload.start ≤ payload.end ≤ wire.end, the last not in the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// All of it, with its delimiter or count.
    pub wire: Range<usize>,
    /// What it says.
    pub payload: Range<usize>,
}

/// Where each message of the run is, in order.
pub fn frames(run: &Run) -> impl Iterator<Item = Frame> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let frame = match run.framing {
            Framing::Line => delimited_at(run, at, LF),
            Framing::Nul => delimited_at(run, at, NUL),
            Framing::Octet => counted_at::<Digits>(run, at),
            Framing::U32 => counted_at::<BigEndian>(run, at),
            Framing::Datagram => datagram_at(run, at),
        }?;
        debug_assert!(
            at < frame.wire.end && frame.wire.end > run.head.len() && frame.wire.end <= run.wire_len()
        );
        at = frame.wire.end;
        Some(frame)
    })
}

fn delimited_at(run: &Run, at: usize, delimiter: u8) -> Option<Frame> {
    // The head holds none: that would be a message which ended in an earlier receive.
    let from = at.saturating_sub(run.head.len());
    let end = run.head.len() + from + memchr(delimiter, &run.body[from..])?;
    Some(Frame { wire: at..end + 1, payload: at..end })
}

fn counted_at<H: Header>(run: &Run, at: usize) -> Option<Frame> {
    let count = match at.checked_sub(run.head.len()) {
        Some(from) => H::read(run.body[from..].iter().copied()),
        None => H::read(run.head[at..].iter().chain(&run.body).copied()),
    };
    debug_assert!(count.is_ok(), "a run is canonical");
    let count = count.ok()??;
    let end = at + count.frame();
    Some(Frame { wire: at..end, payload: at + count.header..end })
}

fn datagram_at(run: &Run, at: usize) -> Option<Frame> {
    let all = 0..run.wire_len();
    (at == 0 && !all.is_empty()).then(|| Frame { wire: all.clone(), payload: all })
}
