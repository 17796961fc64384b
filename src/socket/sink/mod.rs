//! A sink link: the way out of the relay.
//!
//! Lives here: what all kinds of sink links have in common. Never here: routing, or the books of sources.

mod connection;
mod dial;
mod file;
mod remote;
mod turn;

use std::time::Instant;

use nix::errno::Errno;

pub use dial::Endpoint;
pub use file::FileSink;
pub use remote::RemoteSink;
pub use turn::{Turn, shared_turn};

use super::send_queue::SendQueue;
use crate::config::plan::Confirm;
use crate::kernel::{CompletionOf, Kernel, Medium};

/// One link of a sink.
pub enum SinkLink<K: Kernel> {
    /// A connection that is made again when it breaks, or a datagram socket.
    Remote(RemoteSink<K>),
    /// A file, or standard output.
    File(FileSink<K>),
}

/// What the links of a sink of peers have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The sink's name, for logs.
    pub name: String,
    /// What its messages travel over.
    pub medium: Medium,
    /// What makes one delivered.
    pub confirm: Confirm,
    /// Of datagrams: whether each carries a payload alone, without its delimiter or count.
    pub payload_only: bool,
}

impl<K: Kernel> SinkLink<K> {
    /// What it has yet to send or to confirm.
    pub fn queue(&self) -> &SendQueue {
        match self {
            SinkLink::Remote(link) => link.queue(),
            SinkLink::File(link) => link.queue(),
        }
    }

    /// The way in: whoever pushes here hands the ticket over.
    pub fn queue_mut(&mut self) -> &mut SendQueue {
        match self {
            SinkLink::Remote(link) => link.queue_mut(),
            SinkLink::File(link) => link.queue_mut(),
        }
    }

    /// Acts on a completion of one of this link's operations.
    pub fn handle(&mut self, kernel: &mut K, completion: CompletionOf<K>, now: Instant) {
        match self {
            SinkLink::Remote(link) => link.handle(kernel, completion, now),
            SinkLink::File(link) => link.handle(completion, now),
        }
    }

    /// Does what is due: connects, gives up a stuck attempt, looks for confirmations.
    pub fn tick(&mut self, kernel: &mut K, now: Instant) {
        match self {
            SinkLink::Remote(link) => link.tick(kernel, now),
            SinkLink::File(_) => {}
        }
    }

    /// Sends what is queued, unless a send is under way: then what arrives meanwhile gathers for the next. Whether it began one that is
    /// done as it is submitted, and nobody waits for.
    pub fn flush(&mut self, kernel: &mut K, now: Instant) -> bool {
        match self {
            SinkLink::Remote(link) => link.flush(kernel, now),
            SinkLink::File(link) => {
                link.flush(kernel, now);
                false
            }
        }
    }

    /// When [`SinkLink::tick`] or [`SinkLink::flush`] has something to do by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self {
            SinkLink::Remote(link) => link.next_deadline(),
            SinkLink::File(link) => link.next_deadline(),
        }
    }

    /// The drain begins: waits are cut short.
    pub fn hurry(&mut self, now: Instant) {
        match self {
            SinkLink::Remote(link) => link.hurry(now),
            SinkLink::File(link) => link.hurry(now),
        }
    }

    /// Nothing will be queued any more: FIN follows what is still to be confirmed.
    pub fn nothing_follows(&mut self) {
        match self {
            SinkLink::Remote(link) => link.nothing_follows(),
            SinkLink::File(_) => {}
        }
    }

    /// Time is up: what is not confirmed by now is abandoned. The queue is empty when the kernel has let go of it.
    pub fn give_up(&mut self, kernel: &mut K, now: Instant) {
        match self {
            SinkLink::Remote(link) => link.give_up(kernel, now),
            SinkLink::File(link) => link.give_up(kernel),
        }
    }

    /// Nothing is left to be done on this link: FIN, and the descriptor goes once the kernel has let go of it.
    pub fn close(&mut self, kernel: &mut K, now: Instant) {
        match self {
            SinkLink::Remote(link) => link.close(kernel, now),
            SinkLink::File(link) => link.close(kernel),
        }
    }

    /// Its reactor broke: what it has is abandoned, without a word to the kernel.
    pub fn abandon(&mut self) {
        match self {
            SinkLink::Remote(link) => link.queue_mut().abandon(),
            SinkLink::File(link) => link.abandon(),
        }
    }

    /// Whether [`SinkLink::close`] or [`SinkLink::give_up`] is complete.
    pub fn is_closed(&self) -> bool {
        match self {
            SinkLink::Remote(link) => link.is_closed(),
            SinkLink::File(link) => link.is_closed(),
        }
    }

    /// Why this link can never deliver again, if so.
    pub fn broken(&self) -> Option<Errno> {
        match self {
            SinkLink::Remote(_) => None,
            SinkLink::File(link) => link.broken(),
        }
    }
}
