//! The text that makes a message one of a kind: run, connection, sequence; and, of a paced message that has room for it, when it
//! was due.
//!
//! Lives here: its layout, writing and finding it. Never here: framing, padding, what a gap means.
//!
//! ```text
//! <14>slackload run=1f00c0de conn=000017 seq=0000000042 xxxx…
//! <14>slackload run=1f00c0de conn=000017 seq=0000000042 due=0000123456789012345 xxxx…
//! ```

use memchr::memmem;

const MARK: &[u8] = b"slackload run=";
const PRIORITY: &[u8] = b"<14>";
const BLANK: &[u8; Stamp::LEN] = b"<14>slackload run=........ conn=...... seq=..........";

const RUN: usize = PRIORITY.len() + MARK.len();
const RUN_DIGITS: usize = 8;
const CONNECTION: usize = RUN + RUN_DIGITS + b" conn=".len();
const CONNECTION_DIGITS: usize = 6;
const SEQUENCE: usize = CONNECTION + CONNECTION_DIGITS + b" seq=".len();
const SEQUENCE_DIGITS: usize = 10;
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

impl Stamp {
    /// Length of the text in bytes, and so of the shortest message.
    pub const LEN: usize = SEQUENCE + SEQUENCE_DIGITS;
    /// Length with the moment at which the message was due.
    pub(super) const LEN_WITH_DUE: usize = DUE + DUE_DIGITS;
    /// Connections that can be told apart.
    pub const CONNECTIONS: u32 = 10u32.pow(CONNECTION_DIGITS as u32);
    /// Messages of a connection that can be told apart.
    pub const SEQUENCES: u64 = 10u64.pow(SEQUENCE_DIGITS as u32);

    /// Writes the text over the first [`Stamp::LEN`] bytes of `message`, which must have as many.
    pub fn write_into(&self, message: &mut [u8]) {
        message[..Self::LEN].copy_from_slice(BLANK);
        write_hex(&mut message[RUN..RUN + RUN_DIGITS], self.run);
        Self::patch_connection(message, self.connection);
        Self::patch_sequence(message, self.sequence);
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

    /// Reads when the message was due, if that stands in what [`Stamp::find`] found: the message from its mark on.
    pub(super) fn due(marked: &[u8]) -> Option<u64> {
        let (word, digits) = marked.get(Self::LEN - PRIORITY.len()..)?.split_at_checked(DUE_WORD.len())?;
        read_decimal(digits.get(..DUE_DIGITS).filter(|_| word == DUE_WORD)?)
    }

    /// Reads the stamp of `message`, also when a relay has put a header of its own before it.
    pub fn parse(message: &[u8]) -> Option<Self> {
        Self::find(message).map(|(_, stamp)| stamp)
    }

    /// The stamp of `message`, and how many bytes there are from its mark to the end of the message.
    pub(super) fn find(message: &[u8]) -> Option<(usize, Self)> {
        let mark = mark_position(message)?;
        let text = &message[mark..];
        // From here all positions count from the mark.
        let field = |at: usize, digits: usize| text.get(at - PRIORITY.len()..at - PRIORITY.len() + digits);
        let stamp = Self {
            run: read_hex(field(RUN, RUN_DIGITS)?)?,
            connection: read_decimal(field(CONNECTION, CONNECTION_DIGITS)?)? as u32,
            sequence: read_decimal(field(SEQUENCE, SEQUENCE_DIGITS)?)?,
        };
        let literals = field(RUN + RUN_DIGITS, 6)? == b" conn=" && field(SEQUENCE - 5, 5)? == b" seq=";
        let ends = text.get(Self::LEN - PRIORITY.len()).is_none_or(|&next| next == b' ');
        (literals && ends).then_some((text.len(), stamp))
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
    digits.iter().try_fold(0, |value, &byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + u64::from(digit))
    })
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
        assert_eq!(message, b"<14>slackload run=1f00c0de conn=000017 seq=0000000042");
    }

    #[test]
    fn a_header_before_the_stamp_does_not_hide_it() {
        let stamp = Stamp { run: 1, connection: 2, sequence: 3 };
        let mut message = b"<14>1 2026-01-01T00:00:00Z host - - - - ".to_vec();
        message.extend_from_slice(&text(stamp)[PRIORITY.len()..]);
        message.extend_from_slice(b" xxxx");
        assert_eq!(Stamp::find(&message), Some((Stamp::LEN - PRIORITY.len() + 5, stamp)));
    }

    #[test]
    fn a_moment_stands_behind_the_stamp() {
        let mut message = vec![b'x'; Stamp::LEN_WITH_DUE + 3];
        let stamp = Stamp { run: 1, connection: 2, sequence: 3 };
        stamp.write_into(&mut message);
        assert_eq!(Stamp::due(&message[PRIORITY.len()..]), None);
        Stamp::patch_due(&mut message, 1234);
        assert!(message.ends_with(b"seq=0000000003 due=0000000000000001234xxx"));
        assert_eq!(Stamp::parse(&message), Some(stamp));
        assert_eq!(Stamp::due(&message[PRIORITY.len()..]), Some(1234));
        assert_eq!(Stamp::due(&message[PRIORITY.len()..Stamp::LEN_WITH_DUE - 1]), None, "cut short");
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
        assert_eq!(Stamp::parse(&[&good[..], b"7"].concat()), None);
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
