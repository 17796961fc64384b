//! Wire formats: bytes in, runs of whole messages out.
//!
//! Lives here: what tells one message from the next, one file a format, and what can be asked of a framed run. Never here: I/O,
//! clocks, counters of the ledger.
//!
//! | framing    | on the wire                          | no message, skipped | what was never a message          |
//! |------------|--------------------------------------|---------------------|-----------------------------------|
//! | `line`     | `payload LF`                         | an empty line       |                                   |
//! | `nul`      | `payload NUL`                        | NUL alone           |                                   |
//! | `octet`    | `LEN SP payload`, LEN in decimal     |                     | a count that begins or goes on wrong |
//! | `u32`      | four bytes of length, then a payload | a length of 0       | a length above [`MAX_MESSAGE_MAX`](crate::limits::MAX_MESSAGE_MAX) |
//! | `datagram` | the payload alone, a datagram each   | an empty datagram   |                                   |
//!
//! Every [`Run`] that leaves is canonical in its framing: as in the table, nothing that is skipped between, no payload empty or
//! longer than `max_message`. Lines never end with CRLF, octet counts and lengths have no second form. A run of `datagram` holds
//! exactly one message: its head is empty, its body is the payload. Any split of the input into pieces gives the same messages,
//! the same tally and the same error.
//!
//! Lines are read generously: CRLF is accepted, empty lines are skipped, and every CR directly before an LF belongs to the
//! delimiter. One of them is not counted to the line's length. Octet counts are read strictly: a first digit 1 to 9, at most
//! [`OCTET_COUNT_DIGITS`](crate::limits::OCTET_COUNT_DIGITS) digits, one SP. [`SourceFraming::Auto`] chooses between these two by
//! the first byte, and has seen nothing of a message before it.
//!
//! The sender's FIN ends a line or a NUL-terminated message; a frame with a length is torn by it. The end of a datagram does the
//! same, for any framing may be used on datagrams: [`Framer::feed_datagram`].
//!
//! A run can be asked where its messages are ([`frames`], [`payloads`], [`slices`], [`whole_prefix`]) and be put into another
//! framing ([`reframe`]).

mod auto;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod checks;
mod counted;
mod datagram;
mod delimited;
#[allow(unsafe_code, reason = "a fetch ahead has no safe function that is stable")]
mod fetch;
mod line;
mod nul;
mod octet;
mod reframe;
mod survey;
#[cfg(test)]
mod tests;
mod u32_length;
mod wire;

use std::mem;

use bytes::Bytes;

use self::counted::{CountedFramer, Header};
use self::datagram::DatagramFramer;
use self::delimited::DelimitedFramer;
pub use self::reframe::reframe;
pub use self::wire::{Frame, Whole, frames, joined, payloads, slices, whole_prefix};
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
    /// Messages of which nothing was relayed: by [`Oversize::Drop`], since what truncation left of a line was only CRs, or since
    /// nothing of them came before a datagram was cut off.
    pub dropped: u32,
}

impl Tally {
    fn plus(self, other: Tally) -> Tally {
        Tally { truncated: self.truncated + other.truncated, dropped: self.dropped + other.dropped }
    }
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
    /// A length of four bytes that no message has, whatever the bounds: the link speaks another protocol.
    #[error("bad length {len}, where no message is longer than {} bytes", crate::limits::MAX_MESSAGE_MAX)]
    BadLength {
        /// The length, in bytes.
        len: u32,
    },
    /// A message exceeds `max_message` and the bounds say [`Oversize::Close`].
    #[error("a message of {len} bytes or more, where {max} are allowed")]
    Oversize {
        /// Its length in bytes as far as it is certain: all of it if it was counted, one too many if it is a line.
        len: usize,
        /// Longest message that is allowed, in bytes.
        max: usize,
    },
    /// A datagram did not fit into what it was received in, and the bounds say [`Oversize::Close`].
    #[error("a datagram was cut off after {received} bytes")]
    Cut {
        /// What came of it, in bytes; at most `max_message` of them belong to the message that was cut.
        received: usize,
    },
}

impl FramingError {
    /// A stable word for counters and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            FramingError::BadCount { .. } => "bad_count",
            FramingError::BadLength { .. } => "bad_length",
            FramingError::Oversize { .. } | FramingError::Cut { .. } => "oversize",
        }
    }
}

/// Finds the messages in what one link receives: [`feed`](Framer::feed) and [`finish`](Framer::finish) for a connection,
/// [`feed_datagram`](Framer::feed_datagram) for a datagram socket; never both.
///
/// It holds at most one unfinished message, copied out of the receive buffers, and of that never more than `max_message` bytes
/// and its delimiter or length, whatever comes.
#[derive(Debug)]
pub struct Framer {
    framing: SourceFraming,
    bounds: Bounds,
    format: Format,
    /// Of formats that are no longer.
    earlier: Tally,
    /// The mistake after which nothing can be read any more.
    spent: Option<FramingError>,
}

#[derive(Debug)]
enum Format {
    /// Told by the first byte, which has not come.
    Undecided,
    Delimited(DelimitedFramer),
    Counted(CountedFramer),
    Datagram(DatagramFramer),
}

impl Format {
    fn new(framing: Framing, bounds: Bounds) -> Format {
        match framing {
            Framing::Line => Format::Delimited(DelimitedFramer::new(&line::LINE, bounds)),
            Framing::Nul => Format::Delimited(DelimitedFramer::new(&nul::NUL_TERMINATED, bounds)),
            Framing::Octet => Format::Counted(CountedFramer::new(Header::Octet, bounds)),
            Framing::U32 => Format::Counted(CountedFramer::new(Header::U32, bounds)),
            Framing::Datagram => Format::Datagram(DatagramFramer::new(bounds)),
        }
    }
}

impl Framer {
    /// A framer at the beginning of a link.
    pub fn new(framing: impl Into<SourceFraming>, bounds: Bounds) -> Framer {
        debug_assert!(bounds.max_message >= 1, "a message has at least one byte");
        let framing = framing.into();
        let format = match framing {
            SourceFraming::Auto => Format::Undecided,
            SourceFraming::Always(framing) => Format::new(framing, bounds),
        };
        Framer { framing, bounds, format, earlier: Tally::default(), spent: None }
    }

    /// Takes the next bytes of the connection and appends what became whole to `runs`: at most one run.
    ///
    /// The run shares `input` where that is canonical already, and owns its bytes where it is not. After an error the
    /// messages before the mistake are in `runs`, the link must be closed, and every further call repeats the error.
    /// [`Framing::Datagram`] has no meaning on a connection; the configuration refuses it there.
    ///
    /// # Errors
    /// Bytes that are no messages of this framing, or a message that is too long where that closes the link.
    pub fn feed(&mut self, input: Bytes, runs: &mut Vec<Run>) -> Result<(), FramingError> {
        if let Some(mistake) = &self.spent {
            return Err(mistake.clone());
        }
        self.decide(&input);
        let fed = match &mut self.format {
            Format::Undecided => Ok(()),
            Format::Delimited(delimited) => delimited.feed(input, runs),
            Format::Counted(counted) => counted.feed(input, runs),
            Format::Datagram(datagram) => {
                debug_assert!(false, "a connection has no datagrams");
                datagram.feed(input, false, runs)
            }
        };
        self.spent = fed.as_ref().err().cloned();
        fed
    }

    /// The sender's FIN. A last line without LF is a message, and so is a last one without NUL. Returns whether something torn
    /// was left: a frame that is not as long as its count or length says. After an error there is neither.
    pub fn finish(&mut self, runs: &mut Vec<Run>) -> bool {
        if self.spent.is_some() {
            return false;
        }
        match &mut self.format {
            Format::Undecided | Format::Datagram(_) => false,
            Format::Delimited(delimited) => {
                delimited.finish(runs);
                false
            }
            Format::Counted(counted) => counted.finish(),
        }
    }

    /// Takes one datagram, which is all of its input: appends its messages to `runs`, at most two runs, and begins anew for the
    /// next. Returns whether something torn was left, as [`finish`](Framer::finish) does.
    ///
    /// `cut` says that the kernel cut its end off (MSG_TRUNC, recv(2)). Its last message is too long then, however little of it
    /// came, and is truncated or dropped, or is an error, as the bounds say; with counts and lengths it is torn, for where it
    /// would have ended is unknown. After an error the messages before the mistake are in `runs`, and the rest of this datagram
    /// is lost; the next one is read as if nothing had been.
    ///
    /// # Errors
    /// As [`feed`](Framer::feed).
    pub fn feed_datagram(
        &mut self,
        datagram: Bytes,
        cut: bool,
        runs: &mut Vec<Run>,
    ) -> Result<bool, FramingError> {
        debug_assert!(self.is_at_boundary() && self.spent.is_none(), "a datagram socket is no connection");
        self.decide(&datagram);
        let torn = match &mut self.format {
            Format::Undecided => Ok(cut),
            Format::Delimited(delimited) => delimited.feed_datagram(datagram, cut, runs).map(|()| false),
            Format::Counted(counted) => counted.feed_datagram(datagram, cut, runs),
            Format::Datagram(one) => one.feed(datagram, cut, runs).map(|()| false),
        };
        self.begin_anew(torn.is_err());
        torn
    }

    /// The first byte decides, where that is left to it.
    fn decide(&mut self, input: &[u8]) {
        if let (Format::Undecided, Some(&first)) = (&self.format, input.first()) {
            self.format = Format::new(auto::framing_of(first), self.bounds);
        }
    }

    /// As at the beginning of a link, but for the tally. A format that read its input to the end is there already.
    fn begin_anew(&mut self, after_mistake: bool) {
        if after_mistake || self.framing == SourceFraming::Auto {
            let earlier = self.take_tally();
            *self = Framer { earlier, ..Framer::new(self.framing, self.bounds) };
        }
        debug_assert!(self.is_at_boundary());
    }

    /// Whether nothing of an unfinished message is held or being skipped. At a seal, anything else is torn.
    pub fn is_at_boundary(&self) -> bool {
        match &self.format {
            Format::Undecided | Format::Datagram(_) => true,
            Format::Delimited(delimited) => delimited.is_at_boundary(),
            Format::Counted(counted) => counted.is_at_boundary(),
        }
    }

    /// Oversized messages that ended since the last call.
    pub fn take_tally(&mut self) -> Tally {
        let now = match &mut self.format {
            Format::Undecided => Tally::default(),
            Format::Delimited(delimited) => mem::take(&mut delimited.tally),
            Format::Counted(counted) => mem::take(&mut counted.tally),
            Format::Datagram(datagram) => mem::take(&mut datagram.tally),
        };
        mem::take(&mut self.earlier).plus(now)
    }

    /// Bytes allocated for the unfinished message.
    #[cfg(any(test, fuzzing))]
    fn held_capacity(&self) -> usize {
        match &self.format {
            Format::Undecided | Format::Datagram(_) => 0,
            Format::Delimited(delimited) => delimited.carry.capacity(),
            Format::Counted(counted) => counted.carry.capacity(),
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
