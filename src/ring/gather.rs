//! What one gathered send or write refers to: shared slices, and the vectors that the kernel reads them through.
//!
//! Lives here: the owner of those vectors. Never here: which bytes are due, or how far a send came.

use std::ptr;

use bytes::Bytes;

/// Slices to be sent in order by one operation. Owned by its slot until the last completion, then handed back to be used again.
pub struct Gather {
    pieces: Vec<Bytes>,
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Default for Gather {
    fn default() -> Gather {
        // SAFETY: msghdr(2) is a C structure of integers and pointers; all zeroes is its empty value.
        let header = unsafe { std::mem::zeroed() };
        Gather { pieces: Vec::new(), vectors: Vec::new(), header }
    }
}

impl Gather {
    /// Appends a slice; an empty one is passed over.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
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
        self.vectors.clear();
    }

    /// The vectors of `writev(2)`. They are valid while `self` is neither moved out of its box nor changed.
    pub(super) fn vectors(&mut self) -> &[libc::iovec] {
        self.vectors.clear();
        for piece in &self.pieces {
            push_joined(&mut self.vectors, piece);
        }
        &self.vectors
    }

    /// The header of `sendmsg(2)`. It is valid while `self` is neither moved out of its box nor changed.
    pub(super) fn header(&mut self) -> *const libc::msghdr {
        let count = self.vectors().len();
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = count;
        ptr::from_ref(&self.header)
    }
}

/// Adds a piece; one that continues the last in memory lengthens it. Short messages are copied one after another into the
/// same block, so that many of them travel as one vector.
fn push_joined(vectors: &mut Vec<libc::iovec>, piece: &Bytes) {
    let base = piece.as_ptr();
    match vectors.last_mut() {
        Some(last) if last.iov_base.cast::<u8>().wrapping_add(last.iov_len).cast_const() == base => {
            last.iov_len += piece.len();
        }
        _ => vectors.push(libc::iovec { iov_base: base.cast_mut().cast(), iov_len: piece.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_memory_travel_as_one_vector() {
        let block = Bytes::from_static(b"one two three");
        let mut gather = Gather::default();
        gather.push(block.slice(0..4));
        gather.push(block.slice(4..8));
        gather.push(Bytes::new());
        gather.push(block.slice(9..));
        assert_eq!(gather.pieces(), 3);
        let lengths: Vec<_> = gather.vectors().iter().map(|vector| vector.iov_len).collect();
        assert_eq!(lengths, vec![8, 4]);
    }
}
