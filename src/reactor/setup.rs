//! From descriptors and plans to a reactor, on its own thread.
//!
//! Lives here: what is handed to a new thread, and the one way to make a reactor of it. Never here: opening or binding, which
//! bring-up does for all reactors at once.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::dispatch::Owner;
use super::exit::Exit;
use super::gathering::Gathering;
use super::routes::{Pool, plan_pool};
#[cfg(feature = "services")]
use super::runtime::Host;
use super::services::{Fed, Service};
use super::unarmed::Unarmed;
use super::{Control, Lane, Reactor, SourceOf};
use crate::config::plan::{Listen, Overflow, Sink, Source, Target};
use crate::config::services::Push;
use crate::endpoint::{Bell, Inlet, Outlet};
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
    /// How long to wait for more beside the first thing that comes; `None`: for datagrams only, [`GATHER_DATAGRAMS`].
    ///
    /// [`GATHER_DATAGRAMS`]: crate::limits::GATHER_DATAGRAMS
    pub gather: Option<Duration>,
    /// One for each source, in the plan's order.
    pub inlets: Vec<SourceSetup<S>>,
    /// One for each sink, in the plan's order.
    pub outlets: Vec<(Sink, SinkSetup<S>)>,
    /// Its number among the relay's reactors, from 0.
    pub number: usize,
}

/// A source as one reactor has it.
pub struct SourceSetup<S> {
    /// What the plan says of it.
    pub plan: Source,
    /// The seats that it shares with the other reactors.
    pub seats: Arc<Seats>,
    /// This reactor's own listeners, or sockets for datagrams, one for each address. May be none.
    pub sockets: Vec<S>,
    /// This reactor's own listener for HTTP.
    pub http: Option<TcpListener>,
}

/// A sink as one reactor has it.
pub enum SinkSetup<S> {
    /// Its endpoints, in the plan's order.
    Remote(Vec<Endpoint>),
    /// A service, which its own client connects to.
    Service(Box<Push>),
    /// An open file, or standard output.
    File {
        /// Where it is written to.
        file: S,
        /// Where a write waits that cannot be done at once.
        waits: Waits,
        /// Whose turn it is to write there, where several reactors do: where that is heard, and where it is passed on.
        turns: Option<(S, S)>,
    },
}

impl SinkSetup<OwnedFd> {
    /// The same sink for one more reactor.
    ///
    /// # Errors
    /// As dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            SinkSetup::Remote(endpoints) => Ok(SinkSetup::Remote(endpoints.clone())),
            SinkSetup::Service(push) => Ok(SinkSetup::Service(push.clone())),
            SinkSetup::File { file, waits, turns } => Ok(SinkSetup::File {
                file: file.try_clone()?,
                waits: *waits,
                turns: turns.as_ref().map(both_again).transpose()?,
            }),
        }
    }
}

fn both_again((heard, rung): &(OwnedFd, OwnedFd)) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((heard.try_clone()?, rung.try_clone()?))
}

/// What a source's messages travel over; `None` where a service brings them.
pub fn medium_of(listen: &Listen) -> Option<Medium> {
    match listen {
        Listen::Tcp(_) => Some(Medium::Tcp),
        Listen::Udp(_) => Some(Medium::Udp),
        Listen::Unix(_) => Some(Medium::Unix),
        Listen::Unixgram(_) => Some(Medium::Unixgram),
        Listen::Http(_) | Listen::Pull(_) => None,
    }
}

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// A reactor that accepts and connects at its first turn. Belongs to the calling thread, as `kernel` does.
    ///
    /// # Errors
    /// When a sink link's first socket cannot be had, as socket(2); or the runtime that hosts services, as io_uring_setup(2).
    pub fn new<S: Into<K::Socket>>(setup: Setup<S>, mut kernel: K) -> io::Result<Reactor<K>> {
        let (now, bell) = (kernel.now(), setup.bell.into());
        kernel.wake(Owner::Bell, &bell);
        let ledger = Ledger::new(setup.inlets.len(), setup.outlets.len());
        let (rings, mut services) = (Bell::default(), Vec::new());
        let (lanes, pools) = open_lanes(&mut kernel, setup.outlets, (&rings, &mut services), now)?;
        let mut reactor = Reactor {
            control: setup.control,
            stage: Stage::Running,
            kernel,
            bell,
            ledger,
            max_in_flight: setup.max_in_flight,
            gathering: Gathering::new(setup.gather),
            heap_peak: 0,
            reserve: reserve(&setup.inlets, setup.max_in_flight),
            sources: Vec::new(),
            listeners: Slab::new(),
            links: Slab::new(),
            lanes,
            pools,
            blocks: Slab::new(),
            fed: Vec::new(),
            rings,
            is_hosted: false,
            #[cfg(feature = "services")]
            host: None,
            unhurried: 0,
            unarmed: Unarmed::default(),
            waiting: VecDeque::new(),
            lingering: Vec::new(),
            emptying: VecDeque::new(),
            frozen: Vec::new(),
            gone: Vec::new(),
            completions: Vec::new(),
            runs: Vec::new(),
            next_look: None,
            next_idle: None,
            accept_again: None,
            a_link_went: false,
            owes_report: false,
            unsettled: Vec::new(),
        };
        for inlet in setup.inlets {
            services.extend(reactor.open_source(inlet, setup.number, now));
        }
        reactor.host(services)?;
        Ok(reactor)
    }

    /// Whoever has services sleeps in a runtime that hosts them.
    #[cfg(feature = "services")]
    fn host(&mut self, services: Vec<Service>) -> io::Result<()> {
        self.is_hosted = !services.is_empty();
        // The first turn says whether there is room.
        self.rings.ring();
        self.host = self.is_hosted.then(|| Host::new(&mut self.kernel, services)).transpose()?;
        Ok(())
    }

    #[cfg(not(feature = "services"))]
    fn host(&mut self, services: Vec<Service>) -> io::Result<()> {
        debug_assert!(services.is_empty(), "the configuration knows what this build speaks");
        Ok(())
    }

    fn open_source<S: Into<K::Socket>>(
        &mut self,
        inlet: SourceSetup<S>,
        number: usize,
        now: Instant,
    ) -> Option<Service> {
        let source = self.sources.len();
        self.sources.push(SourceOf { plan: inlet.plan, seats: inlet.seats });
        match medium_of(&self.sources[source].plan.listen) {
            Some(medium) => {
                self.open_sockets(source, medium, inlet.sockets, now);
                None
            }
            None => self.open_inlet(source, inlet.http, number),
        }
    }

    /// The service that feeds a source, to be started later.
    fn open_inlet(&mut self, source: usize, http: Option<TcpListener>, reactor: usize) -> Option<Service> {
        let (inlet, feed) = Inlet::new(self.rings.clone());
        let Source { name, listen, max_message, framing, .. } = &self.sources[source].plan;
        let (name, lines) = (name.clone(), *framing == Framing::Line.into());
        let service = match (listen, http) {
            (Listen::Pull(plan), _) => Service::Pull { name, plan: plan.clone(), reactor, feed },
            (Listen::Http(plan), Some(listener)) => {
                let (plan, max_message) = (plan.clone(), *max_message);
                Service::Listen { name, plan, max_message, lines, listener, feed }
            }
            // Another reactor listens there.
            _ => return None,
        };
        let route = Rc::new(self.open_route(source));
        self.fed.push(Fed { source, inlet, route });
        Some(service)
    }

    fn open_sockets<S: Into<K::Socket>>(
        &mut self,
        source: usize,
        medium: Medium,
        sockets: Vec<S>,
        now: Instant,
    ) {
        for socket in sockets {
            if medium.is_datagrams() {
                let key = self.open_link(source, socket.into(), medium, now);
                self.begin_receiving(key);
            } else {
                let name = &self.sources[source].plan.name;
                self.listeners.insert(Listener::new(source, name, socket.into(), medium));
            }
        }
    }
}

/// What is kept of `max_in_flight` for reading what is thrown away.
fn reserve<S>(inlets: &[SourceSetup<S>], max_in_flight: usize) -> usize {
    match inlets.iter().any(|inlet| inlet.plan.overflow == Overflow::DropNewest) {
        true => (max_in_flight / 8).max(DROP_RESERVE_MIN),
        false => 0,
    }
}

type Lanes<K> = (Vec<Lane<K>>, Vec<Pool>);

fn open_lanes<K: Kernel<Owner = Owner>, S: Into<K::Socket>>(
    kernel: &mut K,
    outlets: Vec<(Sink, SinkSetup<S>)>,
    (rings, services): (&Bell, &mut Vec<Service>),
    now: Instant,
) -> io::Result<Lanes<K>> {
    let (mut lanes, mut pools) = (Vec::new(), Vec::new());
    for (index, (sink, outlet)) in outlets.into_iter().enumerate() {
        let (exits, pool) = match outlet {
            SinkSetup::Service(plan) => {
                let (outlet, deliveries) = Outlet::new(&sink.name, rings.clone(), sink.dead_letter.is_some());
                services.push(Service::Push { plan, deliveries });
                (vec![Exit::Service(outlet)], Pool::Any(vec![lanes.len()]))
            }
            of_sockets => {
                let (links, pool) = open_links(kernel, &sink, of_sockets, lanes.len(), now)?;
                (links.into_iter().map(|link| with_letters(link, &sink)).collect(), pool)
            }
        };
        pools.push(pool);
        lanes.extend(exits.into_iter().map(|exit| Lane {
            exit,
            sink: index,
            framing: sink.framing,
            dead_letter: sink.dead_letter,
            load: 0,
            held_back: Vec::new(),
        }));
    }
    Ok((lanes, pools))
}

fn with_letters<K: Kernel>(mut link: SinkLink<K>, sink: &Sink) -> Exit<K> {
    if sink.dead_letter.is_some() {
        link.queue_mut().keep_letters();
    }
    Exit::Socket(Box::new(link))
}

fn open_links<K: Kernel<Owner = Owner>, S: Into<K::Socket>>(
    kernel: &mut K,
    sink: &Sink,
    outlet: SinkSetup<S>,
    first: usize,
    now: Instant,
) -> io::Result<(Vec<SinkLink<K>>, Pool)> {
    match outlet {
        SinkSetup::File { file, waits, turns } => {
            let turn = turns.map(|(heard, rung)| Turn::new(heard.into(), rung.into()));
            let link = FileSink::new(Owner::sink(first), sink.name.clone(), file.into(), waits, turn);
            Ok((vec![SinkLink::File(link)], Pool::Any(vec![first])))
        }
        SinkSetup::Service(_) => unreachable!("a service has no sockets of ours"),
        SinkSetup::Remote(endpoints) => {
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
        Target::Stdout | Target::File(_) | Target::Service(_) => unreachable!("only peers have terms"),
    };
    let payload_only = sink.framing.is_none_or(|framing| framing == Framing::Datagram);
    Terms { name: sink.name.clone(), medium, confirm: sink.confirm, payload_only }
}
