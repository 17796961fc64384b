//! A sink link: the way out of the relay.
//!
//! Lives here: what all kinds of sink links have in common. Never here: routing, or the books of sources.

mod file;
mod tcp;
mod turn;

use std::time::Instant;

use nix::errno::Errno;

pub use file::FileSink;
pub use tcp::TcpSink;
pub use turn::Turn;

use super::send_queue::SendQueue;
use crate::ring::{Completion, Ring};

/// One link of a sink.
pub enum SinkLink<O> {
    /// A TCP connection that is made again when it breaks.
    Tcp(TcpSink<O>),
    /// A file, or standard output.
    File(FileSink<O>),
}

/// How urgent the relay is; a drain cuts waits short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Waits are as long as is polite.
    Steady,
    /// The exit waits for this link.
    Hurried,
}

impl<O: Copy> SinkLink<O> {
    /// What it has yet to send or to confirm.
    pub fn queue(&self) -> &SendQueue {
        match self {
            SinkLink::Tcp(link) => link.queue(),
            SinkLink::File(link) => link.queue(),
        }
    }

    /// The way in: whoever pushes here hands the ticket over.
    pub fn queue_mut(&mut self) -> &mut SendQueue {
        match self {
            SinkLink::Tcp(link) => link.queue_mut(),
            SinkLink::File(link) => link.queue_mut(),
        }
    }

    /// Acts on a completion of one of this link's operations.
    pub fn handle(&mut self, ring: &mut Ring<O>, completion: Completion<O>, now: Instant) {
        match self {
            SinkLink::Tcp(link) => link.handle(ring, completion, now),
            SinkLink::File(link) => link.handle(completion, now),
        }
    }

    /// Does what is due: connects, gives up a stuck attempt, looks for confirmations.
    pub fn tick(&mut self, ring: &mut Ring<O>, now: Instant) {
        match self {
            SinkLink::Tcp(link) => link.tick(ring, now),
            SinkLink::File(_) => {}
        }
    }

    /// Sends what is queued, unless a send is under way: then what arrives meanwhile gathers for the next.
    pub fn flush(&mut self, ring: &mut Ring<O>, now: Instant) {
        match self {
            SinkLink::Tcp(link) => link.flush(ring),
            SinkLink::File(link) => link.flush(ring, now),
        }
    }

    /// When [`SinkLink::tick`] or [`SinkLink::flush`] has something to do by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self {
            SinkLink::Tcp(link) => link.next_deadline(),
            SinkLink::File(link) => link.next_deadline(),
        }
    }

    /// The drain begins: waits are cut short.
    pub fn hurry(&mut self, now: Instant) {
        match self {
            SinkLink::Tcp(link) => link.hurry(now),
            SinkLink::File(link) => link.hurry(now),
        }
    }

    /// Time is up: what is not confirmed by now is abandoned. The queue is empty when the kernel has let go of it.
    pub fn give_up(&mut self, ring: &mut Ring<O>, now: Instant) {
        match self {
            SinkLink::Tcp(link) => link.give_up(ring, now),
            SinkLink::File(link) => link.give_up(ring),
        }
    }

    /// Nothing is left to be done on this link: FIN, and the descriptor goes once the kernel has let go of it.
    pub fn close(&mut self, ring: &mut Ring<O>) {
        match self {
            SinkLink::Tcp(link) => link.close(ring),
            SinkLink::File(link) => link.close(ring),
        }
    }

    /// Whether [`SinkLink::close`] or [`SinkLink::give_up`] is complete.
    pub fn is_closed(&self) -> bool {
        match self {
            SinkLink::Tcp(link) => link.is_closed(),
            SinkLink::File(link) => link.is_closed(),
        }
    }

    /// Why this link can never deliver again, if so.
    pub fn broken(&self) -> Option<Errno> {
        match self {
            SinkLink::Tcp(_) => None,
            SinkLink::File(link) => link.broken(),
        }
    }
}
