//! A relay, made up by the seed.
//!
//! Lives here: plans of sources and sinks, and their senders and endpoints in the world. Never here: what happens to them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use slackwater::config::RunArgs;
use slackwater::config::plan::{
    Balance, Confirm, Key, Listen, Overflow, Plan, Sink, SocketFile, Source, Target,
};
use slackwater::framing::Oversize;
use slackwater::kernel::{Address, Medium, Waits};
use slackwater::limits::BUFFER_SIZE;
use slackwater::message::Framing;
use slackwater::reactor::{Control, Setup, SinkSetup, SourceSetup, medium_of};
use slackwater::socket::listener::Seats;
use slackwater::socket::sink::Endpoint;

use crate::kernel::SimSocket;
use crate::world::World;

/// What the reactor is made of, and what the verdict needs to know of it.
pub struct Relay {
    pub sources: Vec<SimSource>,
    pub sinks: Vec<SimSink>,
    pub buffers: usize,
}

pub struct SimSource {
    pub plan: Source,
    pub seats: Arc<Seats>,
}

impl SimSource {
    pub fn is_datagrams(&self) -> bool {
        medium(&self.plan.listen).is_datagrams()
    }
}

pub struct SimSink {
    pub plan: Sink,
}

fn usual() -> Plan {
    RunArgs::default().plan().expect("the defaults are valid")
}

impl Relay {
    pub fn any(rng: &mut Rng) -> Relay {
        let sinks: Vec<SimSink> =
            (0..rng.usize(1..=2)).map(|index| SimSink { plan: any_sink(rng, index) }).collect();
        let mut sources: Vec<SimSource> =
            (0..rng.usize(1..=2)).map(|index| any_source(rng, index, sinks.len())).collect();
        // Each sink gets something.
        for sink in 0..sinks.len() {
            if !sources.iter().any(|source| source.plan.to.contains(&sink)) {
                sources[0].plan.to.push(sink);
                sources[0].plan.to.sort_unstable();
            }
        }
        Relay { sources, sinks, buffers: rng.usize(12..=20) }
    }

    /// Makes the world's side of it, and the reactor's.
    pub fn setup(&self, world: &Rc<RefCell<World>>, control: &Arc<Control>) -> Setup<SimSocket> {
        let socket = |id| SimSocket::new(id, world);
        let bell = world.borrow_mut().add_bell(Arc::clone(control));
        let inlets = self.sources.iter().enumerate().map(|(index, source)| {
            let entrance = world.borrow_mut().add_entrance(index, medium(&source.plan.listen));
            let per_client = source.plan.max_connections_per_client.unwrap_or(usize::MAX);
            world.borrow_mut().seats.push(source.plan.max_connections.min(per_client));
            SourceSetup {
                plan: source.plan.clone(),
                seats: Arc::clone(&source.seats),
                sockets: vec![socket(entrance)],
                http: None,
            }
        });
        let inlets = inlets.collect();
        let outlets = self
            .sinks
            .iter()
            .enumerate()
            .map(|(index, sink)| (sink.plan.clone(), outlet(index, &sink.plan, world)));
        let outlets = outlets.collect();
        for (index, source) in self.sources.iter().enumerate() {
            let senders = world.borrow_mut().rng.usize(1..=5);
            for _ in 0..senders {
                let number = world.borrow().senders.len();
                let messages = messages(&mut world.borrow_mut().rng, number, source.is_datagrams());
                world.borrow_mut().add_sender(index, messages);
            }
        }
        world.borrow_mut().plan_the_end();
        Setup {
            control: Arc::clone(control),
            bell: socket(bell),
            max_in_flight: self.buffers * BUFFER_SIZE,
            gather: None,
            inlets,
            outlets,
            number: 0,
        }
    }
}

fn messages(rng: &mut Rng, sender: usize, datagrams: bool) -> Vec<Vec<u8>> {
    let count = rng.usize(1..=150);
    let alike = rng.bool().then(|| rng.usize(..300));
    let message = |number: usize| {
        let length = match (alike, rng.u8(..8)) {
            (Some(length), _) => length,
            (None, 0) => rng.usize(..14_000),
            (None, _) => rng.usize(..300),
        };
        let key = number % 5;
        let end = if datagrams { "" } else { "\n" };
        format!("k{key} s{sender} #{number} {}{end}", "x".repeat(length)).into_bytes()
    };
    (0..count).map(message).collect()
}

fn outlet(index: usize, sink: &Sink, world: &Rc<RefCell<World>>) -> SinkSetup<SimSocket> {
    let (count, address): (usize, fn(String) -> Address) = match &sink.target {
        Target::File(_) | Target::Stdout => {
            let file = world.borrow_mut().add_file();
            return SinkSetup::File {
                file: SimSocket::new(file, world),
                waits: Waits::Anywhere,
                turns: None,
            };
        }
        Target::Tcp(hosts) => (hosts.len(), |name| Address::Tcp(([127, 0, 0, 1], port(&name)).into())),
        Target::Udp(hosts) => (hosts.len(), |name| Address::Udp(([127, 0, 0, 1], port(&name)).into())),
        Target::Unix(paths) => (paths.len(), |name| Address::Unix(name.into())),
        Target::Unixgram(paths) => (paths.len(), |name| Address::Unixgram(name.into())),
        Target::Service(_) => unreachable!("no world has services"),
    };
    let endpoint = |number: usize| {
        let name = format!("endpoint-{}", 100 * (index + 1) + number);
        let address = address(name.clone());
        let replaceable = count > 1 && matches!(sink.balance, Balance::Spread | Balance::Failover);
        let framing = sink.framing.unwrap_or(Framing::Line);
        world.borrow_mut().add_endpoint(index, address.clone(), framing, replaceable && number == 0);
        Endpoint { name, addresses: vec![address] }
    };
    SinkSetup::Remote((0..count).map(endpoint).collect())
}

fn port(name: &str) -> u16 {
    name.trim_start_matches("endpoint-").parse().expect("a number")
}

fn any_source(rng: &mut Rng, index: usize, sinks: usize) -> SimSource {
    let usual = usual().sources.remove(usize::from(rng.bool()));
    let file = SocketFile { path: "in".into(), mode: None };
    let listen = match rng.u8(..6) {
        0 => Listen::Udp(host()),
        1 => Listen::Unixgram(file),
        2 => Listen::Unix(file),
        _ => Listen::Tcp(host()),
    };
    let datagrams = medium(&listen).is_datagrams();
    let framing = if datagrams { Framing::Datagram } else { Framing::Line };
    let to: Vec<usize> = (0..sinks).filter(|_| rng.u8(..3) > 0).collect();
    let plan = Source {
        name: format!("source-{index}"),
        listen,
        framing: framing.into(),
        max_message: 64 * 1024,
        oversize: Oversize::Truncate,
        to: if to.is_empty() { vec![rng.usize(..sinks)] } else { to },
        overflow: if rng.u8(..4) == 0 { Overflow::DropNewest } else { Overflow::Block },
        max_connections: rng.usize(1..=4),
        max_connections_per_client: (rng.u8(..4) == 0).then(|| rng.usize(1..=2)),
        // Connections fall silent; the configuration knows none of it where there is none.
        idle_timeout: (!datagrams && rng.u8(..4) == 0).then(|| Duration::from_micros(rng.u64(2_000..20_000))),
        half_close: rng.bool(),
        linger: Duration::from_micros([0, 5_000, 100_000][rng.usize(..3)]),
        ..usual
    };
    let seats = Arc::new(Seats::new(plan.max_connections, plan.max_connections_per_client));
    SimSource { plan, seats }
}

fn host() -> slackwater::config::plan::HostPort {
    slackwater::config::plan::HostPort { host: "127.0.0.1".to_owned(), port: 0 }
}

fn any_sink(rng: &mut Rng, index: usize) -> Sink {
    let endpoints = rng.usize(1..=3);
    let medium =
        [Medium::Tcp, Medium::Tcp, Medium::Tcp, Medium::Unix, Medium::Udp, Medium::Unixgram][rng.usize(..6)];
    let is_file = index == 0 && rng.u8(..8) == 0;
    let (hosts, paths) = (vec![host(); endpoints], vec!["out".into(); endpoints]);
    let target = match medium {
        _ if is_file => Target::File("out".into()),
        Medium::Tcp => Target::Tcp(hosts),
        Medium::Udp => Target::Udp(hosts),
        Medium::Unix => Target::Unix(paths),
        Medium::Unixgram => Target::Unixgram(paths),
    };
    let balance = match rng.u8(..4) {
        _ if is_file || endpoints == 1 => Balance::Spread,
        0 => Balance::Spread,
        1 => Balance::Failover,
        2 => Balance::Hash(Key::Until(b' ')),
        _ => Balance::Copy,
    };
    let framings = [Framing::Line, Framing::Octet, Framing::U32, Framing::Nul];
    let framing = match medium.is_datagrams() && !is_file {
        true => Framing::Datagram,
        false if is_file => Framing::Line,
        false => framings[rng.usize(..4)],
    };
    let is_acked = medium == Medium::Tcp && !is_file && rng.u8(..5) > 0;
    Sink {
        name: format!("sink-{index}"),
        target,
        framing: Some(framing),
        confirm: if is_acked { Confirm::Acked } else { Confirm::Written },
        connections: if matches!(balance, Balance::Hash(_)) || medium.is_datagrams() || is_file {
            1
        } else {
            rng.usize(1..=2)
        },
        balance,
        dead_letter: None,
    }
}

fn medium(listen: &Listen) -> Medium {
    medium_of(listen).expect("no world has services")
}
