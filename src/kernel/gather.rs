//! What one send or write refers to: shared slices, in order.
//!
//! Lives here: those slices, and where one datagram ends among them. Never here: which bytes are due, how far a send came, or what
//! the kernel reads them through.

use bytes::Bytes;

use crate::limits::{GATHER_PIECES, SEGMENTED_BYTES_MAX, SEGMENTS_MAX};

/// Slices to be sent in order by one operation. Handed back by its completion, to be used again.
#[derive(Debug, Default)]
pub struct Gather {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// How many datagrams, where it is not a part of a stream.
    datagrams: u32,
    /// Length of the first datagram.
    segment: usize,
}

impl Gather {
    /// Appends a slice; an empty one is passed over.
    pub fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// Appends a datagram in two slices. After the first, only those that [fit](Gather::fits).
    pub fn push_datagram(&mut self, head: Bytes, body: Bytes) {
        if self.datagrams == 0 {
            self.segment = head.len() + body.len();
        }
        self.datagrams += 1;
        self.push(head);
        self.push(body);
    }

    /// Whether a datagram of `len` bytes can leave in the same call as those before it: all are as long as the first, and
    /// `longest` at most, but for the last, which may be shorter and not empty (`UDP_SEGMENT`, udp(7), kernel 4.18).
    pub fn fits(&self, len: usize, longest: usize) -> bool {
        let are_alike = self.bytes == self.datagrams as usize * self.segment && len <= self.segment;
        let has_room = self.datagrams < SEGMENTS_MAX && self.bytes + len <= SEGMENTED_BYTES_MAX;
        are_alike && has_room && len > 0 && self.segment <= longest && self.pieces() + 2 <= GATHER_PIECES
    }

    /// How many datagrams it holds; 0 of a part of a stream.
    pub fn datagrams(&self) -> u32 {
        self.datagrams
    }

    /// How long each of several datagrams is, but for the last; `None` of a single one.
    pub fn segment(&self) -> Option<u16> {
        (self.datagrams > 1).then_some(self.segment as u16)
    }

    /// How many slices are held.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// The slices, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// Lets go of the slices and keeps the room for the next ones.
    pub fn clear(&mut self) {
        self.pieces.clear();
        (self.bytes, self.datagrams, self.segment) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lengths: &[usize]) -> Gather {
        let mut gather = Gather::default();
        for &len in lengths {
            gather.push_datagram(Bytes::new(), Bytes::from(vec![b'x'; len]));
        }
        gather
    }

    #[test]
    fn only_what_is_as_long_travels_together_and_a_shorter_one_is_the_last() {
        assert!(with(&[3, 3]).fits(3, 65_000) && with(&[3, 3]).fits(1, 65_000));
        assert!(!with(&[3, 3]).fits(4, 65_000), "longer than the first");
        assert!(!with(&[3, 1]).fits(3, 65_000) && !with(&[3, 1]).fits(1, 65_000), "behind a shorter one");
        assert!(
            !with(&[3]).fits(0, 65_000) && !with(&[0]).fits(0, 65_000),
            "an empty one cannot be told from none"
        );
        assert!(with(&[3]).fits(3, 3) && !with(&[3]).fits(2, 2), "longer than one packet");
        assert_eq!((with(&[3]).segment(), with(&[3, 1]).segment()), (None, Some(3)));
        assert_eq!((with(&[3]).datagrams(), with(&[3, 1]).datagrams()), (1, 2));
    }

    #[test]
    fn one_call_takes_so_many_and_so_much() {
        let most = SEGMENTS_MAX as usize;
        assert!(with(&vec![1; most - 1]).fits(1, 65_000) && !with(&vec![1; most]).fits(1, 65_000));
        assert!(with(&[30_000, 30_000]).fits(SEGMENTED_BYTES_MAX - 60_000, 65_000));
        assert!(!with(&[30_000, 30_000]).fits(SEGMENTED_BYTES_MAX - 60_000 + 1, 65_000));
    }

    #[test]
    fn what_was_sent_leaves_no_trace() {
        let mut gather = with(&[9, 9]);
        gather.clear();
        gather.push_datagram(Bytes::new(), Bytes::from_static(b"abc"));
        assert_eq!((gather.datagrams(), gather.segment(), gather.pieces()), (1, None, 1));
        assert!(gather.fits(3, 65_000));
    }
}
