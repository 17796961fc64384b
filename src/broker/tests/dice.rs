//! What goes wrong, and when.
//!
//! Lives here: chance, and the faults that any call can have. Never here: what a call does.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::Weather;
use crate::broker::error::Error;

/// One seed's chance.
pub(super) struct Dice {
    rng: RefCell<fastrand::Rng>,
    weather: Weather,
    /// In how many of a hundred cases a call fails or hangs.
    odds: u32,
    /// After so many calls one panics.
    panics_in: Cell<Option<u32>>,
    aborts_after: Option<Duration>,
    is_drained: Cell<bool>,
    /// What hangs fails now.
    cleared: Notify,
    /// How long each call hung until it was given up.
    hung: RefCell<Vec<(&'static str, Duration)>>,
}

/// The payload of a panic that was meant.
pub(super) struct Meant;

struct Hanging<'a> {
    dice: &'a Dice,
    call: &'static str,
    since: Instant,
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.dice.hung.borrow_mut().push((self.call, self.since.elapsed()));
    }
}

impl Dice {
    pub(super) fn new(weather: Weather, seed: u64) -> Rc<Dice> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let odds = if weather == Weather::Fair { 0 } else { [1, 5, 20][rng.usize(..3)] };
        let panics = rng.bool();
        let doom = |is_it: bool| (weather == Weather::Doom && is_it).then_some(());
        Rc::new(Dice {
            weather,
            odds,
            panics_in: Cell::new(doom(panics).map(|()| rng.u32(1..60))),
            aborts_after: doom(!panics).map(|()| Duration::from_micros(rng.u64(..1_000_000))),
            is_drained: Cell::new(false),
            cleared: Notify::new(),
            hung: RefCell::default(),
            rng: RefCell::new(rng),
        })
    }

    pub(super) fn weather(&self) -> Weather {
        self.weather
    }

    pub(super) fn is_doomed(&self) -> bool {
        self.weather == Weather::Doom
    }

    pub(super) fn aborts_after(&self) -> Option<Duration> {
        self.aborts_after
    }

    pub(super) fn below(&self, bound: u32) -> u32 {
        self.rng.borrow_mut().u32(..bound)
    }

    pub(super) fn millis(&self, bound: u32) -> Duration {
        Duration::from_millis(u64::from(self.below(bound)))
    }

    /// Whether something happens that does in so many of a hundred cases.
    pub(super) fn is(&self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// The drain begins, and the weather may change.
    pub(super) fn drained(&self) {
        self.is_drained.set(true);
        self.cleared.notify_waiters();
    }

    /// Whether it goes wrong no more, or at once.
    fn has_changed(&self) -> bool {
        self.is_drained.get() && matches!(self.weather, Weather::Clearing | Weather::Severed)
    }

    /// A call begins: it takes its time, and may fail before it has done anything.
    pub(super) async fn before(&self, call: &'static str) -> Result<(), Error> {
        match self.below(3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => sleep(self.millis(5)).await,
        }
        if let Some(left) = self.panics_in.get() {
            self.panics_in.set(left.checked_sub(1));
            if left == 0 {
                // Without the hook: thousands of messages would hide the one that was not meant.
                resume_unwind(Box::new(Meant));
            }
        }
        self.slip(call).await
    }

    /// A call has done what it was asked: its answer takes its time, or is lost.
    pub(super) async fn after(&self, call: &'static str) -> Result<(), Error> {
        if self.is(50) {
            tokio::task::yield_now().await;
        }
        self.slip(call).await
    }

    async fn slip(&self, call: &'static str) -> Result<(), Error> {
        let fails = if self.has_changed() { self.weather == Weather::Severed } else { self.is(self.odds) };
        if !fails {
            return Ok(());
        }
        if !self.has_changed() && self.is(50) {
            let _hanging = Hanging { dice: self, call, since: Instant::now() };
            while !self.has_changed() {
                self.cleared.notified().await;
            }
        }
        Err(Error::new(call, "a fault"))
    }

    /// Whatever waits for an answer gives up in time.
    pub(super) fn assert_given_up(&self, call: &str, within: Duration) {
        let longest = self.hung.borrow().iter().filter(|hung| hung.0 == call).map(|hung| hung.1).max();
        assert!(longest.is_none_or(|longest| longest <= within), "{call} was waited for {longest:?}");
    }
}
