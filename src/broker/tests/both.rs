//! Both drivers at once, as a relay from a queue to a service has them.
//!
//! Lives here: what holds from end to end. Never here: what one driver does by itself.

use std::rc::Rc;

use super::dice::Dice;
use super::queue::{self, Queue, payload_of};
use super::recipient::{self, Recipient, plan};
use super::relay::Relay;
use super::{Weather, each_seed, join, start};
use crate::broker::source::Verdict;
use crate::broker::{sink, source};
use crate::endpoint::{Inlet, Outlet};

async fn drain<const LASTING: bool>(dice: &Rc<Dice>) -> (bool, Rc<queue::State>, Rc<recipient::State>) {
    let mut relay = Relay::new(dice, 0);
    let (inlet, feed) = Inlet::new(relay.bell.clone());
    let (outlet, deliveries) = Outlet::new("sink", relay.bell.clone(), dice.is(50));
    (relay.inlet, relay.outlet) = (Some(inlet), Some(outlet));
    let queue = queue::State::new(dice, &relay.truth);
    let (plan, recipient) = (plan(dice), recipient::State::new(dice));
    relay.hears_of_drain(Rc::clone(&recipient));
    let (from, to) = (Queue::<LASTING>(Rc::clone(&queue)), Recipient(Rc::clone(&recipient)));
    let pulling = start(dice, async move { source::run("queue".to_owned(), feed, &from).await });
    let pushing = start(dice, async move { sink::run(deliveries, &plan, &to).await });
    let in_time = relay.run().await;
    join(dice, pulling).await;
    join(dice, pushing).await;
    queue.assert_whole();
    assert_never_lost(&queue, &recipient);
    (in_time, queue, recipient)
}

/// What the queue has no more is where it was to go, or was refused there.
fn assert_never_lost(queue: &queue::State, recipient: &recipient::State) {
    let (confirmed, refused) = (recipient.confirmed(), recipient.refused());
    for (message, verdict) in queue.gone() {
        let is_true = match verdict {
            Verdict::Done => confirmed.contains(&message),
            Verdict::Refused => refused.contains(&message) || payload_of(message).is_empty(),
            Verdict::Returned => false,
        };
        assert!(is_true, "{message} is gone as {verdict:?}");
    }
}

async fn drain_either(dice: &Rc<Dice>) -> (bool, Rc<queue::State>, Rc<recipient::State>) {
    if dice.is(50) { drain::<true>(dice).await } else { drain::<false>(dice).await }
}

#[test]
fn from_end_to_end_nothing_is_lost_whatever_goes_wrong() {
    for weather in [Weather::Foul, Weather::Doom] {
        each_seed(weather, 2000, async |dice| {
            drain_either(&dice).await;
        });
    }
}

#[test]
fn from_end_to_end_nothing_comes_twice_where_nothing_goes_wrong() {
    each_seed(Weather::Fair, 2000, async |dice| {
        let (in_time, queue, recipient) = drain_either(&dice).await;
        assert!(in_time, "nothing holds the drain");
        queue.assert_nothing_twice();
        recipient.assert_nothing_twice();
    });
}
