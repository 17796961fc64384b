//! The driver of sinks, between a relay that has messages of its own and a made-up service.
//!
//! Lives here: what the ledger may rely on. Never here: a queue.

use std::rc::Rc;

use super::dice::Dice;
use super::recipient::{Recipient, State, plan};
use super::relay::Relay;
use super::{REQUEST_TIMEOUT, SLACK, Weather, each_seed, join, start};
use crate::broker::sink;
use crate::endpoint::Outlet;
use crate::ledger::Totals;
use crate::limits::{CONNECT_TIMEOUT, GOODBYE_TIMEOUT};

struct Drained {
    in_time: bool,
    made: u64,
    totals: Totals,
    recipient: Rc<State>,
    is_ordered: bool,
}

async fn drain(dice: &Rc<Dice>) -> Drained {
    let mut relay = Relay::new(dice, 60);
    let (outlet, deliveries) = Outlet::new("sink", relay.bell.clone(), dice.is(50));
    relay.outlet = Some(outlet);
    let (plan, recipient) = (plan(dice), State::new(dice));
    relay.hears_of_drain(Rc::clone(&recipient));
    let is_ordered = plan.concurrency == 1;
    let service = Recipient(Rc::clone(&recipient));
    let task = start(dice, async move { sink::run(deliveries, &plan, &service).await });
    let in_time = relay.run().await;
    join(dice, task).await;
    dice.assert_given_up("connect", CONNECT_TIMEOUT + SLACK);
    dice.assert_given_up("send", REQUEST_TIMEOUT + SLACK);
    dice.assert_given_up("close", GOODBYE_TIMEOUT + SLACK);
    let (made, totals) = (u64::from(relay.made()), relay.ledger.totals());
    assert_eq!(totals.received, made);
    assert!(totals.delivered <= recipient.confirmed().len() as u64, "only what it said it has is delivered");
    assert!(totals.failed <= recipient.refused().len() as u64, "only what it refused has failed");
    Drained { in_time, made, totals, recipient, is_ordered }
}

#[test]
fn without_a_fault_every_message_is_delivered_once_and_in_order() {
    each_seed(Weather::Fair, 2000, async |dice| {
        let Drained { in_time, made, totals, recipient, is_ordered } = drain(&dice).await;
        assert!(in_time, "nothing holds the drain");
        assert_eq!(totals.delivered, made);
        recipient.assert_nothing_twice();
        assert!(!is_ordered || recipient.order().is_sorted());
    });
}

#[test]
fn a_drain_in_which_faults_end_delivers_all_that_is_not_refused() {
    each_seed(Weather::Clearing, 4000, async |dice| {
        let Drained { in_time, made, totals, .. } = drain(&dice).await;
        assert!(in_time, "neither a fault nor a Retry-After from before it holds the drain");
        assert_eq!((totals.delivered + totals.failed, totals.abandoned), (made, 0));
    });
}

#[test]
fn whatever_goes_wrong_the_books_balance_and_the_exit_is_in_time() {
    each_seed(Weather::Foul, 5000, async |dice| {
        let Drained { in_time, totals, .. } = drain(&dice).await;
        assert!(!in_time || totals.abandoned == 0, "a drain that is over in time abandons nothing");
    });
}

#[test]
fn a_driver_that_panics_or_is_dropped_lets_go_of_everything() {
    each_seed(Weather::Doom, 4000, async |dice| {
        drain(&dice).await;
    });
}
