//! Names, passwords and TLS: with the right ones everything arrives, with the wrong ones nothing, and none is ever shown.
//!
//! Lives here: who gets in. Never here: what is relayed in the open.

use std::path::Path;

use async_nats::jetstream::stream::RetentionPolicy;

use super::{Collector, relay};
use crate::support::eventually;
use crate::support::relay::{Order, Relay};
use crate::support::servers::access::Access;
use crate::support::servers::messages::{assert_each_once, numbered};
use crate::support::servers::nats::Nats;
use crate::support::servers::nginx::Nginx;
use crate::support::servers::rabbitmq::RabbitMq;
use crate::support::servers::redis::Redis;

const MESSAGES: u64 = 1_000;

fn credentials(access: &Access, user: bool) -> String {
    let user = if user { format!("&user={}", Access::USER) } else { String::new() };
    let file = |path: &Path| path.display().to_string();
    format!("ca_file={}&password_file={}{user}", file(&access.authority()), file(&access.password_file()))
}

fn finish(relay: Relay, collector: &Collector) {
    eventually("all have come", || collector.count() as u64 >= MESSAGES);
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    let end = relay.terminate();
    end.assert_all_delivered(MESSAGES);
    assert!(!end.log.iter().any(|line| line.contains(Access::PASSWORD)), "{:#?}", end.log);
    assert_each_once(&collector.take(), 0..MESSAGES);
}

#[test]
fn redis_both_ways() {
    let (redis, collector) = (Redis::secured(), Collector::start());
    let with = credentials(redis.access(), false);
    redis.add("in", &numbered(0..MESSAGES));
    let first = relay(
        &format!("{}?{with}", redis.url("rediss", "in")),
        &format!("{}?{with}", redis.url("rediss-list", "between")),
    );
    let first = first.start();
    let tcp = format!("tcp://{}?framing=line", collector.address);
    let second = relay(&format!("{}?{with}", redis.url("rediss-list", "between")), &tcp).start();
    finish(second, &collector);
    first.terminate().assert_all_delivered(MESSAGES);
}

#[test]
fn jetstream_both_ways() {
    let (nats, collector) = (Nats::secured(), Collector::start());
    let with = credentials(nats.access(), true);
    let jetstream = nats.jetstream();
    ["in", "between"]
        .into_iter()
        .for_each(|name| jetstream.create(name, &[name], 1, RetentionPolicy::Limits));
    jetstream.publish("in", &numbered(0..MESSAGES));
    let url = |name: &str| format!("{}?{with}", nats.url("nats+tls", name));
    let first = relay(&url("in"), &url("between")).start();
    let second = relay(&url("between"), &format!("tcp://{}?framing=line", collector.address)).start();
    finish(second, &collector);
    first.terminate().assert_all_delivered(MESSAGES);
}

#[test]
fn amqp_both_ways() {
    let (rabbit, collector) = (RabbitMq::shared(), Collector::start());
    let queues = rabbit.new_vhost("secured");
    ["in", "between"].into_iter().for_each(|name| queues.declare(name));
    queues.publish("in", &numbered(0..MESSAGES));
    let url = |name: &str| {
        let authority = rabbit.access().authority();
        format!("{}?ca_file={}", queues.url("amqps", name), authority.display())
    };
    let first = relay(&url("in"), &url("between")).start();
    let second = relay(&url("between"), &format!("tcp://{}?framing=line", collector.address)).start();
    finish(second, &collector);
    first.terminate().assert_all_delivered(MESSAGES);
}

/// Our own sink speaks to our own listener, both over TLS and with a password.
#[test]
fn https_both_ways() {
    let (access, collector) = (Access::new(), Collector::start());
    let files =
        [access.certificate(), access.key(), access.password_file()].map(|path| path.display().to_string());
    let from = format!(
        "https://127.0.0.1:0/in?framing=line&certificate_file={}&key_file={}&password_file={}&user={}",
        files[0],
        files[1],
        files[2],
        Access::USER
    );
    let tcp = format!("tcp://{}?framing=line", collector.address);
    let second = relay(&from, &tcp).start();
    let port = second.expect_log("\"relaying\"");
    let port = port.split("127.0.0.1:").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let to = format!("https://localhost:{port}/in?batch=20&{}", credentials(&access, true));
    let redis = Redis::start();
    redis.push("in", &numbered(0..MESSAGES));
    let first = relay(&redis.url("redis-list", "in"), &to).start();
    finish(second, &collector);
    first.terminate().assert_all_delivered(MESSAGES);
}

#[test]
fn nginx_with_tls_is_trusted_by_its_authority_alone() {
    let (redis, nginx) = (Redis::start(), Nginx::start());
    redis.push("in", &numbered(0..10));
    let distrusting = relay(&redis.url("redis-list", "in"), &nginx.url("https", "/"));
    let distrusting = distrusting.args(&["--drain-timeout", "500ms"]).start();
    distrusting.expect_log("no connection");
    let end = distrusting.terminate();
    assert_eq!((end.code(), end.book("delivered"), end.book("abandoned")), (0, 0, 0), "{:#?}", end.log);
    let to = nginx.url("https", &format!("/?ca_file={}", nginx.access().authority().display()));
    let trusting = relay(&redis.url("redis-list", "in"), &to).start();
    assert_each_once(&nginx.taken(10), 0..10);
    eventually("nothing is in flight", || trusting.book("in_flight") == 0);
    trusting.terminate().assert_all_delivered(10);
}

#[test]
fn a_wrong_password_is_told_and_not_shown() {
    let redis = Redis::secured();
    let order = relay(&format!("{}?password_env=WRONG", redis.url("redis", "in")), "stdout");
    let mut order: Order = order;
    order.command.env("WRONG", "geheim-geheim");
    let relay = order.start();
    relay.expect_log("no connection");
    let end = relay.terminate();
    assert_eq!(end.code(), 0);
    assert!(!end.log.iter().any(|line| line.contains("geheim")), "{:#?}", end.log);
}
