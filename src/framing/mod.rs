//! Wire formats: bytes in, runs of whole messages out.
//!
//! Lives here: what tells one message from the next, one file a format, and what can be asked of a framed run. Never here: I/O,
//! clocks, counters of the ledger.
//!
//! Every [`Run`] that leaves is canonical in its framing. Lines are `payload LF`: never CRLF, never empty, never longer than
//! `max_message`. NUL-terminated messages are `payload NUL`, never empty. Octet-counted frames are `LEN SP MSG` without a leading
//! zero; lengths of four bytes never are zero. A datagram is a run of its own, its payload and nothing else. Any split of a stream
//! into pieces gives the same messages, the same tally and the same error.
//!
//! Lines are read generously: CRLF is accepted, empty lines are skipped, and every CR directly before an LF belongs to the
//! delimiter. One of them is not counted to the line's length. Octet counts are read strictly: a first digit 1 to 9, at most
//! [`OCTET_COUNT_DIGITS`](crate::limits::OCTET_COUNT_DIGITS) digits, one SP.

mod counted;
mod datagram;
mod delimited;
mod line;
mod nul;
mod octet;
mod reframe;
#[cfg(test)]
mod tests;
mod u32;
mod wire;

use bytes::Bytes;

use self::counted::Counted;
use self::delimited::Delimited;
use self::line::Lf;
use self::nul::Nul;
use self::octet::Digits;
pub use self::reframe::reframe;
use self::u32::BigEndian;
pub use self::wire::{Frame, Whole, frames, payloads, slices, whole_prefix};
use crate::message::{Framing, Run};

/// The byte that ends a line.
const LF: u8 = b'\n';
/// The byte that may stand before it.
const CR: u8 = b'\r';
/// The byte that ends a NUL-terminated message.
const NUL: u8 = 0;

/// What happens to a message that is longer than `max_message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// Its first `max_message` bytes are relayed, the rest is skipped.
    Truncate,
    /// It is skipped and counted as failed.
    Drop,
    /// Its connection is closed.
    Close,
}

/// How a source's messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFraming {
    /// For each connection by its first byte: a digit means octet counts, anything else lines, as syslog receivers do.
    Auto,
    /// Always so.
    Always(Framing),
}

impl From<Framing> for SourceFraming {
    fn from(framing: Framing) -> SourceFraming {
        SourceFraming::Always(framing)
    }
}

/// How long a message may be, and what happens to a longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Longest message, in bytes of payload; at least 1, at most [`MAX_MESSAGE_MAX`](crate::limits::MAX_MESSAGE_MAX).
    pub max_message: usize,
    /// What happens to a longer one.
    pub oversize: Oversize,
}

/// Oversized messages that ended since they were last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that were relayed without their end.
    pub truncated: u32,
    /// Messages of which nothing was relayed: by [`Oversize::Drop`], or since what truncation left of a line was only CRs.
    pub dropped: u32,
}

/// Input that cannot be told into messages any more: where the next one begins is unknown, or the bounds say to stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Where an octet count must stand (RFC 6587 section 3.4.1), there is something else.
    #[error("bad octet count \"{excerpt}\"")]
    BadCount {
        /// The count up to the first byte that is wrong, escaped to printable ASCII.
        excerpt: String,
    },
    /// Where a length of four bytes must stand, there is one beyond every bound that can be configured.
    #[error("bad length {len}")]
    BadLength {
        /// What was read, in bytes.
        len: usize,
    },
    /// A message exceeds `max_message` and the bounds say [`Oversize::Close`].
    #[error("a message of {len} bytes or more, where {max} are allowed")]
    Oversize {
        /// Its length in bytes as far as it is certain: all of it if it was counted, one too many otherwise.
        len: usize,
        /// Longest message that is allowed, in bytes.
        max: usize,
    },
}

impl FramingError {
    /// A stable word for counters and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            FramingError::BadCount { .. } => "bad_count",
            FramingError::BadLength { .. } => "bad_length",
            FramingError::Oversize { .. } => "oversize",
        }
    }
}

/// Finds the messages in what one link receives.
///
/// It holds at most one unfinished message, copied out of the receive buffers, and of that never more than `max_message` bytes
/// and its delimiter, whatever comes.
#[derive(Debug)]
pub struct Framer {
    framing: SourceFraming,
    bounds: Bounds,
    format: Format,
    /// Oversized messages of datagrams that are over.
    earlier: Tally,
    /// The mistake after which nothing can be read any more.
    spent: Option<FramingError>,
}

#[derive(Debug)]
enum Format {
    /// Nothing came yet that could tell.
    Undecided,
    Line(Delimited<Lf>),
    Nul(Delimited<Nul>),
    Octet(Counted<Digits>),
    U32(Counted<BigEndian>),
    Datagram(datagram::Whole),
}

impl Format {
    fn new(framing: SourceFraming, bounds: Bounds) -> Format {
        match framing {
            SourceFraming::Auto => Format::Undecided,
            SourceFraming::Always(Framing::Line) => Format::Line(Delimited::new(bounds)),
            SourceFraming::Always(Framing::Nul) => Format::Nul(Delimited::new(bounds)),
            SourceFraming::Always(Framing::Octet) => Format::Octet(Counted::new(bounds)),
            SourceFraming::Always(Framing::U32) => Format::U32(Counted::new(bounds)),
            SourceFraming::Always(Framing::Datagram) => Format::Datagram(datagram::Whole::new(bounds)),
        }
    }

    /// By the first byte of a connection (RFC 6587 section 3.4; no syslog message begins with a digit).
    fn told_by(first: u8, bounds: Bounds) -> Format {
        let framing = if first.is_ascii_digit() { Framing::Octet } else { Framing::Line };
        Format::new(framing.into(), bounds)
    }
}

impl Framer {
    /// A framer at the beginning of a link.
    pub fn new(framing: impl Into<SourceFraming>, bounds: Bounds) -> Framer {
        debug_assert!(bounds.max_message >= 1, "a message has at least one byte");
        let framing = framing.into();
        Framer {
            framing,
            bounds,
            format: Format::new(framing, bounds),
            earlier: Tally::default(),
            spent: None,
        }
    }

    /// Takes the next bytes of a stream and appends what became whole to `runs`: at most one run.
    ///
    /// The run shares `input` where that is canonical already, and owns its bytes where it is not. After an error the
    /// messages before the mistake are in `runs`, the link must be closed, and every further call repeats the error.
    pub fn feed(&mut self, input: Bytes, runs: &mut Vec<Run>) -> Result<(), FramingError> {
        if let Some(mistake) = &self.spent {
            return Err(mistake.clone());
        }
        if let (Format::Undecided, Some(first)) = (&self.format, input.first()) {
            self.format = Format::told_by(*first, self.bounds);
        }
        let fed = match &mut self.format {
            Format::Undecided => Ok(()),
            Format::Line(line) => line.feed(input, runs),
            Format::Nul(nul) => nul.feed(input, runs),
            Format::Octet(octet) => octet.feed(input, runs),
            Format::U32(u32) => u32.feed(input, runs),
            // The configuration lets no stream pass for that.
            Format::Datagram(datagram) => datagram.feed(input, false, runs),
        };
        self.spent = fed.as_ref().err().cloned();
        fed
    }

    /// Takes one datagram, all of which is messages, and appends them to `runs`: at most two runs. Whether something torn was left.
    ///
    /// `cut` says that it was longer than what there is of it: then its last message is too long, or torn. After an error
    /// the messages before the mistake are in `runs`, and the next datagram is read as if nothing had been.
    pub fn feed_datagram(
        &mut self,
        datagram: Bytes,
        cut: bool,
        runs: &mut Vec<Run>,
    ) -> Result<bool, FramingError> {
        if let Format::Datagram(whole) = &mut self.format {
            return whole.feed(datagram, cut, runs).map(|()| false);
        }
        let fed = self.feed(datagram, runs).map(|()| self.finish_datagram(cut, runs));
        self.earlier = self.take_tally();
        self.format = Format::new(self.framing, self.bounds);
        self.spent = None;
        fed
    }

    /// The end of a datagram is that of its last message, unless the kernel cut that off.
    fn finish_datagram(&mut self, cut: bool, runs: &mut Vec<Run>) -> bool {
        if cut { !self.is_at_boundary() } else { self.finish(runs) }
    }

    /// The sender's FIN. A last message without its delimiter is one. Returns whether something torn was left: a counted one that is
    /// not whole. After an error there is neither.
    pub fn finish(&mut self, runs: &mut Vec<Run>) -> bool {
        if self.spent.is_some() {
            return false;
        }
        match &mut self.format {
            Format::Undecided | Format::Datagram(_) => false,
            Format::Line(line) => line.finish(runs),
            Format::Nul(nul) => nul.finish(runs),
            Format::Octet(octet) => octet.finish(),
            Format::U32(u32) => u32.finish(),
        }
    }

    /// Whether nothing of an unfinished message is held or being skipped. At a seal, anything else is torn.
    pub fn is_at_boundary(&self) -> bool {
        match &self.format {
            Format::Undecided | Format::Datagram(_) => true,
            Format::Line(line) => line.is_at_boundary(),
            Format::Nul(nul) => nul.is_at_boundary(),
            Format::Octet(octet) => octet.is_at_boundary(),
            Format::U32(u32) => u32.is_at_boundary(),
        }
    }

    /// Oversized messages that ended since the last call.
    pub fn take_tally(&mut self) -> Tally {
        let now = self.tally().map(std::mem::take).unwrap_or_default();
        let earlier = std::mem::take(&mut self.earlier);
        Tally { truncated: earlier.truncated + now.truncated, dropped: earlier.dropped + now.dropped }
    }

    fn tally(&mut self) -> Option<&mut Tally> {
        match &mut self.format {
            Format::Undecided => None,
            Format::Line(line) => Some(&mut line.tally),
            Format::Nul(nul) => Some(&mut nul.tally),
            Format::Octet(octet) => Some(&mut octet.tally),
            Format::U32(u32) => Some(&mut u32.tally),
            Format::Datagram(datagram) => Some(&mut datagram.tally),
        }
    }

    /// Bytes allocated for the unfinished message.
    #[cfg(test)]
    fn held_capacity(&self) -> usize {
        match &self.format {
            Format::Undecided | Format::Datagram(_) => 0,
            Format::Line(line) => line.carry.capacity(),
            Format::Nul(nul) => nul.carry.capacity(),
            Format::Octet(octet) => octet.carry.capacity(),
            Format::U32(u32) => u32.carry.capacity(),
        }
    }
}

/// Appends to the beginning of an unfinished message. Grows with what arrives, not with what was announced, and never past
/// `most` bytes.
fn hold(carry: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let needed = carry.len() + bytes.len();
    debug_assert!(needed <= most);
    if needed > carry.capacity() {
        let grown = needed.max(2 * carry.capacity()).min(most);
        carry.reserve_exact(grown - carry.len());
    }
    carry.extend_from_slice(bytes);
}
