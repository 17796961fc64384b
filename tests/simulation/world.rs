//! What is around the reactor: senders, receivers, the kernel's queues between, and the coordinator; all by one seed, in virtual time.
//!
//! Lives here: what they do, and what they know at the end. Never here: the reactor's operations (`kernel`), or what is right
//! (`verdict`).

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

    // Senders.

    fn connect_sender(&mut self, number: usize) {
        let source = self.senders[number].source;
        let Some(entrance) = self.entrances[source] else { return };
        match &self.sockets[entrance] {
            Sock::Listener { frozen: false, medium, .. } => {
                let is_unix = *medium == Medium::Unix;
                let stream = Stream { sender: number, is_unix, ..Stream::default() };
                let id = self.add(Sock::Stream(stream));
                if let Sock::Listener { backlog, .. } = &mut self.sockets[entrance] {
                    backlog.push_back(id);
                }
                self.senders[number].link = Some(id);
            }
            Sock::Datagrams(_) => self.senders[number].link = Some(entrance),
            _ => return,
        }
        self.later(2_000, Happening::Send(number));
    }

    fn send_some(&mut self, number: usize) {
        let Some(link) = self.senders[number].link else { return };
        match &self.sockets[link] {
            Sock::Stream(_) => self.write_stream(number, link),
            Sock::Datagrams(_) => self.send_datagrams(number, link),
            _ => return self.senders[number].link = None,
        }
        if self.senders[number].link.is_some() {
            let pause = if self.one_in(10) { 8_000 } else { 500 };
            self.later(pause, Happening::Send(number));
        }
    }

    fn write_stream(&mut self, number: usize, link: Id) {
        let most = self.rng.usize(1..=6_000);
        let (resets, finishes) = (self.one_in(200), !self.one_in(8));
        let Sock::Stream(stream) = &mut self.sockets[link] else { return };
        let sender = &mut self.senders[number];
        if resets || stream.reset {
            (stream.reset, sender.reset, sender.link) = (true, true, None);
            stream.queue.clear();
            return;
        }
        let told = stream.told && sender.heeds && sender.at.1 == 0;
        if sender.at.0 >= sender.stops_at || told {
            if finishes && !stream.frozen {
                (stream.finished, sender.finished) = (true, true);
            }
            // One that does not finish is silent from here on.
            sender.link = None;
            return;
        }
        if stream.frozen {
            return sender.link = None;
        }
        let mut room = most.min(QUEUE.saturating_sub(stream.queue.len()));
        while room > 0 && sender.at.0 < sender.stops_at {
            let rest = &sender.messages[sender.at.0][sender.at.1..];
            let taken = rest.len().min(room);
            stream.queue.extend(&rest[..taken]);
            sender.taken.extend_from_slice(&rest[..taken]);
            room -= taken;
            sender.at =
                if taken == rest.len() { (sender.at.0 + 1, 0) } else { (sender.at.0, sender.at.1 + taken) };
        }
    }

    fn send_datagrams(&mut self, number: usize, link: Id) {
        let count = self.rng.usize(1..=6);
        let Sock::Datagrams(socket) = &mut self.sockets[link] else { return };
        let sender = &mut self.senders[number];
        for _ in 0..count {
            let Some(message) = sender.messages.get(sender.at.0).filter(|_| sender.at.0 < sender.stops_at)
            else {
                return sender.link = None;
            };
            if socket.frozen {
                return sender.link = None;
            }
            if socket.queue.len() < DATAGRAMS {
                socket.queue.push_back((socket.dropped, message.clone()));
                sender.taken_datagrams.push(sender.at.0);
            } else if socket.is_unix {
                return;
            } else {
                socket.dropped += 1;
                self.kernel_drops += 1;
            }
            sender.at.0 += 1;
        }
    }

    // Receivers.

    fn acknowledge_some(&mut self, id: Id) {
        let fraction = self.rng.usize(1..=4);
        let Sock::Out(out) = &mut self.sockets[id] else { return };
        let Some(endpoint) = out.endpoint.filter(|_| out.broken.is_none()) else { return };
        let stalled_until = self.endpoints[endpoint].stalled_until;
        if stalled_until > self.now {
            let wait = (stalled_until - self.now).as_micros() as u64 + 1;
            return self.at(wait, Happening::Acknowledge(id));
        }
        let count = (out.unacknowledged.len() / fraction).max(1).min(out.unacknowledged.len());
        let bytes: Vec<u8> = out.unacknowledged.drain(..count).collect();
        out.acknowledged += count as u64;
        let more = !out.unacknowledged.is_empty();
        self.arrive(id, endpoint, bytes);
        if more {
            self.later(2_000, Happening::Acknowledge(id));
        }
    }

    fn arrive(&mut self, id: Id, endpoint: usize, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let framing = self.endpoints[endpoint].framing;
        let Sock::Out(out) = &mut self.sockets[id] else { return };
        let framer = out.framer.get_or_insert_with(|| {
            Framer::new(framing, Bounds { max_message: 1 << 20, oversize: Oversize::Close })
        });
        let mut runs = Vec::new();
        framer.feed(bytes.into(), &mut runs).expect("the relay frames as it is told");
        let arrived = runs.iter().flat_map(payloads).map(|payload| payload.into_owned());
        self.endpoints[endpoint].arrived.extend(arrived);
    }

    /// FIN (0), reset after an acknowledgement that came (1), or one in the midst (2).
    fn break_connection(&mut self, id: Id, how: u8) {
        if self.is_calm() {
            return;
        }
        let count = self.rng.usize(..2_000);
        let Sock::Out(out) = &mut self.sockets[id] else { return };
        let Some(endpoint) = out.endpoint.filter(|_| out.broken.is_none()) else { return };
        self.breaks += 1;
        // A datagram socket's peer has no FIN.
        if how == 0 && !self.endpoints[endpoint].address.medium().is_datagrams() {
            out.finished = true;
            return;
        }
        out.broken = Some(Errno::ECONNRESET);
        // What arrived and was never acknowledged comes again.
        let count = count.min(out.unacknowledged.len());
        let bytes: Vec<u8> = out.unacknowledged.drain(..count).collect();
        out.unacknowledged.clear();
        if how == 2 {
            self.arrive(id, endpoint, bytes);
        }
    }

    fn go_down(&mut self, endpoint: usize) {
        if self.is_calm() {
            return;
        }
        self.endpoints[endpoint].up = false;
        let of_it: Vec<Id> = (0..self.sockets.len())
            .filter(|&id| matches!(&self.sockets[id], Sock::Out(out) if out.endpoint == Some(endpoint)))
            .collect();
        for id in of_it {
            self.break_connection(id, 1);
        }
        self.later(30_000, Happening::Up(endpoint));
    }

    // What the kernel answers.

    pub fn close(&mut self, id: Id) {
        match std::mem::replace(&mut self.sockets[id], Sock::Closed) {
            Sock::Out(Out {
                endpoint: Some(endpoint),
                mut unacknowledged,
                broken: None,
                resets: false,
                framer,
                acknowledged,
                ..
            }) => {
                // What was sent arrives all the same, if it was not reset.
                let bytes: Vec<u8> = unacknowledged.drain(..).collect();
                let out = Out {
                    endpoint: Some(endpoint),
                    unacknowledged,
                    acknowledged,
                    broken: None,
                    finished: true,
                    resets: false,
                    framer,
                };
                self.sockets[id] = Sock::Out(out);
                self.arrive(id, endpoint, bytes);
                self.sockets[id] = Sock::Closed;
            }
            Sock::File { written } => self.files.push(written),
            Sock::Listener { backlog, source, .. } => {
                self.entrances[source] = None;
                for connection in backlog {
                    // Whoever was never accepted learns that nothing arrived.
                    if let Sock::Stream(stream) = &self.sockets[connection] {
                        let sender = stream.sender;
                        assert!(
                            self.senders[sender].taken.is_empty() || self.senders[sender].reset,
                            "a listener closed with what it had taken"
                        );
                    }
                }
            }
            _ => {}
        }
    }

    pub fn open(&mut self, _: &Address) -> io::Result<Id> {
        if self.no_descriptors {
            return Err(Errno::EMFILE.into());
        }
        Ok(self.add(Sock::Out(Out {
            endpoint: None,
            unacknowledged: VecDeque::new(),
            acknowledged: 0,
            broken: None,
            finished: false,
            resets: false,
            framer: None,
        })))
    }

    fn endpoint_at(&self, address: &Address) -> usize {
        self.endpoints.iter().position(|endpoint| endpoint.address == *address).expect("a known address")
    }

    pub fn answers(&self, address: &Address) -> bool {
        !self.endpoints[self.endpoint_at(address)].silent
    }

    pub fn connect(&mut self, id: Id, address: &Address) -> Result<(), Errno> {
        let endpoint = self.endpoint_at(address);
        if !self.endpoints[endpoint].up {
            return Err(Errno::ECONNREFUSED);
        }
        let breaks = !self.is_calm() && self.one_in(3);
        let how = self.rng.u8(..3);
        if breaks {
            self.later(30_000, Happening::Break(id, how));
        }
        let Sock::Out(out) = &mut self.sockets[id] else { return Err(Errno::EBADF) };
        out.endpoint = Some(endpoint);
        // The handshake counts as one byte.
        out.acknowledged = 1;
        Ok(())
    }

    pub fn can_send(&self, id: Id) -> bool {
        match &self.sockets[id] {
            Sock::Out(out) => out.broken.is_some() || out.unacknowledged.len() < SEND_BUFFER,
            _ => true,
        }
    }

    pub fn send(&mut self, id: Id, bytes: &[u8]) -> Result<usize, Errno> {
        let short = if self.one_in(4) { self.rng.usize(1..=bytes.len()) } else { bytes.len() };
        let Sock::Out(out) = &mut self.sockets[id] else { return Err(Errno::EBADF) };
        if let Some(errno) = out.broken {
            return Err(errno);
        }
        let count = short.min(SEND_BUFFER - out.unacknowledged.len());
        out.unacknowledged.extend(&bytes[..count]);
        self.later(2_000, Happening::Acknowledge(id));
        Ok(count)
    }

    pub fn send_datagram(&mut self, id: Id, bytes: &[u8]) -> Result<usize, Errno> {
        let (full, short_of_memory) = (self.one_in(8), self.one_in(40));
        let Sock::Out(out) = &mut self.sockets[id] else { return Err(Errno::EBADF) };
        let endpoint = out.endpoint.expect("it is connected");
        if let Some(errno) = out.broken {
            return Err(errno);
        }
        if bytes.len() > DATAGRAM {
            return Err(Errno::EMSGSIZE);
        }
        if full || short_of_memory {
            return Err(if full { Errno::EAGAIN } else { Errno::ENOBUFS });
        }
        if !self.endpoints[endpoint].up {
            return Err(Errno::ECONNREFUSED);
        }
        self.endpoints[endpoint].arrived.push(bytes.to_vec());
        Ok(bytes.len())
    }

    pub fn is_broken(&self, chain: u32) -> bool {
        self.broken_chains.contains(&chain)
    }

    pub fn break_chain(&mut self, chain: u32) {
        self.broken_chains.insert(chain);
    }

    pub fn write(&mut self, id: Id, bytes: &[u8]) -> Result<usize, Errno> {
        let full = !self.is_calm() && self.one_in(6);
        let count = if self.one_in(4) { self.rng.usize(1..=bytes.len()) } else { bytes.len() };
        let Sock::File { written } = &mut self.sockets[id] else { return Err(Errno::EBADF) };
        if full {
            return Err(Errno::ENOSPC);
        }
        written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub fn has_news(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Out(out) if out.broken.is_some() || out.finished)
    }

    pub fn news(&mut self, id: Id) -> Option<Result<usize, Errno>> {
        match &self.sockets[id] {
            Sock::Out(Out { broken: Some(errno), .. }) => Some(Err(*errno)),
            Sock::Out(Out { finished: true, .. }) => Some(Ok(0)),
            _ => None,
        }
    }

    pub fn acknowledged(&self, id: Id) -> u64 {
        match &self.sockets[id] {
            Sock::Out(out) => out.acknowledged,
            _ => 0,
        }
    }

    pub fn can_accept(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Listener { backlog, .. } if !backlog.is_empty())
    }

    pub fn accept(&mut self, id: Id) -> Option<Result<Id, Errno>> {
        let (no_descriptors, aborted) = (self.no_descriptors, self.one_in(30));
        let Sock::Listener { backlog, .. } = &mut self.sockets[id] else { return None };
        if backlog.is_empty() {
            return None;
        }
        if no_descriptors || aborted {
            return Some(Err(if no_descriptors { Errno::EMFILE } else { Errno::ECONNABORTED }));
        }
        backlog.pop_front().map(Ok)
    }

    pub fn lacks_descriptors(&self) -> bool {
        self.no_descriptors
    }

    pub fn can_read(&self, id: Id) -> bool {
        match &self.sockets[id] {
            Sock::Stream(stream) => {
                !stream.queue.is_empty() || stream.finished || stream.reset || stream.shut
            }
            Sock::Datagrams(socket) => !socket.queue.is_empty(),
            _ => false,
        }
    }

    pub fn read(&mut self, id: Id, has_buffer: bool, most: usize) -> Read {
        let most = self.rng.usize(1..=most);
        match &mut self.sockets[id] {
            Sock::Stream(stream) => {
                let sender = &mut self.senders[stream.sender];
                if stream.reset {
                    return Read::Failed(Errno::ECONNRESET);
                }
                if stream.queue.is_empty() {
                    if stream.finished {
                        sender.read_finish = true;
                        return Read::End;
                    }
                    return if stream.shut { Read::End } else { Read::Nothing };
                }
                if !has_buffer {
                    return Read::NoBuffer;
                }
                let count = most.min(stream.queue.len());
                sender.read += count;
                Read::Data(stream.queue.drain(..count).collect())
            }
            Sock::Datagrams(socket) => {
                if socket.queue.is_empty() {
                    return Read::Nothing;
                }
                if !has_buffer {
                    return Read::NoBuffer;
                }
                let (dropped, bytes) = socket.queue.pop_front().expect("looked at above");
                socket.last_dropped = dropped;
                Read::Data(bytes)
            }
            _ => Read::Failed(Errno::EBADF),
        }
    }

    pub fn dropped_before_last(&self, id: Id) -> u32 {
        match &self.sockets[id] {
            Sock::Datagrams(socket) => socket.last_dropped,
            _ => 0,
        }
    }

    pub fn dropped(&self, id: Id) -> u32 {
        match &self.sockets[id] {
            Sock::Datagrams(socket) => socket.dropped,
            _ => 0,
        }
    }

    pub fn is_empty(&self, id: Id) -> bool {
        match &self.sockets[id] {
            Sock::Stream(stream) => stream.queue.is_empty() && !stream.finished && !stream.reset,
            Sock::Datagrams(socket) => socket.queue.is_empty(),
            _ => true,
        }
    }

    pub fn has_finished(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Stream(stream) if stream.finished)
    }

    pub fn peer(&self, id: Id) -> Option<IpAddr> {
        match &self.sockets[id] {
            Sock::Stream(stream) if !stream.is_unix => {
                Some(IpAddr::from([127, 0, 0, 1 + stream.sender as u8 % 3]))
            }
            _ => None,
        }
    }

    pub fn freeze(&mut self, id: Id, medium: Medium) {
        match &mut self.sockets[id] {
            Sock::Stream(stream) => {
                stream.frozen = true;
                stream.shut |= medium == Medium::Unix;
            }
            Sock::Datagrams(socket) => socket.frozen = true,
            Sock::Listener { frozen, .. } => *frozen = true,
            _ => {}
        }
    }

    pub fn half_close(&mut self, id: Id) {
        if let Sock::Stream(stream) = &mut self.sockets[id] {
            stream.told = true;
        }
    }

    pub fn reset_on_close(&mut self, id: Id) {
        match &mut self.sockets[id] {
            Sock::Out(out) => out.resets = true,
            Sock::Stream(stream) => {
                let sender = stream.sender;
                // A connection that is refused: nothing of it was promised.
                if stream.queue.len() == self.senders[sender].taken.len() && self.senders[sender].read == 0 {
                    self.senders[sender].reset = true;
                }
            }
            _ => {}
        }
    }

    pub fn say_goodbye(&mut self, _: Id) {}

    pub fn has_rung(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Bell { rung: true })
    }

    pub fn hush(&mut self, id: Id) {
        if let Sock::Bell { rung } = &mut self.sockets[id] {
            *rung = false;
        }
    }

    pub fn ring(&mut self, id: Id) {
        if let Sock::Bell { rung } = &mut self.sockets[id] {
            *rung = true;
        }
    }

    /// Descriptors that nobody has closed.
    pub fn open_descriptors(&self) -> usize {
        let is_open = |sock: &&Sock| !matches!(sock, Sock::Closed | Sock::Stream(_));
        self.sockets.iter().filter(is_open).count()
    }
}
