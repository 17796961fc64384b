//! One connection of the sink, read by a thread of its own.
//!
//! Lives here: reading until the peer's FIN, and the three ways of closing. Never here: what the bytes mean.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use socket2::Socket;

use super::Shared;
use super::intake::Intake;
use crate::socket::seal::freeze;

/// An accepted connection; its thread reads it, anyone closes it.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    is_tcp: bool,
    resetting: AtomicBool,
    /// Whether we end it in the middle of what comes: an unfinished message is then no fault of the peer.
    severed: AtomicBool,
}

impl Link {
    pub(super) fn new(socket: Socket, is_tcp: bool) -> Self {
        Self { socket, is_tcp, resetting: AtomicBool::new(false), severed: AtomicBool::new(false) }
    }

    /// Sends FIN; the thread reads on until the peer's.
    pub(super) fn close(&self) {
        // It fails only when the peer has closed already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Lets the thread close it with RST, and wakes the thread; what it has not read is lost.
    pub(super) fn reset(&self) {
        self.resetting.store(true, Ordering::Release);
        self.sever();
    }

    /// Lets the thread read what our kernel has acknowledged and close it with RST then; nothing more is acknowledged.
    pub(super) fn cut(&self) {
        // Without the filter the peer could lose what it was promised: better no reset than such a one.
        // On a unix socket the end of reading, which follows, is all that it takes.
        if !self.is_tcp || freeze(&self.socket).is_ok() {
            self.sever();
        }
    }

    /// The close will be a reset, and the next read that finds nothing the last.
    fn sever(&self) {
        self.severed.store(true, Ordering::Release);
        // Both fail only when the peer was faster.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    fn is_resetting(&self) -> bool {
        self.resetting.load(Ordering::Acquire)
    }

    pub(super) fn is_severed(&self) -> bool {
        self.severed.load(Ordering::Acquire)
    }

    fn wait_readable(&self) {
        let mut wanted = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait only reads once more.
        let _ = poll(&mut wanted, PollTimeout::NONE);
    }
}

/// A link being read, from its acceptance on; ends with its descriptor closed, also when its thread panics.
#[derive(Debug)]
pub(super) struct Visit {
    shared: Arc<Shared>,
    /// Taken out only by the drop.
    link: Option<Arc<Link>>,
}

impl Visit {
    pub(super) fn begin(shared: &Arc<Shared>, socket: Socket, is_tcp: bool) -> Self {
        let link = shared.registry.enter(Link::new(socket, is_tcp));
        shared.counter.opened();
        Self { shared: Arc::clone(shared), link: Some(link) }
    }

    /// Reads the link to its end.
    pub(super) fn run(self) {
        let Some(link) = &self.link else { return };
        let mut intake = Intake::new(self.shared.framing);
        while let Pass::Open = pass(link, &self.shared, &mut intake) {}
        if !link.is_severed() {
            // What we cut off ourselves is no fault of the peer.
            intake.end();
            self.shared.counter.record(intake.haul());
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.shared.registry.leave(link);
        }
    }
}

enum Pass {
    Open,
    Over,
}

/// Reads once, with the gate open, and waits where there was nothing to read.
fn pass(link: &Link, shared: &Shared, intake: &mut Intake) -> Pass {
    let Some(passage) = shared.gate.enter(|| link.is_resetting()) else { return Pass::Over };
    let taken = recv(link.socket.as_raw_fd(), intake.space(), MsgFlags::MSG_DONTWAIT);
    if let Ok(bytes) = taken {
        let framed = intake.take(bytes);
        shared.counter.record(intake.haul());
        if framed.is_err() {
            return Pass::Over;
        }
    }
    drop(passage);
    match taken.map_err(io::Error::from) {
        Ok(0) => Pass::Over,
        Ok(_) => Pass::Open,
        Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => Pass::Open,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            link.wait_readable();
            Pass::Open
        }
        Err(_) => Pass::Over,
    }
}
