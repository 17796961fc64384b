//! Asks the processor for bytes before they are looked at.
//!
//! Lives here: the instruction for it. Never here: what is done with the bytes.

/// How far ahead of what is looked at, in bytes. On a Xeon of model 207 less than 1 KiB is too late, and up to 8 KiB there is no
/// difference.
const DISTANCE: usize = 2048;

/// Has the bytes at [`DISTANCE`] behind the beginning of `row` fetched into the nearest cache, if the processor can be asked. A receive
/// brings more than the second-level cache holds, so most of it is farther away by the time that it is looked at; what the processor
/// fetches by itself is not enough there.
#[inline(always)]
pub(super) fn ahead(row: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let there = row.as_ptr().wrapping_add(DISTANCE).cast();
        // SAFETY: nothing is read or written; an address that is not ours is passed over (Intel SDM, PREFETCHh). Each x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(there) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row; // Elsewhere no stable function asks for it.
}
