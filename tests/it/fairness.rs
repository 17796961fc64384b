//! Senders share what is scarce: none waits for ever behind another, or behind another's sink connection.
//!
//! Lives here: busy senders against sinks that are slow or take nothing. Never here: how much is in flight meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use slackwater::load::{self, SendPlan};

use crate::support::hold::sink;
use crate::support::relay::{Order, Relay};
use crate::support::{HANG, eventually};

/// Lines that arrived, by sender.
type Arrived = Arc<[AtomicU64]>;

fn relay(sink: &TcpListener, parameters: &str) -> Relay {
    let to = format!("tcp://{}{parameters}", sink.local_addr().unwrap());
    let bounds = ["--cores", "1", "--max-in-flight", "8MiB", "--drain-timeout", "1s"];
    Order::tcp("", &to).args(&bounds).start()
}

/// Senders that write lines of 1000 bytes, beginning with their number, until the relay ends.
fn start_senders(to: SocketAddr, count: usize) -> Arrived {
    for number in 0..count {
        let mut sender = TcpStream::connect(to).unwrap();
        let lines = format!("{number} {:0>997}\n", "").repeat(64);
        thread::spawn(move || while sender.write_all(lines.as_bytes()).is_ok() {});
    }
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// Counts what arrives, with a pause after so many lines.
fn start_reader(connection: TcpStream, arrived: &Arrived, lines_at_once: usize) {
    let arrived = Arc::clone(arrived);
    thread::spawn(move || {
        for (nth, line) in BufReader::new(connection).lines().map_while(Result::ok).enumerate() {
            let sender = line.split(' ').next().and_then(|number| number.parse::<usize>().ok());
            arrived[sender.expect("a number")].fetch_add(1, Ordering::Relaxed);
            if nth % lines_at_once == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
}

fn with_at_least(lines: u64, arrived: &Arrived) -> usize {
    arrived.iter().filter(|arrived| arrived.load(Ordering::Relaxed) >= lines).count()
}

#[test]
fn a_slow_sink_is_shared_by_all_senders() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = relay(&sink, "");
    let connection = sink.accept().unwrap().0;
    let arrived = start_senders(relay.address(), 6);
    start_reader(connection, &arrived, 16);
    // More than the relay and the kernel hold when all begin.
    eventually("every sender's lines arrive", || with_at_least(6000, &arrived) == 6);
    relay.terminate().assert_balanced();
}

#[test]
fn senders_that_may_leave_less_unread_have_the_share_of_those_that_came_before() {
    let sink = sink();
    let order = Order::tcp("", &format!("tcp://{}", sink.address()));
    let relay = order.args(&["--cores", "1"]).start();
    // The first 16 may have 3 MiB under way, and the last a twelfth of it.
    let plan = SendPlan { connections: 64, size: 1000, ..SendPlan::new(relay.address()) };
    let sending = load::start(plan).expect("a plan that can be sent");
    assert!(sink.wait_for(2_000_000, HANG), "{:?}", sink.tally());
    sending.stopper().stop();
    let sent = sending.finish();
    let written = sent.connections.iter().map(|one| one.written_bytes);
    let (least, most) = (written.clone().min().unwrap(), written.max().unwrap());
    assert!(least >= most / 2, "of the one that got least {least} bytes were taken, of another {most}");
    assert_eq!(relay.terminate().code(), 0);
}

#[test]
fn a_sink_connection_that_takes_nothing_leaves_the_other_its_share() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = relay(&sink, "?connections=2");
    let _stalled = sink.accept().unwrap().0;
    let connection = sink.accept().unwrap().0;
    let arrived = start_senders(relay.address(), 4);
    start_reader(connection, &arrived, usize::MAX);
    eventually("both senders of the other connection go on", || with_at_least(20_000, &arrived) == 2);
    let end = relay.terminate();
    assert_eq!(end.code(), 3, "what the stalled connection holds is abandoned");
    end.assert_balanced();
}
