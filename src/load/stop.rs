//! A request to end early, which threads can both look at and sleep on.
//!
//! Lives here: the flag and its descriptor. Never here: what a thread does when it is asked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Ends a run early; clones ask the same run.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Request>);

#[derive(Debug)]
struct Request {
    asked: AtomicBool,
    /// Readable from the request on, for threads that sleep in poll(2).
    wake: EventFd,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        // Closed in whatever program is started meanwhile: its descriptors are its own.
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Request { asked: AtomicBool::new(false), wake })))
    }

    /// Asks to stop; asking again changes nothing. Returns at once.
    pub fn stop(&self) {
        if !self.0.asked.swap(true, Ordering::Release) {
            // A fresh counter takes one; there is nothing that could fail.
            let _ = self.0.wake.write(1);
        }
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    #[test]
    fn no_other_program_inherits_it() {
        let stop = Stop::new().unwrap();
        let flags = FdFlag::from_bits_retain(fcntl(&stop.0.wake, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}
