//! Three servers of JetStream that hold a stream three times, and three relays on one consumer: one of each is killed in full flow.
//!
//! Lives here: what the survivors do. Never here: a single server.

use std::time::Duration;

use async_nats::jetstream::stream::RetentionPolicy;
use nix::sys::signal::Signal;

use super::{Collector, GROUP, relay};
use crate::support::eventually;
use crate::support::servers::Backlog;
use crate::support::servers::messages::{numbered, numbers};
use crate::support::servers::nats::NatsCluster;

const MESSAGES: u64 = 30_000;

#[test]
fn a_server_and_a_relay_are_killed_and_everything_arrives() {
    let mut cluster = NatsCluster::start();
    let jetstream = cluster.jetstream();
    jetstream.create("orders", &["orders"], 3, RetentionPolicy::Limits);
    // What the killed relay has is handed out again after this time.
    jetstream.make_consumer("orders", Duration::from_secs(2));
    let collector = Collector::start();
    let to = format!("tcp://{}?framing=line", collector.address);
    let from = cluster.url("nats", "orders") + "?batch=50";
    let mut relays: Vec<_> = (0..3).map(|_| relay(&from, &to).start()).collect();
    let feeding = std::thread::spawn(move || {
        for part in 0..MESSAGES / 1_000 {
            jetstream.publish("orders", &numbered(part * 1_000..(part + 1) * 1_000));
        }
    });
    eventually("a third has come", || collector.count() as u64 > MESSAGES / 3);
    let killed = relays.remove(0);
    killed.signal(Signal::SIGKILL);
    let victim = cluster.leader_of("orders");
    cluster.nodes[victim].server.kill();
    feeding.join().expect("a cluster of two of three goes on");
    let all = || {
        let mut all = numbers(&collector.take());
        all.sort_unstable();
        all.dedup();
        all
    };
    eventually("all have come", || all().len() as u64 == MESSAGES);
    assert!(all().into_iter().eq(0..MESSAGES));
    let jetstream = cluster.jetstream();
    eventually("the consumer is done", || {
        jetstream.backlog("orders", GROUP) == Backlog { ready: 0, unacknowledged: 0 }
    });
    for relay in relays {
        let end = relay.terminate();
        assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{:#?}", end.log);
        assert!(end.book("delivered") > MESSAGES / 20, "the survivors share the work: {}", end.books);
    }
    drop(killed);
}
