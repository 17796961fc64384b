//! Octet counting: `LEN SP MSG`, LEN in decimal and in bytes (RFC 6587 section 3.4.1).
//!
//! LEN begins with 1 to 9 and has at most [`OCTET_COUNT_DIGITS`] digits; exactly one SP follows. Anything else is a bad count,
//! noticed at its first wrong byte, wherever the input is split. Lives here: LEN SP. Never here: the framer (`counted`).

use super::FramingError;
use super::counted::{Count, Header};
use crate::limits::OCTET_COUNT_DIGITS;
use crate::message::Framing;

/// `LEN SP`.
#[derive(Debug)]
pub(super) struct Digits;

impl Header for Digits {
    const FRAMING: Framing = Framing::Octet;
    const MAX: usize = OCTET_COUNT_DIGITS + 1;

    fn read(bytes: impl Iterator<Item = u8> + Clone) -> Result<Option<Count>, FramingError> {
        let mut len = 0;
        for (digits, byte) in bytes.clone().enumerate().take(Self::MAX) {
            match byte {
                b' ' if digits > 0 => return Ok(Some(Count { len, header: digits + 1 })),
                b'0' if digits == 0 => return Err(bad_count(bytes, 1)),
                b'0'..=b'9' if digits < OCTET_COUNT_DIGITS => len = len * 10 + usize::from(byte - b'0'),
                _ => return Err(bad_count(bytes, digits + 1)),
            }
        }
        Ok(None)
    }

    fn write(len: usize, out: &mut Vec<u8>) {
        let header = Self::len_of(len);
        out.resize(out.len() + header, b' ');
        let mut rest = len;
        for digit in out.iter_mut().rev().skip(1).take(header - 1) {
            // Below ten, so it fits.
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }

    fn len_of(len: usize) -> usize {
        len.checked_ilog10().unwrap_or(0) as usize + 2
    }
}

#[cold]
fn bad_count(bytes: impl Iterator<Item = u8>, wrong_at: usize) -> FramingError {
    let bytes: Vec<u8> = bytes.take(wrong_at).collect();
    FramingError::BadCount { excerpt: bytes.escape_ascii().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_count_is_read_back() {
        for len in [1, 9, 10, 99, 100, 65_536, 999_999_999] {
            let mut header = Vec::new();
            Digits::write(len, &mut header);
            assert_eq!(header, format!("{len} ").as_bytes());
            let read = Digits::read(header.iter().copied());
            assert_eq!(read, Ok(Some(Count { len, header: Digits::len_of(len) })));
        }
    }
}
