//! Messages that their sink refuses for good: where they go, and what the books say.
//!
//! Lives here: dead letters, and their absence. Never here: what is refused only for now.

use super::{EMPTY, House, Kind, line, relay};
use crate::support::eventually;
use crate::support::relay::Order;
use crate::support::servers::messages::{assert_each_once, numbered};

const MESSAGES: u64 = 200;

#[test]
fn what_is_refused_goes_to_a_file() {
    let (house, folder) = (House::open(), tempfile::tempdir().unwrap());
    let letters = folder.path().join("letters");
    let from = house.source(Kind::Redis, "bad");
    house.fill(Kind::Redis, "bad", 0..MESSAGES, None);
    house.nginx.answer(400);
    let to = house.nginx.url("http", &format!("/?dead_letter=file:{}", letters.display()));
    let relay = relay(&from, &to).start();
    eventually("the letters are written", || {
        std::fs::read(&letters)
            .is_ok_and(|text| text.len() as u64 == MESSAGES * (line(&numbered(0..1)[0]).len() as u64))
    });
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("failed"), end.book("delivered")), (0, MESSAGES, 0), "{:#?}", end.log);
    assert_eq!(end.books["sinks"]["letters"]["delivered"].as_u64(), Some(MESSAGES), "{}", end.books);
    end.assert_balanced();
    let text = std::fs::read(&letters).unwrap();
    let lines: Vec<Vec<u8>> =
        text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    assert_each_once(&lines, 0..MESSAGES);
    assert_eq!(house.backlog(Kind::Redis, "bad"), EMPTY, "the queue is told: never again");
}

#[test]
fn what_is_refused_goes_to_another_sink_and_waits_for_it() {
    let mut house = House::open();
    let from = house.source(Kind::Amqp, "bad");
    house.fill(Kind::Amqp, "bad", 0..MESSAGES, None);
    house.nginx.answer(400);
    let letters = format!("{}?name=letters", house.sink(Kind::RedisList, "letters"));
    house.redis.server.stop();
    let to = house.nginx.url("http", "/?dead_letter=letters");
    let relay = Order::between(&[&from], &to).args(&["--to", &letters, "--cores", "1"]).start();
    eventually("they are refused", || relay.logged("refused for good") > 0);
    assert!(relay.book("in_flight") > 0, "in flight until the letters are there");
    house.redis.server.start_again();
    let got = house.got(Kind::RedisList, "letters", MESSAGES as usize);
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("failed")), (0, MESSAGES), "{:#?}", end.log);
    end.assert_balanced();
    assert_each_once(&got, 0..MESSAGES);
    assert_eq!(house.backlog(Kind::Amqp, "bad"), EMPTY);
}

#[test]
fn without_dead_letters_they_fail_and_a_sample_is_logged() {
    let house = House::open();
    let from = house.source(Kind::Nats, "bad");
    house.fill(Kind::Nats, "bad", 0..MESSAGES, None);
    house.nginx.answer(400);
    let relay = relay(&from, &house.nginx.url("http", "/")).start();
    eventually("all have failed", || relay.book("failed") == MESSAGES);
    assert_eq!(relay.logged("refused for good"), 1, "{:#?}", relay.log());
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("failed")), (0, MESSAGES));
    assert_eq!(house.backlog(Kind::Nats, "bad"), EMPTY, "the queue is told: never again");
}

/// A sink of sockets has dead letters, too.
#[test]
fn a_message_that_is_too_large_for_a_datagram_goes_to_the_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let letters = folder.path().join("letters");
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = format!("udp://{}?dead_letter=file:{}", receiver.local_addr().unwrap(), letters.display());
    let relay = relay("tcp://127.0.0.1:0?max_message=100KiB", &to).start();
    let mut stream = std::net::TcpStream::connect(relay.address()).unwrap();
    let large = vec![b'x'; 70_000];
    std::io::Write::write_all(&mut stream, &[&large[..], b"\nsmall\n"].concat()).unwrap();
    eventually("both are settled", || relay.book("failed") == 1 && relay.book("delivered") == 1);
    let end = relay.terminate();
    assert_eq!(end.code(), 0);
    end.assert_balanced();
    assert_eq!(std::fs::read(&letters).unwrap(), line(&large));
}

#[test]
fn an_empty_message_fails_where_no_framing_could_tell_it() {
    let house = House::open();
    house.redis.push("empty", &[Vec::new(), b"full".to_vec()]);
    let relay = relay(&house.source(Kind::RedisList, "empty"), &house.sink(Kind::Tcp, "")).start();
    eventually("both are settled", || relay.book("failed") == 1 && relay.book("delivered") == 1);
    relay.terminate().assert_balanced();
    assert_eq!(house.backlog(Kind::RedisList, "empty"), EMPTY);
}
