//! What the kernel reads a gathered send or write through: vectors that point at the slices of a [`Gather`].
//!
//! Lives here: those vectors and their header, kept for the next operation. Never here: the slices themselves.

use std::ptr;

use bytes::Bytes;

use crate::kernel::Gather;

/// The vectors of one operation. They point into the slices that they were [filled](Vectors::fill) from, whose operation keeps
/// both until its last completion.
pub(super) struct Vectors {
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Default for Vectors {
    fn default() -> Vectors {
        // SAFETY: msghdr(2) is a C structure of integers and pointers; all zeroes is its empty value.
        let header = unsafe { std::mem::zeroed() };
        Vectors { vectors: Vec::new(), header }
    }
}

impl Vectors {
    /// The vectors of `writev(2)`. They are valid while neither `self` nor `gather` changes.
    pub(super) fn fill(&mut self, gather: &Gather) -> &[libc::iovec] {
        self.vectors.clear();
        for piece in gather.iter() {
            push_joined(&mut self.vectors, piece);
        }
        &self.vectors
    }

    /// The header of `sendmsg(2)`. It is valid while neither `self`, in its box, nor `gather` changes.
    pub(super) fn header(&mut self, gather: &Gather) -> *const libc::msghdr {
        let count = self.fill(gather).len();
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
        let lengths: Vec<_> = Vectors::default().fill(&gather).iter().map(|vector| vector.iov_len).collect();
        assert_eq!(lengths, vec![8, 4]);
    }
}
