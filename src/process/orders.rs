//! Whose orders the coordinator takes: the process's signals, or the program that a relay is a part of.
//!
//! Lives here: a descriptor to wait for, and what is wanted. Never here: what follows.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tracing::info;

use super::decision::{Decision, Heard};
use super::signals::Signals;

/// Somebody whose orders a coordinator takes.
pub trait Orders {
    /// Readable when there is an order.
    fn as_fd(&self) -> BorrowedFd<'_>;
    /// The next order, if there is one.
    fn next(&mut self) -> Option<Decision>;
}

/// The signals of the process.
#[derive(Debug)]
pub struct SignalOrders {
    signals: Signals,
    heard: Heard,
}

impl SignalOrders {
    /// Takes the signals that were blocked.
    pub fn new(signals: Signals) -> SignalOrders {
        SignalOrders { signals, heard: Heard::default() }
    }
}

impl Orders for SignalOrders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    fn next(&mut self) -> Option<Decision> {
        let signal = self.signals.next().ok().flatten()?;
        let decision = self.heard.decide(signal);
        if decision == Decision::GoOn {
            info!(%signal, "it changes nothing");
        }
        Some(decision)
    }
}

/// A line on which another thread of this process gives orders.
#[derive(Debug)]
pub struct Commands {
    bell: EventFd,
    given: Mutex<VecDeque<Decision>>,
}

impl Commands {
    /// A line without an order.
    ///
    /// # Errors
    /// As eventfd(2).
    pub fn new() -> nix::Result<Commands> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Commands { bell, given: Mutex::default() })
    }

    /// Gives an order.
    pub fn give(&self, order: Decision) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        let _ = self.bell.write(1);
    }
}

impl Orders for &Commands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn next(&mut self) -> Option<Decision> {
        // Read before the orders are: one that comes between the two rings again.
        let _ = self.bell.read();
        self.given.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
