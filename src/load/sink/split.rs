//! From bytes to messages, for the sink's own use.
//!
//! Lives here: a walk over the whole messages of a buffer. Never here: I/O, keeping the rest, what a message contains.

use crate::limits::{MAX_MESSAGE_MAX, OCTET_COUNT_DIGITS};
use crate::message::Framing;

/// The bytes are not framed as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misframed;

/// Calls `each` with the payload of every whole message and returns how many bytes they took.
///
/// Lines lose their CR, and empty ones are skipped.
pub(super) fn split(framing: Framing, bytes: &[u8], each: impl FnMut(&[u8])) -> Result<usize, Misframed> {
    match framing {
        Framing::Line => Ok(lines(bytes, each)),
        Framing::Nul => Ok(nuls(bytes, each)),
        Framing::Octet => counted(bytes, count, each),
        Framing::U32 => counted(bytes, length, each),
        // All of it; whoever reads datagrams knows where one ends.
        Framing::Datagram => Ok(whole(bytes, each)),
    }
}

fn lines(bytes: &[u8], mut each: impl FnMut(&[u8])) -> usize {
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        let line = &bytes[begin..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            each(line);
        }
        begin = end + 1;
    }
    begin
}

fn nuls(bytes: &[u8], mut each: impl FnMut(&[u8])) -> usize {
    let mut begin = 0;
    for end in memchr::memchr_iter(0, bytes) {
        if end > begin {
            each(&bytes[begin..end]);
        }
        begin = end + 1;
    }
    begin
}

fn whole(bytes: &[u8], mut each: impl FnMut(&[u8])) -> usize {
    if !bytes.is_empty() {
        each(bytes);
    }
    bytes.len()
}

/// Reads what stands before a message: its own length, and the message's. `None` if it is not whole.
type ReadHead = fn(&[u8]) -> Result<Option<(usize, usize)>, Misframed>;

fn counted(bytes: &[u8], read: ReadHead, mut each: impl FnMut(&[u8])) -> Result<usize, Misframed> {
    let mut begin = 0;
    while let Some((head, length)) = read(&bytes[begin..])? {
        let Some(message) = bytes.get(begin + head..begin + head + length) else { break };
        each(message);
        begin += head + length;
    }
    Ok(begin)
}

/// The big-endian length at the beginning of `bytes`.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Misframed> {
    let Some(head) = bytes.first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length <= MAX_MESSAGE_MAX { Ok(Some((head.len(), length))) } else { Err(Misframed) }
}

/// The octet count at the beginning of `bytes`: its own length with the space, and its value. `None` if it is not whole.
fn count(bytes: &[u8]) -> Result<Option<(usize, usize)>, Misframed> {
    let mut length = 0;
    for (digits, &byte) in bytes.iter().enumerate() {
        match byte {
            b'1'..=b'9' | b'0' if digits < OCTET_COUNT_DIGITS && (digits > 0 || byte != b'0') => {
                length = length * 10 + usize::from(byte - b'0');
            }
            b' ' if digits > 0 && length <= MAX_MESSAGE_MAX => return Ok(Some((digits + 1, length))),
            _ => return Err(Misframed),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(framing: Framing, bytes: &[u8]) -> Result<(Vec<Vec<u8>>, usize), Misframed> {
        let mut messages = Vec::new();
        let used = split(framing, bytes, |message| messages.push(message.to_vec()))?;
        Ok((messages, used))
    }

    #[test]
    fn lines_end_with_lf_and_empty_ones_are_skipped() {
        let (messages, used) = all(Framing::Line, b"one\r\n\n\r\ntwo\nthr").unwrap();
        assert_eq!((messages, used), (vec![b"one".to_vec(), b"two".to_vec()], 12));
    }

    #[test]
    fn counted_messages_may_hold_anything() {
        let (messages, used) = all(Framing::Octet, b"3 a\nb10 01234567894 abc").unwrap();
        assert_eq!((messages, used), (vec![b"a\nb".to_vec(), b"0123456789".to_vec()], 18));
    }

    #[test]
    fn a_bad_count_is_misframed() {
        for bad in [&b"x"[..], b" 1", b"01 a", b"1x", b"1234567890", b"999999999 "] {
            assert_eq!(all(Framing::Octet, bad), Err(Misframed), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_framed_is_found_again(payloads: Vec<Vec<u8>>, cut: prop::sample::Index) {
            let wire: Vec<u8> =
                payloads.iter().filter(|one| !one.is_empty()).flat_map(|one| [format!("{} ", one.len()).as_bytes(), one].concat()).collect();
            let whole = all(Framing::Octet, &wire).unwrap();
            prop_assert_eq!(whole.1, wire.len());
            let head = all(Framing::Octet, &wire[..cut.index(wire.len() + 1)]).unwrap();
            let tail = all(Framing::Octet, &wire[head.1..]).unwrap();
            prop_assert_eq!([head.0, tail.0].concat(), whole.0);
        }
    }
}
