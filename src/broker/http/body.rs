//! The messages of a request's body.
//!
//! Lives here: how a body is cut into messages, and what of it is held in memory. Never here: the connection that it comes from.

use std::cell::Cell;

use bytes::Bytes;
use memchr::memchr_iter;

/// Bytes of a body of lines at most: some ten thousand lines of a log.
pub(super) const LINES_BODY_MAX: usize = 16 * 1024 * 1024;
/// Messages of one body at most: each takes a few hundred bytes beside its own while it is in flight, however short it is.
pub(super) const LINES_MAX: usize = 64 * 1024;
/// Bytes of bodies that are being received, of all connections of a listener together. Beyond that a client is told to come again:
/// what is not in flight yet is in no other bound.
pub(super) const RECEIVING_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(LINES_BODY_MAX <= RECEIVING_MAX && crate::limits::MAX_MESSAGE_MAX <= RECEIVING_MAX);

/// Why a body has no messages for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There is nothing in it.
    Empty,
    /// A message is longer than `max_message`.
    LongMessage,
    /// More messages than one request may bring.
    ManyMessages,
}

/// The messages of a body: itself, or each of its lines that is not empty. LF ends a line, or CR LF, or the end of the body.
pub(super) fn messages(body: &Bytes, lines: bool, max_message: usize) -> Result<Vec<Bytes>, Unfit> {
    let mut found = Vec::new();
    let mut start = 0;
    let with_ends: &[u8] = if lines { body } else { &[] };
    for end in memchr_iter(b'\n', with_ends).chain([body.len()]) {
        let line = body.slice(start..end);
        start = end + 1;
        let line = if lines { line.slice(..line.strip_suffix(b"\r").unwrap_or(&line).len()) } else { line };
        match line.len() {
            0 => {}
            length if length > max_message => return Err(Unfit::LongMessage),
            _ if found.len() == LINES_MAX => return Err(Unfit::ManyMessages),
            _ => found.push(line),
        }
    }
    if found.is_empty() { Err(Unfit::Empty) } else { Ok(found) }
}

/// What one body takes of what all together may. Dropped, it gives that back.
pub(super) struct Share<'a> {
    receiving: &'a Cell<usize>,
    taken: usize,
}

impl<'a> Share<'a> {
    /// Nothing yet of what is counted in `receiving`.
    pub(super) fn of(receiving: &'a Cell<usize>) -> Share<'a> {
        Share { receiving, taken: 0 }
    }

    /// Takes more, if there is so much.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let sum = self.receiving.get() + bytes;
        if sum > RECEIVING_MAX {
            return false;
        }
        self.receiving.set(sum);
        self.taken += bytes;
        true
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.receiving.set(self.receiving.get() - self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(body: &'static str, lines: bool) -> Result<Vec<Bytes>, Unfit> {
        messages(&Bytes::from_static(body.as_bytes()), lines, 4)
    }

    #[test]
    fn a_body_is_one_message_whatever_is_in_it() {
        assert_eq!(cut("a\nb\r", false).unwrap(), ["a\nb\r"]);
        assert_eq!(cut("\n", false).unwrap(), ["\n"]);
        assert_eq!(cut("", false), Err(Unfit::Empty));
        assert_eq!(cut("a\nb\nc", false), Err(Unfit::LongMessage));
    }

    #[test]
    fn lines_end_with_lf_or_crlf_or_the_body() {
        for body in ["a\nbc\n", "a\r\nbc\r\n", "a\nbc", "\n\na\n\r\nbc\n\n"] {
            assert_eq!(cut(body, true).unwrap(), ["a", "bc"], "{body:?}");
        }
        assert_eq!(cut("\r\r\n", true).unwrap(), ["\r"], "one CR belongs to the end");
        for body in ["", "\n", "\r\n\n"] {
            assert_eq!(cut(body, true), Err(Unfit::Empty), "{body:?}");
        }
    }

    #[test]
    fn one_line_that_is_too_long_is_too_many_for_all() {
        assert_eq!(cut("four\r\nfour", true).unwrap(), ["four", "four"]);
        assert_eq!(cut("four\nfives\nfour\n", true), Err(Unfit::LongMessage));
        let many = |count| messages(&Bytes::from("x\n".repeat(count)), true, 4).map(|all| all.len());
        assert_eq!(many(LINES_MAX), Ok(LINES_MAX));
        assert_eq!(many(LINES_MAX + 1), Err(Unfit::ManyMessages));
    }

    #[test]
    fn what_is_received_is_bounded_and_given_back() {
        let receiving = Cell::new(0);
        let (mut one, mut other) = (Share::of(&receiving), Share::of(&receiving));
        assert!(one.grow(RECEIVING_MAX - 1) && other.grow(1));
        assert!(!other.grow(1), "full");
        drop(one);
        assert!(other.grow(1));
        drop(other);
        assert_eq!(receiving.get(), 0);
    }
}
