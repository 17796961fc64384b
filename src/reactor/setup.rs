//! From descriptors and plans to a reactor, on its own thread.
//!
//! Lives here: what is handed to a new thread, and the one way to make a reactor of it. Never here: opening or binding, which
//! bring-up does for all reactors at once.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use slab::Slab;

use super::dispatch::Owner;
use super::routes::{Pool, plan_pool};
use super::unarmed::Unarmed;
use super::{Control, Lane, Reactor, SourceOf};
use crate::config::plan::{Listen, Overflow, Sink, Source, Target};
use crate::kernel::{Kernel, Medium, Waits};
use crate::ledger::Ledger;
use crate::lifecycle::Stage;
use crate::limits::DROP_RESERVE_MIN;
use crate::message::Framing;
use crate::socket::listener::{Listener, Seats};
use crate::socket::sink::{Endpoint, FileSink, RemoteSink, SinkLink, Terms, Turn};

/// Everything that a reactor is made of, before its thread runs; `S` is a descriptor that can travel to it.
pub struct Setup<S> {
    /// The line to the coordinator.
    pub control: Arc<Control>,
    /// What the coordinator rings: [`Control::bell`].
    pub bell: S,
    /// Bound on received and not yet settled bytes.
    pub max_in_flight: usize,
    /// How long to wait for more beside the first thing that comes.
    pub gather: Duration,
    /// One for each source, in the plan's order.
    pub inlets: Vec<Inlet<S>>,
    /// One for each sink, in the plan's order.
    pub outlets: Vec<(Sink, Outlet<S>)>,
}

/// A source as one reactor has it.
pub struct Inlet<S> {
    /// What the plan says of it.
    pub plan: Source,
    /// The seats that it shares with the other reactors.
    pub seats: Arc<Seats>,
    /// This reactor's own listeners, or sockets for datagrams, one for each address. May be none.
    pub sockets: Vec<S>,
}

/// A sink as one reactor has it.
pub enum Outlet<S> {
    /// Its endpoints, in the plan's order.
    Remote(Vec<Endpoint>),
    /// An open file, or standard output.
    File {
        /// Where it is written to.
        file: S,
        /// Where a write waits that cannot be done at once.
        waits: Waits,
        /// Whose turn it is to write there, where several reactors do.
        turns: Option<S>,
    },
}

impl Outlet<OwnedFd> {
    /// The same sink for one more reactor.
    ///
    /// # Errors
    /// As dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Outlet::Remote(endpoints) => Ok(Outlet::Remote(endpoints.clone())),
            Outlet::File { file, waits, turns } => Ok(Outlet::File {
                file: file.try_clone()?,
                waits: *waits,
                turns: turns.as_ref().map(OwnedFd::try_clone).transpose()?,
            }),
        }
    }
}

/// What a source's messages travel over.
pub fn medium_of(listen: &Listen) -> Medium {
    match listen {
        Listen::Tcp(_) => Medium::Tcp,
        Listen::Udp(_) => Medium::Udp,
        Listen::Unix(_) => Medium::Unix,
        Listen::Unixgram(_) => Medium::Unixgram,
    }
}

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// A reactor that accepts and connects at its first turn. Belongs to the calling thread, as `kernel` does.
    ///
    /// # Errors
    /// When a sink link's first socket cannot be had: as socket(2).
    pub fn new<S: Into<K::Socket>>(setup: Setup<S>, mut kernel: K) -> io::Result<Reactor<K>> {
        let (now, bell) = (kernel.now(), setup.bell.into());
        kernel.wake(Owner::Bell, &bell);
        let ledger = Ledger::new(setup.inlets.len(), setup.outlets.len());
        let (lanes, pools) = open_lanes(&mut kernel, setup.outlets, now)?;
        let mut reactor = Reactor {
            control: setup.control,
            stage: Stage::Running,
            kernel,
            bell,
            ledger,
            max_in_flight: setup.max_in_flight,
            gather: setup.gather,
            heap_peak: 0,
            reserve: reserve(&setup.inlets, setup.max_in_flight),
            sources: Vec::new(),
            listeners: Slab::new(),
            links: Slab::new(),
            lanes,
            pools,
            unarmed: Unarmed::default(),
            waiting: VecDeque::new(),
            lingering: Vec::new(),
            emptying: VecDeque::new(),
            frozen: Vec::new(),
            completions: Vec::new(),
            runs: Vec::new(),
            next_look: None,
            next_idle: None,
            accept_again: None,
            a_link_went: false,
            owes_report: false,
            unsettled: Vec::new(),
        };
        setup.inlets.into_iter().for_each(|inlet| reactor.open_source(inlet, now));
        Ok(reactor)
    }

    fn open_source<S: Into<K::Socket>>(&mut self, inlet: Inlet<S>, now: Instant) {
        let (source, medium) = (self.sources.len(), medium_of(&inlet.plan.listen));
        self.sources.push(SourceOf { plan: inlet.plan, seats: inlet.seats });
        for socket in inlet.sockets {
            if medium.is_datagrams() {
                let key = self.open_link(source, socket.into(), medium, now);
                self.begin_receiving(key);
            } else {
                self.listeners.insert(Listener::new(source, socket.into(), medium));
            }
        }
    }
}

/// What is kept of `max_in_flight` for reading what is thrown away.
fn reserve<S>(inlets: &[Inlet<S>], max_in_flight: usize) -> usize {
    match inlets.iter().any(|inlet| inlet.plan.overflow == Overflow::DropNewest) {
        true => (max_in_flight / 8).max(DROP_RESERVE_MIN),
        false => 0,
    }
}

type Lanes<K> = (Vec<Lane<K>>, Vec<Pool>);

fn open_lanes<K: Kernel<Owner = Owner>, S: Into<K::Socket>>(
    kernel: &mut K,
    outlets: Vec<(Sink, Outlet<S>)>,
    now: Instant,
) -> io::Result<Lanes<K>> {
    let (mut lanes, mut pools) = (Vec::new(), Vec::new());
    for (index, (sink, outlet)) in outlets.into_iter().enumerate() {
        let (links, pool) = open_links(kernel, &sink, outlet, lanes.len(), now)?;
        pools.push(pool);
        lanes.extend(links.into_iter().map(|link| Lane {
            link,
            sink: index,
            framing: sink.framing,
            load: 0,
            held_back: Vec::new(),
            block: BytesMut::new(),
        }));
    }
    Ok((lanes, pools))
}

fn open_links<K: Kernel<Owner = Owner>, S: Into<K::Socket>>(
    kernel: &mut K,
    sink: &Sink,
    outlet: Outlet<S>,
    first: usize,
    now: Instant,
) -> io::Result<(Vec<SinkLink<K>>, Pool)> {
    match outlet {
        Outlet::File { file, waits, turns } => {
            let turn = turns.map(|turns| Turn::new(turns.into()));
            let link = FileSink::new(Owner::sink(first), sink.name.clone(), file.into(), waits, turn);
            Ok((vec![SinkLink::File(link)], Pool::Any(vec![first])))
        }
        Outlet::Remote(endpoints) => {
            let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
            let (orders, pool) = plan_pool(sink, &names, first);
            let (terms, endpoints) =
                (Rc::new(terms(sink)), endpoints.iter().cloned().map(Rc::new).collect::<Vec<_>>());
            let link = |(n, order): (usize, Vec<usize>)| {
                let order = order.into_iter().map(|endpoint| Rc::clone(&endpoints[endpoint])).collect();
                let owner = Owner::sink(first + n);
                RemoteSink::new(kernel, owner, Rc::clone(&terms), order, now).map(SinkLink::Remote)
            };
            let links = orders.into_iter().enumerate().map(link).collect::<io::Result<_>>()?;
            Ok((links, pool))
        }
    }
}

fn terms(sink: &Sink) -> Terms {
    let medium = match &sink.target {
        Target::Tcp(_) => Medium::Tcp,
        Target::Udp(_) => Medium::Udp,
        Target::Unix(_) => Medium::Unix,
        Target::Unixgram(_) => Medium::Unixgram,
        Target::Stdout | Target::File(_) => unreachable!("a file has no terms"),
    };
    let payload_only = sink.framing.is_none_or(|framing| framing == Framing::Datagram);
    Terms { name: sink.name.clone(), medium, confirm: sink.confirm, payload_only }
}
