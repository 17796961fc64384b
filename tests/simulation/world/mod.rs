//! What is around the reactor: senders, receivers, the kernel's queues between, and the coordinator; all by one seed, in virtual time.
//!
//! Lives here: what there is, and when something happens. Never here: what senders (`senders`), receivers (`receivers`) and the kernel
//! between (`answers`) do, the reactor's operations (`kernel`), or what is right
//! (`verdict`).

mod answers;
mod receivers;
mod senders;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::errno::Errno;
use slackwater::framing::{Bounds, Framer, Oversize, payloads};
use slackwater::kernel::{Address, Medium};
use slackwater::message::Framing;
use slackwater::reactor::{Control, Phase};

pub type Id = usize;

/// No world goes on for so long after its faults are over; what does hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nor for so many looks.
const LOOKS: u64 = 200_000;
/// What a receive queue holds, in bytes and in datagrams.
const QUEUE: usize = 40_000;
const DATAGRAMS: usize = 20;
/// What a send buffer holds.
const SEND_BUFFER: usize = 30_000;
/// Longest datagram that can be sent.
pub const DATAGRAM: usize = 9_000;

/// What a read gives.
pub enum Read {
    Nothing,
    NoBuffer,
    End,
    Failed(Errno),
    Data(Vec<u8>),
}

/// One descriptor's other side.
enum Sock {
    Closed,
    Bell { rung: bool },
    File { written: Vec<u8> },
    Listener { source: usize, medium: Medium, backlog: VecDeque<Id>, frozen: bool },
    Stream(Stream),
    Datagrams(Datagrams),
    Out(Out),
}

/// A connection that messages come in on.
#[derive(Default)]
struct Stream {
    sender: usize,
    queue: VecDeque<u8>,
    finished: bool,
    reset: bool,
    frozen: bool,
    /// The end that a freeze makes on a unix stream.
    shut: bool,
    is_unix: bool,
    /// The relay has sent FIN.
    told: bool,
}

#[derive(Default)]
struct Datagrams {
    /// Each with how many had been dropped when it came.
    queue: VecDeque<(u32, Vec<u8>)>,
    dropped: u32,
    last_dropped: u32,
    frozen: bool,
    /// Its senders wait where there is no room.
    is_unix: bool,
}

/// A connection to a sink's endpoint.
struct Out {
    endpoint: Option<usize>,
    /// What our kernel took and the peer has not acknowledged.
    unacknowledged: VecDeque<u8>,
    acknowledged: u64,
    broken: Option<Errno>,
    finished: bool,
    /// Whether the relay sent FIN.
    ended: bool,
    resets: bool,
    framer: Option<Framer>,
}

/// Something that messages come from.
pub struct Sender {
    pub source: usize,
    /// Each with its delimiter.
    pub messages: Vec<Vec<u8>>,
    at: (usize, usize),
    link: Option<Id>,
    /// Bytes that the relay's kernel acknowledged, or datagrams that it took.
    pub taken: Vec<u8>,
    pub taken_datagrams: Vec<usize>,
    /// What the relay has read of it.
    pub read: usize,
    /// It reset its connection, or was refused: what it had sent is nobody's promise.
    pub reset: bool,
    pub finished: bool,
    pub read_finish: bool,
    heeds: bool,
    stops_at: usize,
}

/// Where messages go to.
pub struct Endpoint {
    pub sink: usize,
    pub address: Address,
    up: bool,
    /// Nothing answers there, not even with a refusal; for ever, or until everything that goes wrong has.
    silent: bool,
    dead: bool,
    stalled_until: Duration,
    pub framing: Framing,
    /// What arrived, in order.
    pub arrived: Vec<Vec<u8>>,
}

/// What happens by itself, at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Connect(usize),
    Send(usize),
    Acknowledge(Id),
    Break(Id, u8),
    Down(usize),
    Up(usize),
    Stall(usize, u64),
    Drain,
    Expire,
    Descriptors(bool),
}

pub struct World {
    pub rng: Rng,
    base: Instant,
    pub now: Duration,
    sockets: Vec<Sock>,
    agenda: BinaryHeap<Reverse<(Duration, u64, Happening)>>,
    serial: u64,
    pub senders: Vec<Sender>,
    pub endpoints: Vec<Endpoint>,
    entrances: Vec<Option<Id>>,
    control: Option<Arc<Control>>,
    bell: Option<Id>,
    broken_chains: HashSet<u32>,
    no_descriptors: bool,
    /// When everything that goes wrong has gone wrong.
    pub calm: Duration,
    pub expired: bool,
    /// Connections to sinks that broke, so that something may come twice.
    pub breaks: u64,
    pub kernel_drops: u32,
    /// Waits for more datagrams.
    pub gathered: u64,
    pub left_in_flight: usize,
    pub files: Vec<Vec<u8>>,
    trace: u64,
    looks: u64,
    is_patient: bool,
    /// How many connections each source takes at once.
    pub seats: Vec<usize>,
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            rng: Rng::with_seed(seed),
            base: Instant::now(),
            now: Duration::from_secs(1),
            sockets: Vec::new(),
            agenda: BinaryHeap::new(),
            serial: 0,
            senders: Vec::new(),
            endpoints: Vec::new(),
            entrances: Vec::new(),
            control: None,
            bell: None,
            broken_chains: HashSet::new(),
            no_descriptors: false,
            calm: Duration::ZERO,
            expired: false,
            gathered: 0,
            breaks: 0,
            kernel_drops: 0,
            left_in_flight: 0,
            files: Vec::new(),
            trace: seed,
            looks: 0,
            is_patient: false,
            seats: Vec::new(),
        }
    }

    pub fn instant(&self) -> Instant {
        self.base + self.now
    }

    pub fn one_in(&mut self, chances: u32) -> bool {
        self.rng.u32(..chances) == 0
    }

    /// Mixes something into the trace of this run.
    pub fn note(&mut self, what: u64) {
        let mixed = (self.trace ^ what ^ self.now.as_nanos() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace = mixed ^ (mixed >> 29);
    }

    pub fn trace(&self) -> u64 {
        self.trace
    }

    fn add(&mut self, sock: Sock) -> Id {
        self.sockets.push(sock);
        self.sockets.len() - 1
    }

    // What the driver makes before the reactor runs.

    pub fn add_bell(&mut self, control: Arc<Control>) -> Id {
        let id = self.add(Sock::Bell { rung: false });
        (self.control, self.bell) = (Some(control), Some(id));
        id
    }

    pub fn add_entrance(&mut self, source: usize, medium: Medium) -> Id {
        let id = if medium.is_datagrams() {
            self.add(Sock::Datagrams(Datagrams {
                is_unix: medium == Medium::Unixgram,
                ..Datagrams::default()
            }))
        } else {
            self.add(Sock::Listener { source, medium, backlog: VecDeque::new(), frozen: false })
        };
        self.entrances.push(Some(id));
        id
    }

    pub fn add_file(&mut self) -> Id {
        self.add(Sock::File { written: Vec::new() })
    }

    /// One that others can stand in for may be dead for ever.
    pub fn add_endpoint(&mut self, sink: usize, address: Address, framing: Framing, may_die: bool) {
        let endpoint = self.endpoints.len();
        let (begins_down, dead) = (self.one_in(6), may_die && self.one_in(4));
        let silent = dead || self.one_in(20);
        self.endpoints.push(Endpoint {
            sink,
            address,
            up: !begins_down,
            silent,
            dead,
            stalled_until: Duration::ZERO,
            framing,
            arrived: Vec::new(),
        });
        if begins_down {
            self.later(40_000, Happening::Up(endpoint));
        }
        for _ in 0..self.rng.usize(..3) {
            match self.rng.u8(..3) {
                0 => self.later(40_000, Happening::Down(endpoint)),
                1 => self.later(60_000, Happening::Up(endpoint)),
                _ => {
                    let micros = self.rng.u64(..40_000);
                    self.later(40_000, Happening::Stall(endpoint, micros));
                }
            }
        }
    }

    pub fn add_sender(&mut self, source: usize, messages: Vec<Vec<u8>>) {
        let number = self.senders.len();
        let count = messages.len();
        let stops_at = if self.one_in(4) { self.rng.usize(..=count) } else { count };
        let heeds = !self.one_in(3);
        self.senders.push(Sender {
            source,
            messages,
            at: (0, 0),
            link: None,
            taken: Vec::new(),
            taken_datagrams: Vec::new(),
            read: 0,
            reset: false,
            finished: false,
            read_finish: false,
            heeds,
            stops_at,
        });
        self.later(30_000, Happening::Connect(number));
    }

    /// The drain's moment, and sometimes its deadline; from some time after on nothing goes wrong any more.
    pub fn plan_the_end(&mut self) {
        let drain = self.rng.u64(..60_000);
        self.is_patient = self.one_in(4);
        if self.is_patient {
            // Long after everything is well again: by then all must have been taken in without a drain.
            self.at(20_000_000, Happening::Drain);
        } else {
            self.at(drain, Happening::Drain);
        }
        if !self.is_patient && self.one_in(4) {
            let wait = self.rng.u64(..40_000);
            self.at(drain + wait, Happening::Expire);
        }
        if self.one_in(8) {
            let from = self.rng.u64(..30_000);
            let until = from + self.rng.u64(..30_000);
            self.at(from, Happening::Descriptors(false));
            self.at(until, Happening::Descriptors(true));
        }
        self.calm = self.now + Duration::from_micros(drain.max(60_000) + 40_000);
        for endpoint in 0..self.endpoints.len() {
            let calm = (self.calm - self.now).as_micros() as u64;
            self.at(calm, Happening::Up(endpoint));
        }
    }

    fn later(&mut self, within_micros: u64, what: Happening) {
        let micros = self.rng.u64(1..=within_micros);
        self.at(micros, what);
    }

    fn at(&mut self, micros: u64, what: Happening) {
        self.serial += 1;
        self.agenda.push(Reverse((self.now + Duration::from_micros(micros), self.serial, what)));
    }

    fn is_calm(&self) -> bool {
        self.now >= self.calm
    }

    // The scheduler's part.

    /// Panics where nothing comes to an end.
    pub fn check_progress(&mut self) {
        self.looks += 1;
        assert!(self.looks < LOOKS, "it spins");
        assert!(self.now < self.calm + PATIENCE, "it does not end");
    }

    /// Lets everything happen that is due.
    pub fn happen(&mut self) {
        self.halt_if_drained();
        while self.agenda.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
            let Some(Reverse((_, serial, what))) = self.agenda.pop() else { break };
            self.note(serial);
            self.befall(what);
        }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// To the next happening, or to the reactor's own deadline. Without either it hangs.
    pub fn pass_to_next(&mut self, deadline: Option<Duration>) {
        let next = self.agenda.peek().map(|Reverse((at, ..))| *at);
        let soonest = next.into_iter().chain(deadline).min();
        self.now = self.now.max(soonest.expect("it sleeps, and nothing would ever wake it"));
    }

    /// As the coordinator does.
    fn halt_if_drained(&mut self) {
        let Some(control) = self.control.clone() else { return };
        let drained = control.published.read().is_drained();
        if drained && control.asked() != Phase::Halt {
            self.ask(Phase::Halt);
        }
    }

    fn ask(&mut self, phase: Phase) {
        if let (Some(control), Some(bell)) = (&self.control, self.bell) {
            control.ask(phase);
            if let Sock::Bell { rung } = &mut self.sockets[bell] {
                *rung = true;
            }
        }
    }

    fn befall(&mut self, what: Happening) {
        match what {
            Happening::Connect(sender) => self.connect_sender(sender),
            Happening::Send(sender) => self.send_some(sender),
            Happening::Acknowledge(connection) => self.acknowledge_some(connection),
            Happening::Break(connection, how) => self.break_connection(connection, how),
            Happening::Down(endpoint) => self.go_down(endpoint),
            Happening::Up(endpoint) => {
                let endpoint = &mut self.endpoints[endpoint];
                (endpoint.up, endpoint.silent) = (true, endpoint.dead);
            }
            Happening::Stall(endpoint, micros) => {
                self.endpoints[endpoint].stalled_until = self.now + Duration::from_micros(micros);
            }
            Happening::Drain => {
                if self.is_patient {
                    self.check_that_all_was_read();
                }
                self.ask(Phase::Drain);
            }
            Happening::Expire => {
                self.expired = true;
                self.ask(Phase::Expire);
            }
            Happening::Descriptors(there) => self.no_descriptors = !there,
        }
    }

    /// Of senders that wait for nothing but the relay.
    fn check_that_all_was_read(&self) {
        for sender in &self.senders {
            let rivals = self.senders.iter().filter(|other| other.source == sender.source).count();
            if !sender.reset && rivals <= self.seats[sender.source] {
                assert_eq!(sender.read, sender.taken.len(), "a sender is never read from again");
            }
        }
    }
}
