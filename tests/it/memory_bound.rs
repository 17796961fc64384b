//! What waits for a sink takes no more memory than `max_in_flight` allows, in whatever form it comes.
//!
//! Lives here: messages whose own length says little about what they occupy. Never here: the rate at which they flow.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use slackwater::load::{self, Place, SendPlan, SendReport};
use slackwater::message::Framing;
use socket2::{Domain, Socket, Type};

use crate::support::flow::{flow_for, wait_until_blocked};
use crate::support::port::unread_bytes;
use crate::support::relay::{Order, Relay};
use crate::support::{HANG, eventually};

const LONG: usize = 60_000;

/// A sink that refuses connections until it is opened; the port stays its own meanwhile.
struct ClosedSink(Socket);

impl ClosedSink {
    fn new() -> ClosedSink {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        ClosedSink(socket)
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.0.local_addr().unwrap().as_socket().unwrap())
    }

    /// Each connection that is read from may hold one unfinished message beside the bound: there are fifty at most.
    fn relay(&self) -> Relay {
        Order::tcp("?max_connections=50", &self.url())
            .args(&["--cores", "1", "--max-in-flight", "1MiB"])
            .start()
    }

    /// Takes what comes, and counts the messages in it.
    fn open(self) -> Arc<AtomicU64> {
        self.0.listen(1).unwrap();
        let counted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&counted);
        thread::spawn(move || {
            let (mut connection, mut buffer) =
                (TcpStream::from(self.0.accept().unwrap().0), vec![0; 1 << 20]);
            while let Ok(bytes @ 1..) = connection.read(&mut buffer) {
                counter.fetch_add(
                    memchr::memchr_iter(b'\n', &buffer[..bytes]).count() as u64,
                    Ordering::Relaxed,
                );
            }
        });
        counted
    }
}

fn sender(relay: &Relay) -> TcpStream {
    let sender = TcpStream::connect(relay.address()).unwrap();
    sender.set_nodelay(true).unwrap();
    sender
}

/// Waits until the relay has read everything, so that what comes next is a receive of its own; false if it reads no more.
fn has_read_all(relay: &Relay) -> bool {
    let (address, mut before, mut unchanged) = (relay.address(), 0, 0);
    eventually("the relay reads, or stops to", || {
        let now = unread_bytes(address);
        unchanged = if std::mem::replace(&mut before, now) == now { unchanged + 1 } else { 0 };
        now == 0 || unchanged == 10
    });
    before == 0
}

/// Writes these pieces one after the other, each on every connection, and the next when it is read. What comes after the relay has
/// stopped to read is written meanwhile, as far as the kernel has room for it.
fn write_each(
    relay: &Relay,
    mut senders: Vec<TcpStream>,
    mut pieces: impl Iterator<Item = &'static [u8]> + Send + 'static,
) {
    let mut write =
        move |piece: &[u8]| senders.iter_mut().for_each(|sender| sender.write_all(piece).unwrap());
    for piece in pieces.by_ref() {
        write(piece);
        if !has_read_all(relay) {
            break;
        }
    }
    thread::spawn(move || pieces.for_each(write));
}

fn senders(relay: &Relay, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| sender(relay)).collect()
}

/// Opens the sink and waits until it has everything; the end looks at the most memory that the relay ever took.
fn assert_bounded(relay: Relay, sink: ClosedSink, messages: u64) {
    let counted = sink.open();
    eventually("every message arrives", || counted.load(Ordering::Relaxed) == messages);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered")), (0, messages));
}

#[test]
fn lines_that_end_with_their_connection_count_with_what_they_occupy() {
    let sink = ClosedSink::new();
    let relay = sink.relay();
    for _ in 0..1000 {
        sender(&relay).write_all(&[b'z'; LONG]).unwrap();
    }
    assert_bounded(relay, sink, 1000);
}

#[test]
fn lines_whose_end_comes_by_itself_count_with_what_they_occupy() {
    let sink = ClosedSink::new();
    let relay = sink.relay();
    let line_and_end: [&[u8]; 2] = [&[b'z'; LONG], b"\r\n"];
    write_each(&relay, senders(&relay, 50), std::iter::repeat_n(line_and_end, 20).flatten());
    assert_bounded(relay, sink, 1000);
}

#[test]
fn messages_of_one_byte_count_with_what_they_occupy() {
    let sink = ClosedSink::new();
    let relay = sink.relay();
    write_each(&relay, senders(&relay, 50), std::iter::repeat_n(b"a\n".as_slice(), 4000));
    assert_bounded(relay, sink, 200_000);
}

/// Each of them keeps the messages in bytes of its own: what comes in is four times as much here.
#[test]
fn messages_that_go_to_sinks_of_four_framings_count_four_times() {
    let framings = ["octet", "u32", "nul", "line"];
    let sinks = framings.map(|_| ClosedSink::new());
    let to = sinks.each_ref().map(ClosedSink::url);
    let to = framings.iter().zip(&to).map(|(framing, url)| format!("{url}?framing={framing}&name={framing}"));
    let to: Vec<String> = to.collect();
    let mut order = Order::tcp("", &to[0]).args(&[
        "--cores",
        "1",
        "--max-in-flight",
        "32MiB",
        "--drain-timeout",
        "100ms",
    ]);
    for to in &to[1..] {
        order = order.args(&["--to", to]);
    }
    let relay = order.start();
    let sending = flow_for(&relay, HANG);
    wait_until_blocked(&sending);
    let end = relay.terminate();
    sending.stopper().stop();
    assert_eq!((end.code(), end.book("abandoned")), (3, sending.finish().acked_messages()));
}

/// What is sent as it came stays in the buffers that the kernel filled, what is framed anew is elsewhere: memory that the one
/// had is the other's.
#[test]
fn what_is_sent_as_it_came_and_what_is_framed_anew_share_one_bound() {
    let sink = load::listen(Place::loopback(), Framing::Octet).unwrap();
    let sources = ["octet", "line"].map(|framing| format!("tcp://127.0.0.1:0?framing={framing}"));
    let relay =
        Order::between(&sources.each_ref().map(String::as_str), &format!("{}?framing=octet", sink.place()))
            .args(&["--cores", "1", "--max-in-flight", "64MiB", "--drain-timeout", "60s"])
            .start();
    let entrances = relay.addresses();
    let mut sent = Vec::new();
    for (at, framing) in [(0, Framing::Octet), (1, Framing::Line), (0, Framing::Octet)] {
        sink.stall();
        let plan =
            SendPlan { connections: 16, duration: Some(HANG), framing, ..SendPlan::new(entrances[at]) };
        let sending = load::start(plan).unwrap();
        wait_until_blocked(&sending);
        sending.stopper().stop();
        sink.resume();
        sent.push(sending.finish());
    }
    let end = relay.terminate();
    end.assert_all_delivered(sent.iter().map(SendReport::acked_messages).sum());
    let report = sink.finish();
    assert!(sent.iter().all(|sent| report.lost(sent) == 0) && report.tally.is_whole(), "{:?}", report.tally);
}

/// What is copied together goes the same ways: what one sink link still has to send does not hold what others have sent.
#[test]
fn what_waits_for_one_sink_does_not_hold_what_went_to_another() {
    const ROUNDS: u64 = 300;
    let (open, closed) = (ClosedSink::new(), ClosedSink::new());
    let sources = ["tcp://127.0.0.1:0?to=open", "tcp://127.0.0.1:0?to=open,closed"];
    let relay = Order::between(&sources, &format!("{}?name=open", open.url()))
        .args(&["--to", &format!("{}?name=closed", closed.url())])
        .args(&["--cores", "1", "--max-in-flight", "1MiB"])
        .start();
    let at_open = open.open();
    let [mut heavy, mut light] = [0, 1].map(|source| TcpStream::connect(relay.addresses()[source]).unwrap());
    let line = [vec![b'h'; 8000], vec![b'\n']].concat();
    for round in 0..ROUNDS {
        for _ in 0..9 {
            heavy.write_all(&line).unwrap();
            eventually("it is read by itself", || unread_bytes(relay.address()) == 0);
        }
        light.write_all(b"a message for both\n").unwrap();
        eventually("all of it came", || at_open.load(Ordering::Relaxed) == 10 * (round + 1));
    }
    let at_closed = closed.open();
    eventually("the other gets its own", || at_closed.load(Ordering::Relaxed) == ROUNDS);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered")), (0, 10 * ROUNDS));
}

/// Each message that finds its own way is a copy, and keeps no buffer that it came in.
#[test]
fn messages_that_go_by_their_key_count_with_what_they_occupy() {
    let (sinks, beside) = ([ClosedSink::new(), ClosedSink::new()], ClosedSink::new());
    let hosts = sinks.each_ref().map(|sink| sink.url().replace("tcp://", "")).join(",");
    let relay = Order::tcp("", &format!("tcp://{hosts}?balance=hash&name=keyed"))
        .args(&["--to", &format!("{}?name=beside", beside.url()), "--cores", "1"])
        .args(&["--max-in-flight", "8MiB", "--drain-timeout", "100ms"])
        .start();
    let mut sender = sender(&relay);
    let lines: String = (0..64).map(|number| format!("{number:0255}\n")).collect();
    for _ in 0..40 {
        // Some of 64 stretches, two links each: with a buffer for each of these it would be twice the bound.
        sender.write_all(lines.as_bytes()).unwrap();
        eventually("it is read", || unread_bytes(relay.address()) == 0);
    }
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("abandoned")), (3, 40 * 64));
}
