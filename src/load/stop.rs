//! A request to end early, which threads can both look at and sleep on.
//!
//! Lives here: the flag and its descriptor. Never here: what a thread does when it is asked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::EventFd;

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
        Ok(Self(Arc::new(Request { asked: AtomicBool::new(false), wake: EventFd::new()? })))
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
