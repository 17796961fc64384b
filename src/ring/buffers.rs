//! Receive buffers: one block of memory, lent to the kernel through a provided buffer ring and to the relay as leases.
//!
//! A buffer is in exactly one place: free (`warm` or `cold`), offered to the kernel, or leased. Lives here: that bookkeeping and the memory.
//! Never here: what the bytes mean, or how many may be out (the reactor passes the bound in).
//! Sources: io_uring_register_buf_ring(3), io_uring_provided_buffers(7), kernel 5.19; madvise(2).

use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use io_uring::types::BufRingEntry;
use io_uring::{Submitter, cqueue};
use nix::unistd::{SysconfVar, sysconf};

use crate::limits::{BUFFER_SIZE, BUFFERS_OFFERED_MAX};

/// The one buffer group that a ring has.
pub(super) const GROUP: u16 = 0;

/// Page-aligned zeroed memory, given back to the system on drop.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is plain memory without ties to the thread that made it; who may touch which part is up to the owner.
unsafe impl Send for Mapping {}
// SAFETY: as above; `Mapping` itself gives out no reference to its memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize) -> io::Result<Mapping> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { base: NonNull::new(base.cast()).expect("mmap(2) never maps page zero"), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of the mapping, which nothing refers to any more: leases hold it by `Arc`, and
        // the ring is empty before its pool is dropped.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The buffers' memory, and the way back for those whose lease ended.
struct Memory {
    mapping: Mapping,
    returned: Mutex<Vec<u16>>,
}

impl Memory {
    fn buffer(&self, id: u16) -> NonNull<u8> {
        // SAFETY: ids are below the number of buffers that the mapping was sized for.
        unsafe { self.mapping.base.add(usize::from(id) * BUFFER_SIZE) }
    }

    /// Gives the pages of a free buffer back to the system; they read as zeroes when they are touched again. What the system does
    /// not take stays.
    fn cool(&self, id: u16) {
        let (base, len) = (self.buffer(id).as_ptr().cast(), BUFFER_SIZE);
        // SAFETY: the range is that of one buffer, which begins and ends with a page (the pool makes sure of it), and which
        // nobody may touch now.
        unsafe { libc::madvise(base, len, libc::MADV_DONTNEED) };
    }

    fn give_back(&self, id: u16) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }
}

/// A received buffer: `len` bytes that nobody else writes. The buffer returns to its pool on drop, from any thread.
pub struct Lease {
    memory: Arc<Memory>,
    id: u16,
    len: usize,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: a leased buffer is in no other place: the kernel gave it up with its completion, and only the lease's drop
        // makes it available again. The memory was zeroed by mmap(2) or written by the kernel, and `len <= BUFFER_SIZE`.
        unsafe { std::slice::from_raw_parts(self.memory.buffer(self.id).as_ptr(), self.len) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.memory.give_back(self.id);
    }
}

/// A leased buffer to be filled by a plain system call.
pub struct Blank(Lease);

impl Blank {
    /// The whole buffer, [`BUFFER_SIZE`] bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `Lease::as_ref`; `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.0.memory.buffer(self.0.id).as_ptr(), BUFFER_SIZE) }
    }

    /// The first `len` bytes, as received.
    pub fn filled(mut self, len: usize) -> Lease {
        debug_assert!(len <= BUFFER_SIZE);
        self.0.len = len;
        self.0
    }
}

/// All receive buffers of one ring.
///
/// Invariant: `warm + cold + offered + leased = total`. The free ones that were used last are used first, so that an idle relay
/// touches few pages.
pub(super) struct Pool {
    memory: Arc<Memory>,
    entries: Mapping,
    tail: u16,
    /// Free, with memory behind them; the one that was used last is at the end.
    warm: VecDeque<u16>,
    /// Free, without memory.
    cold: Vec<u16>,
    offered: usize,
    /// Which entry of the ring each buffer was offered in last.
    places: Box<[usize]>,
    /// Whether a buffer is made of whole pages.
    is_paged: bool,
}

impl Pool {
    /// A pool of `total` buffers whose ring is registered with the kernel.
    ///
    /// # Errors
    /// What mmap(2) or io_uring_register(2) says: `EINVAL` from a kernel before 5.19, `ENOMEM` when memory is short.
    pub(super) fn new(submitter: &Submitter<'_>, total: usize) -> io::Result<Pool> {
        let total = u16::try_from(total).expect("limits keep the number of buffers below 2^15");
        let mapping = Mapping::new(usize::from(total) * BUFFER_SIZE)?;
        let entries = Mapping::new(BUFFERS_OFFERED_MAX * size_of::<BufRingEntry>())?;
        let (address, count) = (entries.base.as_ptr() as u64, BUFFERS_OFFERED_MAX as u16);
        // SAFETY: `entries` holds that many entries, is page aligned, and lives until the ring is gone (`Ring::drop`).
        unsafe { submitter.register_buf_ring_with_flags(address, count, GROUP, 0) }?;
        let memory = Arc::new(Memory { mapping, returned: Mutex::new(Vec::new()) });
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        Ok(Pool {
            memory,
            entries,
            tail: 0,
            warm: VecDeque::new(),
            cold: (0..total).rev().collect(),
            offered: 0,
            places: vec![0; usize::from(total)].into(),
            is_paged: page.is_some_and(|page| BUFFER_SIZE.is_multiple_of(page as usize)),
        })
    }

    /// Buffers that the kernel may fill.
    pub(super) fn offered(&self) -> usize {
        self.offered
    }

    /// Buffers that are leased, and those that came back since the last `offer` or `take`.
    pub(super) fn leased(&self) -> usize {
        self.memory.mapping.len / BUFFER_SIZE - self.warm.len() - self.cold.len() - self.offered
    }

    /// Offers free buffers until the kernel has `target` of them, or none is free. Buffers cannot be withdrawn.
    pub(super) fn offer(&mut self, target: usize) {
        self.collect_returned();
        while self.offered < target.min(BUFFERS_OFFERED_MAX) {
            let Some(id) = self.next_free() else { break };
            self.write_entry(id);
            self.offered += 1;
        }
        self.publish_tail();
    }

    fn collect_returned(&mut self) {
        let mut returned = self.memory.returned.lock().unwrap_or_else(PoisonError::into_inner);
        self.warm.extend(returned.drain(..));
    }

    fn next_free(&mut self) -> Option<u16> {
        self.warm.pop_back().or_else(|| self.cold.pop())
    }

    /// Leaves at most so many free buffers their memory, those that were used last.
    pub(super) fn keep(&mut self, at_most: usize) {
        while self.is_paged && self.warm.len() > at_most {
            let Some(id) = self.warm.pop_front() else { break };
            self.memory.cool(id);
            self.cold.push(id);
        }
    }

    fn write_entry(&mut self, id: u16) {
        let place = usize::from(self.tail) % BUFFERS_OFFERED_MAX;
        self.places[usize::from(id)] = place;
        let mut entry = self.entry(place);
        // SAFETY: the kernel reads an entry only once the tail covers it, which is not yet so; zeroed memory is an entry.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(self.memory.buffer(id).as_ptr() as u64);
        entry.set_len(BUFFER_SIZE as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn entry(&self, place: usize) -> NonNull<BufRingEntry> {
        debug_assert!(place < BUFFERS_OFFERED_MAX);
        // SAFETY: the mapping has that many entries.
        unsafe { self.entries.base.cast::<BufRingEntry>().add(place) }
    }

    fn publish_tail(&self) {
        // SAFETY: `entries` starts with the ring's first entry, whose reserved field is the tail.
        let tail = unsafe { BufRingEntry::tail(self.entries.base.as_ptr().cast()) };
        // SAFETY: the tail is an aligned u16 that only this thread writes; the kernel reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel must see the entries before the tail that covers them.
        tail.store(self.tail, Ordering::Release);
    }

    /// The buffer that a completion names, now leased with `len` bytes in it.
    pub(super) fn lease(&mut self, flags: u32, len: usize) -> Option<Lease> {
        let id = cqueue::buffer_select(flags)?;
        self.offered -= 1;
        Some(Lease { memory: Arc::clone(&self.memory), id, len })
    }

    /// The same of a bundle, which goes on in the buffers that were offered behind that one, each filled to its end before the next
    /// (`IORING_RECVSEND_BUNDLE`, io_uring_enter(2), kernel 6.10).
    ///
    /// How long each of them is stands in its entry: the kernel may have shortened that for an earlier receive that came to nothing
    /// (`io_ring_buffers_peek` in io_uring/kbuf.c). Entries are written anew only after all completions that were there are reaped.
    pub(super) fn lease_each(&mut self, flags: u32, len: usize, mut each: impl FnMut(Lease)) {
        let first = cqueue::buffer_select(flags).expect("data of a buffer-select receive is in a buffer");
        let (mut place, mut left) = (self.places[usize::from(first)], len);
        while left > 0 {
            // SAFETY: the kernel writes to entries only within this thread's system calls.
            let entry = unsafe { self.entry(place).as_ref() };
            let filled = left.min(entry.len() as usize);
            self.offered -= 1;
            each(Lease { memory: Arc::clone(&self.memory), id: entry.bid(), len: filled });
            left -= filled;
            place = (place + 1) % BUFFERS_OFFERED_MAX;
        }
    }

    /// A free buffer for a plain system call.
    pub(super) fn take(&mut self) -> Option<Blank> {
        self.collect_returned();
        let id = self.next_free()?;
        Some(Blank(Lease { memory: Arc::clone(&self.memory), id, len: BUFFER_SIZE }))
    }

    /// As the kernel does where it knows that so much is there to be received.
    #[cfg(test)]
    pub(super) fn shorten_first(&mut self, len: u32) {
        // SAFETY: the kernel reads entries only within this thread's system calls.
        unsafe { self.entry(0).as_mut() }.set_len(len);
    }
}
