//! Messages of our own generator through the built relay into our own sink: every count agrees.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use slackwater::load::{self, SendPlan, Style};
use slackwater::message::Framing;

use crate::support::relay::Order;
use crate::support::{HANG, name_of};

fn forward(source: Framing, sink: Framing, style: Style, args: &[&str]) {
    let receiver = load::listen(load::Place::loopback(), sink).unwrap();
    let to = format!("tcp://{}?framing={}", receiver.address(), name_of(sink));
    let relay = Order::tcp(&format!("?framing={}", name_of(source)), &to).args(args).start();
    let messages = 10 * 2000;
    let plan = SendPlan {
        connections: 10,
        messages_per_connection: Some(2000),
        framing: source,
        style,
        ..SendPlan::new(relay.address())
    };
    let sent = load::send(plan).unwrap();
    assert_eq!(sent.acked_messages(), messages);
    assert!(receiver.wait_for(messages, HANG), "{:?}", receiver.tally());
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, messages, messages));
    end.assert_balanced();
    let report = receiver.finish();
    assert!(report.tally.is_whole(), "{:?}", report.tally);
    assert_eq!(report.tally.messages, messages);
}

#[test]
fn lines_stay_lines() {
    forward(Framing::Line, Framing::Line, Style::Bulk, &[]);
}

#[test]
fn octet_counts_stay_octet_counts() {
    forward(Framing::Octet, Framing::Octet, Style::Bulk, &[]);
}

#[test]
fn lines_become_octet_counts() {
    forward(Framing::Line, Framing::Octet, Style::Single, &[]);
}

#[test]
fn octet_counts_become_lines() {
    forward(Framing::Octet, Framing::Line, Style::Dribble, &["--cores", "1"]);
}

/// Numbered lines from one generator to `address`.
fn plan(address: SocketAddr) -> SendPlan {
    SendPlan { connections: 4, messages_per_connection: Some(5000), ..SendPlan::new(address) }
}

#[test]
fn ipv6_is_relayed_as_ipv4_is() {
    let receiver = load::listen("[::1]:0".parse::<SocketAddr>().unwrap(), Framing::Line).unwrap();
    let to = format!("tcp://{}", receiver.address());
    let relay = Order::between(&["tcp://[::1]:0"], &to).start();
    assert!(relay.address().is_ipv6());
    let sent = load::send(plan(relay.address())).unwrap();
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered"), sent.acked_messages()), (0, 20_000, 20_000));
    let report = receiver.finish();
    assert!(report.tally.is_whole() && report.tally.messages == 20_000, "{:?}", report.tally);
}

#[test]
fn each_source_has_books_of_its_own() {
    let receiver = load::listen(load::Place::loopback(), Framing::Line).unwrap();
    let sources = ["tcp://127.0.0.1:0?name=lines", "tcp://127.0.0.1:0?name=counted&framing=octet"];
    let relay = Order::between(&sources, &format!("tcp://{}?framing=line", receiver.address())).start();
    let [lines, counted] = relay.addresses()[..] else { panic!("two sources") };
    load::send(plan(lines)).unwrap();
    load::send(SendPlan { framing: Framing::Octet, connections: 2, ..plan(counted) }).unwrap();
    let end = relay.terminate();
    end.assert_balanced();
    let received = ["lines", "counted"].map(|source| end.books["sources"][source]["received"].as_u64());
    assert_eq!((end.code(), received), (0, [Some(20_000), Some(10_000)]));
    let report = receiver.finish();
    assert!(report.tally.is_whole() && report.tally.messages == 30_000, "{:?}", report.tally);
}

/// Some receivers answer each message; nobody here reads answers, and they must neither fill up nor hold anything back.
#[test]
fn a_sink_that_answers_all_the_time_is_read_and_not_listened_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}?connections=1", listener.local_addr().unwrap());
    let relay = Order::tcp("", &to).args(&["--cores", "1"]).start();
    let answering = std::thread::spawn(move || answer_everything(&listener));
    let sent = load::send(plan(relay.address())).unwrap();
    let end = relay.terminate();
    assert_eq!(
        (end.code(), end.book("delivered"), sent.acked_messages()),
        (0, 20_000, 20_000),
        "{:#?}",
        end.log
    );
    let bytes: u64 = sent.connections.iter().map(|one| one.written_bytes).sum();
    assert_eq!(answering.join().unwrap(), bytes);
}

/// Takes one connection, answers each read with as many bytes, and returns how many it read up to the end.
fn answer_everything(listener: &TcpListener) -> u64 {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return read,
            Ok(bytes) => {
                read += bytes as u64;
                // The relay may have gone by now.
                let _ = stream.write_all(&buffer[..bytes]);
            }
            Err(error) => panic!("{error}"),
        }
    }
}
