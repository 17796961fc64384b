//! The process's heap, as far as the relay steers it.
//!
//! Lives here: giving back what is free. Never here: when (that is `reactor::memory`).

/// Gives the whole pages of all free memory on the heap back to the system (malloc_trim(3), glibc). Other C libraries have no such
/// call; musl's gives back what is free by itself.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and is safe to call from any thread (MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}
