//! What is promised of one service alone.
//!
//! Lives here: what its other end sees of it. Never here: what is the same for all (`pairs`, `storm`, `troubles`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::RetentionPolicy;
use nix::sys::signal::Signal;

use super::{Collector, EMPTY, GROUP, answer, http_address, post, relay};
use crate::support::servers::Backlog;
use crate::support::servers::messages::{assert_each_once, numbered};
use crate::support::servers::nats::Nats;
use crate::support::servers::nginx::Nginx;
use crate::support::servers::rabbitmq::RabbitMq;
use crate::support::servers::redis::Redis;
use crate::support::{HANG, eventually};

const MESSAGES: u64 = 100;

#[test]
fn an_http_source_takes_what_its_sink_has_and_refuses_what_is_too_long() {
    let collector = Collector::start();
    let tcp = format!("tcp://{}?framing=line", collector.address);
    let relay = relay("http://127.0.0.1:0/in?max_message=1KiB", &tcp).start();
    let at = http_address(&relay);
    assert_eq!((post(at, &[b'x'; 1024]), post(at, &[b'x'; 1025])), (202, 413));
    // Its kernel has it; the collector reads it from there.
    eventually("what is answered with 202 has arrived", || collector.count() == 1);
    relay.terminate().assert_all_delivered(1);
}

/// It has them still, and is told when to come again.
#[test]
fn a_client_whose_messages_are_stuck_in_a_drain_is_told_to_come_again() {
    let nginx = Nginx::start();
    nginx.answer(503);
    let relay = relay("http://127.0.0.1:0/in", &nginx.url("http", "/out"));
    let relay = relay.args(&["--drain-timeout", "500ms"]).start();
    let at = http_address(&relay);
    let client = thread::spawn(move || answer(at, b"one"));
    eventually("it is in flight", || relay.book("in_flight") == 1);
    relay.signal(Signal::SIGTERM);
    let answer = client.join().expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{answer}");
    let end = relay.wait();
    assert_eq!((end.code(), end.book("returned"), end.book("delivered")), (0, 1, 0), "{:#?}", end.log);
}

/// What is in flight is bounded; those who come then still have theirs.
#[test]
fn a_client_that_comes_when_the_relay_is_full_is_told_to_come_again() {
    const LENGTH: usize = 60 * 1024;
    const FIT: u64 = (1 << 20) / LENGTH as u64;
    let nginx = Nginx::start();
    nginx.answer(503);
    let relay = relay("http://127.0.0.1:0/in", &nginx.url("http", "/out"));
    let relay = relay.args(&["--max-in-flight", "1MiB", "--drain-timeout", "500ms"]).start();
    let at = http_address(&relay);
    let clients: Vec<_> = (0..=FIT).map(|_| thread::spawn(move || answer(at, &[b'x'; LENGTH]))).collect();
    eventually("it is full", || relay.book("in_flight") >= FIT);
    let late = answer(at, b"late");
    assert!(late.starts_with("HTTP/1.1 503 ") && late.contains("retry-after: 1\r\n"), "{late}");
    let end = relay.terminate();
    let (received, returned) = (end.book("received"), end.book("returned"));
    // The last of them may have come too late, too.
    assert!(received >= FIT && received == returned && end.code() == 0, "{:#?}", end.log);
    for client in clients {
        assert!(client.join().expect("it is answered").starts_with("HTTP/1.1 503 "));
    }
}

/// As many requests at once as it is told: none is answered before all are there.
#[test]
fn an_http_sink_makes_as_many_requests_at_once_as_it_may() {
    const AT_ONCE: usize = 4;
    let (redis, listener) = (Redis::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let to: SocketAddr = listener.local_addr().unwrap();
    redis.push("in", &numbered(0..AT_ONCE as u64));
    let relay = relay(&redis.url("redis-list", "in"), &format!("http://{to}/?concurrency={AT_ONCE}")).start();
    let streams: Vec<TcpStream> =
        (0..AT_ONCE).map(|_| listener.accept().expect("a relay connects").0).collect();
    streams.into_iter().for_each(|stream| drop(take(stream)));
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    relay.terminate().assert_all_delivered(AT_ONCE as u64);
}

/// A batch goes when it has so many messages, or so many bytes, or when its first has waited for so long.
#[test]
fn an_http_sink_sends_a_batch_by_count_by_bytes_and_by_time() {
    for (bounds, lines) in [
        ("batch=4&batch_wait=1h", vec![4, 4, 4]),
        // Of six bytes each, three fit.
        ("batch=100&batch_bytes=18B&batch_wait=1h", vec![3, 3, 3, 3]),
        ("batch=100&batch_wait=200ms", vec![12]),
    ] {
        let (redis, nginx) = (Redis::start(), Nginx::start());
        let messages: Vec<Vec<u8>> = (0..12).map(|number| format!("line{number:02}").into_bytes()).collect();
        redis.push("in", &messages);
        let relay =
            relay(&redis.url("redis-list", "in"), &nginx.url("http", &format!("/out?{bounds}"))).start();
        eventually("all have gone", || relay.book("delivered") == 12);
        relay.terminate().assert_all_delivered(12);
        let lines_of =
            |body: &[u8]| body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
        let sent: Vec<usize> = nginx.requests().iter().map(|request| lines_of(&request.body)).collect();
        assert_eq!(sent, lines, "{bounds}");
    }
}

/// Takes one request, and returns its head.
fn take_one(listener: &TcpListener) -> Vec<String> {
    take(listener.accept().expect("a relay connects").0)
}

fn take(mut stream: TcpStream) -> Vec<String> {
    let lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines().map_while(Result::ok);
    let head = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("it reads");
    head
}

#[test]
fn an_http_sink_sends_the_headers_that_it_is_given_and_the_name_of_the_message() {
    let (redis, listener) = (Redis::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let to: SocketAddr = listener.local_addr().unwrap();
    redis.add("in", &numbered(0..1));
    let relay = relay(&redis.url("redis", "in"), &format!("http://{to}/?headers=X-Site:%20one")).start();
    let head = take_one(&listener);
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    relay.terminate().assert_all_delivered(1);
    assert!(head.contains(&"x-site: one".to_owned()), "{head:#?}");
    assert!(
        head.iter().any(|line| line.starts_with("idempotency-key: ") && line.contains("redis:in:")),
        "{head:#?}"
    );
}

/// Redis cuts whole nodes off, of a hundred entries each (`stream-node-max-entries`).
#[test]
fn a_redis_sink_keeps_a_stream_about_as_long_as_it_is_told() {
    const NODE: usize = 100;
    let redis = Redis::start();
    redis.push("in", &numbered(0..20 * NODE as u64));
    let to = redis.url("redis", &format!("out?max_len={NODE}"));
    let relay = relay(&redis.url("redis-list", "in"), &to).start();
    eventually("all have gone", || relay.book("delivered") == 20 * NODE as u64);
    relay.terminate().assert_all_delivered(20 * NODE as u64);
    let left = redis.entries("out").len();
    assert!((NODE..=2 * NODE).contains(&left), "{left}");
}

/// A consumer that waits half a second for a word, and a sink that takes longer: the server hands nothing out again.
#[test]
fn a_jetstream_is_told_that_what_waits_for_a_slow_sink_is_in_progress() {
    const ACK_WAIT: Duration = Duration::from_millis(500);
    let (nats, nginx) = (Nats::start(), Nginx::start());
    nats.jetstream().create("in", &["in"], 1, RetentionPolicy::Limits);
    nats.jetstream().make_consumer("in", ACK_WAIT);
    nats.jetstream().publish("in", &numbered(0..MESSAGES));
    nginx.answer(503);
    let relay = relay(&nats.url("nats", "in"), &nginx.url("http", "/out?batch=100")).start();
    eventually("all are in flight", || relay.book("in_flight") == MESSAGES);
    let since = Instant::now();
    eventually("the server could have lost patience", || since.elapsed() > 4 * ACK_WAIT);
    nginx.answer(200);
    eventually("all have gone", || relay.book("in_flight") == 0);
    let end = relay.terminate();
    end.assert_all_delivered(MESSAGES);
    assert_eq!(end.book("redelivered"), 0);
    assert_each_once(&super::lines_of(&nginx), 0..MESSAGES);
    assert_eq!(nats.jetstream().backlog("in", GROUP), EMPTY);
}

/// `max_in_flight` counts bytes and a server messages; what a sink that answers nothing keeps back is as much as fits, whatever a batch is.
#[test]
fn an_amqp_queue_hands_out_what_fits_into_max_in_flight() {
    const KIB: usize = 1024;
    let rabbit = RabbitMq::shared().new_vhost("ahead");
    for (option, length, messages, handed_out) in [
        ("batch=10", KIB, 3000, 682),
        ("batch=512", 64 * KIB, 100, 12),
        ("batch=512", 2 * 1024 * KIB, 5, 1),
        ("prefetch=7", KIB, 100, 7),
    ] {
        let nginx = Nginx::start();
        nginx.answer(503);
        rabbit.declare("in");
        rabbit.publish("in", &vec![vec![b'x'; length]; messages as usize]);
        let from = rabbit.url("amqp", &format!("in?{option}"));
        let relay = relay(&from, &nginx.url("http", "/out"));
        let relay = relay.args(&["--max-in-flight", "1MiB", "--drain-timeout", "100ms"]).start();
        let mut most = 0;
        eventually("as much as fits is handed out", || {
            most = messages - rabbit.ready("in");
            most >= handed_out && relay.book("in_flight") == handed_out
        });
        let end = relay.terminate();
        assert_eq!((most, end.code(), end.book("returned")), (handed_out, 0, handed_out), "{:#?}", end.log);
        assert_eq!(rabbit.backlog("in"), Backlog { ready: messages, unacknowledged: 0 }, "{option}");
        rabbit.purge("in");
    }
}

/// `basic.consume` of AMQP: class 60, method 20.
const CONSUME: [u8; 4] = [0, 60, 0, 20];

/// Stands between a client and `server`, and keeps the second of the client's requests to consume until it is told to let it go.
fn before_the_second_consume(server: String) -> (SocketAddr, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ((held, is_held), (go, may_go)) = (channel(), channel());
    thread::spawn(move || {
        let client = listener.accept().expect("a relay connects").0;
        let mut server = TcpStream::connect(server).expect("a server");
        let (mut answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut answers, &mut to_client));
        let (mut client, mut bytes, mut requests) = (client, [0; 4096], 0);
        while let Ok(read @ 1..) = client.read(&mut bytes) {
            requests += bytes[..read].windows(CONSUME.len()).filter(|bytes| *bytes == CONSUME).count();
            if requests == 2 {
                held.send(()).and_then(|()| may_go.recv().map_err(|_| SendError(()))).expect("a test");
                requests += 1;
            }
            server.write_all(&bytes[..read]).expect("a server that reads");
        }
        let _ = server.shutdown(Shutdown::Both);
    });
    (address, is_held, go)
}

/// It consumes anew to have more handed out, and the drain begins before the server hears of it: it is not waited for what will not come.
#[test]
fn a_term_while_a_larger_window_is_on_its_way_ends_it_too() {
    let (rabbit, collector) = (RabbitMq::shared().new_vhost("anew"), Collector::start());
    rabbit.declare("in");
    rabbit.publish("in", &numbered(0..1));
    let (address, held, go) = before_the_second_consume(rabbit.address().to_string());
    let relay = relay(&format!("amqp://{address}/anew/in"), &format!("tcp://{}", collector.address));
    // One message is all that is handed out at first.
    let relay = relay.args(&["--max-in-flight", "1MiB", "--drain-timeout", "5m"]).start();
    held.recv_timeout(HANG).expect("it asks for more");
    relay.signal(Signal::SIGTERM);
    relay.expect_log("draining");
    go.send(()).expect("it waits");
    relay.wait().assert_all_delivered(1);
    assert_eq!(rabbit.backlog("in"), Backlog { ready: 0, unacknowledged: 0 });
}
