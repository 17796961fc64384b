//! The queues and services that the relay is tested with: each takes numbered messages, gives them back, and still has them when it
//! was stopped or killed.
//!
//! Lives here: what the other tests rely on. Never here: a relay, or how a server is started (`support::servers`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use async_nats::jetstream::stream::RetentionPolicy;
use lapin::options::BasicGetOptions;
use redis::streams::StreamReadOptions;
use redis::{Commands, Direction};

use crate::support::eventually;
use crate::support::servers::Backlog;
use crate::support::servers::access::Access;
use crate::support::servers::messages::{assert_each_once, assert_in_order, numbered};
use crate::support::servers::nats::{Nats, NatsCluster};
use crate::support::servers::nginx::{Nginx, Request};
use crate::support::servers::process::Server;
use crate::support::servers::rabbitmq::RabbitMq;
use crate::support::servers::redis::Redis;

const MESSAGES: u64 = 1000;
/// So many are taken and not acknowledged.
const HELD: u64 = 10;
const SOME_HELD: Backlog = Backlog { ready: MESSAGES - HELD, unacknowledged: HELD };

/// Ends a server in each way and starts it again; `check` is called each time that it serves.
fn through_stop_and_kill<T>(mut served: T, server: fn(&mut T) -> &mut Server, check: impl Fn(&T)) {
    check(&served);
    server(&mut served).stop();
    server(&mut served).start_again();
    check(&served);
    server(&mut served).kill();
    server(&mut served).start_again();
    check(&served);
}

/// Whether a server takes connections and answers none, until it goes on.
#[track_caller]
fn assert_stands_still(server: &Server, at: SocketAddr, greeting: &[u8]) {
    server.pause();
    let mut stream = TcpStream::connect(at).expect("its kernel takes connections");
    stream.write_all(greeting).expect("and bytes");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket option");
    assert!(stream.read(&mut [0; 1]).is_err(), "it answered");
    server.resume();
    stream.set_read_timeout(None).expect("a socket option");
    assert_eq!(stream.read(&mut [0; 1]).expect("an answer"), 1);
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_server_ends_with_a_test_that_is_killed() {
    let redis = Redis::start();
    let at = local(redis.port());
    let is_anything_left = redis.server.abandon();
    assert!(!is_anything_left);
    assert!(TcpStream::connect(at).is_err());
}

#[test]
fn redis_keeps_what_it_took() {
    let redis = Redis::start();
    redis.add("stream", &numbered(0..MESSAGES));
    redis.push("list", &numbered(0..MESSAGES));
    through_stop_and_kill(
        redis,
        |redis| &mut redis.server,
        |redis| {
            assert_in_order(&redis.entries("stream"), 0..MESSAGES);
            assert_in_order(&redis.elements("list"), 0..MESSAGES);
        },
    );
}

#[test]
fn redis_counts_what_is_held() {
    let redis = Redis::start();
    let mut connection = redis.connection();
    redis.add("stream", &numbered(0..MESSAGES));
    redis.push("list", &numbered(0..MESSAGES));
    let _: () = connection.xgroup_create("stream", "group", "0").expect("a group");
    let some = StreamReadOptions::default().group("group", "consumer").count(HELD as usize);
    let _: redis::streams::StreamReadReply =
        connection.xread_options(&["stream"], &[">"], &some).expect("entries");
    assert_eq!(redis.backlog_of_group("stream", "group"), SOME_HELD);
    for _ in 0..HELD {
        let _: Vec<u8> = connection
            .lmove("list", "list:processing:relay-0", Direction::Left, Direction::Right)
            .expect("an element");
    }
    assert_eq!(redis.backlog_of_list("list"), SOME_HELD);
    redis.purge("stream");
    redis.purge("list");
    assert_eq!((redis.entries("stream").len(), redis.elements("list").len()), (0, 0));
    assert_stands_still(&redis.server, local(redis.port()), b"PING\r\n");
}

#[test]
fn redis_asks_for_a_password_and_speaks_tls() {
    let redis = Redis::secured();
    redis.add("stream", &numbered(0..MESSAGES));
    assert_in_order(&redis.entries("stream"), 0..MESSAGES);
    let mut answers = [0; 31];
    let mut stream = redis.access().connect(redis.tls_address());
    write!(stream, "PING\r\nAUTH {}\r\nPING\r\n", Access::PASSWORD).expect("a handshake");
    stream.read_exact(&mut answers).expect("answers");
    assert_eq!(String::from_utf8_lossy(&answers), "-NOAUTH Authentication required");
    assert_eq!(redis.url("redis", "a"), format!("redis://127.0.0.1:{}/a", redis.port()));
    assert_eq!(redis.url("rediss-list", "a"), format!("rediss-list://{}/a", redis.tls_address()));
}

#[test]
fn nats_keeps_what_it_took() {
    let nats = Nats::start();
    let client = nats.jetstream();
    client.create("jobs", &["jobs.>"], 1, RetentionPolicy::Limits);
    client.publish("jobs.new", &numbered(0..MESSAGES));
    through_stop_and_kill(
        nats,
        |nats| &mut nats.server,
        |nats| {
            assert_eq!(nats.jetstream().length("jobs"), MESSAGES);
            assert_in_order(&nats.jetstream().messages("jobs"), 0..MESSAGES);
        },
    );
}

#[test]
fn nats_counts_what_is_held() {
    let nats = Nats::start();
    let client = nats.jetstream();
    client.create("jobs", &["jobs"], 1, RetentionPolicy::WorkQueue);
    client.publish("jobs", &numbered(0..HELD + MESSAGES));
    assert_in_order(&client.take("jobs", "relay", HELD as usize, true), 0..HELD);
    assert_in_order(&client.take("jobs", "relay", HELD as usize, false), HELD..2 * HELD);
    assert_eq!(client.backlog("jobs", "relay"), SOME_HELD);
    // What was acknowledged has left a work queue.
    assert_in_order(&client.messages("jobs"), HELD..HELD + MESSAGES);
    client.purge("jobs");
    assert_eq!(client.length("jobs"), 0);
    assert_stands_still(&nats.server, local(nats.port()), b"PING\r\n");
}

#[test]
fn nats_asks_for_a_password_and_speaks_tls() {
    let nats = Nats::secured();
    let client = nats.jetstream();
    client.create("jobs", &["jobs"], 1, RetentionPolicy::Limits);
    client.publish("jobs", &numbered(0..MESSAGES));
    assert_in_order(&client.messages("jobs"), 0..MESSAGES);
    let mut greeting = [0; 1000];
    let length = TcpStream::connect(local(nats.port())).and_then(|mut stream| stream.read(&mut greeting));
    let greeting = String::from_utf8_lossy(&greeting[..length.expect("a greeting")]);
    assert!(greeting.contains(r#""auth_required":true,"tls_required":true"#), "{greeting}");
    assert_eq!(nats.url("nats+tls", "jobs"), format!("nats+tls://127.0.0.1:{}/jobs", nats.port()));
    assert!(nats.access().password_file().is_file());
}

#[test]
fn a_cluster_of_nats_serves_without_one_of_its_nodes() {
    let mut cluster = NatsCluster::start();
    let client = cluster.jetstream();
    client.create("jobs", &["jobs"], 3, RetentionPolicy::Limits);
    client.publish("jobs", &numbered(0..MESSAGES));
    let lost = cluster.leader_of("jobs");
    cluster.nodes[lost].server.kill();
    client.publish("jobs", &numbered(MESSAGES..2 * MESSAGES));
    assert_each_once(&client.messages("jobs"), 0..2 * MESSAGES);
    cluster.nodes[lost].server.start_again();
    let returned = cluster.nodes[lost].jetstream();
    // For up to a second it may answer from what it had when it was killed, also once another has answered (nats-server 2.9.10).
    let mut there = Vec::new();
    eventually("what came while it was away is told of there too", || {
        there = returned.messages("jobs");
        there.len() as u64 >= 2 * MESSAGES
    });
    assert_each_once(&there, 0..2 * MESSAGES);
    assert_eq!(cluster.url("nats", "jobs").matches("127.0.0.1:").count(), 3);
}

#[test]
fn rabbitmq_keeps_what_it_took() {
    let rabbitmq = RabbitMq::start();
    rabbitmq.queues().declare("jobs");
    rabbitmq.queues().publish("jobs", &numbered(0..MESSAGES));
    through_stop_and_kill(
        rabbitmq,
        |rabbitmq| &mut rabbitmq.server,
        |rabbitmq| {
            let taken = rabbitmq.queues().take("jobs");
            assert_in_order(&taken, 0..MESSAGES);
            rabbitmq.queues().publish("jobs", &taken);
        },
    );
}

#[test]
fn rabbitmq_counts_what_is_held() {
    let rabbitmq = RabbitMq::shared();
    let queues = rabbitmq.new_vhost("counts");
    queues.declare("jobs");
    queues.publish("jobs", &numbered(0..MESSAGES));
    queues.run(async |channel| {
        for _ in 0..HELD {
            channel.basic_get("jobs".into(), BasicGetOptions::default()).await.expect("a queue");
        }
        assert_eq!(queues.backlog("jobs"), SOME_HELD);
    });
    // What was held by a connection comes back with its end.
    assert_in_order(&queues.take("jobs"), 0..MESSAGES);
    queues.publish("jobs", &numbered(0..1));
    assert_eq!(queues.ready("jobs"), 1);
    queues.purge("jobs");
    assert_eq!(queues.ready("jobs"), 0);
    assert_eq!(queues.url("amqp", "jobs"), format!("amqp://127.0.0.1:{}/counts/jobs", rabbitmq.port()));
}

#[test]
fn rabbitmq_speaks_tls() {
    let rabbitmq = RabbitMq::shared();
    let mut stream = rabbitmq.access().connect(rabbitmq.tls_address());
    stream.write_all(b"AMQP\x00\x00\x09\x01").expect("a handshake");
    let mut start_of_frame = [0; 3];
    stream.read_exact(&mut start_of_frame).expect("an answer");
    assert_eq!(start_of_frame, [1, 0, 0], "a method of channel 0");
    assert_eq!(rabbitmq.queues().url("amqps", "jobs"), format!("amqps://{}/jobs", rabbitmq.tls_address()));
}

/// The answer to a POST, without what comes after its first line.
fn post(mut stream: impl Read + Write, path: &str, body: &[u8]) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {}\r\nContent-Type: text/x-log\r\n\
         Authorization: Bearer abc\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("a server that reads");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line.trim_end().to_owned()
}

#[test]
fn nginx_notes_what_it_took() {
    let nginx = Nginx::start();
    let connect = |nginx: &Nginx| TcpStream::connect(local(nginx.port())).expect("a connection");
    for (already, message) in numbered(0..MESSAGES).into_iter().enumerate() {
        assert_eq!(post(connect(&nginx), "/jobs", &message), "HTTP/1.1 200 OK");
        assert_eq!(nginx.requests().len(), already + 1, "it notes before it answers");
    }
    through_stop_and_kill(
        nginx,
        |nginx| &mut nginx.server,
        |nginx| {
            assert_in_order(&nginx.taken(MESSAGES as usize), 0..MESSAGES);
            assert_stands_still(&nginx.server, local(nginx.port()), b"GET /nginx-is-ready HTTP/1.0\r\n\r\n");
        },
    );
}

#[test]
fn nginx_answers_as_it_is_told() {
    let nginx = Nginx::with("location /a { return 204; } location / { return 200; }");
    let anything: Vec<u8> = (0..=u8::MAX).chain(*b"\t\\x41-\"\r\n").cycle().take(1 << 20).collect();
    let send = |path: &str| {
        let stream = TcpStream::connect(local(nginx.port())).expect("a connection");
        post(stream, path, &anything)
    };
    assert_eq!(send("/a"), "HTTP/1.1 204 No Content");
    for (status, line) in [
        (503, "HTTP/1.1 503 Service Temporarily Unavailable"),
        (429, "HTTP/1.1 429 Too Many Requests"),
        (200, "HTTP/1.1 200 OK"),
    ] {
        nginx.answer(status);
        assert_eq!(send("/b?c=d"), line);
    }
    assert_eq!(nginx.taken(1), [anything]);
    let noted = nginx.requests();
    assert_eq!(noted.iter().map(|one| one.status).collect::<Vec<_>>(), [204, 503, 429, 200]);
    let Request { method, uri, content_type, authorization, .. } = &noted[3];
    assert_eq!(
        [method, uri, content_type, authorization].map(String::as_str),
        ["POST", "/b?c=d", "text/x-log", "Bearer abc"]
    );
    nginx.purge();
    assert_eq!(post(nginx.access().connect(nginx.tls_address()), "/b", b"by tls"), "HTTP/1.1 200 OK");
    assert_eq!(nginx.taken(1), [b"by tls"]);
    assert_eq!(nginx.url("https", "/b"), format!("https://{}/b", nginx.tls_address()));
}
