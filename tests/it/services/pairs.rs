//! From each source to each sink: everything arrives, once, and both ends agree with the books.
//!
//! Lives here: the quiet case. Never here: stops and faults.

use super::{EMPTY, House, KINDS, Kind, relay};
use crate::support::servers::messages::assert_each_once;

const MESSAGES: u64 = 20_000;

fn to_each(source: Kind) {
    let house = House::open();
    for sink in KINDS {
        to(&house, source, sink);
    }
}

#[track_caller]
fn to(house: &House, source: Kind, sink: Kind) {
    let from_name = format!("{}-to-{}", source.name(), sink.name());
    let to_name = format!("{from_name}-out");
    let from = house.source(source, &from_name);
    let is_queue = house.backlog_is_known(source);
    if is_queue {
        house.fill(source, &from_name, 0..MESSAGES, None);
    }
    let before = house.count_if_there(sink, &to_name);
    let relay = relay(&from, &house.sink(sink, &to_name)).start();
    if !is_queue {
        house.fill(source, &from_name, 0..MESSAGES, Some(&relay));
    }
    let got = house.got(sink, &to_name, before + MESSAGES as usize);
    let end = relay.terminate();
    end.assert_all_delivered(MESSAGES);
    assert_each_once(&got[before..], 0..MESSAGES);
    assert_eq!(house.backlog(source, &from_name), EMPTY, "{source:?} to {sink:?}: {:#?}", end.log);
}

impl House {
    fn backlog_is_known(&self, kind: Kind) -> bool {
        super::QUEUES.contains(&kind)
    }

    /// TCP and HTTP have one end for all tests of a house.
    fn count_if_there(&self, kind: Kind, name: &str) -> usize {
        match kind {
            Kind::Tcp | Kind::Http => self.count(kind, name),
            Kind::Redis | Kind::RedisList | Kind::Nats | Kind::Amqp => 0,
        }
    }
}

#[test]
fn tcp_to_each() {
    to_each(Kind::Tcp);
}

#[test]
fn redis_to_each() {
    to_each(Kind::Redis);
}

#[test]
fn redis_list_to_each() {
    to_each(Kind::RedisList);
}

#[test]
fn nats_to_each() {
    to_each(Kind::Nats);
}

#[test]
fn amqp_to_each() {
    to_each(Kind::Amqp);
}

#[test]
fn http_to_each() {
    to_each(Kind::Http);
}
