//! Which sink links a source link's messages go to, and how they get there.
//!
//! Lives here: the pools of sink links, a source link's route through them, and the step from a run of messages to the queues.
//! Never here: how an endpoint is ranked (`route`), or whether it is healthy (a sink link knows).

use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;

use super::{Lane, Owner, Reactor};
use crate::config::plan::{Balance, Key, Overflow, Sink};
use crate::framing::reframe;
use crate::kernel::Kernel;
use crate::ledger::{Origin, Outcome, Part, Ticket, Way};
use crate::lifecycle::Stage;
use crate::limits::RUN_OVERHEAD;
use crate::message::{Framing, Run};
use crate::route::{Ranking, key_of, least_loaded, partition, segments};

/// The links of one sink, by what decides between them.
pub(super) enum Pool {
    /// A source link keeps to one of them.
    Any(Vec<usize>),
    /// Each message goes to one link of every group; a group is an endpoint.
    Each(Vec<Vec<usize>>),
    /// The key of a message decides.
    Keyed(Rc<Keyed>),
}

/// A link for each pair of endpoints: the first choice of its keys, and the one to fall back to.
pub(super) struct Keyed {
    key: Key,
    ranking: Ranking,
    /// Number of endpoints.
    endpoints: usize,
    /// `lanes[first * endpoints + second]`; where both are the same there is none.
    lanes: Vec<usize>,
}

impl Keyed {
    fn lane(&self, message: &[u8]) -> usize {
        let (first, second) = self.ranking.first_two(key_of(message, &self.key));
        self.lanes[first * self.endpoints + second]
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        let pairs = self.lanes.iter().enumerate();
        pairs.filter(|(n, _)| n / self.endpoints != n % self.endpoints).map(|(_, lane)| *lane)
    }
}

/// The links that a sink needs, each as the order of its endpoints, best first; and how to choose among them.
///
/// `first` is the place of the first of these links among all of the reactor's.
pub(super) fn plan_pool(sink: &Sink, names: &[&str], first: usize) -> (Vec<Vec<usize>>, Pool) {
    let count = names.len();
    let rotated = |begin: usize| (0..count).map(|step| (begin + step) % count).collect::<Vec<_>>();
    let repeated = |orders: Vec<Vec<usize>>| -> Vec<Vec<usize>> {
        orders.iter().cycle().take(orders.len() * sink.connections).cloned().collect()
    };
    let any = |orders: Vec<Vec<usize>>| {
        let lanes = (first..first + orders.len()).collect();
        (orders, Pool::Any(lanes))
    };
    match &sink.balance {
        Balance::Spread => any(repeated((0..count).map(rotated).collect())),
        Balance::Failover => any(repeated(vec![rotated(0)])),
        Balance::Copy => {
            let lanes = |endpoint| (0..sink.connections).map(|n| first + n * count + endpoint).collect();
            let groups = (0..count).map(lanes).collect();
            (repeated((0..count).map(|endpoint| vec![endpoint]).collect()), Pool::Each(groups))
        }
        Balance::Hash(key) => plan_keyed(key, names, first),
    }
}

fn plan_keyed(key: &Key, names: &[&str], first: usize) -> (Vec<Vec<usize>>, Pool) {
    let endpoints = names.len();
    let (mut orders, mut lanes) = (Vec::new(), Vec::new());
    for pair in 0..endpoints * endpoints {
        let (best, next) = (pair / endpoints, pair % endpoints);
        lanes.push(first + orders.len());
        if best != next {
            let others = (0..endpoints).filter(|other| ![best, next].contains(other));
            orders.push([best, next].into_iter().chain(others).collect());
        }
    }
    let keyed = Keyed { key: key.clone(), ranking: Ranking::new(names), endpoints, lanes };
    (orders, Pool::Keyed(Rc::new(keyed)))
}

/// Where one source link's messages go: along each leg.
pub(super) struct Route {
    legs: Vec<Leg>,
    /// Every link that a message may go to.
    lanes: Vec<usize>,
    /// Which block its short receives are copied into.
    block: usize,
}

/// Where short receives are copied, next to each other, of all routes along the same links: so none of these holds what only another
/// has still to send.
pub(super) struct Block {
    lanes: Vec<usize>,
    routes: usize,
    pub(super) bytes: BytesMut,
}

enum Leg {
    Lane(usize),
    Keyed { sink: usize, keyed: Rc<Keyed> },
}

impl Pool {
    /// A link for a message that belongs to no source link.
    pub(super) fn any(&self, message: &[u8]) -> usize {
        match self {
            Pool::Any(lanes) => lanes[0],
            Pool::Each(groups) => groups[0][0],
            Pool::Keyed(keyed) => keyed.lane(message),
        }
    }
}

impl Route {
    /// The link of each leg for one message.
    pub(super) fn lanes_of(&self, message: &[u8]) -> Vec<usize> {
        lanes_of(&self.legs, message)
    }

    pub(super) fn lanes(&self) -> &[usize] {
        &self.lanes
    }

    /// Whether each message finds its own way, and is copied for it.
    pub(super) fn divides(&self) -> bool {
        self.legs.iter().any(|leg| matches!(leg, Leg::Keyed { .. }))
    }

    pub(super) fn block(&self) -> usize {
        self.block
    }
}

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// A route for a new link of `source`: through each of its sinks, by the links that have least to do.
    pub(super) fn open_route(&mut self, source: usize) -> Route {
        let mut route = Route { legs: Vec::new(), lanes: Vec::new(), block: 0 };
        for &sink in &self.sources[source].plan.to {
            match &self.pools[sink] {
                Pool::Any(lanes) => route.add(self.least_loaded(lanes)),
                Pool::Each(groups) => groups.iter().for_each(|lanes| route.add(self.least_loaded(lanes))),
                Pool::Keyed(keyed) => {
                    route.lanes.extend(keyed.all());
                    route.legs.push(Leg::Keyed { sink, keyed: Rc::clone(keyed) });
                }
            }
        }
        route.lanes.iter().for_each(|&lane| self.lanes[lane].load += 1);
        route.block = self.block_of(&route.lanes);
        self.blocks[route.block].routes += 1;
        route
    }

    fn block_of(&mut self, lanes: &[usize]) -> usize {
        let known = self.blocks.iter().find(|(_, block)| block.lanes == lanes).map(|(block, _)| block);
        known.unwrap_or_else(|| {
            self.blocks.insert(Block { lanes: lanes.to_vec(), routes: 0, bytes: BytesMut::new() })
        })
    }

    fn least_loaded(&self, lanes: &[usize]) -> usize {
        let loads = lanes.iter().map(|&lane| self.lanes[lane].load);
        lanes[least_loaded(loads).expect("a sink has a link")]
    }

    /// The link that used it is gone.
    pub(super) fn close_route(&mut self, route: &Route) {
        route.lanes.iter().for_each(|&lane| self.lanes[lane].load -= 1);
        let block = &mut self.blocks[route.block];
        block.routes -= 1;
        if block.routes == 0 {
            self.blocks.remove(route.block);
        }
    }

    /// Enters messages into the books, and hands them to the queues of the route's links. `buffer` is the memory that they share
    /// with nobody else; none of what is short, or follows other messages.
    pub(super) fn offer(&mut self, source: usize, route: &Route, run: Run, buffer: usize, now: Instant) {
        if self.overflows(source, route) {
            return self.fail(source, route, run.messages);
        }
        match &route.legs[..] {
            [Leg::Lane(lane)] => self.offer_one(source, *lane, run, buffer, now),
            [Leg::Keyed { keyed, .. }] => {
                let parts = partition(run, buffer > 0, |message| keyed.lane(message));
                let buffer = if parts.len() == 1 { buffer } else { 0 };
                for (lane, run) in parts {
                    self.offer_one(source, lane, run, buffer, now);
                }
            }
            legs if route.divides() => {
                let stretches = segments(run, buffer > 0, |message| lanes_of(legs, message));
                let buffer = if stretches.len() == 1 { buffer } else { 0 };
                for (lanes, run) in stretches {
                    self.offer_each(source, &lanes, &run, buffer, None, now);
                }
            }
            _ => self.offer_each(source, &route.lanes, &run, buffer, None, now),
        }
    }

    fn offer_one(&mut self, source: usize, lane: usize, run: Run, buffer: usize, now: Instant) {
        let lane = &mut self.lanes[lane];
        let (run, bytes) = lane.framed(run, buffer);
        let ticket = self.ledger.admit(Way { source, sink: lane.sink }, run.messages, bytes);
        lane.take(run, ticket, self.stage, now);
    }

    /// Enters messages for several links; one message where `origin` still has it.
    pub(super) fn offer_each(
        &mut self,
        source: usize,
        lanes: &[usize],
        run: &Run,
        buffer: usize,
        origin: Option<Rc<dyn Origin>>,
        now: Instant,
    ) {
        let mut framed: Vec<(Run, usize)> = Vec::with_capacity(lanes.len());
        for &lane in lanes {
            let framing = self.lanes[lane].framing_of(run);
            // Links that frame alike share the bytes; each counts them, since each keeps them as long as it needs them.
            let shared = framed.iter().find(|(other, _)| other.framing == framing).cloned();
            framed.push(shared.unwrap_or_else(|| self.lanes[lane].framed(run.clone(), buffer)));
        }
        let parts: Vec<Part> = lanes
            .iter()
            .zip(&framed)
            .map(|(&lane, (_, bytes))| Part { sink: self.lanes[lane].sink, bytes: *bytes })
            .collect();
        let tickets = match origin {
            None => self.ledger.admit_each(source, &parts, run.messages),
            Some(origin) => self.ledger.admit_each_from(origin, source, &parts),
        };
        for ((&lane, (run, _)), ticket) in lanes.iter().zip(framed).zip(tickets) {
            self.lanes[lane].take(run, ticket, self.stage, now);
        }
    }

    /// Whether there is no room for one more message, and its source throws it away then.
    fn overflows(&self, source: usize, route: &Route) -> bool {
        match self.sources[source].plan.overflow {
            Overflow::Block => false,
            Overflow::DropNewest => self.stage != Stage::Expiring && self.is_full(route),
        }
    }

    /// Counts messages as failed that no sink ever sees.
    pub(super) fn fail(&mut self, source: usize, route: &Route, messages: u32) {
        let parts = self.parts_without_bytes(route);
        for ticket in self.ledger.admit_each(source, &parts, messages) {
            ticket.settle(Outcome::Failed);
        }
    }
}

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// A part for each leg, of messages that no sink sees.
    pub(super) fn parts_without_bytes(&self, route: &Route) -> Vec<Part> {
        let sinks = route.legs.iter().map(|leg| match leg {
            Leg::Lane(lane) => self.lanes[*lane].sink,
            Leg::Keyed { sink, .. } => *sink,
        });
        sinks.map(|sink| Part { sink, bytes: 0 }).collect()
    }
}

fn lanes_of(legs: &[Leg], message: &[u8]) -> Vec<usize> {
    let lane = |leg: &Leg| match leg {
        Leg::Lane(lane) => *lane,
        Leg::Keyed { keyed, .. } => keyed.lane(message),
    };
    legs.iter().map(lane).collect()
}

impl Route {
    fn add(&mut self, lane: usize) {
        self.legs.push(Leg::Lane(lane));
        self.lanes.push(lane);
    }
}

impl<K: Kernel<Owner = Owner>> Lane<K> {
    /// The run as this sink frames it, and the bytes of memory that it occupies: those of its buffer if it shares that, its own,
    /// and what is kept beside them.
    pub(super) fn framed(&self, run: Run, buffer: usize) -> (Run, usize) {
        let framing = self.framing_of(&run);
        let (run, body) = if framing == run.framing { (run, buffer) } else { (reframe(run, framing), 0) };
        let bytes = run.head.len() + body.max(run.body.len()) + RUN_OVERHEAD;
        (run, bytes)
    }

    /// How this sink keeps the run.
    fn framing_of(&self, run: &Run) -> Framing {
        match (self.framing, run.framing) {
            // A stream has no datagrams.
            (None, Framing::Datagram) => Framing::Line,
            (None, as_it_came) => as_it_came,
            // Each message is taken out of its frame when it is sent.
            (Some(Framing::Datagram), as_it_came) => as_it_came,
            (Some(framing), _) => framing,
        }
    }

    /// Queues messages; those of a relay whose time is up are only counted, by the drop of their ticket.
    pub(super) fn take(&mut self, run: Run, ticket: Ticket, stage: Stage, now: Instant) {
        if stage != Stage::Expiring {
            self.exit.push(run, ticket, now);
        }
    }
}
