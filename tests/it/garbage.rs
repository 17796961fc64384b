//! Input that is no messages, or too long ones: the connection pays for it, nobody else, and memory stays in its bound.
//!
//! Lives here: what senders may do wrong. Never here: the framers' own properties (they are beside the framers).

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};

use slackwater::load::{self, SinkHandle};
use slackwater::message::Framing;

use crate::support::HANG;
use crate::support::relay::{Order, Relay};
use crate::support::sender::{Sender, Series};

const MIB: usize = 1 << 20;

fn scene(framing: Framing, parameters: &str, args: &[&str]) -> (SinkHandle, Relay) {
    let sink = load::listen(load::Place::loopback(), framing).unwrap();
    let relay = Order::tcp(parameters, &format!("tcp://{}", sink.address())).args(args).start();
    (sink, relay)
}

/// Writes until all is written or the relay closes; then reads until the relay's end of the connection.
fn write_until_closed(relay: &Relay, bytes: &[u8]) {
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    let _ = stream.write_all(bytes);
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Ok(_) => panic!("a relay does not answer"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

#[test]
fn a_bad_count_closes_its_connection_with_a_reason_and_no_other() {
    let (sink, relay) = scene(Framing::Octet, "?framing=octet", &[]);
    let series = Series { run: 1, connection: 0, size: 64, framing: Framing::Octet };
    let mut good = Sender::connect(relay.address(), series, HANG).unwrap();
    good.write_messages(1).unwrap();
    assert!(sink.wait_for(1, HANG));
    for bad in ["abc x", "05 x", "99999999999999999999 x", "4000000000 x", "-1 x"] {
        write_until_closed(&relay, format!("2 hi{bad}").as_bytes());
    }
    good.write_messages(1).unwrap();
    assert!(sink.wait_for(7, HANG), "{:?}", sink.tally());
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered"), end.book("misframed")), (0, 7, 5));
    let closed =
        end.log.iter().filter(|line| line.contains("\"connection closed\"") && line.contains("\"reason\""));
    assert_eq!(closed.count(), 5, "{:#?}", end.log);
    let tally = sink.finish().tally;
    assert_eq!(
        (tally.messages, tally.foreign, tally.misframed),
        (7, 5, 0),
        "what came before the bad count is kept"
    );
}

#[test]
fn a_length_that_cannot_be_closes_its_connection_and_is_counted() {
    let (sink, relay) = scene(Framing::Line, "?framing=u32", &[]);
    write_until_closed(&relay, b"\0\0\0\x02hiGET / HTTP/1.1\r\n\r\n");
    write_until_closed(&relay, &[0xff; 64]);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered"), end.book("misframed")), (0, 1, 2));
    assert!(end.log.iter().any(|line| line.contains("bad_length")), "{:#?}", end.log);
    assert_eq!(sink.finish().tally.bytes, 4 + 2, "it leaves as it came");
}

/// What is wrong in a datagram is wrong in that one only.
#[test]
fn garbage_in_a_datagram_is_counted_and_spoils_no_other() {
    let sink = load::listen(load::Place::loopback(), Framing::Line).unwrap();
    let to = format!("{}?framing=line", sink.place());
    let relay = Order::between(&["udp://127.0.0.1:0?framing=octet"], &to).start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in ["2 hi", "garbage", "2 hi9 torn", "", "3 you2 hi"] {
        socket.send_to(datagram.as_bytes(), relay.address()).unwrap();
    }
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered"), end.book("misframed"), end.book("torn")), (0, 4, 1, 1));
    end.assert_balanced();
    assert_eq!(sink.finish().tally.messages, 4);
}

/// Hundreds that send a byte now and then and never finish: others are served, memory stays, and a drain ends.
#[test]
fn slow_senders_of_endless_messages_hold_up_nobody() {
    let (sink, relay) = scene(Framing::Line, "?linger=200ms", &["--max-in-flight", "2MiB", "--cores", "1"]);
    let mut slow: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(relay.address()).unwrap()).collect();
    let series = Series { run: 1, connection: 0, size: 100, framing: Framing::Line };
    let mut good = Sender::connect(relay.address(), series, HANG).unwrap();
    for round in 1..=20 {
        slow.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
        good.write_messages(50).unwrap();
        assert!(sink.wait_for(round * 50, HANG), "{:?}", sink.tally());
    }
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered"), end.book("torn")), (0, 1_000, 300), "{:#?}", end.log);
    assert!(sink.finish().tally.is_whole());
}

#[test]
fn thirty_two_mebibytes_without_an_end_are_one_truncated_message_in_bounded_memory() {
    let (sink, relay) = scene(Framing::Line, "", &["--max-in-flight", "2MiB", "--cores", "1"]);
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    let block = vec![b'a'; MIB];
    for _ in 0..32 {
        stream.write_all(&block).unwrap();
    }
    stream.write_all(b"\nshort\n").unwrap();
    assert!(sink.wait_for(2, HANG));
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 2, 2));
    let tally = sink.finish().tally;
    assert_eq!(tally.bytes, 64 * 1024 + 1 + 6, "max_message, and the short one");
}

#[test]
fn too_long_a_message_is_dropped_or_closes_its_connection_as_configured() {
    let long = [&[b'x'; 101][..], b"\n"].concat();
    let input = [&long[..], b"short\n"].concat();
    let (sink, relay) = scene(Framing::Line, "?max_message=100B&oversize=drop", &[]);
    TcpStream::connect(relay.address()).unwrap().write_all(&input).unwrap();
    assert!(sink.wait_for(1, HANG));
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered"), end.book("failed")), (0, 2, 1, 1));
    end.assert_balanced();
    assert_eq!(sink.finish().tally.bytes, 6);

    let (sink, relay) = scene(Framing::Line, "?max_message=100B&oversize=close", &[]);
    write_until_closed(&relay, &input);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 0, 0));
    assert_eq!(sink.finish().tally.bytes, 0);
}
