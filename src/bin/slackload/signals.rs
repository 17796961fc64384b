//! INT and TERM, taken by a thread of their own.
//!
//! Lives here: blocking and waiting for them. Never here: what ends, and how.

use std::{io, thread};

use nix::sys::signal::{SigSet, Signal};

/// INT and TERM, blocked. What comes before [`Ends::call`] is kept for it.
#[derive(Debug)]
pub(crate) struct Ends(SigSet);

impl Ends {
    /// Blocks them in this thread and in those that it starts from now on, so before any other.
    pub(crate) fn block() -> io::Result<Self> {
        let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        ends.thread_block()?;
        Ok(Self(ends))
    }

    /// Calls `act` at the first of them.
    pub(crate) fn call(self, act: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let wait = move || {
            if self.0.wait().is_ok() {
                act();
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
    }
}
