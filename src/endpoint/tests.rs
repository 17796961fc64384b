//! Both contracts, with a ledger behind them and no service.
//!
//! Lives here: what either end may rely on. Never here: a protocol.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;

use super::{Bell, Deliveries, Inlet, Offer, Outlet, Tag};
use crate::ledger::{Ledger, Outcome, Totals, Way};
use crate::message::{Framing, Run};

const WAY: Way = Way { source: 0, sink: 0 };

/// What is ready at once; a wait that would not end by itself fails.
fn now<T>(future: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Waker};
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn waits<T>(future: impl Future<Output = T>) -> bool {
    use std::task::{Context, Poll, Waker};
    let mut future = std::pin::pin!(future);
    matches!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

fn offer(payload: &'static [u8], tag: Tag, id: &str) -> Offer {
    Offer { payload: Bytes::from_static(payload), tag, id: id.to_owned(), redelivered: false }
}

#[test]
fn what_is_handed_in_is_told_its_outcome_and_owed_an_answer() {
    let (bell, ledger) = (Bell::default(), Ledger::new(1, 1));
    let (inlet, feed) = Inlet::new(bell.clone());
    assert!(waits(feed.opened()) && waits(feed.verdicts()));
    inlet.open(true);
    now(feed.opened());
    feed.offer(offer(b"one", 7, "an-id"));
    now(bell.rung());
    let pulled = inlet.take().unwrap();
    assert_eq!((&pulled.payload[..], pulled.origin.id()), (&b"one"[..], "an-id"));
    ledger.admit_from(pulled.origin, WAY, 1).settle(Outcome::Delivered);
    assert!(!inlet.is_settled(), "settled is not yet acknowledged");
    assert_eq!(now(feed.verdicts()), [(7, Outcome::Delivered)]);
    assert!(!inlet.is_settled());
    feed.acted_on(1);
    assert!(inlet.is_settled());
}

#[test]
fn an_inlet_is_sealed_when_its_service_has_said_so_and_nothing_waits() {
    let (inlet, feed) = Inlet::new(Bell::default());
    inlet.open(true);
    inlet.seal();
    assert!(!feed.is_open() && !inlet.is_sealed());
    now(feed.sealing());
    feed.offer(offer(b"late", 1, ""));
    feed.finish();
    assert!(!inlet.is_sealed(), "what came meanwhile is looked at");
    drop(inlet.take());
    assert!(inlet.is_sealed());
    assert!(waits(feed.expiring()));
    inlet.expire();
    now(feed.expiring());
}

#[test]
fn a_service_that_is_gone_owes_nothing_and_brings_nothing() {
    let (inlet, feed) = Inlet::new(Bell::default());
    feed.offer(offer(b"one", 1, ""));
    drop(inlet.take());
    drop(feed);
    assert!(inlet.is_settled() && inlet.is_sealed() && inlet.is_closed());
}

fn outlet(letters: bool) -> (Outlet, Deliveries, Ledger, Bell) {
    let bell = Bell::default();
    let (outlet, deliveries) = Outlet::new("sink", bell.clone(), letters);
    (outlet, deliveries, Ledger::new(1, 2), bell)
}

fn push(outlet: &Outlet, ledger: &Ledger, head: &'static str, body: &'static str) {
    let messages = body.matches('\n').count() as u32;
    let (head, bytes) = (Bytes::from_static(head.as_bytes()), Bytes::from_static(body.as_bytes()));
    let run = Run { head, body: bytes, messages, framing: Framing::Line };
    outlet.push(&run, ledger.admit(WAY, messages, 100), Instant::now());
}

fn texts(deliveries: &[super::Delivery]) -> Vec<String> {
    deliveries.iter().map(|one| String::from_utf8(one.payload().to_vec()).unwrap()).collect()
}

#[test]
fn messages_come_one_by_one_in_order_and_are_settled_in_any() {
    let (outlet, deliveries, ledger, bell) = outlet(false);
    assert!(waits(deliveries.any()));
    push(&outlet, &ledger, "a", "bc\nde\n");
    push(&outlet, &ledger, "", "f\n");
    assert!(now(deliveries.any()));
    assert_eq!((outlet.unsent_bytes(), outlet.occupied(), outlet.unsettled_messages()), (6, 200, 3));
    let mut batch = deliveries.take(9, 5);
    assert_eq!(texts(&batch), ["abc", "de"], "within so many bytes");
    assert_eq!(outlet.unsent_bytes(), 1);
    batch.pop().unwrap().delivered();
    now(bell.rung());
    deliveries.put_back(batch);
    let mut batch = deliveries.take(9, 1);
    assert_eq!(texts(&batch), ["abc"], "at least one; what is put back comes first");
    batch.pop().unwrap().refused("unfit");
    drop(deliveries.take(9, 9));
    let Totals { delivered, failed, abandoned, in_flight, .. } = ledger.totals();
    assert_eq!((delivered, failed, abandoned, in_flight, outlet.occupied()), (1, 1, 1, 0, 0));
    assert!(outlet.oldest().is_none() && outlet.unsent_bytes() == 0);
}

#[test]
fn a_batch_waits_until_it_is_full_or_the_exit_waits_for_it() {
    let (outlet, deliveries, ledger, _bell) = outlet(false);
    push(&outlet, &ledger, "", "a\nb\n");
    now(deliveries.full(2, 99));
    now(deliveries.full(9, 2));
    assert!(waits(deliveries.full(3, 99)));
    outlet.hurry();
    now(deliveries.full(3, 99));
    now(deliveries.hurried());
    drop(deliveries.take(9, 9));
}

#[test]
fn refused_messages_are_kept_where_somebody_takes_them() {
    let (outlet, deliveries, ledger, _bell) = outlet(true);
    push(&outlet, &ledger, "", "a\n");
    deliveries.take(1, 9).pop().unwrap().refused("unfit");
    let mut letters = outlet.letters();
    let letter = letters.pop().unwrap();
    assert_eq!((&letter.payload[..], ledger.totals().in_flight), (&b"a"[..], 1));
    ledger.admit_letter(letter.ticket, 1, 1).settle(Outcome::Delivered);
    assert_eq!((ledger.totals().failed, ledger.sinks()[1].delivered), (1, 1));
}

#[test]
fn what_is_given_up_is_abandoned_wherever_it_is() {
    let (outlet, deliveries, ledger, _bell) = outlet(false);
    push(&outlet, &ledger, "", "a\nb\n");
    let batch = deliveries.take(1, 9);
    outlet.give_up();
    assert_eq!(ledger.totals().abandoned, 1);
    now(deliveries.given_up());
    deliveries.put_back(batch);
    assert_eq!(ledger.totals().abandoned, 2);
    drop(deliveries);
    assert!(outlet.is_closed() && !outlet.is_broken());
}

#[test]
fn a_service_that_ends_by_itself_is_noticed_and_takes_nothing_more() {
    let (outlet, deliveries, ledger, bell) = outlet(false);
    push(&outlet, &ledger, "", "a\n");
    drop(Rc::new(deliveries));
    now(bell.rung());
    assert!(outlet.is_broken());
    push(&outlet, &ledger, "", "b\n");
    assert_eq!((ledger.totals().abandoned, outlet.occupied()), (2, 0));
}
