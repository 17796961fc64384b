//! Octet counting: `LEN SP MSG`, LEN in decimal and in bytes (RFC 6587 section 3.4.1).
//!
//! LEN begins with 1 to 9 and has at most [`OCTET_COUNT_DIGITS`] digits; exactly one SP follows. Anything else is a bad count,
//! noticed at its first wrong byte, wherever the input is split.
//!
//! Lives here: how a count is read and written. Never here: what follows it.

use super::FramingError;
use super::counted::Count;
use crate::limits::OCTET_COUNT_DIGITS;

/// The longest `LEN SP`, in bytes.
pub(super) const HEADER_MAX: usize = OCTET_COUNT_DIGITS + 1;

/// Reads a count from where a frame begins. `None`: it goes on beyond these bytes, and is good so far.
pub(super) fn read(bytes: impl Iterator<Item = u8> + Clone) -> Result<Option<Count>, FramingError> {
    let mut len = 0;
    for (digits, byte) in bytes.clone().enumerate().take(HEADER_MAX) {
        match byte {
            b' ' if digits > 0 => return Ok(Some(Count { len, header: digits + 1 })),
            b'0' if digits == 0 => return Err(bad_count(bytes, 1)),
            b'0'..=b'9' if digits < OCTET_COUNT_DIGITS => len = len * 10 + usize::from(byte - b'0'),
            _ => return Err(bad_count(bytes, digits + 1)),
        }
    }
    Ok(None)
}

/// Writes `LEN SP`.
pub(super) fn write(len: usize, out: &mut Vec<u8>) {
    let mut text = [b' '; usize::MAX.ilog10() as usize + 2];
    let (mut begin, mut rest) = (text.len() - 1, len);
    loop {
        begin -= 1;
        // Below ten, so it fits.
        text[begin] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&text[begin..]);
        }
    }
}

/// Bytes of `LEN SP` before each of so many payloads with so many bytes together, at most.
pub(super) fn headers_of_all(messages: usize, payload: usize) -> usize {
    let mean = payload as f64 / messages.max(1) as f64;
    (messages as f64 * (2.0 + mean.max(1.0).log10())).ceil() as usize
}

#[cold]
fn bad_count(bytes: impl Iterator<Item = u8>, wrong_at: usize) -> FramingError {
    let bytes: Vec<u8> = bytes.take(wrong_at).collect();
    FramingError::BadCount { excerpt: bytes.escape_ascii().to_string() }
}
