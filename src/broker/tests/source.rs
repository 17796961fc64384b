//! The driver of sources, between a made-up queue and a relay that settles as it likes.
//!
//! Lives here: what a queue may rely on. Never here: a sink.

use std::cell::Cell;
use std::rc::Rc;

use super::dice::Dice;
use super::queue::{Queue, State};
use super::relay::Relay;
use super::{REQUEST_TIMEOUT, SLACK, Weather, each_seed, join, start};
use crate::broker::source;
use crate::endpoint::Inlet;
use crate::limits::{CONNECT_TIMEOUT, RETURN_TIMEOUT};

/// Pulls until the end, and looks at what the queue has then; true if everything was settled in time.
async fn drain<const LASTING: bool>(dice: &Rc<Dice>) -> (bool, Rc<State>) {
    let mut relay = Relay::new(dice, 0);
    let (inlet, feed) = Inlet::new(relay.bell.clone());
    relay.inlet = Some(inlet);
    let queue = State::new(dice, &relay.truth);
    if !dice.is_doomed() {
        let queue = Rc::clone(&queue);
        relay.when_safe = Box::new(move || queue.assert_told());
    }
    let service = Queue::<LASTING>(Rc::clone(&queue));
    let driver = async move { source::run("queue".to_owned(), feed, &service).await };
    let task = start(dice, driver);
    let in_time = relay.run().await;
    join(dice, task).await;
    queue.assert_whole();
    dice.assert_given_up("connect", CONNECT_TIMEOUT + SLACK);
    // One that hangs when time is up has what is left of that, too.
    dice.assert_given_up("acknowledge", RETURN_TIMEOUT + SLACK);
    for call in ["keep", "cut"] {
        dice.assert_given_up(call, REQUEST_TIMEOUT + SLACK);
    }
    (in_time, queue)
}

async fn drain_either(dice: &Rc<Dice>) -> (bool, Rc<State>) {
    if dice.is(50) { drain::<true>(dice).await } else { drain::<false>(dice).await }
}

#[test]
fn without_a_fault_every_message_is_acknowledged_once_and_none_is_pending() {
    let gone = Cell::new(0);
    each_seed(Weather::Fair, 2000, async |dice| {
        let (in_time, queue) = drain_either(&dice).await;
        assert!(in_time, "nothing holds the drain");
        queue.assert_nothing_twice();
        gone.set(gone.get() + queue.gone().len());
    });
    assert!(gone.get() > 2000 * 10, "the drains begin in the midst of it: {gone:?}");
}

#[test]
fn a_drain_in_which_faults_end_is_over_in_time_and_the_queue_is_told_everything() {
    each_seed(Weather::Clearing, 4000, async |dice| {
        let (in_time, _) = drain_either(&dice).await;
        assert!(in_time, "what went wrong before does not hold the drain");
    });
}

#[test]
fn a_queue_that_is_gone_holds_no_drain_that_owes_it_nothing() {
    each_seed(Weather::Severed, 3000, async |dice| {
        let (in_time, _) = drain::<false>(&dice).await;
        assert!(in_time, "what a connection meant ended with it");
    });
}

#[test]
fn whatever_goes_wrong_no_message_is_lost_and_the_exit_is_in_time() {
    each_seed(Weather::Foul, 5000, async |dice| {
        drain_either(&dice).await;
    });
}

#[test]
fn a_driver_that_panics_or_is_dropped_leaves_every_message_with_its_queue() {
    each_seed(Weather::Doom, 4000, async |dice| {
        drain_either(&dice).await;
    });
}
