//! Signals: blocked before any thread starts, and read from one signalfd(2); never in a handler.
//!
//! Lives here: which signals are taken, and reading them. Never here: what they lead to (`coordinator`).

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What the relay listens to. SIGPIPE is ignored by Rust's runtime; SIGKILL and SIGSTOP cannot be taken.
const TAKEN: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// The signals that this process takes from here on.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks them in the calling thread and in all that it starts later: call it before the first of those.
    ///
    /// # Errors
    /// As signalfd(2) and pthread_sigmask(3).
    pub fn block() -> nix::Result<Signals> {
        let set: SigSet = TAKEN.into_iter().collect();
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { fd })
    }

    /// The next signal that came; `None` when there is none. Several of the same kind may come as one (signal(7)).
    ///
    /// # Errors
    /// As read(2).
    pub fn next(&self) -> nix::Result<Option<Signal>> {
        match self.fd.read_signal() {
            Ok(None) | Err(Errno::EAGAIN) => Ok(None),
            Ok(Some(info)) => Ok(Signal::try_from(info.ssi_signo as i32).ok()),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
