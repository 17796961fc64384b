//! Names, passwords, credentials and TLS: with the right ones everything arrives, with the wrong ones nothing, and none is ever shown.
//!
//! Lives here: who gets in. Never here: what is relayed in the open.

use std::fs;
use std::path::Path;

use async_nats::jetstream::stream::RetentionPolicy;

use super::{Collector, EMPTY, GROUP, relay};
use crate::support::eventually;
use crate::support::relay::{End, Order, Relay};
use crate::support::servers::Backlog;
use crate::support::servers::access::Access;
use crate::support::servers::credentials::Credentials;
use crate::support::servers::messages::{assert_each_once, numbered};
use crate::support::servers::nats::Nats;
use crate::support::servers::nginx::Nginx;
use crate::support::servers::rabbitmq::RabbitMq;
use crate::support::servers::redis::Redis;

const MESSAGES: u64 = 1_000;

pub(super) fn login(access: &Access, user: bool) -> String {
    let user = if user { format!("&user={}", Access::USER) } else { String::new() };
    let file = |path: &Path| path.display().to_string();
    format!("ca_file={}&password_file={}{user}", file(&access.authority()), file(&access.password_file()))
}

fn credentials(file: &Path) -> String {
    format!("credentials_file={}", file.display())
}

fn finish(relay: Relay, collector: &Collector) {
    eventually("all have come", || collector.count() as u64 >= MESSAGES);
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    let end = relay.terminate();
    end.assert_all_delivered(MESSAGES);
    assert_unseen(&end.log, Access::PASSWORD);
    assert_each_once(&collector.take(), 0..MESSAGES);
}

#[track_caller]
fn assert_unseen(text: &[String], secret: &str) {
    let seen: Vec<&String> = text.iter().filter(|line| line.contains(secret)).collect();
    assert!(seen.is_empty(), "{seen:#?}");
}

#[test]
fn redis_both_ways() {
    let (redis, collector) = (Redis::secured(), Collector::start());
    let with = login(redis.access(), false);
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

fn through_jetstream(nats: &Nats, scheme: &str, with: &str) -> End {
    let (jetstream, collector) = (nats.jetstream(), Collector::start());
    ["in", "between"]
        .into_iter()
        .for_each(|name| jetstream.create(name, &[name], 1, RetentionPolicy::Limits));
    jetstream.publish("in", &numbered(0..MESSAGES));
    let url = |name: &str| format!("{}?{with}", nats.url(scheme, name));
    let first = relay(&url("in"), &url("between")).start();
    let second = relay(&url("between"), &format!("tcp://{}?framing=line", collector.address)).start();
    finish(second, &collector);
    let end = first.terminate();
    end.assert_all_delivered(MESSAGES);
    end
}

#[test]
fn jetstream_both_ways() {
    let nats = Nats::secured();
    let end = through_jetstream(&nats, "nats+tls", &login(nats.access(), true));
    assert_unseen(&end.log, Access::PASSWORD);
}

#[test]
fn jetstream_with_credentials_both_ways() {
    let nats = Nats::with_credentials();
    let end = through_jetstream(&nats, "nats", &credentials(&nats.credentials().file()));
    assert_unseen(&end.log, nats.credentials().seed());
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
    let to = format!("https://localhost:{port}/in?batch=20&{}", login(&access, true));
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

/// Starts a relay that does not get in, and says so with this word.
#[track_caller]
fn kept_out(order: Order, word: &str) -> Relay {
    let relay = order.args(&["--drain-timeout", "500ms"]).start();
    let line = relay.expect_log("no connection");
    assert!(line.contains(word), "{line}");
    relay
}

/// Ends a relay that could do nothing: nothing is lost, and the secret is not shown.
#[track_caller]
fn end_without(secret: &str, relay: Relay) {
    let end = relay.terminate();
    let books = (end.code(), end.book("delivered"), end.book("abandoned"));
    assert_eq!(books, (0, 0, 0), "{} {:#?}", end.books, end.log);
    assert_unseen(&end.log, secret);
}

#[test]
fn a_wrong_password_is_told_and_not_shown() {
    let redis = Redis::secured();
    let mut order = relay(&format!("{}?password_env=WRONG", redis.url("redis", "in")), "stdout");
    order.command.env("WRONG", "geheim-geheim");
    end_without("geheim", kept_out(order, "authentication failed"));
}

/// Nobody's, and somebody's whom another operator vouches for.
#[test]
fn credentials_of_nobody_and_of_somebody_else_let_no_one_in() {
    let (nats, other) = (Nats::with_credentials(), Credentials::new());
    nats.jetstream().create("in", &["in"], 1, RetentionPolicy::Limits);
    let url = nats.url("nats", "in");
    for url in [&url, &format!("{url}?{}", credentials(&other.file()))] {
        end_without(other.seed(), kept_out(relay(url, "stdout"), "authorization violation"));
    }
}

/// What stands in a file that is of no use, if there is one: no credentials, the seed alone, a seed that lacks its last letter.
fn useless(credentials: &Credentials) -> [Option<String>; 4] {
    let (text, seed) = (credentials.text(), credentials.seed());
    let broken = text.replace(seed, &seed[..seed.len() - 1]);
    [None, Some("no credentials\n".to_owned()), Some(format!("{seed}\n")), Some(broken)]
}

#[test]
fn a_credentials_file_of_no_use_is_named_and_not_shown_and_every_queue_keeps_what_it_has() {
    let (redis, nats, folder) = (Redis::start(), Nats::with_credentials(), tempfile::tempdir().unwrap());
    let all = Backlog { ready: MESSAGES, unacknowledged: 0 };
    ["in", "out"]
        .into_iter()
        .for_each(|name| nats.jetstream().create(name, &[name], 1, RetentionPolicy::Limits));
    nats.jetstream().publish("in", &numbered(0..MESSAGES));
    redis.push("in", &numbered(0..MESSAGES));
    for (number, text) in useless(nats.credentials()).into_iter().enumerate() {
        let name = format!("useless-{number}.creds");
        let file = folder.path().join(&name);
        text.into_iter().for_each(|text| fs::write(&file, text).unwrap());
        let url = |name: &str| format!("{}?{}", nats.url("nats", name), credentials(&file));
        let source = kept_out(relay(&url("in"), "stdout"), &name);
        let sink = kept_out(relay(&redis.url("redis-list", "in"), &url("out")), &name);
        eventually("some are in flight", || sink.book("in_flight") > 0);
        let seed = nats.credentials().seed();
        [source, sink].into_iter().for_each(|relay| end_without(&seed[..seed.len() - 1], relay));
        assert_eq!(nats.jetstream().backlog("in", GROUP), all);
        assert_eq!((redis.backlog_of_list("in"), nats.jetstream().length("out")), (all, 0));
    }
}

#[test]
fn a_credentials_file_is_read_again_until_it_is_of_use() {
    let (nats, collector, folder) =
        (Nats::with_credentials(), Collector::start(), tempfile::tempdir().unwrap());
    nats.jetstream().create("in", &["in"], 1, RetentionPolicy::Limits);
    nats.jetstream().publish("in", &numbered(0..MESSAGES));
    let file = folder.path().join("late.creds");
    let from = format!("{}?{}", nats.url("nats", "in"), credentials(&file));
    let relay = relay(&from, &format!("tcp://{}?framing=line", collector.address)).start();
    relay.expect_log("no connection");
    fs::write(&file, nats.credentials().text()).unwrap();
    finish(relay, &collector);
    assert_eq!(nats.jetstream().backlog("in", GROUP), EMPTY);
}

#[test]
fn a_check_names_the_credentials_file_and_shows_nothing_of_it() {
    let someone = Credentials::new();
    let url = format!("nats://127.0.0.1/in?{}", credentials(&someone.file()));
    let mut order = Order::bare("slackwater").args(&["check", "--from", &url, "--to", &url]);
    let output = order.command.output().expect("the built program starts");
    let shown = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("a text"));
    assert!(output.status.success(), "{shown:?}");
    assert_eq!(shown[0].matches(&someone.file().display().to_string()).count(), 2, "{shown:?}");
    assert_unseen(&shown, someone.seed());
}

/// All that a relay logs when it logs whatever there is, until it has come so far. A file takes every line of it.
fn talk(from: &str, until: &str) -> [String; 1] {
    let log = tempfile::NamedTempFile::new().unwrap();
    let text = || fs::read_to_string(log.path()).unwrap();
    let mut order = relay(from, "stdout");
    order.command.env("SLACKWATER_LOG", "trace,async_nats::connection=trace");
    let relay = order.spawn_logging_to(log.reopen().unwrap().into());
    eventually("it has come so far", || text().contains(until));
    assert_eq!(relay.terminate().code(), 0);
    [text()]
}

/// Also of what the clients of others tell about themselves.
#[test]
fn the_most_talkative_log_shows_no_secret() {
    let (redis, nats, vouched) = (Redis::secured(), Nats::secured(), Nats::with_credentials());
    let queues = RabbitMq::shared().new_vhost("talkative");
    queues.declare("in");
    for nats in [&nats, &vouched] {
        nats.jetstream().create("in", &["in"], 1, RetentionPolicy::Limits);
    }
    let with = |url: String, login: String| format!("{url}?{login}");
    let (user, password) = (login(nats.access(), true), login(redis.access(), false));
    let logs = [
        talk(&with(redis.url("rediss", "in"), password), "\"connected\""),
        talk(&with(nats.url("nats+tls", "in"), user.clone()), "\"connected\""),
        // It knows no such user, and was told the password all the same.
        talk(&with(queues.url("amqp", "in"), user), "no connection"),
    ];
    logs.iter().for_each(|log| assert_unseen(log, Access::PASSWORD));
    let credentials = credentials(&vouched.credentials().file());
    let log = talk(&with(vouched.url("nats", "in"), credentials), "\"connected\"");
    assert_unseen(&log, vouched.credentials().seed());
}
