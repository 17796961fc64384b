//! What can be asked of a framed run: where its messages are.
//!
//! Lives here: reading of canonical runs. What comes from a link, and may be anything, is read by the framers.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memrchr};

use super::LF;
use super::octet::Count;
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
        Framing::Line => whole_lines(run, bytes),
        Framing::Octet => whole_frames(run, bytes),
        Framing::U32 | Framing::Nul | Framing::Datagram => unreachable!("no such run yet"),
    }
}

fn whole_lines(run: &Run, bytes: usize) -> Whole {
    let within = &run.body[..bytes.saturating_sub(run.head.len())];
    let Some(last) = memrchr(LF, within) else { return Whole::default() };
    Whole { bytes: run.head.len() + last + 1, messages: memchr_iter(LF, within).count() as u32 }
}

fn whole_frames(run: &Run, bytes: usize) -> Whole {
    let within = frames(run).take_while(|frame| frame.end <= bytes);
    within.fold(Whole::default(), |whole, frame| Whole { bytes: frame.end, messages: whole.messages + 1 })
}

/// Each message of the run without its delimiter, in order. The one that spans head and body is copied.
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

/// Where one message is, in wire bytes from the run's beginning.
///
/// Invariant: payload.start ≤ payload.end ≤ end, the last not in the head.
pub struct Frame {
    /// x
    pub payload: Range<usize>,
    /// x
    pub wire: Range<usize>,
    end: usize,
}
/// x
pub fn slices(run: &Run, range: Range<usize>) -> (bytes::Bytes, bytes::Bytes) {
    let h = run.head.len();
    (
        run.head.slice(range.start.min(h)..range.end.min(h)),
        run.body.slice(range.start.max(h) - h..range.end.max(h) - h),
    )
}

/// Where each message of the run is.
pub fn frames(run: &Run) -> impl Iterator<Item = Frame> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let frame = match run.framing {
            Framing::Line => line_at(run, at),
            Framing::Octet => octet_at(run, at),
            Framing::U32 | Framing::Nul | Framing::Datagram => unreachable!("no such run yet"),
        }?;
        debug_assert!(at < frame.end && frame.end > run.head.len() && frame.end <= run.wire_len());
        at = frame.end;
        Some(frame)
    })
}

fn line_at(run: &Run, at: usize) -> Option<Frame> {
    // The head holds no LF: that would be a message which ended in an earlier receive.
    let from = at.saturating_sub(run.head.len());
    let lf = run.head.len() + from + memchr(LF, &run.body[from..])?;
    Some(Frame { payload: at..lf, wire: at..lf + 1, end: lf + 1 })
}

fn octet_at(run: &Run, at: usize) -> Option<Frame> {
    let count = match at.checked_sub(run.head.len()) {
        Some(from) => Count::read(run.body[from..].iter().copied()),
        None => Count::read(run.head[at..].iter().chain(&run.body).copied()),
    };
    debug_assert!(count.is_ok(), "a run is canonical");
    let count = count.ok()??;
    Some(Frame {
        payload: at + count.header..at + count.frame(),
        wire: at..at + count.frame(),
        end: at + count.frame(),
    })
}
