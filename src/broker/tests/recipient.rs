//! A service that knows what it took, and what it said.
//!
//! Lives here: that, and what a driver may never ask of it. Never here: what goes wrong (`dice`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::dice::Dice;
use super::{REQUEST_TIMEOUT, Weather};
use crate::broker::error::Error;
use crate::broker::sink::{PublishSession, Publisher, Verdict};
use crate::config::services::{Login, Protocol, Push, Service};
use crate::endpoint::Delivery;

pub(super) struct Recipient(pub(super) Rc<State>);

pub(super) struct State {
    dice: Rc<Dice>,
    /// How often it took each message, and in which order for the first time.
    taken: RefCell<BTreeMap<u64, u32>>,
    order: RefCell<Vec<u64>>,
    /// Which it said it has, and which it refused; its answer may have been lost.
    confirmed: RefCell<BTreeSet<u64>>,
    refused: RefCell<BTreeSet<u64>>,
    /// Until when it said that it is not to be asked.
    closed_until: Cell<Option<Instant>>,
    /// The longest Retry-After that it says.
    longest: Duration,
    is_moody: bool,
    pub(super) is_hurried: Cell<bool>,
}

/// How a recipient is sent to.
pub(super) fn plan(dice: &Dice) -> Push {
    let service = Service {
        protocol: Protocol::Http,
        tls: false,
        hosts: Vec::new(),
        path: String::new(),
        vhost: String::new(),
        login: Login::default(),
        timeout: REQUEST_TIMEOUT,
        batch: 1 + dice.below(6) as usize,
    };
    Push {
        service,
        batch_bytes: 1 + dice.below(30) as usize,
        batch_wait: Duration::from_millis(u64::from(dice.below(2) * 5)),
        concurrency: 1 + dice.below(3) as usize,
        max_len: None,
        exchange: String::new(),
        headers: Vec::new(),
    }
}

impl State {
    pub(super) fn new(dice: &Rc<Dice>) -> Rc<State> {
        let is_moody = dice.weather() != Weather::Fair;
        Rc::new(State {
            dice: Rc::clone(dice),
            taken: RefCell::default(),
            order: RefCell::default(),
            confirmed: RefCell::default(),
            refused: RefCell::default(),
            closed_until: Cell::new(None),
            longest: if dice.is(50) { Duration::from_millis(40) } else { Duration::from_secs(60) },
            is_moody,
            is_hurried: Cell::new(false),
        })
    }

    pub(super) fn confirmed(&self) -> BTreeSet<u64> {
        self.confirmed.borrow().clone()
    }

    pub(super) fn refused(&self) -> BTreeSet<u64> {
        self.refused.borrow().clone()
    }

    pub(super) fn order(&self) -> Vec<u64> {
        self.order.borrow().clone()
    }

    pub(super) fn assert_nothing_twice(&self) {
        let taken = self.taken.borrow();
        assert!(taken.values().all(|&times| times == 1), "without a fault nothing comes twice: {taken:?}");
    }

    /// What it says now where it has no room.
    fn not_now(&self) -> Verdict {
        let after = self.dice.is(50).then(|| self.longest.mul_f64(f64::from(1 + self.dice.below(10)) / 10.0));
        Verdict::Again(after, "no room".to_owned())
    }

    fn judge(&self, number: u64) -> Verdict {
        match self.dice.below(if self.is_moody { 20 } else { 1 }) {
            18 => {
                self.refused.borrow_mut().insert(number);
                Verdict::Refused("unfit".to_owned())
            }
            19 => Verdict::Again(None, "this one not yet".to_owned()),
            _ => {
                let mut taken = self.taken.borrow_mut();
                let times = taken.entry(number).or_default();
                *times += 1;
                if *times == 1 {
                    self.order.borrow_mut().push(number);
                }
                self.confirmed.borrow_mut().insert(number);
                Verdict::Delivered
            }
        }
    }
}

impl Publisher for Recipient {
    type Session = Rc<State>;

    async fn connect(&self) -> Result<Rc<State>, Error> {
        self.0.dice.before("connect").await?;
        self.0.dice.after("connect").await?;
        Ok(Rc::clone(&self.0))
    }
}

impl PublishSession for Rc<State> {
    async fn send(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, Error> {
        assert!(!batch.is_empty(), "there is something to send");
        let is_early = self.closed_until.get().is_some_and(|until| Instant::now() < until);
        assert!(self.is_hurried.get() || !is_early, "its Retry-After is heeded until a drain");
        self.dice.before("send").await?;
        let verdicts = if self.is_moody && self.dice.is(5) {
            vec![self.not_now(); batch.len()]
        } else {
            let numbers =
                batch.iter().map(|one| std::str::from_utf8(one.payload()).unwrap().parse().unwrap());
            numbers.map(|number| self.judge(number)).collect()
        };
        self.dice.after("send").await?;
        // Only from its answer on: one that is lost binds nobody.
        if let Some(Verdict::Again(Some(after), _)) = verdicts.first() {
            self.closed_until.set(Some(Instant::now() + *after));
        }
        Ok(verdicts)
    }

    async fn close(self) {
        let _ = self.dice.before("close").await;
    }
}
