//! What the kernel reads a gathered send or write through: vectors that point at the slices of a [`Gather`].
//!
//! Lives here: those vectors, their header, and how it is cut into datagrams. Never here: the slices themselves. Sources:
//! sendmsg(2), cmsg(3), udp(7).

use std::mem::offset_of;
use std::ptr;

use bytes::Bytes;

use crate::kernel::Gather;

/// The vectors of one operation. They point into the slices that they were [filled](Vectors::fill) from, whose operation keeps
/// both until its last completion.
pub(super) struct Vectors {
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
    cut: Cut,
}

/// A control message that has one send cut into datagrams: `UDP_SEGMENT` with their length. It ends as `CMSG_SPACE` says, since
/// it is aligned like its header.
#[repr(C)]
struct Cut {
    header: libc::cmsghdr,
    segment: u16,
}

impl Cut {
    fn into(segment: u16) -> Cut {
        let len = offset_of!(Cut, segment) + size_of::<u16>();
        let header = libc::cmsghdr { cmsg_len: len, cmsg_level: libc::SOL_UDP, cmsg_type: libc::UDP_SEGMENT };
        Cut { header, segment }
    }
}

impl Default for Vectors {
    fn default() -> Vectors {
        // SAFETY: msghdr(2) is a C structure of integers and pointers; all zeroes is its empty value.
        let header = unsafe { std::mem::zeroed() };
        Vectors { vectors: Vec::new(), header, cut: Cut::into(0) }
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
        if let Some(segment) = gather.segment() {
            self.cut = Cut::into(segment);
            (self.header.msg_control, self.header.msg_controllen) =
                (ptr::from_mut(&mut self.cut).cast(), size_of::<Cut>());
        } else {
            (self.header.msg_control, self.header.msg_controllen) = (ptr::null_mut(), 0);
        }
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
