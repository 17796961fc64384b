//! A kernel with a seed and virtual time: what the reactor asks of it, answered out of a [`World`].
//!
//! Operations complete late, in any order, in part, and after their cancel; multishot ones end without notice. Lives here: the
//! operations in flight. Never here: what peers do (`world`).

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use slackwater::kernel::{
    Accepted, Address, Completion, CompletionOf, Datagram, Event, Gather, Input, Kernel, Medium, Socket,
    Token, Waits,
};
use slackwater::limits::BUFFER_SIZE;
use slackwater::reactor::Owner;

use crate::brought::Brought;
use crate::lease::SimLease;
use crate::world::{Id, Read, World};

/// A descriptor of the simulation; the last clone closes it.
#[derive(Clone)]
pub struct SimSocket(Rc<Handle>);

struct Handle {
    id: Id,
    world: Weak<RefCell<World>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(world) = self.world.upgrade() {
            world.borrow_mut().close(self.id);
        }
    }
}

impl SimSocket {
    pub fn new(id: Id, world: &Rc<RefCell<World>>) -> SimSocket {
        SimSocket(Rc::new(Handle { id, world: Rc::downgrade(world) }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut World, Id) -> T) -> T {
        let world = self.0.world.upgrade().expect("the world outlives the reactor");
        let mut world = world.borrow_mut();
        act(&mut world, self.0.id)
    }
}

/// Operations of one reactor, over the world that they act on.
pub struct SimKernel {
    world: Rc<RefCell<World>>,
    slots: Vec<Slot>,
    /// Completions that are there to be reaped.
    ready: Vec<CompletionOf<SimKernel>>,
    buffers: usize,
    offered: usize,
    leased: Arc<AtomicUsize>,
    chains: u32,
    brought: Brought,
}

struct Slot {
    generation: u32,
    operation: Option<Operation>,
}

struct Operation {
    owner: Owner,
    socket: Option<SimSocket>,
    kind: Kind,
    cancelled: bool,
}

enum Kind {
    Accept,
    Receive,
    ReceiveDatagrams,
    Watch,
    Send(Gather),
    /// Its chain, and its place there.
    SendDatagram(Gather, u32, u32),
    AwaitRoom,
    Write(Gather),
    Connect(Address),
    Wake,
    Cancel(Token),
}

/// What became of an operation when it was looked at.
enum Look {
    /// Nothing yet.
    Pending,
    /// Something, and whether that was the last.
    Done(Event<SimSocket, SimLease>, bool),
}

impl SimKernel {
    pub fn new(world: &Rc<RefCell<World>>, buffers: usize) -> SimKernel {
        SimKernel {
            world: Rc::clone(world),
            slots: Vec::new(),
            ready: Vec::new(),
            buffers,
            offered: 0,
            leased: Arc::default(),
            chains: 0,
            brought: Brought::default(),
        }
    }

    /// Shared with the leases: how many are out, also after the kernel is gone.
    pub fn leased(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.leased)
    }

    fn submit(&mut self, owner: Owner, socket: Option<&SimSocket>, kind: Kind) -> Token {
        let free = self.slots.iter().position(|slot| slot.operation.is_none());
        let place = free.unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, operation: None });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[place];
        slot.operation = Some(Operation { owner, socket: socket.cloned(), kind, cancelled: false });
        Token::new(place as u32, slot.generation)
    }

    fn free(&self) -> usize {
        self.buffers - self.offered - self.leased.load(Ordering::Relaxed)
    }

    fn lease(&mut self, bytes: Vec<u8>) -> SimLease {
        let lease = SimLease::new(bytes, &self.leased);
        assert!(
            self.offered + self.leased.load(Ordering::Relaxed) <= self.buffers,
            "more buffers than there are"
        );
        lease
    }

    /// Looks at every operation in a random order; what can complete does so with an even chance. Whether any could.
    fn look_at_all(&mut self) -> bool {
        let mut places: Vec<usize> =
            (0..self.slots.len()).filter(|&place| self.slots[place].operation.is_some()).collect();
        let capacity = {
            let mut world = self.world.borrow_mut();
            world.rng.shuffle(&mut places);
            world.rng.usize(1..=24)
        };
        let mut could = false;
        for place in places {
            // A full completion queue: the rest comes with the next look.
            if self.ready.len() >= capacity {
                return true;
            }
            could |= self.look_at(place);
        }
        could
    }

    /// Whether it could complete, be it that it did or that it is late.
    fn look_at(&mut self, place: usize) -> bool {
        let Some(mut operation) = self.slots[place].operation.take() else { return false };
        if !self.is_ready(&operation) {
            self.slots[place].operation = Some(operation);
            return false;
        }
        if self.world.borrow_mut().rng.bool() {
            self.slots[place].operation = Some(operation);
            return true;
        }
        let generation = self.slots[place].generation;
        match self.act(&mut operation) {
            Look::Pending => self.slots[place].operation = Some(operation),
            Look::Done(event, last) => {
                let (owner, token) = (operation.owner, Token::new(place as u32, generation));
                self.world.borrow_mut().note(token.user_data() ^ u64::from(last) << 63);
                self.ready.push(Completion { owner, token, event, last });
                if last {
                    self.slots[place].generation += 1;
                } else {
                    self.slots[place].operation = Some(operation);
                }
            }
        }
        true
    }

    fn is_ready(&self, operation: &Operation) -> bool {
        let world = self.world.borrow();
        let id = operation.socket.as_ref().map(|socket| socket.0.id);
        match &operation.kind {
            Kind::Cancel(_) => true,
            // One that its predecessors hold back is not found by a cancel (io_uring/cancel.c looks among what is issued).
            Kind::SendDatagram(_, chain, place) => !self.slots.iter().any(|slot| {
                matches!(&slot.operation, Some(Operation { kind: Kind::SendDatagram(_, same, before), .. })
                    if same == chain && before < place)
            }),
            _ if operation.cancelled => true,
            Kind::Accept => world.can_accept(id.unwrap()),
            Kind::Receive | Kind::ReceiveDatagrams => world.can_read(id.unwrap()),
            Kind::Watch => world.has_news(id.unwrap()),
            Kind::Send(_) => world.can_send(id.unwrap()),
            Kind::AwaitRoom | Kind::Write(_) => true,
            Kind::Connect(address) => world.answers(address),
            Kind::Wake => world.has_rung(id.unwrap()),
        }
    }

    fn act(&mut self, operation: &mut Operation) -> Look {
        let socket = operation.socket.clone();
        let id = socket.as_ref().map_or(0, |socket| socket.0.id);
        let gives_up = operation.cancelled && self.world.borrow_mut().rng.bool();
        match &mut operation.kind {
            Kind::Cancel(target) => {
                let target = *target;
                self.cancel_operation(target);
                Look::Done(Event::Canceled, true)
            }
            Kind::Accept => self.accept_one(id, operation.cancelled, gives_up),
            Kind::Receive => self.receive_some(id, operation.cancelled, gives_up),
            Kind::ReceiveDatagrams => self.receive_datagram(id, operation.cancelled, gives_up),
            Kind::Watch => match self.world.borrow_mut().news(id) {
                Some(news) if !gives_up => Look::Done(Event::Watched(news), true),
                _ if operation.cancelled => Look::Done(Event::Watched(Err(Errno::ECANCELED)), true),
                _ => Look::Pending,
            },
            Kind::Send(gather) => {
                let mut world = self.world.borrow_mut();
                let result = match gives_up || (operation.cancelled && !world.can_send(id)) {
                    true => Err(Errno::ECANCELED),
                    false => world.send(id, &bytes_of(gather)),
                };
                Look::Done(Event::Sent(result, std::mem::take(gather)), true)
            }
            Kind::SendDatagram(gather, chain, _) => {
                let mut world = self.world.borrow_mut();
                let result = match gives_up || world.is_broken(*chain) {
                    true => Err(Errno::ECANCELED),
                    false => world.take_datagrams(id, &bytes_of(gather), gather.segment()),
                };
                if result.is_err() {
                    world.break_chain(*chain);
                }
                Look::Done(Event::Sent(result, std::mem::take(gather)), true)
            }
            Kind::AwaitRoom => {
                Look::Done(Event::HasRoom(if gives_up { Err(Errno::ECANCELED) } else { Ok(()) }), true)
            }
            Kind::Write(gather) => {
                let mut world = self.world.borrow_mut();
                let result =
                    if gives_up { Err(Errno::ECANCELED) } else { world.write(id, &bytes_of(gather)) };
                Look::Done(Event::Sent(result, std::mem::take(gather)), true)
            }
            Kind::Connect(address) => {
                let mut world = self.world.borrow_mut();
                let result = match operation.cancelled && (gives_up || !world.answers(address)) {
                    true => Err(Errno::ECANCELED),
                    false => world.connect(id, address),
                };
                Look::Done(Event::Connected(result), true)
            }
            Kind::Wake => {
                self.world.borrow_mut().hush(id);
                Look::Done(Event::Woken(Ok(())), true)
            }
        }
    }

    /// The target ends when it is looked at next, or completes as if nothing had been asked.
    fn cancel_operation(&mut self, target: Token) {
        let Some(slot) = self.slots.get_mut(target.slot()) else { return };
        if slot.generation == target.generation()
            && let Some(operation) = &mut slot.operation
        {
            operation.cancelled = true;
        }
    }

    fn accept_one(&mut self, id: Id, cancelled: bool, gives_up: bool) -> Look {
        if gives_up {
            return Look::Done(Event::Accepted(Err(Errno::ECANCELED)), true);
        }
        let accepted = self.world.borrow_mut().accept(id);
        match accepted {
            None if cancelled => Look::Done(Event::Accepted(Err(Errno::ECANCELED)), true),
            None => Look::Pending,
            Some(Ok(connection)) => {
                let ends = self.world.borrow_mut().one_in(8);
                Look::Done(Event::Accepted(Ok(SimSocket::new(connection, &self.world))), ends)
            }
            Some(Err(errno)) => Look::Done(Event::Accepted(Err(errno)), true),
        }
    }

    fn receive_some(&mut self, id: Id, cancelled: bool, gives_up: bool) -> Look {
        if gives_up {
            return Look::Done(Event::ReceiveFailed(Errno::ECANCELED), true);
        }
        let offered = self.offered;
        let read = self.world.borrow_mut().read(id, offered > 0, BUFFER_SIZE);
        match read {
            Read::Nothing if cancelled => Look::Done(Event::ReceiveFailed(Errno::ECANCELED), true),
            Read::Nothing => Look::Pending,
            Read::NoBuffer => Look::Done(Event::ReceiveFailed(Errno::ENOBUFS), true),
            Read::End => Look::Done(Event::EndOfStream, true),
            Read::Failed(errno) => Look::Done(Event::ReceiveFailed(errno), true),
            Read::Data(bytes) => {
                self.offered -= 1;
                let lease = self.lease(bytes);
                Look::Done(Event::Received(lease), self.world.borrow_mut().one_in(8))
            }
        }
    }

    fn receive_datagram(&mut self, id: Id, cancelled: bool, gives_up: bool) -> Look {
        match self.receive_some(id, cancelled, gives_up) {
            Look::Done(Event::Received(lease), last) => {
                Look::Done(Event::Datagram(self.datagram(id, lease)), last)
            }
            other => other,
        }
    }

    fn datagram(&self, id: Id, lease: SimLease) -> Datagram<SimLease> {
        let payload = 0..lease.as_ref().len();
        let world = self.world.borrow();
        let dropped = Some(world.dropped_before_last(id));
        let from = (!world.is_unixgram(id)).then_some(IpAddr::from([127, 0, 0, 1]));
        Datagram { lease, payload, cut: false, from, dropped }
    }

    fn take_now(&mut self, socket: &SimSocket) -> Input<SimLease> {
        let has_buffer = self.free() > 0;
        let read = self.world.borrow_mut().read(socket.0.id, has_buffer, BUFFER_SIZE);
        match read {
            Read::Nothing => Input::Empty,
            Read::NoBuffer => Input::NoBuffer,
            Read::End => Input::End,
            Read::Failed(errno) => Input::Failed(errno),
            Read::Data(bytes) => Input::Data(self.lease(bytes)),
        }
    }
}

fn bytes_of(gather: &Gather) -> Vec<u8> {
    gather.iter().flat_map(|piece| piece.iter().copied()).collect()
}

impl Kernel for SimKernel {
    type Owner = Owner;
    type Socket = SimSocket;
    type Lease = SimLease;

    fn now(&self) -> Instant {
        self.world.borrow().instant()
    }

    fn accept(&mut self, owner: Owner, listener: &SimSocket) -> Token {
        self.submit(owner, Some(listener), Kind::Accept)
    }

    fn receive(&mut self, owner: Owner, socket: &SimSocket) -> Token {
        self.submit(owner, Some(socket), Kind::Receive)
    }

    fn receive_datagrams(&mut self, owner: Owner, socket: &SimSocket) -> Token {
        self.submit(owner, Some(socket), Kind::ReceiveDatagrams)
    }

    fn watch(&mut self, owner: Owner, socket: &SimSocket) -> Token {
        self.submit(owner, Some(socket), Kind::Watch)
    }

    fn send(&mut self, owner: Owner, socket: &SimSocket, gather: Gather) -> Token {
        self.submit(owner, Some(socket), Kind::Send(gather))
    }

    fn send_datagrams(&mut self, owner: Owner, socket: &SimSocket, datagrams: Vec<Gather>) -> Vec<Token> {
        self.chains += 1;
        let chain = self.chains;
        let each = datagrams.into_iter().zip(0..);
        each.map(|(gather, place)| self.submit(owner, Some(socket), Kind::SendDatagram(gather, chain, place)))
            .collect()
    }

    fn await_room(&mut self, owner: Owner, socket: &SimSocket) -> Token {
        self.submit(owner, Some(socket), Kind::AwaitRoom)
    }

    fn write(&mut self, owner: Owner, file: &SimSocket, gather: Gather, _: Waits) -> Token {
        self.submit(owner, Some(file), Kind::Write(gather))
    }

    fn connect(&mut self, owner: Owner, socket: &SimSocket, to: &Address) -> Token {
        self.submit(owner, Some(socket), Kind::Connect(to.clone()))
    }

    fn wake(&mut self, owner: Owner, bell: &SimSocket) -> Token {
        self.submit(owner, Some(bell), Kind::Wake)
    }

    fn cancel(&mut self, owner: Owner, target: Token) {
        self.submit(owner, None, Kind::Cancel(target));
    }

    /// Lets the world go on until more than `beside` have completed, or `timeout` is over, or later: so `gather` makes no difference.
    fn park(&mut self, timeout: Option<Duration>, gather: Duration, beside: usize) -> io::Result<()> {
        self.brought.judge(timeout, gather);
        self.world.borrow_mut().gathered += u64::from(!gather.is_zero());
        let deadline = timeout.map(|timeout| self.world.borrow().now + timeout);
        loop {
            self.world.borrow_mut().check_progress();
            self.world.borrow_mut().happen();
            let could = self.look_at_all();
            let is_over = deadline.is_some_and(|deadline| self.world.borrow().now >= deadline);
            let is_woken = self.ready.len() > beside;
            let returns = is_woken && self.world.borrow_mut().one_in(2);
            if returns || is_over {
                return Ok(());
            }
            if could || is_woken {
                self.world.borrow_mut().pass(Duration::from_micros(10));
            } else {
                self.world.borrow_mut().pass_to_next(deadline);
            }
        }
    }

    fn completion_bell(&mut self) -> io::Result<OwnedFd> {
        unreachable!("no world has services")
    }

    fn reap(&mut self, completions: &mut Vec<CompletionOf<Self>>) {
        self.ready.iter().for_each(|one| self.brought.note(&one.event));
        completions.append(&mut self.ready);
    }

    fn offered_bytes(&self) -> usize {
        self.offered * BUFFER_SIZE
    }

    fn offer(&mut self, bytes: usize) {
        let more = (bytes / BUFFER_SIZE).saturating_sub(self.offered).min(self.free());
        self.offered += more;
    }

    fn leased_bytes(&self) -> usize {
        self.leased.load(Ordering::Relaxed) * BUFFER_SIZE
    }

    /// A made-up buffer has no memory while it is free.
    fn keep(&mut self, _bytes: usize) {}

    /// The heap is the test's.
    fn trim_heap(&mut self) {}

    fn receive_now(&mut self, socket: &SimSocket) -> Input<SimLease> {
        self.take_now(socket)
    }

    fn receive_datagram_now(&mut self, socket: &SimSocket) -> Input<Datagram<SimLease>> {
        match self.take_now(socket) {
            Input::Data(lease) => Input::Data(self.datagram(socket.0.id, lease)),
            Input::End => Input::End,
            Input::Empty => Input::Empty,
            Input::NoBuffer => Input::NoBuffer,
            Input::Failed(errno) => Input::Failed(errno),
        }
    }

    fn open(&mut self, to: &Address) -> io::Result<SimSocket> {
        let id = self.world.borrow_mut().open(to)?;
        Ok(SimSocket::new(id, &self.world))
    }
}

impl Drop for SimKernel {
    /// As the real ring does: the kernel lets go of everything.
    fn drop(&mut self) {
        let of_a_link = |operation: &Operation| !matches!(operation.kind, Kind::Wake | Kind::Cancel(_));
        let held = self.slots.iter().filter(|slot| slot.operation.as_ref().is_some_and(of_a_link)).count();
        self.world.borrow_mut().left_in_flight = held;
        let operations: Vec<_> = self.slots.drain(..).filter_map(|slot| slot.operation).collect();
        drop(operations);
    }
}

impl Socket for SimSocket {
    fn freeze(&self, medium: Medium) -> io::Result<()> {
        self.with(|world, id| world.freeze(id, medium));
        Ok(())
    }

    fn half_close(&self) {
        self.with(World::half_close);
    }

    fn reset_on_close(&self) -> io::Result<()> {
        self.with(World::reset_on_close);
        Ok(())
    }

    fn say_goodbye(&self) {
        self.with(World::say_goodbye);
    }

    fn accept(&self) -> Accepted<Self> {
        let accepted = self.with(World::accept);
        match accepted {
            None => Accepted::Nothing,
            Some(Ok(connection)) => {
                let world = self.0.world.upgrade().expect("the world outlives the reactor");
                Accepted::Connection(SimSocket::new(connection, &world))
            }
            Some(Err(Errno::EMFILE)) => Accepted::NotNow,
            Some(Err(_)) => self.accept(),
        }
    }

    fn is_empty(&self) -> bool {
        self.with(|world, id| world.is_empty(id))
    }

    fn peer_has_finished(&self) -> bool {
        self.with(|world, id| world.has_finished(id))
    }

    fn peer(&self) -> Option<IpAddr> {
        self.with(|world, id| world.peer(id))
    }

    fn round_trip(&self) -> Duration {
        Duration::from_micros(100)
    }

    fn bound_send_buffer(&self, _bytes: usize) -> io::Result<()> {
        Ok(())
    }

    fn bound_receive_buffer(&self, _bytes: usize) -> io::Result<()> {
        Ok(())
    }

    fn bound_segments(&self, _bytes: u32) -> io::Result<()> {
        Ok(())
    }

    fn open_window(&self, _bytes: usize) -> io::Result<()> {
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.with(|world, id| world.acknowledged(id))
    }

    /// What it takes is under way at once.
    fn unsent(&self) -> u64 {
        0
    }

    fn dropped(&self) -> u32 {
        self.with(|world, id| world.dropped(id))
    }

    fn is_connected_to_itself(&self) -> bool {
        false
    }

    fn leaves_descriptors(&self) -> bool {
        self.with(|world, _| !world.lacks_descriptors())
    }

    fn ring(&self) {
        self.with(World::ring);
    }
}
