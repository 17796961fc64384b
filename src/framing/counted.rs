//! Messages with their length before them: what octet counting and binary lengths have in common.
//!
//! Lives here: the framer, over any [`Header`]. Never here: how a length is written (`octet`, `u32`).

use std::marker::PhantomData;
use std::mem;
use std::ops::Range;

use bytes::Bytes;

use super::{Bounds, FramingError, Oversize, Tally, hold};
use crate::message::{Framing, Run};

/// How a length is written.
pub(super) trait Header {
    /// The format whose messages have it.
    const FRAMING: Framing;
    /// The longest, in bytes.
    const MAX: usize;

    /// Reads it from where a frame begins. `None`: it goes on beyond these bytes, and is good so far.
    fn read(bytes: impl Iterator<Item = u8> + Clone) -> Result<Option<Count>, FramingError>;

    /// Writes that of a payload of `len` bytes.
    fn write(len: usize, out: &mut Vec<u8>);

    /// Bytes of that of a payload of `len` bytes.
    fn len_of(len: usize) -> usize;
}

/// A length, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Bytes of payload.
    pub(super) len: usize,
    /// Bytes of the header itself.
    pub(super) header: usize,
}

impl Count {
    /// Bytes of the whole frame.
    pub(super) fn frame(self) -> usize {
        self.header + self.len
    }
}

/// What the next byte of the input belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    /// A header; the carry holds its first bytes, or nothing at a boundary.
    Count,
    /// A frame that is relayed as it is; the carry holds its beginning.
    Frame { missing: usize },
    /// The payload of an oversized frame; the carry holds the frame that is relayed for it, or nothing if it is dropped.
    Excess { keep: usize, skip: usize },
}

/// The unfinished frame.
///
/// Invariant: carry + what is still to be kept ≤ header + max_message, and something is still to come of a pending frame.
#[derive(Debug)]
pub(super) struct Counted<H> {
    header: PhantomData<H>,
    bounds: Bounds,
    pub(super) carry: Vec<u8>,
    pending: Pending,
    pub(super) tally: Tally,
}

impl<H: Header> Counted<H> {
    pub(super) fn new(bounds: Bounds) -> Counted<H> {
        Counted {
            header: PhantomData,
            bounds,
            carry: Vec::new(),
            pending: Pending::Count,
            tally: Tally::default(),
        }
    }

    pub(super) fn is_at_boundary(&self) -> bool {
        self.carry.is_empty() && self.pending == Pending::Count
    }

    pub(super) fn feed(&mut self, input: Bytes, runs: &mut Vec<Run>) -> Result<(), FramingError> {
        let mut found = Found::default();
        let fed = self.advance(&input, &mut found);
        found.push_into(input, H::FRAMING, runs);
        fed
    }

    /// Whether a frame was left torn.
    pub(super) fn finish(&mut self) -> bool {
        let torn = !self.is_at_boundary();
        self.carry = Vec::new();
        self.pending = Pending::Count;
        torn
    }

    fn advance(&mut self, input: &[u8], found: &mut Found) -> Result<(), FramingError> {
        let mut at = 0;
        while at < input.len() {
            at = match self.pending {
                Pending::Count => self.take_count(input, at, found)?,
                Pending::Frame { missing } => self.take_frame(input, at, missing, found),
                Pending::Excess { keep, skip } => self.take_excess(input, at, keep, skip, found),
            };
            debug_assert!(self.is_consistent());
        }
        Ok(())
    }

    /// Takes all frames that are whole here, then says what the rest is the beginning of.
    fn take_count(&mut self, input: &[u8], mut at: usize, found: &mut Found) -> Result<usize, FramingError> {
        if self.carry.is_empty() {
            let (end, frames) = self.whole_frames(input, at);
            found.share(Vec::new(), input, at..end, frames);
            at = end;
        }
        let rest = &input[at..];
        match H::read(self.carry.iter().chain(rest).copied())? {
            None => {
                hold(&mut self.carry, rest, H::MAX);
                Ok(input.len())
            }
            Some(count) if count.len == 0 => {
                // No message, like an empty line.
                let after = at + count.header - self.carry.len();
                self.carry.clear();
                found.replace(input, &[]);
                Ok(after)
            }
            Some(count) if count.len <= self.bounds.max_message => {
                self.pending = Pending::Frame { missing: count.frame() - self.carry.len() };
                Ok(at)
            }
            Some(count) => self.exceed(count, at),
        }
    }

    /// Where the frames end that begin at `at` and are whole and within bounds, and how many they are.
    fn whole_frames(&self, input: &[u8], mut at: usize) -> (usize, u32) {
        let mut frames = 0;
        while let Ok(Some(count)) = H::read(input[at..].iter().copied()) {
            if count.len == 0 || count.len > self.bounds.max_message || count.frame() > input.len() - at {
                break;
            }
            at += count.frame();
            frames += 1;
        }
        (at, frames)
    }

    /// Takes what there is of a frame that is relayed as it is.
    fn take_frame(&mut self, input: &[u8], at: usize, missing: usize, found: &mut Found) -> usize {
        let rest = &input[at..];
        if rest.len() < missing {
            let most = self.carry.len() + missing;
            hold(&mut self.carry, rest, most);
            self.pending = Pending::Frame { missing: missing - rest.len() };
            return input.len();
        }
        self.pending = Pending::Count;
        found.share(mem::take(&mut self.carry), input, at..at + missing, 1);
        at + missing
    }

    /// A count above the bound; returns where its payload begins.
    fn exceed(&mut self, count: Count, at: usize) -> Result<usize, FramingError> {
        let (len, max) = (count.len, self.bounds.max_message);
        let payload = at + count.header - self.carry.len();
        self.carry.clear();
        let keep = match self.bounds.oversize {
            Oversize::Close => return Err(FramingError::Oversize { len, max }),
            Oversize::Drop => 0,
            Oversize::Truncate => {
                H::write(max, &mut self.carry);
                max
            }
        };
        self.pending = Pending::Excess { keep, skip: len - keep };
        Ok(payload)
    }

    /// Takes what there is of an oversized payload: its beginning is held, the rest is skipped.
    fn take_excess(&mut self, input: &[u8], at: usize, keep: usize, skip: usize, found: &mut Found) -> usize {
        let rest = &input[at..];
        let kept = keep.min(rest.len());
        let skipped = skip.min(rest.len() - kept);
        let most = self.carry.len() + keep;
        hold(&mut self.carry, &rest[..kept], most);
        self.pending = Pending::Excess { keep: keep - kept, skip: skip - skipped };
        if (kept, skipped) == (keep, skip) {
            self.end_excess(input, found);
        }
        at + kept + skipped
    }

    /// The oversized frame ends here: relay what was held in its place.
    fn end_excess(&mut self, input: &[u8], found: &mut Found) {
        let held = mem::take(&mut self.carry);
        found.replace(input, &held);
        self.pending = Pending::Count;
        if held.is_empty() {
            self.tally.dropped += 1;
        } else {
            self.tally.truncated += 1;
        }
    }

    fn is_consistent(&self) -> bool {
        let most = H::MAX + self.bounds.max_message;
        match self.pending {
            Pending::Count => self.carry.len() <= H::MAX,
            Pending::Frame { missing } => missing > 0 && self.carry.len() + missing <= most,
            Pending::Excess { keep, skip } => keep + skip > 0 && self.carry.len() + keep <= most,
        }
    }
}

/// The whole frames of one input.
///
/// As long as every frame is relayed as it came, they are `head` and the input up to `end`; from the first that is not, all of
/// them are in `owned`.
#[derive(Default)]
struct Found {
    head: Vec<u8>,
    end: usize,
    owned: Option<Vec<u8>>,
    messages: u32,
}

impl Found {
    /// Frames that are relayed as they came; the first began with `head`.
    fn share(&mut self, head: Vec<u8>, input: &[u8], frames: Range<usize>, messages: u32) {
        // What is carried belongs to the first frame that ends in an input.
        debug_assert!(head.is_empty() || (frames.start == 0 && self.owned.is_none()));
        self.messages += messages;
        if let Some(owned) = &mut self.owned {
            owned.extend_from_slice(&input[frames]);
            return;
        }
        debug_assert_eq!(self.end, frames.start);
        self.end = frames.end;
        if !head.is_empty() {
            self.head = head;
        }
    }

    /// A frame that is relayed in another form, or with no byte not at all.
    fn replace(&mut self, input: &[u8], frame: &[u8]) {
        let owned = self.owned.get_or_insert_with(|| {
            let mut owned = Vec::with_capacity(self.head.len() + input.len());
            owned.extend_from_slice(&self.head);
            owned.extend_from_slice(&input[..self.end]);
            owned
        });
        owned.extend_from_slice(frame);
        self.messages += u32::from(!frame.is_empty());
    }

    fn push_into(self, mut input: Bytes, framing: Framing, runs: &mut Vec<Run>) {
        if self.messages == 0 {
            return;
        }
        let (head, body) = match self.owned {
            Some(owned) => (Bytes::new(), owned.into()),
            None => {
                input.truncate(self.end);
                (self.head.into(), input)
            }
        };
        runs.push(Run { head, body, messages: self.messages, framing });
    }
}
