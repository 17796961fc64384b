//! A queue that knows what it handed out, and what it was told.
//!
//! ```text
//! ready ── handed out ──→ pending ── done, refused ──→ gone
//!    ↑                       │ returned; or its session ended, where handles do not last; or its answer was lost
//!    └───────────────────────┘
//! ```
//! Lives here: that, and what a driver may never ask of it. Never here: what goes wrong (`dice`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::REQUEST_TIMEOUT;
use super::dice::Dice;
use super::relay::Truth;
use crate::broker::error::Error;
use crate::broker::source::{Fetched, PullSession, Puller, Verdict};
use crate::ledger::Outcome;

/// Messages that it has at the start.
pub(super) const MESSAGES: u64 = 40;

/// A queue of which a handle means something on a later connection, or does not.
pub(super) struct Queue<const LASTING: bool>(pub(super) Rc<State>);

pub(super) struct State {
    dice: Rc<Dice>,
    truth: Truth,
    batch: u32,
    ready: RefCell<VecDeque<u64>>,
    /// By the number of the delivery.
    pending: RefCell<BTreeMap<u64, Pending>>,
    gone: RefCell<BTreeMap<u64, Verdict>>,
    /// What it was told of each delivery.
    told: RefCell<HashMap<u64, Verdict>>,
    /// How often each message was handed out.
    handed_out: RefCell<HashMap<u64, u32>>,
    returned: RefCell<HashMap<u64, u32>>,
    deliveries: Cell<u64>,
    sessions: Cell<u64>,
    open_sessions: Cell<u32>,
}

struct Pending {
    message: u64,
    session: u64,
    /// Whether the driver has it; otherwise it was lost on its way there.
    arrived: bool,
}

pub(super) struct Session<const LASTING: bool> {
    queue: Rc<State>,
    number: u64,
    is_pulling: Cell<bool>,
    was_cut: Cell<bool>,
    cut: Notify,
    keeps: bool,
}

/// A delivery, and the session that it was made in.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    delivery: u64,
    session: u64,
}

/// Every tenth has nothing in it.
pub(super) fn payload_of(message: u64) -> Bytes {
    if message % 10 == 9 { Bytes::new() } else { Bytes::from(message.to_string()) }
}

impl State {
    pub(super) fn new(dice: &Rc<Dice>, truth: &Truth) -> Rc<State> {
        Rc::new(State {
            dice: Rc::clone(dice),
            truth: Rc::clone(truth),
            batch: 1 + dice.below(6),
            ready: RefCell::new((0..MESSAGES).collect()),
            pending: RefCell::default(),
            gone: RefCell::default(),
            told: RefCell::default(),
            handed_out: RefCell::default(),
            returned: RefCell::default(),
            deliveries: Cell::new(0),
            sessions: Cell::new(0),
            open_sessions: Cell::new(0),
        })
    }

    fn hand_out(&self, session: u64, most: u32) -> Vec<Fetched<Handle>> {
        let mut fetched = Vec::new();
        while fetched.len() < most as usize {
            let Some(message) = self.ready.borrow_mut().pop_front() else { break };
            let delivery = self.deliveries.replace(self.deliveries.get() + 1);
            let mut handed_out = self.handed_out.borrow_mut();
            let times = handed_out.entry(message).or_default();
            *times += 1;
            let redelivered = *times > 1;
            self.pending.borrow_mut().insert(delivery, Pending { message, session, arrived: false });
            let handle = Handle { delivery, session };
            let (payload, id) = (payload_of(message), delivery.to_string());
            fetched.push(Fetched { payload, id, redelivered, handle });
        }
        fetched
    }

    fn arrive(&self, fetched: Vec<Fetched<Handle>>) -> Vec<Fetched<Handle>> {
        for Fetched { handle, .. } in &fetched {
            self.pending.borrow_mut().get_mut(&handle.delivery).expect("it is ours").arrived = true;
        }
        fetched
    }

    fn hear(&self, delivery: u64, verdict: Verdict) {
        let outcome = *self.truth.borrow().get(&delivery).expect("a verdict follows an outcome");
        let meant = match outcome {
            Outcome::Delivered | Outcome::Spilled => Verdict::Done,
            Outcome::Failed => Verdict::Refused,
            Outcome::Returned | Outcome::Abandoned => Verdict::Returned,
        };
        assert_eq!(verdict, meant, "the queue is told what the ledger was");
        let Some(Pending { message, .. }) = self.pending.borrow_mut().remove(&delivery) else {
            return assert_eq!(
                self.told.borrow().get(&delivery),
                Some(&verdict),
                "said again, it is the same"
            );
        };
        self.told.borrow_mut().insert(delivery, verdict);
        if verdict == Verdict::Returned {
            *self.returned.borrow_mut().entry(message).or_default() += 1;
            self.ready.borrow_mut().push_back(message);
        } else {
            self.gone.borrow_mut().insert(message, verdict);
        }
    }

    /// Hands out again what fits.
    fn take_back(&self, fits: impl Fn(&Pending) -> bool) {
        for (_, pending) in self.pending.borrow_mut().extract_if(.., |_, pending| fits(pending)) {
            self.ready.borrow_mut().push_back(pending.message);
        }
    }

    pub(super) fn gone(&self) -> BTreeMap<u64, Verdict> {
        self.gone.borrow().clone()
    }

    /// Each message is at one place: nothing is lost, and nothing is there twice.
    pub(super) fn assert_whole(&self) {
        let pending: Vec<u64> = self.pending.borrow().values().map(|pending| pending.message).collect();
        let all: Vec<u64> =
            self.ready.borrow().iter().chain(&pending).chain(self.gone.borrow().keys()).copied().collect();
        let different: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!((all.len() as u64, different.len() as u64), (MESSAGES, MESSAGES), "each has one place");
        assert_eq!(self.open_sessions.get(), 0, "no connection is left behind");
    }

    /// It was told of everything that was handed in.
    pub(super) fn assert_told(&self) {
        let untold: Vec<u64> =
            self.pending.borrow().iter().filter(|one| one.1.arrived).map(|one| *one.0).collect();
        assert!(untold.is_empty(), "safe, though the queue was not told of {untold:?}");
    }

    /// Without a fault each is handed out once, and once more whenever it was returned.
    pub(super) fn assert_nothing_twice(&self) {
        for (message, times) in &*self.handed_out.borrow() {
            let returned = self.returned.borrow().get(message).copied().unwrap_or(0);
            assert!(*times <= 1 + returned, "{message} was handed out {times} times, returned {returned}");
        }
        assert!(self.pending.borrow().is_empty(), "nothing is pending after a clean drain");
    }
}

impl<const LASTING: bool> Puller for Queue<LASTING> {
    type Session = Session<LASTING>;

    fn timeout(&self) -> Duration {
        REQUEST_TIMEOUT
    }

    async fn connect(&self) -> Result<Session<LASTING>, Error> {
        let state = &self.0;
        state.dice.before("connect").await?;
        assert_eq!(state.open_sessions.get(), 0, "one connection at a time");
        let number = state.sessions.replace(state.sessions.get() + 1);
        state.open_sessions.set(1);
        let session = Session {
            queue: Rc::clone(state),
            number,
            is_pulling: Cell::new(false),
            was_cut: Cell::new(false),
            cut: Notify::new(),
            keeps: state.dice.is(50),
        };
        state.dice.after("connect").await?;
        state.take_back(|pending| !pending.arrived);
        Ok(session)
    }
}

impl<const LASTING: bool> Session<LASTING> {
    fn assert_ours(&self, handle: &Handle) {
        assert!(LASTING || handle.session == self.number, "{handle:?} means nothing in {}", self.number);
    }

    async fn wait_for_messages(&self) {
        if self.queue.ready.borrow().is_empty() && !self.was_cut.get() {
            let _ = timeout(Duration::from_millis(50), self.cut.notified()).await;
        }
    }
}

impl<const LASTING: bool> PullSession for Session<LASTING> {
    type Handle = Handle;
    const HANDLES_LAST: bool = LASTING;

    async fn pull(&self) -> Result<Vec<Fetched<Handle>>, Error> {
        assert!(!self.is_pulling.replace(true), "one pull at a time");
        assert!(!self.was_cut.get(), "no pull follows a cut");
        let queue = &self.queue;
        queue.dice.before("pull").await?;
        self.wait_for_messages().await;
        let fetched = queue.hand_out(self.number, queue.batch);
        queue.dice.after("pull").await?;
        self.is_pulling.set(false);
        Ok(queue.arrive(fetched))
    }

    async fn cut(&self) -> Result<(), Error> {
        assert!(!self.was_cut.replace(true), "cut once");
        self.queue.dice.before("cut").await?;
        self.cut.notify_one();
        self.queue.dice.after("cut").await
    }

    async fn rest(&self) -> Result<Vec<Fetched<Handle>>, Error> {
        assert!(!self.is_pulling.get(), "after the last pull");
        let queue = &self.queue;
        queue.dice.before("rest").await?;
        let fetched = queue.hand_out(self.number, queue.dice.below(3));
        queue.dice.after("rest").await?;
        Ok(queue.arrive(fetched))
    }

    async fn acknowledge(&self, verdicts: Vec<(Handle, Verdict)>) -> Result<(), Error> {
        let dice = &self.queue.dice;
        assert!(!verdicts.is_empty(), "there is something to say");
        dice.before("acknowledge").await?;
        for (handle, verdict) in verdicts {
            self.assert_ours(&handle);
            self.queue.hear(handle.delivery, verdict);
            if dice.is(10) {
                dice.after("acknowledge").await?;
            }
        }
        dice.after("acknowledge").await
    }

    fn keep_every(&self) -> Option<Duration> {
        self.keeps.then_some(Duration::from_millis(20))
    }

    async fn keep(&self, handles: Vec<Handle>) -> Result<(), Error> {
        assert!(!handles.is_empty(), "there is something to keep");
        for handle in &handles {
            self.assert_ours(handle);
            assert!(self.queue.pending.borrow().contains_key(&handle.delivery), "it is with us");
        }
        self.queue.dice.before("keep").await
    }

    async fn close(self) {
        let _ = self.queue.dice.before("close").await;
    }
}

impl<const LASTING: bool> Drop for Session<LASTING> {
    fn drop(&mut self) {
        self.queue.open_sessions.set(0);
        if !LASTING {
            self.queue.take_back(|pending| pending.session == self.number);
        }
    }
}
