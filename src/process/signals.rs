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
    /// Keeps them back for a later [`Signals::block`]: the first thing that a process does that will take them, since until then
    /// each ends it without a word.
    pub fn hold() {
        // Of a valid set it cannot fail (pthread_sigmask(3)).
        let _ = taken().thread_block();
    }

    /// Lets them end the process again, because it will not take them.
    pub fn release() {
        let _ = taken().thread_unblock();
    }

    /// Blocks them in the calling thread and in all that it starts later: call it before the first of those.
    ///
    /// # Errors
    /// As signalfd(2) and pthread_sigmask(3).
    pub fn block() -> nix::Result<Signals> {
        let set = taken();
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

fn taken() -> SigSet {
    TAKEN.into_iter().collect()
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> Vec<Signal> {
        let mask = SigSet::thread_get_mask().unwrap();
        TAKEN.into_iter().filter(|&signal| mask.contains(signal)).collect()
    }

    #[test]
    fn what_came_while_they_were_held_is_taken() {
        assert_eq!(blocked(), []);
        Signals::hold();
        assert_eq!(blocked(), TAKEN);
        nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
        let signals = Signals::block().unwrap();
        assert_eq!(signals.next(), Ok(Some(Signal::SIGUSR2)));
        assert_eq!(signals.next(), Ok(None));
        Signals::release();
        assert_eq!(blocked(), []);
    }
}
