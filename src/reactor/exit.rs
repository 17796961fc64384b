//! The far end of a lane: a sink link of our own sockets, or the outlet to a service.
//!
//! Lives here: what a reactor asks of either. Never here: how one sends.

use std::time::Instant;

use super::Owner;
use crate::endpoint::{Letter, Outlet};
use crate::kernel::{CompletionOf, Kernel};
use crate::ledger::Ticket;
use crate::message::Run;
use crate::socket::sink::SinkLink;

pub(super) enum Exit<K: Kernel> {
    Socket(Box<SinkLink<K>>),
    Service(Outlet),
}

impl<K: Kernel<Owner = Owner>> Exit<K> {
    /// Whoever pushes here hands the ticket over.
    pub(super) fn push(&mut self, run: Run, ticket: Ticket, now: Instant) {
        match self {
            Exit::Socket(link) => link.queue_mut().push(run, ticket, now),
            Exit::Service(outlet) => outlet.push(&run, ticket, now),
        }
    }

    pub(super) fn handle(&mut self, kernel: &mut K, completion: CompletionOf<K>, now: Instant) {
        match self {
            Exit::Socket(link) => link.handle(kernel, completion, now),
            Exit::Service(_) => unreachable!("a service asks nothing of our ring"),
        }
    }

    pub(super) fn tick(&mut self, kernel: &mut K, now: Instant) {
        if let Exit::Socket(link) = self {
            link.tick(kernel, now);
        }
    }

    /// Whether it began a send that is done as it is submitted, and nobody waits for.
    pub(super) fn flush(&mut self, kernel: &mut K, now: Instant) -> bool {
        match self {
            Exit::Socket(link) => link.flush(kernel, now),
            Exit::Service(_) => false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Exit::Socket(link) => link.next_deadline(),
            Exit::Service(_) => None,
        }
    }

    /// Bytes of memory that unsettled messages occupy.
    pub(super) fn occupied(&self) -> usize {
        match self {
            Exit::Socket(link) => link.queue().occupied(),
            Exit::Service(outlet) => outlet.occupied(),
        }
    }

    /// Bytes that are queued and not sent.
    pub(super) fn unsent_bytes(&self) -> usize {
        match self {
            Exit::Socket(link) => link.queue().unsent_bytes(),
            Exit::Service(outlet) => outlet.unsent_bytes(),
        }
    }

    /// Until when something has to be taken, or it counts as stalled; `None` if it does already.
    pub(super) fn stalls_at(&self, now: Instant) -> Option<Instant> {
        match self {
            Exit::Socket(link) => link.queue().stalls_at(now),
            Exit::Service(outlet) => outlet.stalls_at(now),
        }
    }

    pub(super) fn unsettled_messages(&self) -> u64 {
        match self {
            Exit::Socket(link) => link.queue().unsettled_messages(),
            Exit::Service(outlet) => outlet.unsettled_messages(),
        }
    }

    /// When the oldest unsettled message was queued.
    pub(super) fn oldest(&self) -> Option<Instant> {
        match self {
            Exit::Socket(link) => link.queue().oldest(),
            Exit::Service(outlet) => outlet.oldest(),
        }
    }

    /// Messages that were refused for good since the last look, where somebody takes them.
    pub(super) fn letters(&mut self) -> Vec<Letter> {
        match self {
            Exit::Socket(link) => link.queue_mut().letters(),
            Exit::Service(outlet) => outlet.letters(),
        }
    }

    /// The drain begins: waits are cut short.
    pub(super) fn hurry(&mut self, now: Instant) {
        match self {
            Exit::Socket(link) => link.hurry(now),
            Exit::Service(outlet) => outlet.hurry(),
        }
    }

    /// The intake is over: nothing more will come.
    pub(super) fn nothing_follows(&mut self) {
        match self {
            Exit::Socket(link) => link.nothing_follows(),
            Exit::Service(_) => {}
        }
    }

    /// Time is up: what is not settled by now is abandoned, or returned.
    pub(super) fn give_up(&mut self, kernel: &mut K, now: Instant) {
        match self {
            Exit::Socket(link) => link.give_up(kernel, now),
            Exit::Service(outlet) => outlet.give_up(),
        }
    }

    /// Nothing is left to be done: goodbye.
    pub(super) fn close(&mut self, kernel: &mut K, now: Instant) {
        match self {
            Exit::Socket(link) => link.close(kernel, now),
            Exit::Service(outlet) => outlet.close(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Exit::Socket(link) => link.is_closed(),
            Exit::Service(outlet) => outlet.is_closed(),
        }
    }

    /// Why it can never deliver again, if so.
    pub(super) fn broken(&self) -> Option<String> {
        match self {
            Exit::Socket(link) => link.broken().map(|errno| errno.to_string()),
            Exit::Service(outlet) => outlet.is_broken().then(|| "its service ended".to_owned()),
        }
    }

    /// Lets go of everything, without a word to anybody.
    pub(super) fn abandon(&mut self) {
        match self {
            Exit::Socket(link) => link.abandon(),
            Exit::Service(outlet) => outlet.give_up(),
        }
    }
}
