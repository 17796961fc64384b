//! What a reactor and the coordinator share: what is asked of the reactor, and what it shows.
//!
//! Lives here: one word each way and two bells. Never here: messages, or any lock.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::eventfd::EventFd;

use crate::ledger::Published;
use crate::limits::SPIN_MAX;
use crate::ring::Doorbell;

/// What the coordinator asks for. It only ever rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Relay.
    Run = 0,
    /// Seal the intake and deliver what is in flight.
    Drain = 1,
    /// Time is up: abandon what is left.
    Expire = 2,
    /// Every reactor is drained: close the sinks and end.
    Halt = 3,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Run, Phase::Drain, Phase::Expire, Phase::Halt];
}

/// Waits awake until `is_so`, for at most [`SPIN_MAX`]; whoever shares the processor has it meanwhile.
pub fn stay_awake(mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() && since.elapsed() < SPIN_MAX {
        thread::yield_now();
    }
}

/// One reactor's end of the line to the coordinator, and the coordinator's end of the line to it.
#[derive(Debug)]
pub struct Control {
    /// The reactor's books.
    pub published: Published,
    phase: AtomicU8,
    broken: AtomicBool,
    bell: Doorbell,
    coordinator: Arc<EventFd>,
}

impl Control {
    /// A line to the coordinator that listens to `coordinator`.
    ///
    /// # Errors
    /// As pipe2(2).
    pub fn new(coordinator: Arc<EventFd>) -> nix::Result<Control> {
        let bell = Doorbell::new()?;
        let (phase, broken) = (AtomicU8::new(Phase::Run as u8), AtomicBool::new(false));
        Ok(Control { published: Published::new(), phase, broken, bell, coordinator })
    }

    /// Coordinator: asks the reactor for `phase` and wakes it.
    pub fn ask(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Release);
        self.bell.ring();
    }

    /// Reactor: what is asked of it.
    pub fn asked(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Reactor: a descriptor of the bell that [`Control::ask`] rings.
    ///
    /// # Errors
    /// As dup(2).
    pub fn bell(&self) -> std::io::Result<OwnedFd> {
        self.bell.heard.try_clone()
    }

    /// Reactor: something changed that the coordinator waits for.
    pub fn report(&self) {
        // An eventfd takes 2^64 - 2 rings before it blocks; it is read long before that.
        let _ = self.coordinator.write(1);
    }

    /// Reactor: it can never do its work again.
    pub fn report_broken(&self) {
        self.broken.store(true, Ordering::Release);
        self.report();
    }

    /// Coordinator: whether the reactor said so.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}
