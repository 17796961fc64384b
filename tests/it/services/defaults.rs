//! What a relay does that is told no more than from where and to where.
//!
//! Lives here: names and times that nobody gave, as `slackwater run --help` has them. Never here: what they are for.

use async_nats::jetstream::stream::RetentionPolicy;
use redis::Commands;
use redis::streams::{StreamClaimOptions, StreamPendingCountReply, StreamReadOptions, StreamReadReply};

use super::{Collector, EMPTY, relay};
use crate::support::eventually;
use crate::support::servers::messages::{assert_each_once, numbered};
use crate::support::servers::nats::Nats;
use crate::support::servers::redis::Redis;

/// After so many milliseconds in which another consumer said nothing, what it has is claimed.
const CLAIM_IDLE: usize = 30_000;
const NAME: &str = "slackwater";

fn tcp(collector: &Collector) -> String {
    format!("tcp://{}?framing=line", collector.address)
}

#[test]
fn the_group_of_a_redis_stream_is_called_after_us() {
    let (redis, collector) = (Redis::start(), Collector::start());
    redis.add("in", &numbered(0..10));
    let relay = relay(&redis.url("redis", "in"), &tcp(&collector)).start();
    eventually("all have come", || collector.count() == 10);
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    relay.terminate().assert_all_delivered(10);
    let groups: redis::streams::StreamInfoGroupsReply = redis.connection().xinfo_groups("in").unwrap();
    assert_eq!(groups.groups.iter().map(|group| &*group.name).collect::<Vec<_>>(), [NAME]);
    assert_eq!(redis.backlog_of_group("in", NAME), EMPTY);
}

#[test]
fn the_consumer_of_a_jetstream_is_called_after_us() {
    let (nats, collector) = (Nats::start(), Collector::start());
    nats.jetstream().create("in", &["in"], 1, RetentionPolicy::Limits);
    nats.jetstream().publish("in", &numbered(0..10));
    let relay = relay(&nats.url("nats", "in"), &tcp(&collector)).start();
    eventually("all have come", || collector.count() == 10);
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    relay.terminate().assert_all_delivered(10);
    assert_eq!(nats.jetstream().backlog("in", NAME), EMPTY);
}

/// Another consumer of the group took two entries, and said nothing for so many milliseconds of each.
fn hold_two(redis: &Redis, idle: [usize; 2]) -> [String; 2] {
    let mut connection = redis.connection();
    redis.add("in", &numbered(0..2));
    let _: () = connection.xgroup_create("in", NAME, "0").expect("a group");
    let as_other = StreamReadOptions::default().group(NAME, "other");
    let read: StreamReadReply = connection.xread_options(&["in"], &[">"], &as_other).expect("entries");
    let held: Vec<String> = read.keys[0].ids.iter().map(|entry| entry.id.clone()).collect();
    for (id, idle) in held.iter().zip(idle) {
        let since = StreamClaimOptions::default().idle(idle).with_justid();
        let _: Vec<String> =
            connection.xclaim_options("in", NAME, "other", 0, &[id], since).expect("a claim");
    }
    held.try_into().expect("two entries")
}

/// The younger one comes first, so that whoever takes the elder has passed it over.
#[test]
fn what_another_consumer_has_is_claimed_after_half_a_minute_and_not_before() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let [younger, _] = hold_two(&redis, [CLAIM_IDLE / 2, CLAIM_IDLE + 1000]);
    let relay = relay(&redis.url("redis", "in"), &tcp(&collector)).start();
    eventually("the elder has come", || collector.count() > 0);
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    relay.terminate().assert_all_delivered(1);
    assert_each_once(&collector.take(), 1..2);
    let held: StreamPendingCountReply =
        redis.connection().xpending_count("in", NAME, "-", "+", 10).expect("an answer");
    let held =
        held.ids.iter().map(|entry| (&*entry.id, &*entry.consumer, entry.last_delivered_ms < CLAIM_IDLE));
    assert_eq!(held.collect::<Vec<_>>(), [(&*younger, "other", true)]);
}
