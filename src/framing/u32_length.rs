//! A big-endian length of four bytes, then so many bytes.
//!
//! A length of 0 is no message and is skipped, like an empty line. One above [`MAX_MESSAGE_MAX`] was never a message: to skip
//! what it announces would swallow up to 4 GB of a link that speaks another protocol.
//!
//! Lives here: how the length is read and written. Never here: what follows it.

use super::FramingError;
use super::counted::Count;
use crate::limits::MAX_MESSAGE_MAX;

/// The length itself, in bytes.
pub(super) const HEADER: usize = size_of::<u32>();

/// Reads a length from where a frame begins. `None`: it goes on beyond these bytes.
pub(super) fn read(mut bytes: impl Iterator<Item = u8>) -> Result<Option<Count>, FramingError> {
    let mut word = [0; HEADER];
    for byte in &mut word {
        let Some(next) = bytes.next() else { return Ok(None) };
        *byte = next;
    }
    let len = u32::from_be_bytes(word);
    if len as usize > MAX_MESSAGE_MAX {
        return Err(FramingError::BadLength { len });
    }
    Ok(Some(Count { len: len as usize, header: HEADER }))
}

/// Writes the length of a payload.
pub(super) fn write(len: usize, out: &mut Vec<u8>) {
    debug_assert!(len <= MAX_MESSAGE_MAX, "no message is longer");
    out.extend_from_slice(&(len as u32).to_be_bytes());
}
