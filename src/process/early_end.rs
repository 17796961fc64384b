//! Until a relay listens, TERM, INT and QUIT end the process: nothing was taken in that could be lost, and what is waited for (a name
//! server, a pipe that is to be read) may not come. A start that goes on is let come to its end, which is that of a drain.
//!
//! Lives here: the thread that waits for them then. Never here: what a signal means to a relay (`decision`).

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::info;

use super::signals::Signals;
use crate::limits::START_GRACE;

/// Signals end the process while one exists.
#[derive(Debug)]
pub struct EarlyEnd {
    over: Arc<EventFd>,
    thread: JoinHandle<()>,
}

impl EarlyEnd {
    /// From here on, with exit code 0 and [`START_GRACE`] after the first. Call [`Signals::hold`] first: no other thread may take them.
    ///
    /// # Errors
    /// As signalfd(2), eventfd(2) and pthread_create(3).
    pub fn begin() -> io::Result<EarlyEnd> {
        let signals = Signals::block()?;
        let over = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let heard = Arc::clone(&over);
        let thread = thread::Builder::new().name("start".to_owned()).spawn(move || wait(&signals, &heard))?;
        Ok(EarlyEnd { over, thread })
    }

    /// From here on signals wait for the relay.
    pub fn is_over(self) {
        // Neither fails: it is the only ring, and a thread that panicked has ended.
        let _ = self.over.write(1);
        let _ = self.thread.join();
    }
}

/// What came is handed on when it is over. What ends a relay ends the process if that takes long.
fn wait(signals: &Signals, over: &EventFd) {
    let (mut came, mut ends) = (Vec::new(), None);
    while !is_over(signals, over, ends) {
        while let Ok(Some(signal)) = signals.next() {
            came.push(signal);
            if matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) {
                ends.get_or_insert((Instant::now() + START_GRACE, signal));
            }
        }
        if let Some((at, signal)) = ends
            && Instant::now() >= at
        {
            info!(%signal, "ended before anything was relayed");
            std::process::exit(0);
        }
    }
    for signal in came {
        // To this very process it cannot fail (kill(2)).
        let _ = kill(Pid::this(), signal);
    }
}

/// Sleeps until a signal comes, or the time that one has set. Whether the relay listens.
fn is_over(signals: &Signals, over: &EventFd, ends: Option<(Instant, Signal)>) -> bool {
    let mut awaited =
        [PollFd::new(over.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let left = ends.map(|(at, _)| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
    let left = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    match poll(&mut awaited, left) {
        Ok(_) | Err(Errno::EINTR) => awaited[0].any() == Some(true),
        Err(_) => true,
    }
}
