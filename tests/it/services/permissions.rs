//! What a user is let in for, and what not: a refusal is told, nothing that was refused counts as done, and nothing is lost.
//!
//! Lives here: users who are let in, and denied something. Never here: who is not let in (`secured`).

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::RetentionPolicy;

use super::secured::login;
use super::{Collector, GROUP, relay};
use crate::support::eventually;
use crate::support::relay::{End, Relay};
use crate::support::servers::Backlog;
use crate::support::servers::messages::numbered;
use crate::support::servers::nats::Nats;
use crate::support::servers::redis::Redis;

const MESSAGES: u64 = 100;
const ALL: Backlog = Backlog { ready: MESSAGES, unacknowledged: 0 };
/// How long the drains may take, and what such a relay needs beside.
const DEADLINE: Duration = Duration::from_secs(1);
const SPARE: Duration = Duration::from_secs(8);

fn url(nats: &Nats, name: &str) -> String {
    format!("{}?{}", nats.url("nats+tls", name), login(nats.access(), true))
}

/// Starts a relay and ends it once it has said what it is refused.
#[track_caller]
fn refused(from: &str, to: &str, what: &str) -> End {
    let relay = relay(from, to).args(&["--drain-timeout", "1s"]).start();
    assert_refusal_is_told(&relay, what);
    ended_in_time(relay)
}

#[track_caller]
fn assert_refusal_is_told(relay: &Relay, what: &str) {
    let line = relay.expect_log("no connection");
    assert!(line.contains("Permissions Violation") && line.contains(what), "{what}: {line}");
}

#[track_caller]
fn ended_in_time(relay: Relay) -> End {
    let begun = Instant::now();
    let end = relay.terminate();
    assert!(begun.elapsed() < DEADLINE + SPARE, "{:?} {:#?}", begun.elapsed(), end.log);
    end.assert_balanced();
    end
}

#[test]
fn a_sink_that_may_not_publish_says_so_and_leaves_everything_in_the_queue() {
    let (redis, nats) = (Redis::start(), Nats::denying(&["out"]));
    nats.jetstream().create("out", &["out"], 1, RetentionPolicy::Limits);
    redis.push("in", &numbered(0..MESSAGES));
    let end = refused(&redis.url("redis-list", "in"), &url(&nats, "out"), "Publish to \\\"out\\\"");
    assert_eq!((end.code(), end.book("returned")), (0, end.book("received")), "{}", end.books);
    assert_eq!((redis.backlog_of_list("in"), nats.jetstream().length("out")), (ALL, 0));
}

/// What came over TCP has nobody to go back to.
#[test]
fn what_may_not_be_published_and_no_queue_has_is_abandoned_and_said_so() {
    let nats = Nats::denying(&["out"]);
    nats.jetstream().create("out", &["out"], 1, RetentionPolicy::Limits);
    let relay = relay("tcp://127.0.0.1:0", &url(&nats, "out")).args(&["--drain-timeout", "1s"]).start();
    TcpStream::connect(relay.address()).unwrap().write_all(b"one\ntwo\n").unwrap();
    eventually("both are in flight", || relay.book("in_flight") == 2);
    assert_refusal_is_told(&relay, "Publish to \\\"out\\\"");
    let end = ended_in_time(relay);
    assert_eq!((end.code(), end.book("abandoned"), end.book("delivered")), (3, 2, 0), "{:#?}", end.log);
    assert_eq!(nats.jetstream().length("out"), 0);
}

/// Whatever a source needs of JetStream, of which one thing each time is denied.
#[test]
fn a_source_that_may_not_ask_says_so_and_leaves_everything_in_the_stream() {
    for denied in ["INFO", "CREATE", "MSG.NEXT"] {
        let nats = Nats::denying(&[&format!("$JS.API.CONSUMER.{denied}.>")]);
        nats.jetstream().create("in", &["in"], 1, RetentionPolicy::Limits);
        nats.jetstream().publish("in", &numbered(0..MESSAGES));
        let end = refused(&url(&nats, "in"), "stdout", &format!("$JS.API.CONSUMER.{denied}.in"));
        assert_eq!((end.code(), end.book("received")), (0, 0), "{denied}: {}", end.books);
        assert_eq!(nats.jetstream().backlog("in", GROUP), ALL, "{denied}");
    }
}

/// What has arrived is not forgotten by the stream: it will come again.
#[test]
fn a_source_that_may_not_acknowledge_says_so_and_the_stream_keeps_everything() {
    let (nats, collector) = (Nats::denying(&["$JS.ACK.>"]), Collector::start());
    nats.jetstream().create("in", &["in"], 1, RetentionPolicy::WorkQueue);
    nats.jetstream().publish("in", &numbered(0..MESSAGES));
    let tcp = format!("tcp://{}?framing=line", collector.address);
    let relay = relay(&url(&nats, "in"), &tcp).args(&["--drain-timeout", "1s"]).start();
    eventually("some have come", || collector.count() > 0);
    assert_refusal_is_told(&relay, "Publish to \\\"$JS.ACK.in");
    let end = ended_in_time(relay);
    assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{:#?}", end.log);
    let Backlog { ready, unacknowledged } = nats.jetstream().backlog("in", GROUP);
    assert_eq!((ready + unacknowledged, nats.jetstream().length("in")), (MESSAGES, MESSAGES));
}
