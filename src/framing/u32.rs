//! Binary lengths: four bytes, big-endian, then as many bytes of payload.
//!
//! A length of zero is no message, like an empty line. One beyond every bound that can be configured is no length: it closes the link
//! whatever its policy for long messages is, or garbage would make it swallow gigabytes. Lives here: the four bytes. Never here: the
//! framer (`counted`).

use super::FramingError;
use super::counted::{Count, Header};
use crate::limits::MAX_MESSAGE_MAX;
use crate::message::Framing;

/// Four bytes.
#[derive(Debug)]
pub(super) struct BigEndian;

impl Header for BigEndian {
    const FRAMING: Framing = Framing::U32;
    const MAX: usize = size_of::<u32>();

    fn read(mut bytes: impl Iterator<Item = u8> + Clone) -> Result<Option<Count>, FramingError> {
        let mut header = [0; Self::MAX];
        for byte in &mut header {
            let Some(next) = bytes.next() else { return Ok(None) };
            *byte = next;
        }
        let len = u32::from_be_bytes(header) as usize;
        if len > MAX_MESSAGE_MAX {
            return Err(FramingError::BadLength { len });
        }
        Ok(Some(Count { len, header: Self::MAX }))
    }

    fn write(len: usize, out: &mut Vec<u8>) {
        // Messages are shorter than MAX_MESSAGE_MAX.
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }

    fn len_of(_: usize) -> usize {
        Self::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_length_is_read_back_and_one_that_cannot_be_is_refused() {
        for len in [1, 255, 256, 65_536, MAX_MESSAGE_MAX] {
            let mut header = Vec::new();
            BigEndian::write(len, &mut header);
            assert_eq!(BigEndian::read(header.iter().copied()), Ok(Some(Count { len, header: 4 })));
            assert_eq!(BigEndian::read(header[..3].iter().copied()), Ok(None));
        }
        let garbage = BigEndian::read(b"GET / ".iter().copied());
        assert_eq!(garbage, Err(FramingError::BadLength { len: 0x4745_5420 }));
    }
}
