//! The text that makes a message one of a kind: run, connection, sequence; how long it is; and, of a paced message that has room for
//! it, when it was due.
//!
//! Lives here: its layout, writing and finding it. Never here: framing, padding, what a gap means.
//!
//! ```text
//! <14>slackload run=1f00c0de 000017 0000000042 00000256 xxxx…
//! <14>slackload run=1f00c0de 000017 0000000042 00000256 due=0000123456789012345 xxxx…
//! ```

use memchr::memmem;

use crate::limits::MAX_MESSAGE_MAX;

const MARK: &[u8] = b"slackload run=";
const PRIORITY: &[u8] = b"<14>";
const BLANK: &[u8; Stamp::LEN] = b"<14>slackload run=........ ...... .......... ........";

const RUN: usize = PRIORITY.len() + MARK.len();
const RUN_DIGITS: usize = 8;
// One blank stands between fields: with words for them, the shortest message would be longer.
const CONNECTION: usize = RUN + RUN_DIGITS + 1;
const CONNECTION_DIGITS: usize = 6;
const SEQUENCE: usize = CONNECTION + CONNECTION_DIGITS + 1;
const SEQUENCE_DIGITS: usize = 10;
const LENGTH: usize = SEQUENCE + SEQUENCE_DIGITS + 1;
const LENGTH_DIGITS: usize = 8;
const _: () = assert!(MAX_MESSAGE_MAX < 10usize.pow(LENGTH_DIGITS as u32), "each length has its digits");
const DUE_WORD: &[u8] = b" due=";
const DUE: usize = Stamp::LEN + DUE_WORD.len();
const DUE_DIGITS: usize = 19;

/// What tells one generated message from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The generator's run; random, so that two runs through one relay do not mix.
    pub run: u32,
    /// The connection within the run, from 0; below [`Stamp::CONNECTIONS`].
    pub connection: u32,
    /// The message within the connection, from 0 without gaps; below [`Stamp::SEQUENCES`].
    pub sequence: u64,
}

/// A message in which a stamp was found, from the stamp's mark on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marked<'a> {
    pub(super) stamp: Stamp,
    text: &'a [u8],
}

/// The length that a message had when it was stamped, in the digits that the stamp has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamped([u8; LENGTH_DIGITS]);

impl Stamp {
    /// Length of the text in bytes, and so of the shortest message.
    pub const LEN: usize = LENGTH + LENGTH_DIGITS;
    /// Length with the moment at which the message was due, in bytes: a paced message that is shorter does not say it.
    pub const LEN_WITH_DUE: usize = DUE + DUE_DIGITS;
    /// Connections that can be told apart.
    pub const CONNECTIONS: u32 = 10u32.pow(CONNECTION_DIGITS as u32);
    /// Messages of a connection that can be told apart.
    pub const SEQUENCES: u64 = 10u64.pow(SEQUENCE_DIGITS as u32);

    /// Writes the text over the first [`Stamp::LEN`] bytes of `message`, which must have as many, and at most [`MAX_MESSAGE_MAX`]. It
    /// must be whole: its length is part of the text.
    pub fn write_into(&self, message: &mut [u8]) {
        let length = message.len() as u64;
        message[..Self::LEN].copy_from_slice(BLANK);
        write_hex(&mut message[RUN..RUN + RUN_DIGITS], self.run);
        Self::patch_connection(message, self.connection);
        Self::patch_sequence(message, self.sequence);
        write_decimal(&mut message[LENGTH..LENGTH + LENGTH_DIGITS], length);
    }

    /// Replaces the connection in a `message` that has a stamp.
    pub(super) fn patch_connection(message: &mut [u8], connection: u32) {
        write_decimal(&mut message[CONNECTION..CONNECTION + CONNECTION_DIGITS], connection.into());
    }

    /// Replaces the sequence in a `message` that has a stamp.
    pub(super) fn patch_sequence(message: &mut [u8], sequence: u64) {
        write_decimal(&mut message[SEQUENCE..SEQUENCE + SEQUENCE_DIGITS], sequence);
    }

    /// Adds when a `message` of at least [`Stamp::LEN_WITH_DUE`] bytes that has a stamp is due, as nanoseconds of the system's
    /// monotonic clock.
    pub(super) fn patch_due(message: &mut [u8], nanos: u64) {
        message[Self::LEN..DUE].copy_from_slice(DUE_WORD);
        write_decimal(&mut message[DUE..Self::LEN_WITH_DUE], nanos);
    }

    /// Reads the stamp of `message`, also when a relay has put a header of its own before it.
    pub fn parse(message: &[u8]) -> Option<Self> {
        Self::find(message).map(|marked| marked.stamp)
    }

    /// The stamp of `message`, and what stands there from its mark on.
    pub(super) fn find(message: &[u8]) -> Option<Marked<'_>> {
        let text = &message[mark_position(message)?..];
        // Of a length that is known, so that no position in it is checked as the program runs; they count from the mark.
        let fields: &[u8; Self::LEN - PRIORITY.len()] = text.first_chunk()?;
        let field = |at: usize, digits: usize| &fields[at - PRIORITY.len()..at - PRIORITY.len() + digits];
        let stamp = Self {
            run: read_hex(field(RUN, RUN_DIGITS))?,
            connection: read_decimal(field(CONNECTION, CONNECTION_DIGITS))? as u32,
            sequence: read_decimal(field(SEQUENCE, SEQUENCE_DIGITS))?,
        };
        let blanks = [CONNECTION, SEQUENCE, LENGTH].iter().all(|&at| field(at - 1, 1) == b" ");
        blanks.then_some(Marked { stamp, text })
    }
}

impl Marked<'_> {
    /// Bytes from the mark to the end of the message.
    pub(super) fn length(&self) -> usize {
        self.text.len()
    }

    /// The length that it had when it was stamped.
    pub(super) fn stamped(&self) -> Stamped {
        let digits = self.text[LENGTH - PRIORITY.len()..].first_chunk();
        Stamped(*digits.expect("a stamp that was found is whole"))
    }

    /// When the message was due, if that stands there.
    pub(super) fn due(&self) -> Option<u64> {
        let (word, digits) =
            self.text.get(Stamp::LEN - PRIORITY.len()..)?.split_at_checked(DUE_WORD.len())?;
        read_decimal(digits.get(..DUE_DIGITS).filter(|_| word == DUE_WORD)?)
    }
}

impl Stamped {
    /// Whether a message that has `length` bytes from its mark to its end is as long as it was.
    pub(super) fn agrees_with(self, length: usize) -> bool {
        read_decimal(&self.0) == Some((PRIORITY.len() + length) as u64)
    }
}

fn mark_position(message: &[u8]) -> Option<usize> {
    // Nothing stands before the priority unless a relay rewrote the message, so the search is the exception.
    match message.get(PRIORITY.len()..) {
        Some(rest) if rest.starts_with(MARK) => Some(PRIORITY.len()),
        Some(_) | None => memmem::find(message, MARK),
    }
}

fn write_decimal(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    debug_assert_eq!(value, 0, "more digits than the stamp has");
}

fn write_hex(digits: &mut [u8], mut value: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn read_decimal(digits: &[u8]) -> Option<u64> {
    // Without a branch for each digit; what is none spoils the value, and then there is no value.
    let (value, is_number) = digits.iter().fold((0u64, true), |(value, is_number), &byte| {
        let digit = byte.wrapping_sub(b'0');
        (value.wrapping_mul(10).wrapping_add(digit.into()), is_number & (digit < 10))
    });
    is_number.then_some(value)
}

fn read_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &byte| Some(value << 4 | char::from(byte).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(stamp: Stamp) -> Vec<u8> {
        let mut message = vec![b'x'; Stamp::LEN];
        stamp.write_into(&mut message);
        message
    }

    #[test]
    fn reads_as_documented() {
        let message = text(Stamp { run: 0x1f00_c0de, connection: 17, sequence: 42 });
        assert_eq!(message, b"<14>slackload run=1f00c0de 000017 0000000042 00000053");
    }

    #[test]
    fn a_header_before_the_stamp_does_not_hide_it() {
        let stamp = Stamp { run: 1, connection: 2, sequence: 3 };
        let mut message = b"<14>1 2026-01-01T00:00:00Z host - - - - ".to_vec();
        message.extend_from_slice(&text(stamp)[PRIORITY.len()..]);
        message.extend_from_slice(b" xxxx");
        let marked = Stamp::find(&message).unwrap();
        assert_eq!((marked.stamp, marked.length()), (stamp, Stamp::LEN - PRIORITY.len() + 5));
    }

    #[test]
    fn a_message_of_another_length_than_its_stamp_says_is_found_and_told() {
        let agrees = |message: &[u8]| {
            let marked = Stamp::find(message).unwrap();
            marked.stamped().agrees_with(marked.length())
        };
        let mut message = [b'x'; 256];
        Stamp { run: 1, connection: 2, sequence: 3 }.write_into(&mut message);
        assert!(agrees(&message));
        assert!(agrees(&[b"<30>header ", &message[PRIORITY.len()..]].concat()), "a header does not count");
        assert!(!agrees(&message[..255]));
        assert!(!agrees(&message[..Stamp::LEN]));
        assert!(!agrees(&[&message[..], b"x"].concat()));
        message[LENGTH] = b'?';
        assert!(!agrees(&message), "no number");
    }

    #[test]
    fn a_moment_stands_behind_the_stamp() {
        let mut message = vec![b'x'; Stamp::LEN_WITH_DUE + 3];
        let stamp = Stamp { run: 1, connection: 2, sequence: 3 };
        stamp.write_into(&mut message);
        let due = |message: &[u8]| Stamp::find(message).and_then(|marked| marked.due());
        assert_eq!(due(&message), None);
        Stamp::patch_due(&mut message, 1234);
        assert!(message.ends_with(b" 0000000003 00000080 due=0000000000000001234xxx"));
        assert_eq!(Stamp::parse(&message), Some(stamp));
        assert_eq!(due(&message), Some(1234));
        assert_eq!(due(&message[..Stamp::LEN_WITH_DUE - 1]), None, "cut short");
    }

    #[test]
    fn what_only_looks_like_a_stamp_is_none() {
        let good = text(Stamp { run: 1, connection: 2, sequence: 3 });
        let cases: [(usize, u8); 4] =
            [(RUN, b'g'), (CONNECTION, b' '), (SEQUENCE - 1, b':'), (SEQUENCE, b'a')];
        for (at, byte) in cases {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(Stamp::parse(&bad), None, "byte {at}");
        }
        assert_eq!(Stamp::parse(&good[..Stamp::LEN - 1]), None);
    }

    proptest! {
        #[test]
        fn round_trip(run: u32, connection in 0..Stamp::CONNECTIONS, sequence in 0..Stamp::SEQUENCES) {
            let stamp = Stamp { run, connection, sequence };
            prop_assert_eq!(Stamp::parse(&text(stamp)), Some(stamp));
        }

        #[test]
        fn any_bytes_are_parsed_without_panic(message: Vec<u8>, cut in 0..Stamp::LEN) {
            let _ = Stamp::parse(&message);
            let tail = &text(Stamp { run: 7, connection: 7, sequence: 7 })[..cut];
            prop_assert_eq!(Stamp::parse(&[&message[..], tail].concat()), None);
        }
    }
}
