//! The way in from a service.
//!
//! ```text
//! offered → (the reactor takes it) → in flight → settled → (the service acknowledges it) → gone
//!    └──── a drain begins: returned, without having been in flight ────┘
//! ```
//! Lives here: what a service has fetched and not handed over, and the verdicts that it has not acted on. Never here: how a message
//! is fetched or acknowledged.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::bell::{Bell, wait_for};
use crate::ledger::{Origin, Outcome};

/// A service's own number of a message that it handed in.
pub type Tag = u64;

/// The reactor's end of an inlet.
pub struct Inlet(Rc<Shared>);

/// The service's end of an inlet. While one exists, more may come.
pub struct Feed(Rc<Shared>);

/// One message as a service hands it in.
pub struct Offer {
    /// The message, without any framing.
    pub payload: Bytes,
    /// Its verdict comes under this, later.
    pub tag: Tag,
    /// A name that stays the same when the message comes again.
    pub id: String,
    /// Whether whoever it came from says that it was handed out before.
    pub redelivered: bool,
}

/// One message that was handed in.
pub struct Pulled {
    /// The message, without any framing.
    pub payload: Bytes,
    /// Whether it was handed out before.
    pub redelivered: bool,
    /// Whom to tell what became of it.
    pub origin: Rc<dyn Origin>,
}

struct Shared {
    bell: Bell,
    /// Something changed that a service waits for.
    changed: Notify,
    offered: RefCell<VecDeque<Pulled>>,
    verdicts: RefCell<Vec<(Tag, Outcome)>>,
    /// Verdicts that are still to come, or that the service has not acted on.
    outstanding: Cell<usize>,
    open: Cell<bool>,
    stage: Cell<Stage>,
    /// Whether the service still has its end, and may hand something in.
    fed: Cell<bool>,
    /// Whether the service let go of its end.
    gone: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    Sealing,
    Expiring,
}

struct Sender {
    inlet: Rc<Shared>,
    tag: Tag,
    id: String,
}

impl Origin for Sender {
    fn settled(&self, outcome: Outcome) {
        self.inlet.verdicts.borrow_mut().push((self.tag, outcome));
        self.inlet.changed.notify_waiters();
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Inlet {
    /// An inlet whose reactor sleeps on `bell`, and its other end. It is open once [`Inlet::open`] says so.
    pub fn new(bell: Bell) -> (Inlet, Feed) {
        let shared = Rc::new(Shared {
            bell,
            changed: Notify::new(),
            offered: RefCell::default(),
            verdicts: RefCell::default(),
            outstanding: Cell::new(0),
            open: Cell::new(false),
            stage: Cell::new(Stage::Running),
            fed: Cell::new(true),
            gone: Cell::new(false),
        });
        (Inlet(Rc::clone(&shared)), Feed(shared))
    }

    /// The next message that was handed in.
    pub fn take(&self) -> Option<Pulled> {
        self.0.offered.borrow_mut().pop_front()
    }

    /// Whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.0.offered.borrow().is_empty()
    }

    /// Says whether there is room for more. What is handed in all the same waits here.
    pub fn open(&self, is_open: bool) {
        if self.0.open.replace(is_open) != is_open {
            self.0.changed.notify_waiters();
        }
    }

    /// A drain begins: the service stops fetching.
    pub fn seal(&self) {
        self.advance(Stage::Sealing);
    }

    /// Time is up: what is not acknowledged soon stays with whoever has it.
    pub fn expire(&self) {
        self.advance(Stage::Expiring);
    }

    fn advance(&self, stage: Stage) {
        self.0.stage.set(self.0.stage.get().max(stage));
        self.0.open.set(false);
        self.0.changed.notify_waiters();
    }

    /// Whether nothing more can come out of it.
    pub fn is_sealed(&self) -> bool {
        !self.0.fed.get() && self.is_empty()
    }

    /// Whether the service is gone.
    pub fn is_closed(&self) -> bool {
        self.0.gone.get()
    }

    /// Whether the service has acted on every verdict.
    pub fn is_settled(&self) -> bool {
        self.0.outstanding.get() == 0
    }
}

impl Feed {
    /// Hands a message in.
    pub fn offer(&self, offer: Offer) {
        let (Offer { payload, tag, id, redelivered }, shared) = (offer, &self.0);
        shared.outstanding.set(shared.outstanding.get() + 1);
        let origin = Rc::new(Sender { inlet: Rc::clone(shared), tag, id });
        shared.offered.borrow_mut().push_back(Pulled { payload, redelivered, origin });
        shared.bell.ring();
    }

    /// Whether there is room, and no drain.
    pub fn is_open(&self) -> bool {
        self.0.open.get()
    }

    /// Whether a drain has begun.
    pub fn is_sealing(&self) -> bool {
        self.0.stage.get() >= Stage::Sealing
    }

    /// Waits for room; also ends when a drain begins.
    pub async fn opened(&self) {
        wait_for(&self.0.changed, || (self.is_open() || self.is_sealing()).then_some(())).await;
    }

    /// Waits for a drain.
    pub async fn sealing(&self) {
        wait_for(&self.0.changed, || self.is_sealing().then_some(())).await;
    }

    /// Waits until time is up.
    pub async fn expiring(&self) {
        wait_for(&self.0.changed, || (self.0.stage.get() == Stage::Expiring).then_some(())).await;
    }

    /// Nothing more will be handed in. Called once the last fetch is over.
    pub fn finish(&self) {
        self.0.fed.set(false);
        self.0.bell.ring();
    }

    /// Waits for verdicts: at least one, in the order in which they fell. [`Feed::acted_on`] is owed for each.
    pub async fn verdicts(&self) -> Vec<(Tag, Outcome)> {
        wait_for(&self.0.changed, || {
            let verdicts = std::mem::take(&mut *self.0.verdicts.borrow_mut());
            (!verdicts.is_empty()).then_some(verdicts)
        })
        .await
    }

    /// So many verdicts need nothing more: they are acknowledged, or nobody is there any more to whom they mean something.
    pub fn acted_on(&self, verdicts: usize) {
        self.0.outstanding.set(self.0.outstanding.get() - verdicts);
        self.0.bell.ring();
    }

    /// Messages that were handed in and of which the verdict is to come, or to be acted on.
    pub fn outstanding(&self) -> usize {
        self.0.outstanding.get()
    }
}

impl Drop for Feed {
    /// Also of a service that panicked: what it owes will not be done, and nobody is to wait for it.
    fn drop(&mut self) {
        self.0.outstanding.set(0);
        self.0.gone.set(true);
        self.finish();
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.expire();
        self.0.offered.borrow_mut().clear();
    }
}
