//! The way out to a service.
//!
//! ```text
//! waiting → (the service takes it) → in hand → delivered | refused | put back → waiting
//! ```
//! Lives here: the messages that wait for a service, in order, and how many it has in hand. Never here: how one is sent.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::warn;

use super::bell::{Bell, wait_for};
use crate::framing::{frames, joined, slices};
use crate::ledger::{Origin, Outcome, Ticket};
use crate::limits::{REFUSED_LOG_EVERY, STALL};
use crate::message::Run;

/// The reactor's end of an outlet.
pub struct Outlet(Rc<Shared>);

/// The service's end of an outlet; several tasks may share it. Dropped, it takes nothing any more.
pub struct Deliveries(Rc<Shared>);

/// One message that a service has in hand. Dropped without a word it is abandoned, or returned.
pub struct Delivery {
    payload: Bytes,
    /// `None` once it is settled.
    ticket: Option<Ticket>,
    number: u64,
    outlet: Rc<Shared>,
}

/// A message that a sink refused for good, on its way to the dead letters.
pub struct Letter {
    /// The message, without any framing.
    pub payload: Bytes,
    /// Its ticket; [`Ledger::admit_letter`](crate::ledger::Ledger::admit_letter) takes it.
    pub ticket: Ticket,
}

struct Shared {
    name: String,
    bell: Bell,
    /// Something changed that a service waits for.
    changed: Notify,
    waiting: RefCell<VecDeque<Delivery>>,
    waiting_bytes: Cell<usize>,
    /// Since when each message that is not settled is here.
    since: RefCell<BTreeMap<u64, Instant>>,
    numbers: Cell<u64>,
    /// Bytes of memory of all messages that are not settled.
    occupied: Cell<usize>,
    /// When one was last settled.
    progressed: Cell<Option<Instant>>,
    /// Where refused messages go, if they are kept.
    letters: Option<RefCell<Vec<Letter>>>,
    complaints: RefCell<Complaints>,
    hurried: Cell<bool>,
    end: Cell<End>,
    /// Whether the service still has its end.
    served: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// Nothing more comes, and everything is settled.
    Closing,
    /// Time is up.
    GivenUp,
}

#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Outlet {
    /// An outlet of the sink `name`, whose reactor sleeps on `bell`, and its other end. Refused messages are kept for
    /// [`Outlet::letters`] if there are `dead_letters`; otherwise they fail at once.
    pub fn new(name: &str, bell: Bell, dead_letters: bool) -> (Outlet, Deliveries) {
        let shared = Rc::new(Shared {
            name: name.to_owned(),
            bell,
            changed: Notify::new(),
            waiting: RefCell::default(),
            waiting_bytes: Cell::new(0),
            since: RefCell::default(),
            numbers: Cell::new(0),
            occupied: Cell::new(0),
            progressed: Cell::new(None),
            letters: dead_letters.then(RefCell::default),
            complaints: RefCell::default(),
            hurried: Cell::new(false),
            end: Cell::new(End::Open),
            served: Cell::new(true),
        });
        (Outlet(Rc::clone(&shared)), Deliveries(shared))
    }

    /// Appends the messages of a run. From here on the outlet answers for their ticket.
    pub fn push(&self, run: &Run, mut ticket: Ticket, now: Instant) {
        let shared = &self.0;
        if !shared.served.get() || shared.end.get() != End::Open {
            return;
        }
        shared.occupied.set(shared.occupied.get() + ticket.bytes());
        for frame in frames(run) {
            let one = if ticket.messages() > 1 {
                ticket.split_first(1)
            } else {
                return shared.enter(run, frame.payload, ticket, now);
            };
            shared.enter(run, frame.payload, one, now);
        }
    }

    /// The same with one line for each message, for tests of layers that know no run.
    #[cfg(test)]
    pub(crate) fn push_lines(&self, lines: String, ticket: Ticket, now: Instant) {
        let (head, messages) = (Bytes::new(), ticket.messages());
        let run = Run { head, body: Bytes::from(lines), messages, framing: crate::message::Framing::Line };
        self.push(&run, ticket, now);
    }

    /// Messages that were refused since the last look.
    pub fn letters(&self) -> Vec<Letter> {
        self.0.letters.as_ref().map_or_else(Vec::new, |letters| std::mem::take(&mut *letters.borrow_mut()))
    }

    /// Bytes of memory that unsettled messages occupy.
    pub fn occupied(&self) -> usize {
        self.0.occupied.get()
    }

    /// Bytes of messages that the service has not taken.
    pub fn unsent_bytes(&self) -> usize {
        self.0.waiting_bytes.get()
    }

    /// Until when one has to be settled, or the service counts as stalled; `None` if it does already.
    pub fn stalls_at(&self, now: Instant) -> Option<Instant> {
        self.0.progressed.get().map(|at| at + STALL).filter(|&at| at > now)
    }

    /// Messages not settled.
    pub fn unsettled_messages(&self) -> u64 {
        self.0.since.borrow().len() as u64
    }

    /// When the oldest unsettled message came.
    pub fn oldest(&self) -> Option<Instant> {
        self.0.since.borrow().first_key_value().map(|(_, since)| *since)
    }

    /// The drain begins: waits are cut short.
    pub fn hurry(&self) {
        self.0.hurried.set(true);
        self.0.changed.notify_waiters();
    }

    /// Nothing is left to be done: the service says goodbye.
    pub fn close(&self) {
        debug_assert!(self.0.since.borrow().is_empty(), "an outlet is closed when everything is settled");
        self.0.end(End::Closing);
    }

    /// Time is up: what is not settled by now is abandoned, or returned.
    pub fn give_up(&self) {
        self.0.end(End::GivenUp);
        let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
        self.0.waiting_bytes.set(0);
        drop(waiting);
    }

    /// Whether the service is gone.
    pub fn is_closed(&self) -> bool {
        !self.0.served.get()
    }

    /// Whether the service ended though nobody asked for it.
    pub fn is_broken(&self) -> bool {
        self.is_closed() && self.0.end.get() == End::Open
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Shared {
    fn enter(self: &Rc<Self>, run: &Run, payload: std::ops::Range<usize>, ticket: Ticket, now: Instant) {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        self.since.borrow_mut().insert(number, now);
        let (head, body) = slices(run, payload);
        let payload = joined(head, body);
        self.waiting_bytes.set(self.waiting_bytes.get() + payload.len());
        let delivery = Delivery { payload, ticket: Some(ticket), number, outlet: Rc::clone(self) };
        self.waiting.borrow_mut().push_back(delivery);
        self.changed.notify_waiters();
    }

    fn end(&self, end: End) {
        if self.end.get() == End::Open {
            self.end.set(end);
        }
        self.changed.notify_waiters();
    }

    fn complain(&self, reason: &str, now: Instant) {
        let mut complaints = self.complaints.borrow_mut();
        complaints.unsaid += 1;
        if complaints.last.is_none_or(|at| now >= at + REFUSED_LOG_EVERY) {
            complaints.last = Some(now);
            let (sink, messages) = (&self.name, std::mem::take(&mut complaints.unsaid));
            let fate = if self.letters.is_some() {
                "sent to the dead letters"
            } else {
                "failed; dead_letter= would keep them"
            };
            warn!(sink, messages, reason, "refused for good: {fate}");
        }
    }
}

impl Deliveries {
    /// The sink's name, for logs.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Waits for a message; false once none will come any more.
    pub async fn any(&self) -> bool {
        let shared = &self.0;
        let look = || (!shared.waiting.borrow().is_empty() || shared.end.get() != End::Open).then_some(());
        wait_for(&shared.changed, look).await;
        !shared.waiting.borrow().is_empty()
    }

    /// Waits until so much is there that a batch is full, or until nobody should wait for more.
    pub async fn full(&self, messages: usize, bytes: usize) {
        let shared = &self.0;
        let is_full = || shared.waiting.borrow().len() >= messages || shared.waiting_bytes.get() >= bytes;
        let look = || (is_full() || shared.hurried.get() || shared.end.get() != End::Open).then_some(());
        wait_for(&shared.changed, look).await;
    }

    /// The next messages, in order: at most so many, of at most so many bytes, but at least one where there is any.
    pub fn take(&self, messages: usize, bytes: usize) -> Vec<Delivery> {
        let (mut taken, mut sum) = (Vec::new(), 0);
        let mut waiting = self.0.waiting.borrow_mut();
        while let Some(next) = waiting.front() {
            if taken.len() == messages || !taken.is_empty() && sum + next.payload.len() > bytes {
                break;
            }
            sum += next.payload.len();
            taken.extend(waiting.pop_front());
        }
        self.0.waiting_bytes.set(self.0.waiting_bytes.get() - sum);
        taken
    }

    /// Takes messages back that could not be sent: they are the next again, in their order.
    pub fn put_back(&self, mut deliveries: Vec<Delivery>) {
        if self.0.end.get() == End::GivenUp {
            return;
        }
        let bytes: usize = deliveries.iter().map(|delivery| delivery.payload.len()).sum();
        let mut waiting = self.0.waiting.borrow_mut();
        // Several tasks may put back, in any order.
        while let Some(last) = deliveries.pop() {
            let place = waiting.partition_point(|other| other.number < last.number);
            waiting.insert(place, last);
        }
        drop(waiting);
        self.0.waiting_bytes.set(self.0.waiting_bytes.get() + bytes);
        self.0.changed.notify_waiters();
    }

    /// Whether the exit waits for this service.
    pub fn is_hurried(&self) -> bool {
        self.0.hurried.get()
    }

    /// Waits until the exit waits for this service.
    pub async fn hurried(&self) {
        wait_for(&self.0.changed, || self.0.hurried.get().then_some(())).await;
    }

    /// Waits until time is up, and what is in hand is to be let go of.
    pub async fn given_up(&self) {
        wait_for(&self.0.changed, || (self.0.end.get() == End::GivenUp).then_some(())).await;
    }

    /// Waits until nothing more will come, whatever the reason.
    pub async fn ended(&self) {
        wait_for(&self.0.changed, || (self.0.end.get() != End::Open).then_some(())).await;
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.0.served.set(false);
        let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
        self.0.waiting_bytes.set(0);
        drop(waiting);
        self.0.bell.ring();
    }
}

impl Delivery {
    /// The message, without any framing.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// A name that stays the same when the message comes again, if its source has one.
    pub fn id(&self) -> Option<&str> {
        self.ticket.as_ref()?.origin().map(Origin::id)
    }

    /// A number of this message among those of its outlet, which stays the same when it is sent again.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The service has it, and said so.
    pub fn delivered(mut self) {
        let now = Instant::now();
        self.outlet.progressed.set(Some(now));
        if let Some(ticket) = self.let_go() {
            ticket.settle(Outcome::Delivered);
        }
    }

    /// The service will never take it.
    pub fn refused(mut self, reason: &str) {
        let now = Instant::now();
        self.outlet.progressed.set(Some(now));
        self.outlet.complain(reason, now);
        let Some(ticket) = self.let_go() else { return };
        match &self.outlet.letters {
            Some(letters) => letters.borrow_mut().push(Letter { payload: self.payload.clone(), ticket }),
            None => ticket.settle(Outcome::Failed),
        }
    }

    fn let_go(&mut self) -> Option<Ticket> {
        let ticket = self.ticket.take()?;
        self.outlet.occupied.set(self.outlet.occupied.get() - ticket.bytes());
        self.outlet.since.borrow_mut().remove(&self.number);
        self.outlet.bell.ring();
        Some(ticket)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        drop(self.let_go());
    }
}
