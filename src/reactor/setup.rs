//! From descriptors and plans to a reactor, on its own thread.
//!
//! Lives here: what is handed to a new thread, and the one way to make a reactor of it. Never here: opening or binding, which
//! bring-up does for all reactors at once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use slab::Slab;
use thiserror::Error;

use super::dispatch::Owner;
use super::{Control, Lane, Reactor, SourceOf};
use crate::config::plan::{Sink, Source};
use crate::ledger::Ledger;
use crate::lifecycle::Stage;
use crate::ring::{Ring, SetupError, Support};
use crate::socket::listener::{Listener, Seats, shortage_remedy};
use crate::socket::sink::{FileSink, SinkLink, TcpSink, Turn};

/// Everything that a reactor is made of, before its thread runs.
pub struct Setup {
    /// The line to the coordinator.
    pub control: Arc<Control>,
    /// What this kernel's io_uring can do.
    pub support: Support,
    /// Bound on received and not yet settled bytes.
    pub max_in_flight: usize,
    /// One for each source, in the plan's order.
    pub inlets: Vec<Inlet>,
    /// One for each sink, in the plan's order.
    pub outlets: Vec<(Sink, Outlet)>,
}

/// A source as one reactor has it.
pub struct Inlet {
    /// What the plan says of it.
    pub plan: Source,
    /// The seats that it shares with the other reactors.
    pub seats: Arc<Seats>,
    /// This reactor's own listeners, one for each address.
    pub listeners: Vec<OwnedFd>,
}

/// A sink as one reactor has it.
pub enum Outlet {
    /// Where its connections go: the first address that answers.
    Tcp(Vec<SocketAddr>),
    /// An open file, or standard output.
    File {
        /// Where it is written to.
        file: OwnedFd,
        /// Whose turn it is to write there, where several reactors do.
        turns: Option<OwnedFd>,
    },
}

impl Outlet {
    /// The same sink for one more reactor.
    ///
    /// # Errors
    /// As dup(2).
    pub fn try_clone(&self) -> io::Result<Outlet> {
        match self {
            Outlet::Tcp(addresses) => Ok(Outlet::Tcp(addresses.clone())),
            Outlet::File { file, turns } => Ok(Outlet::File {
                file: file.try_clone()?,
                turns: turns.as_ref().map(OwnedFd::try_clone).transpose()?,
            }),
        }
    }
}

/// Why a reactor cannot start.
#[derive(Debug, Error)]
pub enum SetupFailed {
    /// io_uring cannot be used.
    #[error(transparent)]
    Ring(#[from] SetupError),
    /// A descriptor cannot be duplicated.
    #[error("cannot set a reactor up: {0}{remedy}", remedy = shortage_remedy(.0))]
    Descriptor(#[from] io::Error),
}

impl Reactor {
    /// A reactor that accepts and connects at its first turn. Belongs to the calling thread.
    ///
    /// # Errors
    /// [`SetupFailed`].
    pub fn new(setup: Setup) -> Result<Reactor, SetupFailed> {
        let mut ring = Ring::new(setup.support, setup.max_in_flight)?;
        let bell = Rc::new(setup.control.bell()?);
        ring.wake(Owner::Bell, &bell);
        let ledger = Ledger::new(setup.inlets.len(), setup.outlets.len());
        let lanes = open_lanes(setup.outlets, Instant::now())?;
        let (sources, listeners) = open_sources(setup.inlets);
        Ok(Reactor {
            control: setup.control,
            stage: Stage::Running,
            ring,
            bell,
            ledger,
            max_in_flight: setup.max_in_flight,
            sources,
            listeners,
            links: Slab::new(),
            lanes,
            hungry: VecDeque::new(),
            parked: VecDeque::new(),
            waiting: VecDeque::new(),
            lingering: Vec::new(),
            emptying: VecDeque::new(),
            completions: Vec::new(),
            runs: Vec::new(),
            next_look: None,
            accept_again: None,
            a_link_went: false,
            advanced: false,
            unsettled: Vec::new(),
        })
    }
}

fn open_sources(inlets: Vec<Inlet>) -> (Vec<SourceOf>, Slab<Listener>) {
    let (mut sources, mut listeners) = (Vec::new(), Slab::new());
    for (index, inlet) in inlets.into_iter().enumerate() {
        for socket in inlet.listeners {
            listeners.insert(Listener::new(index, socket));
        }
        sources.push(SourceOf { plan: inlet.plan, seats: inlet.seats });
    }
    (sources, listeners)
}

fn open_lanes(outlets: Vec<(Sink, Outlet)>, now: Instant) -> io::Result<Vec<Lane>> {
    let mut lanes = Vec::new();
    for (index, (sink, outlet)) in outlets.into_iter().enumerate() {
        for link in open_links(&sink, outlet, lanes.len(), now)? {
            lanes.push(Lane {
                link,
                sink: index,
                framing: sink.framing,
                load: 0,
                held_back: Vec::new(),
                block: BytesMut::new(),
            });
        }
    }
    Ok(lanes)
}

fn open_links(sink: &Sink, outlet: Outlet, first: usize, now: Instant) -> io::Result<Vec<SinkLink<Owner>>> {
    let owner = |index| {
        Owner::Sink(u32::try_from(first + index).expect("limits keep the number of sink links small"))
    };
    match outlet {
        Outlet::File { file, turns } => {
            let turn = turns.map(Turn::new);
            Ok(vec![SinkLink::File(FileSink::new(owner(0), sink.name.clone(), Rc::new(file), turn))])
        }
        Outlet::Tcp(addresses) => {
            let addresses: Rc<[SocketAddr]> = addresses.into();
            let link = |index| {
                TcpSink::new(owner(index), sink.name.clone(), Rc::clone(&addresses), sink.confirm, now)
            };
            (0..sink.connections).map(|index| link(index).map(SinkLink::Tcp)).collect()
        }
    }
}
