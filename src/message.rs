//! The one value that crosses all layers: a run of whole messages, still in the form in which they travel.
//!
//! Lives here: [`Run`] and the name of the wire format that it is in. Never here: parsing, sockets, counting.

use bytes::{Buf, Bytes};

/// A wire format: how one message is told from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Messages end with LF (RFC 6587 section 3.4.2, "non-transparent framing").
    Line,
    /// `LEN SP MSG` with a decimal length in bytes (RFC 6587 section 3.4.1, "octet counting").
    Octet,
    /// A big-endian length of four bytes, then as many bytes.
    U32,
    /// Messages end with NUL.
    Nul,
    /// Each message is a datagram: a run in this format holds exactly one.
    Datagram,
}

impl Framing {
    /// Every one.
    pub const ALL: [Framing; 5] =
        [Framing::Line, Framing::Octet, Framing::U32, Framing::Nul, Framing::Datagram];

    /// As it is written in an option or a URL.
    pub fn name(self) -> &'static str {
        match self {
            Framing::Line => "line",
            Framing::Octet => "octet",
            Framing::U32 => "u32",
            Framing::Nul => "nul",
            Framing::Datagram => "datagram",
        }
    }
}

/// Whole messages of one source link, in order, framed canonically in `framing`.
///
/// The wire bytes are `head` followed by `body`; at most one message spans the two. `head` is empty unless the first
/// message began in an earlier receive. Both are shared slices: cloning copies no byte.
#[derive(Clone, Debug)]
pub struct Run {
    /// The beginning of the first message, carried over from an earlier receive; often empty.
    pub head: Bytes,
    /// The rest of the first message and all others.
    pub body: Bytes,
    /// How many messages end in this run; at least 1.
    pub messages: u32,
    /// The format in which the bytes are framed.
    pub framing: Framing,
}

impl Run {
    /// Length on the wire, in bytes.
    pub fn wire_len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

impl Run {
    /// Lets go of the first `bytes` wire bytes, in which `messages` end.
    pub fn skip(&mut self, bytes: usize, messages: u32) {
        let from_head = bytes.min(self.head.len());
        self.head.advance(from_head);
        self.body.advance(bytes - from_head);
        self.messages -= messages;
    }
}
