//! One thread on one core: a ring, its links, its books. Reactors share nothing; a message never changes cores.
//!
//! The turn is in `turn`, what completions mean in `dispatch`, the way in in `intake`, the drain in `drain`. Lives here: what a
//! reactor owns, and its life from set-up to halt. Never here: signals, other reactors, the process's exit.

mod control;
mod dispatch;
mod drain;
mod exit;
mod gathering;
mod intake;
mod memory;
mod routes;
#[cfg(feature = "services")]
mod runtime;
mod services;
mod setup;
mod turn;
mod unarmed;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;
use thiserror::Error;

pub use control::{Control, Phase, stay_awake};
pub use dispatch::Owner;
use exit::Exit;
use gathering::Gathering;
use routes::{Block, Pool, Route};
use services::Fed;
pub use setup::{Setup, SinkSetup, SourceSetup, medium_of};

use unarmed::Unarmed;

use crate::config::plan::Source;
use crate::endpoint::Bell;
use crate::kernel::{CompletionOf, Kernel};
use crate::ledger::{Ledger, Totals};
use crate::lifecycle::Stage;
use crate::message::{Framing, Run};
use crate::socket::listener::{Listener, Seats};
use crate::socket::source::SourceLink;

/// Everything that one core's messages touch.
pub struct Reactor<K: Kernel<Owner = Owner>> {
    control: Arc<Control>,
    stage: Stage,
    kernel: K,
    bell: K::Socket,
    ledger: Ledger,
    max_in_flight: usize,
    gathering: Gathering,
    /// The most bytes on the heap since it gave memory back.
    heap_peak: usize,
    /// The part of `max_in_flight` that is kept for reading what is thrown away.
    reserve: usize,
    sources: Vec<SourceOf>,
    listeners: Slab<Listener<K::Socket>>,
    links: Slab<SourceLink<K::Socket, Rc<Route>>>,
    lanes: Vec<Lane<K>>,
    /// For each sink, its links among the lanes.
    pools: Vec<Pool>,
    /// Where short receives are copied.
    blocks: Slab<Block>,
    /// Inlets from services.
    fed: Vec<Fed>,
    /// What services wake it with.
    rings: Bell,
    /// Whether it sleeps in a runtime that hosts services, not in its ring.
    is_hosted: bool,
    #[cfg(feature = "services")]
    host: Option<runtime::Host>,
    /// Sends of this turn that are done as they are submitted, and nobody waits for.
    unhurried: usize,
    /// Links that are not armed, and wait for buffers.
    unarmed: Unarmed,
    /// Links without a seat, in the order in which they get one.
    waiting: VecDeque<usize>,
    /// Links that a drain reads on from.
    lingering: Vec<usize>,
    /// Frozen links that still have to be read empty.
    emptying: VecDeque<usize>,
    /// Sockets for UDP that are sealed, and stay in the way of the kernel until the end.
    frozen: Vec<K::Socket>,
    /// Sockets of links and listeners that are gone, until the end of the turn, or of the reactor.
    gone: Vec<K::Socket>,
    completions: Vec<CompletionOf<K>>,
    runs: Vec<Run>,
    /// When to look at `lingering` again.
    next_look: Option<Instant>,
    /// When a link may have been silent for too long.
    next_idle: Option<Instant>,
    /// When to accept again for want of a descriptor.
    accept_again: Option<Instant>,
    /// Whether a descriptor and perhaps a seat came free since the last look.
    a_link_went: bool,
    /// Whether it came to the end of its work, which is all that the coordinator waits for, and has not said so yet.
    owes_report: bool,
    unsettled: Vec<Unsettled>,
}

/// One source as its links need it.
struct SourceOf {
    plan: Source,
    seats: Arc<Seats>,
}

/// One sink link or outlet, and what is to be known to send something on it.
struct Lane<K: Kernel> {
    exit: Exit<K>,
    /// Index of its sink in the plan.
    sink: usize,
    /// How its messages are framed; `None` as they came.
    framing: Option<Framing>,
    /// Index of the sink that takes its dead letters.
    dead_letter: Option<usize>,
    /// Source links whose messages may go here.
    load: usize,
    /// Those of them that wait until this link has sent some of its share.
    held_back: Vec<usize>,
}

/// What was not settled when time was up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// How many messages.
    pub messages: u64,
    /// For how long the oldest had been queued, in microseconds.
    pub oldest_micros: u64,
}

/// A reactor's books after its end.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Over everything.
    pub totals: Totals,
    /// For each source, in the plan's order.
    pub sources: Vec<Totals>,
    /// For each sink, in the plan's order.
    pub sinks: Vec<Totals>,
    /// For each sink, what was not settled when time was up; empty after a clean drain.
    pub unsettled: Vec<Unsettled>,
}

/// Why a reactor ended before it was halted; everything that it had in flight is abandoned then.
#[derive(Debug, Error)]
pub enum Broke {
    /// What the ring said.
    #[error("a reactor broke: {0}")]
    Ring(#[from] io::Error),
    /// A bug.
    #[error("a reactor panicked; the message is above")]
    Panicked,
}

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// Turns until the coordinator halts it, or it breaks. Its books are the result, in either case.
    pub fn run(&mut self) -> (Books, Result<(), Broke>) {
        #[cfg(feature = "services")]
        if let Some(host) = self.host.take() {
            return self.run_hosted(host);
        }
        self.run_with(|reactor| {
            // A turn begins asleep: without an accept armed nothing would ever wake a reactor whose sink needs no connection.
            let now = reactor.kernel.now();
            reactor.replenish(now);
            while reactor.stage != Stage::Halted {
                reactor.turn()?;
            }
            Ok(())
        })
    }

    /// Closes what is still open of source links and listeners that are gone. For after [`Reactor::run`], whose books have been given by
    /// then: each close tells a peer.
    pub fn close_remaining(&mut self) {
        self.gone.clear();
    }

    fn run_with(&mut self, turns: impl FnOnce(&mut Self) -> Result<(), Broke>) -> (Books, Result<(), Broke>) {
        // What is left of it after a panic is counted and dropped, nothing else.
        let ended = catch_unwind(AssertUnwindSafe(|| turns(self))).unwrap_or(Err(Broke::Panicked));
        self.abandon_all();
        (self.books(), ended)
    }

    /// Unless it is halted, when nothing is left: what is in flight counts as abandoned, and the coordinator learns of it.
    fn abandon_all(&mut self) {
        if self.stage != Stage::Halted {
            self.stage = Stage::Halted;
            self.lanes.iter_mut().for_each(|lane| lane.exit.abandon());
            self.tell_end();
        }
    }

    /// Publishes its last books, which nobody adds to any more.
    fn tell_end(&self) {
        let sealed = true;
        self.control.published.publish(&self.ledger.totals(), sealed);
        self.control.report_broken();
    }

    fn books(&mut self) -> Books {
        Books {
            totals: self.ledger.totals(),
            sources: self.ledger.sources(),
            sinks: self.ledger.sinks(),
            unsettled: std::mem::take(&mut self.unsettled),
        }
    }

    /// Notes what each sink still has when time is up.
    fn note_unsettled(&mut self, now: Instant) {
        let mut unsettled = vec![Unsettled::default(); self.ledger.sinks().len()];
        for lane in &self.lanes {
            let (exit, of_sink) = (&lane.exit, &mut unsettled[lane.sink]);
            of_sink.messages += exit.unsettled_messages();
            let age = exit.oldest().map_or(0, |since| now.duration_since(since).as_micros() as u64);
            of_sink.oldest_micros = of_sink.oldest_micros.max(age);
        }
        self.unsettled = unsettled;
    }
}

impl<K: Kernel<Owner = Owner>> Drop for Reactor<K> {
    /// Also of one that never ran.
    fn drop(&mut self) {
        self.abandon_all();
    }
}

#[cfg(test)]
mod tests;
