//! A bell that one thread rings and another's ring waits for: a pipe, from which each ring is read.
//!
//! An eventfd(2) would do, but not for a ring whose completions themselves ring an eventfd, for whoever sleeps in epoll: within the wake that
//! a write to one eventfd makes the kernel signals no other (`eventfd_signal_allowed`), so the completion is told an RCU grace period later
//! (`__io_eventfd_signal` in io_uring/eventfd.c; 12 ms, tried on 6.18), and the second of them never was. Lives here: the pipe.
//! Never here: what a ring means.

use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, write};

/// Bytes of one ring: what [`Ring::wake`](super::Ring::wake) reads at once.
const RING: [u8; 8] = [1; 8];

/// Both ends of a bell.
#[derive(Debug)]
pub struct Doorbell {
    /// What a ring waits for. It blocks, or io_uring would not wait.
    pub heard: OwnedFd,
    /// What is rung. It never blocks: a bell that rang thousands of times unheard has rung enough.
    pub rung: OwnedFd,
}

impl Doorbell {
    /// A bell that has not rung.
    ///
    /// # Errors
    /// As pipe2(2) and fcntl(2).
    pub fn new() -> nix::Result<Doorbell> {
        let (heard, rung) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&rung, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Doorbell { heard, rung })
    }

    /// Rings it.
    pub fn ring(&self) {
        ring(&self.rung);
    }
}

/// Rings a bell by its end.
pub fn ring(rung: &OwnedFd) {
    // Full it has rung already; nobody is left to hear it where its other end is closed.
    let _ = write(rung, &RING);
}
