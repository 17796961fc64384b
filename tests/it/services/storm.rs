//! Life after life of a relay on one queue: stopped at any moment, and killed at any moment.
//!
//! Lives here: what a queue has, and its sink has got, after many lives. Never here: servers that fail.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::Config as ConsumerConfig;
use nix::sys::signal::Signal;

use super::{EMPTY, GROUP, House, Kind, QUEUES, relay};
use crate::support::relay::End;
use crate::support::servers::messages::{assert_each_once, numbers};

const ROUNDS: u64 = 50;
/// Messages that come to the queue in each round: more than are relayed in most.
const A_ROUND: u64 = 1_500;
/// The longest life but for the last.
const LIFE: Duration = Duration::from_millis(120);

fn random_life() -> Duration {
    LIFE.mul_f64(fastrand::f64())
}

/// Starts a relay on the queue, lets it live for a while, and stops it.
fn live(from: &str, to: &str, signal: Signal) -> End {
    let relay = relay(from, to).start();
    std::thread::sleep(random_life());
    relay.signal(signal);
    relay.wait()
}

/// Relays until nothing is left to come.
fn live_to_the_end(house: &House, from: &str, to: &str, (sink, name): (Kind, &str), messages: u64) {
    let relay = relay(from, to).start();
    crate::support::eventually("everything has come", || house.count(sink, name) as u64 >= messages);
    crate::support::eventually("nothing is in flight", || relay.book("in_flight") == 0);
    let end = relay.terminate();
    assert_eq!(end.code(), 0, "{:#?}", end.log);
    end.assert_balanced();
}

fn stopped_at_any_moment(source: Kind) {
    let house = House::open();
    let (from, to) = (house.source(source, "storm"), house.sink(Kind::Tcp, ""));
    let (mut returned, mut delivered) = (0, 0);
    for round in 0..ROUNDS {
        house.fill(source, "storm", round * A_ROUND..(round + 1) * A_ROUND, None);
        let end = live(&from, &to, Signal::SIGTERM);
        assert_eq!((end.code(), end.book("abandoned"), end.book("failed")), (0, 0, 0), "{:#?}", end.log);
        end.assert_balanced();
        returned += end.book("returned");
        delivered += end.book("delivered");
        // rabbitmqctl takes a second to answer.
        if source != Kind::Amqp || round % 10 == 0 {
            let left = house.backlog(source, "storm");
            let all = (round + 1) * A_ROUND;
            assert_eq!(left.ready + left.unacknowledged, all - delivered, "{:#?}", end.log);
            // JetStream counts what was given back until it is handed out again.
            let given_back = if source == Kind::Nats { returned } else { 0 };
            assert!(left.unacknowledged <= given_back, "{left:?} {:#?}", end.log);
        }
    }
    let all = ROUNDS * A_ROUND;
    live_to_the_end(&house, &from, &to, (Kind::Tcp, ""), all);
    assert_each_once(&house.tcp.take(), 0..all);
    assert_eq!(house.backlog(source, "storm"), EMPTY);
    println!("{source:?}: {ROUNDS} stops, {delivered} delivered in them, {returned} returned, 0 twice");
}

/// Another relay has what the first gave back, long before any time after which a queue would notice by itself.
#[test]
fn what_is_returned_is_at_once_there_for_another() {
    const AT_ONCE: Duration = Duration::from_secs(8);
    for source in QUEUES {
        let house = House::open();
        let from = house.source(source, "back").replace("claim_idle=200ms", "claim_idle=30s");
        house.fill(source, "back", 0..A_ROUND, None);
        house.nginx.answer(503);
        let first = relay(&from, &house.sink(Kind::Http, "")).args(&["--drain-timeout", "300ms"]).start();
        crate::support::eventually("some are in flight", || first.book("in_flight") > 0);
        let end = first.terminate();
        assert_eq!((end.code(), end.book("delivered")), (0, 0), "{:#?}", end.log);
        let received = end.book("received");
        assert!(end.book("returned") > 0 && end.book("redelivered") == 0);
        let begun = std::time::Instant::now();
        let second = relay(&from, &house.sink(Kind::Tcp, "")).start();
        let got = house.got(Kind::Tcp, "", A_ROUND as usize);
        assert!(begun.elapsed() < AT_ONCE, "{source:?}: {:?}", begun.elapsed());
        let end = second.terminate();
        end.assert_all_delivered(A_ROUND);
        // Elements of a list have no names to count by.
        let redelivered = if source == Kind::RedisList { 0 } else { received };
        assert_eq!(end.book("redelivered"), redelivered, "{source:?}");
        assert_each_once(&got, 0..A_ROUND);
        assert_eq!(house.backlog(source, "back"), EMPTY);
    }
}

#[test]
fn a_redis_stream_stopped_at_any_moment() {
    stopped_at_any_moment(Kind::Redis);
}

#[test]
fn a_redis_list_stopped_at_any_moment() {
    stopped_at_any_moment(Kind::RedisList);
}

#[test]
fn a_jetstream_consumer_stopped_at_any_moment() {
    stopped_at_any_moment(Kind::Nats);
}

#[test]
fn an_amqp_queue_stopped_at_any_moment() {
    stopped_at_any_moment(Kind::Amqp);
}

/// How often each message came, of which every one must have.
fn times_each(messages: &[Vec<u8>], expected: Range<u64>) -> u64 {
    let mut times: HashMap<u64, u64> = HashMap::new();
    numbers(messages).into_iter().for_each(|number| *times.entry(number).or_default() += 1);
    let missing = expected.filter(|number| !times.contains_key(number)).count();
    assert_eq!(missing, 0, "messages are lost");
    times.values().map(|times| times - 1).sum()
}

fn killed_at_any_moment(source: Kind, sink: Kind) {
    let house = House::open();
    let (from, to) = (house.source(source, "killed"), house.sink(sink, "out"));
    if source == Kind::Nats {
        // What a dead relay has is handed out again after this time, which is half a minute where we make the consumer.
        house.nats.jetstream().make_consumer("killed", Duration::from_millis(500));
    }
    for round in 0..ROUNDS {
        house.fill(source, "killed", round * A_ROUND..(round + 1) * A_ROUND, None);
        let relay = relay(&from, &to).start();
        std::thread::sleep(random_life());
        relay.signal(Signal::SIGKILL);
        drop(relay);
    }
    let all = ROUNDS * A_ROUND;
    let relay = relay(&from, &to).start();
    crate::support::eventually("the queue is empty", || {
        house.backlog(source, "killed") == EMPTY && relay.book("in_flight") == 0
    });
    let end = relay.terminate();
    assert_eq!(end.code(), 0, "{:#?}", end.log);
    let twice = times_each(&house.take(sink, "out"), 0..all);
    println!("{source:?} to {sink:?}: {ROUNDS} kills, {twice} of {all} came again");
    if sink == Kind::Nats && source != Kind::RedisList && source != Kind::Amqp {
        // Their messages have names, by which the stream knows them.
        assert_eq!(twice, 0);
    }
}

#[test]
fn killed_at_any_moment_nothing_is_lost() {
    for source in QUEUES {
        killed_at_any_moment(source, Kind::Tcp);
    }
}

#[test]
fn killed_at_any_moment_nothing_comes_to_a_jetstream_twice() {
    killed_at_any_moment(Kind::Redis, Kind::Nats);
    killed_at_any_moment(Kind::Nats, Kind::Nats);
}

impl crate::support::servers::nats::JetStream {
    /// The consumer of the relay, with another time after which what was handed out is handed out again.
    pub fn make_consumer(&self, stream: &str, ack_wait: Duration) {
        let config = ConsumerConfig {
            durable_name: Some(GROUP.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait,
            max_ack_pending: 65_536,
            ..ConsumerConfig::default()
        };
        self.run(async |context| {
            let stream = context.get_stream(stream).await.expect("a stream");
            stream.create_consumer(config).await.expect("a consumer");
        });
    }
}
