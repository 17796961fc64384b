//! Completions to those who asked.
//!
//! Lives here: who can ask for an operation, and who acts on its completion. Never here: what they do.

use std::time::Instant;

use nix::errno::Errno;

use super::Reactor;
use crate::kernel::{CompletionOf, Event, Kernel};

/// Who asked for an operation of the kernel. Links are named by their key, which stays theirs until their last completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The reactor itself: the bell that the coordinator rings.
    Bell,
    /// A listener.
    Listener(u32),
    /// A source link.
    Source(u32),
    /// A sink link.
    Sink(u32),
}

impl Owner {
    pub(super) fn listener(key: usize) -> Owner {
        Owner::Listener(u32::try_from(key).expect("fewer listeners than 2^32"))
    }

    pub(super) fn sink(lane: usize) -> Owner {
        Owner::Sink(u32::try_from(lane).expect("limits keep the number of sink links small"))
    }

    pub(super) fn source(key: usize) -> Owner {
        Owner::Source(u32::try_from(key).expect("fewer links than 2^32"))
    }
}

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// Acts on everything that was reaped, in the order in which it happened.
    pub(super) fn dispatch(&mut self, now: Instant) {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            match completion.owner {
                Owner::Bell => self.on_bell(matches!(completion.event, Event::Woken(_))),
                Owner::Listener(key) => self.on_listener(key as usize, completion, now),
                Owner::Source(key) => self.on_source(key as usize, completion, now),
                Owner::Sink(lane) => self.lanes[lane as usize].exit.handle(&mut self.kernel, completion, now),
            }
        }
        self.completions = completions;
    }

    /// What is asked is read in every turn; the bell only makes sure that there is one.
    fn on_bell(&mut self, rang: bool) {
        if rang {
            self.kernel.wake(Owner::Bell, &self.bell);
        }
    }

    fn on_listener(&mut self, key: usize, completion: CompletionOf<K>, now: Instant) {
        if matches!(completion.event, Event::Canceled) {
            return;
        }
        if completion.last {
            self.listeners[key].ended();
        }
        if let Event::Accepted(result) = completion.event {
            match result {
                Ok(connection) => self.accepted(key, connection, now),
                Err(errno) => self.not_accepted(key, errno, now),
            }
        }
    }

    fn on_source(&mut self, key: usize, completion: CompletionOf<K>, now: Instant) {
        if matches!(completion.event, Event::Canceled) {
            return;
        }
        if completion.last {
            self.links[key].disarmed();
        }
        match completion.event {
            Event::Received(lease) => self.received(key, lease, now),
            Event::Datagram(datagram) => self.datagram(key, datagram, now),
            Event::EndOfStream => self.ended(key, now),
            // Nor is it the end of a connection that our kernel is short of memory.
            Event::ReceiveFailed(Errno::ENOBUFS | Errno::ECANCELED | Errno::EINTR | Errno::ENOMEM) => {}
            Event::ReceiveFailed(errno) => self.failed(key, errno),
            Event::Accepted(_)
            | Event::Watched(_)
            | Event::Sent(..)
            | Event::HasRoom(_)
            | Event::Connected(_)
            | Event::Woken(_)
            | Event::Canceled => unreachable!("a source link only receives"),
        }
        if completion.last {
            self.after_last_receive(key, now);
        }
    }
}
