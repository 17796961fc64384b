//! Servers that are not there, stand still, die and return, or answer badly; and SIGTERM in each of these states.
//!
//! Lives here: what is lost then (nothing), and when the relay ends. Never here: messages that are refused for good (`letters`).

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use slackwater::load::{self, Place};
use slackwater::message::Framing;
use socket2::{Domain, Socket, Type};

use super::{Backlog, EMPTY, House, Kind, http_address, relay};
use crate::support::servers::messages::{assert_each_once, numbers};
use crate::support::servers::nginx::Nginx;
use crate::support::servers::process::Server;
use crate::support::servers::rabbitmq::RabbitMq;
use crate::support::{HANG, eventually};

const MESSAGES: u64 = 3_000;
/// How long the drains may take that end at their deadline, and what such a relay needs beside.
const DEADLINE: Duration = Duration::from_secs(1);
const SPARE: Duration = Duration::from_secs(8);

/// A house of which a server can be stopped.
fn servers(house: &mut House, kind: Kind) -> &mut Server {
    match kind {
        Kind::Redis | Kind::RedisList => &mut house.redis.server,
        Kind::Nats => &mut house.nats.server,
        Kind::Http => &mut house.nginx.server,
        Kind::Tcp | Kind::Amqp => unreachable!("{kind:?} has no server of its own"),
    }
}

const STOPPABLE: [Kind; 3] = [Kind::Redis, Kind::RedisList, Kind::Nats];

#[test]
fn a_queue_that_is_down_at_the_start_is_waited_for() {
    for source in STOPPABLE {
        let mut house = House::open();
        let from = house.source(source, "late");
        house.fill(source, "late", 0..MESSAGES, None);
        servers(&mut house, source).stop();
        let relay = relay(&from, &house.sink(Kind::Tcp, "")).start();
        relay.expect_log("no connection");
        servers(&mut house, source).start_again();
        let got = house.got(Kind::Tcp, "", MESSAGES as usize);
        relay.terminate().assert_all_delivered(MESSAGES);
        assert_each_once(&got, 0..MESSAGES);
        assert_eq!(house.backlog(source, "late"), EMPTY);
    }
}

#[test]
fn a_term_while_the_queue_is_down_ends_at_once() {
    for source in STOPPABLE {
        let mut house = House::open();
        let from = house.source(source, "never");
        servers(&mut house, source).stop();
        let relay = relay(&from, &house.sink(Kind::Tcp, "")).start();
        relay.expect_log("no connection");
        let begun = Instant::now();
        let end = relay.terminate();
        assert_eq!((end.code(), end.book("received")), (0, 0));
        assert!(begun.elapsed() < SPARE, "nothing is waited for");
        servers(&mut house, source).start_again();
    }
}

/// What comes again after a queue that died had not heard of its acknowledgement is allowed; what is lost is not.
#[test]
fn a_queue_that_dies_and_returns_in_full_flow_loses_nothing() {
    for source in STOPPABLE {
        let mut house = House::open();
        let from = house.source(source, "dying");
        if source == Kind::Nats {
            // What was on its way as it died comes again after that long, and of that one message or another after as long again.
            house.nats.jetstream().make_consumer("dying", Duration::from_secs(2));
        }
        house.fill(source, "dying", 0..MESSAGES * 5, None);
        let relay = relay(&from, &house.sink(Kind::Tcp, "")).start();
        for part in 1..4 {
            eventually("some have come", || house.tcp.count() as u64 > part * MESSAGES);
            servers(&mut house, source).kill();
            servers(&mut house, source).start_again();
        }
        eventually(&format!("all have come from {source:?}"), || {
            house.tcp.count() as u64 >= MESSAGES * 5 && house.backlog(source, "dying") == EMPTY
        });
        let end = relay.terminate();
        assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{:#?}", end.log);
        end.assert_balanced();
        assert_all_came(source, &house.tcp.take(), MESSAGES * 5);
    }
}

#[track_caller]
fn assert_all_came(kind: Kind, messages: &[Vec<u8>], expected: u64) {
    let came: HashSet<u64> = numbers(messages).into_iter().collect();
    let missing: Vec<u64> = (0..expected).filter(|number| !came.contains(number)).collect();
    assert!(missing.is_empty(), "{kind:?}: of {expected}, {} have not come: {missing:?}", missing.len());
    assert_eq!(came.len() as u64, expected, "{kind:?}: others than were sent");
}

#[test]
fn a_sink_that_dies_and_returns_in_full_flow_gets_everything() {
    for sink in [Kind::Redis, Kind::RedisList, Kind::Nats, Kind::Http] {
        let mut house = House::open();
        let (from, to) = (house.source(Kind::Amqp, "steady"), house.sink(sink, "dying"));
        let relay = relay(&from, &to).start();
        for part in 0..4 {
            house.fill(Kind::Amqp, "steady", part * MESSAGES..(part + 1) * MESSAGES, None);
            if part < 3 {
                servers(&mut house, sink).kill();
                servers(&mut house, sink).start_again();
            }
        }
        eventually("nothing is in flight", || {
            house.rabbit.ready("steady") == 0 && relay.book("in_flight") == 0
        });
        relay.terminate().assert_all_delivered(MESSAGES * 4);
        assert_all_came(sink, &house.take(sink, "dying"), MESSAGES * 4);
    }
}

#[test]
fn a_sink_that_stands_still_keeps_nothing_from_its_queue() {
    for sink in [Kind::Redis, Kind::Nats, Kind::Http] {
        let mut house = House::open();
        let from = house.source(Kind::RedisList, "back");
        let parameters = if sink == Kind::Http { "&timeout=200ms" } else { "?timeout=200ms" };
        let to = format!("{}{parameters}", house.sink(sink, "still"));
        // The list's own server is not to stand still.
        let mut other = House::open();
        let to = if sink == Kind::Redis { other.sink(sink, "still") + parameters } else { to };
        let still = if sink == Kind::Redis { &mut other } else { &mut house };
        servers(still, sink).pause();
        let from_house = &house;
        from_house.fill(Kind::RedisList, "back", 0..MESSAGES, None);
        let relay = relay(&from, &to).args(&["--drain-timeout", "1s"]).start();
        eventually("some are in flight", || relay.book("in_flight") > 0);
        let begun = Instant::now();
        let end = relay.terminate();
        assert!(begun.elapsed() < DEADLINE + SPARE, "{sink:?}: {:?} {:#?}", begun.elapsed(), end.log);
        assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{sink:?}: {:#?}", end.log);
        assert_eq!(end.book("returned"), end.book("received"), "{sink:?}");
        assert_eq!(
            house.backlog(Kind::RedisList, "back"),
            Backlog { ready: MESSAGES, unacknowledged: 0 },
            "{sink:?}: at once, for whoever asks"
        );
        let still = if sink == Kind::Redis { &mut other } else { &mut house };
        servers(still, sink).resume();
    }
}

#[test]
fn a_queue_that_stands_still_does_not_hold_the_drain_beyond_its_deadline() {
    for source in STOPPABLE {
        let mut house = House::open();
        let from = house.source(source, "still");
        house.fill(source, "still", 0..MESSAGES, None);
        let relay = relay(&from, &house.sink(Kind::Tcp, "")).args(&["--drain-timeout", "1s"]).start();
        eventually("some have come", || house.tcp.count() > 0);
        servers(&mut house, source).pause();
        let begun = Instant::now();
        let end = relay.terminate();
        assert!(begun.elapsed() < DEADLINE + SPARE, "{source:?}: {:?} {:#?}", begun.elapsed(), end.log);
        assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{source:?}: {:#?}", end.log);
        end.assert_balanced();
        servers(&mut house, source).resume();
    }
}

#[test]
fn rabbitmq_dies_and_returns_at_both_ends() {
    let mut rabbit = RabbitMq::start();
    let (from, to) = (rabbit.queues().url("amqp", "in"), rabbit.queues().url("amqp", "out"));
    ["in", "out"].into_iter().for_each(|queue| rabbit.queues().declare(queue));
    let numbered = crate::support::servers::messages::numbered;
    rabbit.queues().publish("in", &numbered(0..MESSAGES));
    let relay = relay(&from, &to).start();
    eventually("some have gone through", || rabbit.queues().ready("out") > 0);
    rabbit.server.stop();
    relay.expect_log("no connection");
    rabbit.server.start_again();
    rabbit.queues().publish("in", &numbered(MESSAGES..2 * MESSAGES));
    eventually("all have gone through", || rabbit.queues().ready("in") == 0 && relay.book("in_flight") == 0);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("abandoned"), end.book("failed")), (0, 0, 0), "{:#?}", end.log);
    assert_all_came(Kind::Amqp, &rabbit.queues().take("out"), 2 * MESSAGES);
}

#[test]
fn an_http_sink_that_says_not_now_gets_everything_later() {
    for status in [429, 500, 503] {
        let house = House::open();
        let from = house.source(Kind::RedisList, "later");
        house.nginx.answer(status);
        house.fill(Kind::RedisList, "later", 0..MESSAGES, None);
        let relay = relay(&from, &house.sink(Kind::Http, "")).start();
        relay.expect_log("not now");
        house.nginx.answer(200);
        let got = house.got(Kind::Http, "", MESSAGES as usize);
        relay.terminate().assert_all_delivered(MESSAGES);
        assert_each_once(&got, 0..MESSAGES);
    }
}

#[test]
fn a_term_while_an_http_sink_says_not_now_returns_everything_at_the_deadline() {
    let house = House::open();
    let from = house.source(Kind::RedisList, "later");
    house.nginx.answer(503);
    house.fill(Kind::RedisList, "later", 0..MESSAGES, None);
    let relay = relay(&from, &house.sink(Kind::Http, "")).args(&["--drain-timeout", "1s"]).start();
    relay.expect_log("not now");
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("abandoned"), end.book("delivered")), (0, 0, 0), "{:#?}", end.log);
    assert_eq!(house.backlog(Kind::RedisList, "later"), Backlog { ready: MESSAGES, unacknowledged: 0 });
}

/// A server that treats its first requests badly, and answers 200 from then on.
fn rude(first: u64, treat: fn(TcpStream)) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, taken) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let (count, mut requests) = (Arc::clone(&taken), 0);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            requests += 1;
            match requests <= first {
                true => treat(stream),
                false => serve(stream, &count),
            }
        }
    });
    (address, taken)
}

fn serve(stream: TcpStream, taken: &AtomicU64) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
        taken.fetch_add(lines as u64, Ordering::SeqCst);
        if reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn arrives_all_the_same(treat: fn(TcpStream)) {
    let house = House::open();
    let from = house.source(Kind::RedisList, "rude");
    let (address, taken) = rude(3, treat);
    house.fill(Kind::RedisList, "rude", 0..500, None);
    let relay = relay(&from, &format!("http://{address}/?timeout=200ms&batch=50")).start();
    eventually("all have arrived", || taken.load(Ordering::SeqCst) >= 500);
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    relay.terminate().assert_all_delivered(500);
    assert_eq!(house.backlog(Kind::RedisList, "rude"), EMPTY);
}

/// Reads a request, and closes in the middle of the answer.
fn break_off(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1 << 16]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le");
}

#[test]
fn an_answer_that_breaks_off_is_none() {
    arrives_all_the_same(break_off);
}

#[test]
fn an_answer_that_never_comes_is_none() {
    arrives_all_the_same(|stream| {
        // It is held until the process ends.
        std::mem::forget(stream);
    });
}

/// TERM while a server never answers, or breaks off every answer: the queue gets everything back at the deadline.
#[test]
fn a_term_while_an_http_sink_gives_no_answer_ends_at_the_deadline() {
    for treat in [std::mem::forget, break_off] {
        everything_is_back_after_a_term(treat);
    }
}

fn everything_is_back_after_a_term(treat: fn(TcpStream)) {
    let house = House::open();
    let from = house.source(Kind::RedisList, "mute");
    let (address, _) = rude(u64::MAX, treat);
    house.fill(Kind::RedisList, "mute", 0..500, None);
    let relay = relay(&from, &format!("http://{address}/?batch=50"));
    let relay = relay.args(&["--drain-timeout", "1s"]).start();
    eventually("some are in flight", || relay.book("in_flight") > 0);
    let begun = Instant::now();
    let end = relay.terminate();
    assert!(begun.elapsed() < HANG.min(DEADLINE + SPARE));
    assert_eq!((end.code(), end.book("abandoned"), end.book("delivered")), (0, 0, 0), "{:#?}", end.log);
    assert_eq!(house.backlog(Kind::RedisList, "mute"), Backlog { ready: 500, unacknowledged: 0 });
}

/// What came over TCP has nobody to go back to.
#[test]
fn what_no_queue_has_is_abandoned_at_the_deadline_and_said_so() {
    let nginx = Nginx::start();
    nginx.answer(503);
    let relay = relay("tcp://127.0.0.1:0", &nginx.url("http", "/"));
    let relay = relay.args(&["--drain-timeout", "1s"]).start();
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream.write_all(b"one\ntwo\n").unwrap();
    eventually("both are in flight", || relay.book("in_flight") == 2);
    drop(stream);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("abandoned")), (3, 2), "{:#?}", end.log);
}

/// Somebody posts on and on, and reads no answer: everything is delivered, and not all of it can be told.
#[test]
fn a_client_that_reads_no_answers_does_not_hold_the_drain_beyond_its_deadline() {
    let sink = load::listen(Place::loopback(), Framing::Line).unwrap();
    let relay = relay("http://127.0.0.1:0/in?timeout=60s", &sink.place().to_string());
    let relay = relay.args(&["--drain-timeout", "1s"]).start();
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.set_recv_buffer_size(2048).unwrap();
    client.connect(&http_address(&relay).into()).unwrap();
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut client = TcpStream::from(client);
    let requests = "POST /in HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhello".repeat(200);
    while client.write_all(requests.as_bytes()).is_ok() {}
    eventually("everything is delivered", || relay.book("in_flight") == 0);
    let begun = Instant::now();
    let end = relay.terminate();
    assert!(begun.elapsed() < HANG.min(DEADLINE + SPARE));
    assert_eq!((end.code(), end.book("delivered")), (0, end.book("received")), "{:#?}", end.log);
    drop(client);
}
