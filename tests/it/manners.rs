//! Bounds and manners of sources: who may come, how many, for how long, and what happens when there is no room.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use slackwater::load::{self, Place, SendPlan, Style};
use slackwater::message::Framing;

use crate::support::relay::{Order, Relay};
use crate::support::{HANG, eventually};

fn to_file(source: &str) -> (Relay, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().join("out").display());
    (Order::between(&[source], &to).args(&["--cores", "2"]).start(), folder)
}

fn connect_from(local: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((local, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}

/// Whether the relay has closed it without a word.
fn is_refused(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(0) => true,
        Ok(_) => panic!("the relay says something"),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_connection_from_an_address_that_is_not_allowed_is_refused_and_counted() {
    let (relay, _folder) = to_file("tcp://127.0.0.1:0?allow=127.0.0.2,10.0.0.0/8");
    let mut stranger = connect_from([127, 0, 0, 1], relay.address());
    assert!(is_refused(&mut stranger));
    let mut friend = connect_from([127, 0, 0, 2], relay.address());
    writeln!(friend, "hello").unwrap();
    drop(friend);
    eventually("the message is received", || relay.book("received") == 1);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("refused"), end.book("delivered")), (0, 1, 1));
    assert!(
        end.log.iter().any(|line| line.contains("refused: not in `allow`") && line.contains("127.0.0.1"))
    );
}

#[test]
fn a_datagram_from_an_address_that_is_not_allowed_is_thrown_away_and_counted() {
    let (relay, _folder) = to_file("udp://127.0.0.1:0?allow=127.0.0.2");
    let to = relay.addresses()[0];
    for (local, count) in [("127.0.0.1:0", 3), ("127.0.0.2:0", 2)] {
        let socket = UdpSocket::bind(local).unwrap();
        for _ in 0..count {
            socket.send_to(b"x", to).unwrap();
        }
    }
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("refused"), end.book("delivered")), (0, 3, 2));
}

#[test]
fn a_client_has_as_many_connections_as_it_may_over_all_reactors() {
    let (relay, _folder) = to_file("tcp://127.0.0.1:0?max_connections_per_client=3");
    let connect = |local| connect_from(local, relay.address());
    // Each says a word, so that it is known to have been accepted.
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 1..=3 {
        let mut stream = connect([127, 0, 0, 1]);
        writeln!(stream, "hello").unwrap();
        held.push(stream);
        eventually("it is accepted", || relay.book("received") == number);
    }
    assert!(is_refused(&mut connect([127, 0, 0, 1])));
    let mut other = connect([127, 0, 0, 2]);
    writeln!(other, "hello").unwrap();
    eventually("another client is not concerned", || relay.book("received") == 4);
    held.pop();
    eventually("a connection that goes makes room", || {
        let mut again = connect([127, 0, 0, 1]);
        let _ = writeln!(again, "hello");
        again.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let kept = again.read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        if kept {
            held.push(again);
        }
        kept
    });
    let end = relay.terminate();
    assert!(end.code() == 0 && end.book("refused") >= 1, "{:#?}", end.log);
    end.assert_balanced();
}

#[test]
fn a_silent_connection_is_closed_and_one_that_speaks_is_not() {
    for scheme in ["tcp", "unix"] {
        let folder = tempfile::tempdir().unwrap();
        let source = match scheme {
            "tcp" => "tcp://127.0.0.1:0?idle_timeout=1s".to_owned(),
            _ => format!("unix:{}?idle_timeout=1s", folder.path().join("in").display()),
        };
        let (relay, _folder) = to_file(&source);
        let open = |place: &Place| -> socket2::Socket {
            let (domain, address) = match place {
                Place::Tcp(address) => (socket2::Domain::IPV4, (*address).into()),
                Place::Unix(path) => (socket2::Domain::UNIX, socket2::SockAddr::unix(path).unwrap()),
                other => panic!("{other}"),
            };
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
            socket.connect(&address).unwrap();
            socket.set_read_timeout(Some(HANG)).unwrap();
            socket
        };
        let place = relay.entrances().remove(0);
        let (silent, torn, mut speaking) = (open(&place), open(&place), open(&place));
        (&torn).write_all(b"the beginning of a mess").unwrap();
        speaking.set_nonblocking(true).unwrap();
        let (began, mut spoken) = (Instant::now(), 0);
        // It speaks for three times the limit.
        while began.elapsed() < Duration::from_secs(3) {
            speaking.write_all(b"still here\n").unwrap();
            spoken += 1;
            std::thread::sleep(Duration::from_millis(100));
            let open = (&speaking)
                .read(&mut [0; 1])
                .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            assert!(open, "{scheme}: closed though it spoke");
        }
        for mut idle in [silent, torn] {
            assert!(idle.read(&mut [0; 1]).is_ok_and(|bytes| bytes == 0), "{scheme}: not closed");
        }
        drop(speaking);
        let end = relay.terminate();
        // A last line without LF is a message at the sender's FIN, with which it answered ours.
        assert_eq!((end.code(), end.book("received"), end.book("torn")), (0, spoken + 1, 0), "{scheme}");
    }
}

/// A sink that takes nothing, and senders that never feel it.
#[test]
fn drop_newest_never_stops_a_sender_and_counts_what_it_throws_away() {
    let sink = load::listen(Place::loopback(), Framing::Line).unwrap();
    sink.stall();
    let order = Order::tcp("?overflow=drop_newest", &sink.place().to_string());
    let relay = order.args(&["--cores", "1", "--max-in-flight", "2MiB"]).start();
    let plan = SendPlan {
        connections: 4,
        messages_per_connection: Some(100_000),
        size: 100,
        ..SendPlan::new(relay.address())
    };
    let sent = load::send(plan).unwrap();
    assert_eq!(sent.acked_messages(), 400_000);
    eventually("all is received", || relay.book("received") == 400_000);
    sink.resume();
    let end = relay.terminate();
    let (failed, delivered) = (end.book("failed"), end.book("delivered"));
    assert_eq!((end.code(), failed + delivered, end.book("abandoned")), (0, 400_000, 0));
    assert!(failed > 100_000 && delivered > 1_000, "{failed} {delivered}");
    end.assert_balanced();
    let tally = sink.finish().tally;
    assert_eq!((tally.messages, tally.out_of_order, tally.duplicates), (delivered, 0, 0));
}

/// The same sink, and a source that blocks: its senders wait, those of the other do not.
#[test]
fn a_source_that_drops_and_one_that_blocks_do_not_hold_each_other_up() {
    let sink = load::listen(Place::loopback(), Framing::Line).unwrap();
    sink.stall();
    let sources = ["tcp://127.0.0.1:0?name=blocks", "tcp://127.0.0.1:0?name=drops&overflow=drop_newest"];
    let relay = Order::between(&sources, &sink.place().to_string())
        .args(&["--cores", "1", "--max-in-flight", "4MiB"])
        .start();
    let [blocks, drops] = relay.addresses()[..] else { panic!("two sources") };
    let plan = |to: SocketAddr, messages| SendPlan {
        messages_per_connection: Some(messages),
        size: 500,
        ..SendPlan::new(to)
    };
    let waiting = load::start(plan(blocks, 100_000)).unwrap();
    let sent = load::send(plan(drops, 100_000)).unwrap();
    assert_eq!(sent.acked_messages(), 100_000);
    assert!(waiting.written_messages() < 100_000, "nothing held it back");
    sink.resume();
    assert_eq!(waiting.finish().acked_messages(), 100_000);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received")), (0, 200_000));
    assert_eq!(end.books["sources"]["blocks"]["failed"], 0);
    assert!(end.books["sources"]["drops"]["failed"].as_u64() > Some(0));
}

/// What the kernel drops is neither received nor forgotten.
#[test]
fn datagrams_that_the_kernel_drops_are_counted_to_the_last() {
    let sink = load::listen(Place::loopback(), Framing::Line).unwrap();
    sink.stall();
    let from = "udp://127.0.0.1:0?receive_buffer=64KiB";
    let relay = Order::between(&[from], &sink.place().to_string())
        .args(&["--cores", "1", "--max-in-flight", "1MiB"])
        .start();
    let to = relay.entrances().remove(0);
    let plan = SendPlan {
        messages_per_connection: Some(50_000),
        size: 1000,
        framing: Framing::Datagram,
        ..SendPlan::new(to)
    };
    let sent = load::send(SendPlan { style: Style::Single, ..plan }).unwrap();
    assert_eq!(sent.written_messages(), 50_000);
    sink.resume();
    let end = relay.terminate();
    let (received, dropped) = (end.book("received"), end.book("kernel_drops"));
    assert_eq!(
        (end.code(), received + dropped, end.book("delivered")),
        (0, 50_000, received),
        "{:#?}",
        end.log
    );
    assert!(dropped > 0 && received > 0, "{received} {dropped}");
    assert!(end.log.iter().any(|line| line.contains("the kernel dropped datagrams")));
    assert_eq!(sink.finish().tally.messages, received);
}

/// One connection that floods beside a hundred that send now and then: these are not held up.
#[test]
fn one_hot_link_does_not_starve_a_hundred_slow_ones() {
    let sink = load::listen(Place::loopback(), Framing::Line).unwrap();
    let relay = Order::tcp("", &sink.place().to_string()).args(&["--cores", "1"]).start();
    let hot = load::start(SendPlan::new(relay.address())).unwrap();
    assert!(sink.wait_for(100_000, HANG));
    let slow = SendPlan {
        connections: 100,
        messages_per_connection: Some(20),
        style: Style::Paced { per_second: 2_000 },
        ..SendPlan::new(relay.address())
    };
    let began = Instant::now();
    let sent = load::send(slow).unwrap();
    // A second at their own pace; only starvation takes so long.
    assert!(began.elapsed() < HANG);
    assert_eq!(sent.acked_messages(), 2_000);
    let all_arrived =
        || hot.written_messages() > 0 && relay.book("received") > 0 && sink.tally().distinct() > 102_000;
    eventually("they arrive among the others", all_arrived);
    hot.stopper().stop();
    let flood = hot.finish();
    let end = relay.terminate();
    assert_eq!(end.code(), 0);
    let report = sink.finish();
    assert_eq!((report.lost(&sent), report.lost(&flood)), (0, 0));
}
