//! Messages that are preceded by their length: what octet counts and four-byte lengths have in common.
//!
//! Lives here: following the lengths, what is unfinished, what is too long. Never here: how a length is written.

use std::mem;
use std::ops::Range;

use bytes::{Buf, Bytes};

use super::{Bounds, FramingError, Oversize, Tally, hold, octet, u32_length};
use crate::message::{Framing, Run};

/// A length, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Bytes of payload; 0 where there is no message.
    pub(super) len: usize,
    /// Bytes of the length itself.
    pub(super) header: usize,
}

impl Count {
    /// Bytes of the whole frame.
    pub(super) fn frame(self) -> usize {
        self.header + self.len
    }
}

/// How the length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// `LEN SP`, in decimal.
    Octet,
    /// Four bytes, big-endian.
    U32,
}

impl Header {
    pub(super) fn framing(self) -> Framing {
        match self {
            Header::Octet => Framing::Octet,
            Header::U32 => Framing::U32,
        }
    }

    /// The longest, in bytes.
    fn most(self) -> usize {
        match self {
            Header::Octet => octet::HEADER_MAX,
            Header::U32 => u32_length::HEADER,
        }
    }

    /// Reads one from where a frame begins. `None`: it goes on beyond these bytes, and is good so far.
    pub(super) fn read(self, bytes: impl Iterator<Item = u8> + Clone) -> Result<Option<Count>, FramingError> {
        match self {
            Header::Octet => octet::read(bytes),
            Header::U32 => u32_length::read(bytes),
        }
    }

    /// Writes that of a payload of `len` bytes.
    pub(super) fn write(self, len: usize, out: &mut Vec<u8>) {
        match self {
            Header::Octet => octet::write(len, out),
            Header::U32 => u32_length::write(len, out),
        }
    }

    /// What so many messages with so many bytes of payload take at most, with their headers. Of decimal ones that is where all are
    /// equally long, since the logarithm is concave; it is too much by less than a byte each then.
    pub(super) fn size_of_all(self, messages: usize, payload: usize) -> usize {
        match self {
            Header::Octet => payload + octet::headers_of_all(messages, payload),
            Header::U32 => payload + messages * u32_length::HEADER,
        }
    }
}

/// What the next byte of the input belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    /// A length; the carry holds its first bytes, or nothing at a boundary.
    Count,
    /// A frame that is relayed as it is; the carry holds its beginning.
    Frame { missing: usize },
    /// The payload of an oversized frame; the carry holds the frame that is relayed for it, or nothing if it is dropped.
    Excess { keep: usize, skip: usize },
}

/// The unfinished frame.
///
/// Invariant: carry + what is still to be kept ≤ longest header + max_message, and something is still to come of a pending
/// frame.
#[derive(Debug)]
pub(super) struct CountedFramer {
    header: Header,
    bounds: Bounds,
    pub(super) carry: Vec<u8>,
    pending: Pending,
    pub(super) tally: Tally,
}

impl CountedFramer {
    pub(super) fn new(header: Header, bounds: Bounds) -> CountedFramer {
        CountedFramer { header, bounds, carry: Vec::new(), pending: Pending::Count, tally: Tally::default() }
    }

    pub(super) fn is_at_boundary(&self) -> bool {
        self.carry.is_empty() && self.pending == Pending::Count
    }

    pub(super) fn feed(&mut self, input: Bytes, runs: &mut Vec<Run>) -> Result<(), FramingError> {
        let mut found = Found::default();
        let fed = self.advance(&input, &mut found);
        found.push_into(self.header.framing(), input, runs);
        fed
    }

    /// Whether a frame was left torn.
    pub(super) fn finish(&mut self) -> bool {
        let torn = !self.is_at_boundary();
        self.carry = Vec::new();
        self.pending = Pending::Count;
        torn
    }

    /// Takes a datagram at a boundary; returns whether it left a frame torn.
    pub(super) fn feed_datagram(
        &mut self,
        datagram: Bytes,
        cut: bool,
        runs: &mut Vec<Run>,
    ) -> Result<bool, FramingError> {
        self.feed(datagram, runs)?;
        Ok(self.finish() || cut)
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
        match self.header.read(self.carry.iter().chain(rest).copied())? {
            None => {
                hold(&mut self.carry, rest, self.header.most());
                Ok(input.len())
            }
            Some(count) if count.len == 0 => Ok(self.begin_payload(count, at)),
            Some(count) if count.len <= self.bounds.max_message => {
                self.pending = Pending::Frame { missing: count.frame() - self.carry.len() };
                Ok(at)
            }
            Some(count) => self.exceed(count, at),
        }
    }

    /// Where the frames end that begin at `at` and are whole, not empty and within bounds, and how many they are.
    fn whole_frames(&self, input: &[u8], mut at: usize) -> (usize, u32) {
        let mut frames = 0;
        while let Ok(Some(count)) = self.header.read(input[at..].iter().copied()) {
            let fits = (1..=self.bounds.max_message).contains(&count.len);
            if !fits || count.frame() > input.len() - at {
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

    /// Lets go of a length that is not relayed; returns where its payload begins.
    fn begin_payload(&mut self, count: Count, at: usize) -> usize {
        let payload = at + count.header - self.carry.len();
        self.carry.clear();
        payload
    }

    /// A length above the bound; returns where its payload begins.
    fn exceed(&mut self, count: Count, at: usize) -> Result<usize, FramingError> {
        let (len, max) = (count.len, self.bounds.max_message);
        let payload = self.begin_payload(count, at);
        let keep = match self.bounds.oversize {
            Oversize::Close => return Err(FramingError::Oversize { len, max }),
            Oversize::Drop => 0,
            Oversize::Truncate => {
                self.header.write(max, &mut self.carry);
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

    /// The oversized frame ends here: relay what was held in its place, if anything.
    fn end_excess(&mut self, input: &[u8], found: &mut Found) {
        let held = mem::take(&mut self.carry);
        self.pending = Pending::Count;
        if held.is_empty() {
            self.tally.dropped += 1;
        } else {
            self.tally.truncated += 1;
            found.replace(input, &held);
        }
    }

    fn is_consistent(&self) -> bool {
        let most = self.header.most() + self.bounds.max_message;
        match self.pending {
            Pending::Count => self.carry.len() < self.header.most(),
            Pending::Frame { missing } => missing > 0 && self.carry.len() + missing <= most,
            Pending::Excess { keep, skip } => keep + skip > 0 && self.carry.len() + keep <= most,
        }
    }
}

/// The whole frames of one input.
///
/// As long as every frame is relayed as it came, and nothing that is skipped lies between two, they are `head` and then `shared`
/// of the input; from the first that is not, all of them are in `owned`.
#[derive(Default)]
struct Found {
    head: Vec<u8>,
    shared: Range<usize>,
    owned: Option<Vec<u8>>,
    messages: u32,
}

impl Found {
    /// Frames that are relayed as they came; the first began with `head`.
    fn share(&mut self, head: Vec<u8>, input: &[u8], frames: Range<usize>, messages: u32) {
        // What is carried belongs to the first frame that ends in an input.
        debug_assert!(head.is_empty() || (frames.start == 0 && self.messages == 0));
        if messages == 0 {
            return;
        }
        if self.messages == 0 {
            (self.head, self.shared) = (head, frames);
        } else if self.owned.is_none() && self.shared.end == frames.start {
            self.shared.end = frames.end;
        } else {
            self.own(input).extend_from_slice(&input[frames]);
        }
        self.messages += messages;
    }

    /// A frame that is relayed in another form than it came.
    fn replace(&mut self, input: &[u8], frame: &[u8]) {
        self.own(input).extend_from_slice(frame);
        self.messages += 1;
    }

    /// The frames so far, copied if they were shared.
    fn own(&mut self, input: &[u8]) -> &mut Vec<u8> {
        self.owned.get_or_insert_with(|| {
            let mut owned = Vec::with_capacity(self.head.len() + input.len());
            owned.extend_from_slice(&self.head);
            owned.extend_from_slice(&input[self.shared.clone()]);
            owned
        })
    }

    fn push_into(self, framing: Framing, mut input: Bytes, runs: &mut Vec<Run>) {
        if self.messages == 0 {
            return;
        }
        let (head, body) = match self.owned {
            Some(owned) => (Bytes::new(), owned.into()),
            None => {
                input.truncate(self.shared.end);
                input.advance(self.shared.start);
                (self.head.into(), input)
            }
        };
        runs.push(Run { head, body, messages: self.messages, framing });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_count_is_read_back() {
        for header in [Header::Octet, Header::U32] {
            for len in [1, 9, 10, 99, 100, 65_536, 16 * 1024 * 1024] {
                let mut bytes = Vec::new();
                header.write(len, &mut bytes);
                assert!((bytes.len() + len..=bytes.len() + len + 1).contains(&header.size_of_all(1, len)));
                let read = header.read(bytes.iter().copied());
                assert_eq!(read, Ok(Some(Count { len, header: bytes.len() })));
                assert_eq!(header.read(bytes[..bytes.len() - 1].iter().copied()), Ok(None));
            }
        }
    }

    #[test]
    fn counts_are_written_as_their_formats_say() {
        for (header, expected) in [(Header::Octet, &b"65793 "[..]), (Header::U32, b"\0\x01\x01\x01")] {
            let mut bytes = Vec::new();
            header.write(65_793, &mut bytes);
            assert_eq!(bytes, expected);
        }
    }
}
