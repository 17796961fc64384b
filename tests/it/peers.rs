//! Traffic from and to programs that we did not write: each message arrives exactly once, in the order of its connection.
//!
//! Lives here: `loggen`, `logger` and `nc` as senders, `rsyslogd`, `nc` and the built `slackload sink` as receivers. Never here:
//! how they are started (`support::peer`).

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use slackwater::message::Framing;

use crate::support::name_of;
use crate::support::peer::{Peer, Receiver, counted, program};
use crate::support::relay::{End, Order, Relay};

/// Messages of one test, over all connections.
const MESSAGES: u64 = 200_000;

/// A program that sends numbered messages over several connections at once.
struct Sender {
    peers: Vec<Peer>,
    /// The files that are fed to them.
    _folder: Option<tempfile::TempDir>,
}

/// What a test sends with: how many connections, how to start them, and how to tell a received line's connection and number.
struct Kind {
    connections: u64,
    start: fn(SocketAddr, Framing, u64) -> Sender,
    name: fn(&str) -> Option<(&str, u64)>,
}

const LOGGEN: Kind = Kind { connections: 20, start: loggen, name: name_of_loggen };
const LOGGER: Kind = Kind { connections: 8, start: logger, name: name_of_lines };
const NETCAT: Kind = Kind { connections: 8, start: netcat, name: name_of_lines };

/// One process of 20 connections.
fn loggen(to: SocketAddr, framing: Framing, each: u64) -> Sender {
    let mut command = program("loggen");
    command.args([
        "--inet",
        "--stream",
        "--quiet",
        "--active-connections=20",
        "--size=200",
        "--rate=1000000",
    ]);
    command.arg(format!("--number={each}")).arg("--interval=600");
    if framing == Framing::Octet {
        command.arg("--syslog-proto");
    }
    command.arg(to.ip().to_string()).arg(to.port().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    Sender { peers: vec![Peer::start(&mut command)], _folder: None }
}

/// `… seq: 0000000042, thread: 0007, …`
fn name_of_loggen(line: &str) -> Option<(&str, u64)> {
    let (number, rest) = line.split_once("seq: ")?.1.split_once(", thread: ")?;
    Some((rest.split_once(',')?.0, number.parse().ok()?))
}

/// A process a connection, each with a tag of its own.
fn logger(to: SocketAddr, framing: Framing, each: u64) -> Sender {
    from_files(each, |stream, file| {
        let mut command = program("logger");
        command.args(["--tcp", "--rfc3164", "--server", &to.ip().to_string()]);
        command
            .args(["--port", &to.port().to_string(), "--tag", &format!("stream-{stream}"), "--file"])
            .arg(file);
        if framing == Framing::Octet {
            command.arg("--octet-count");
        }
        // One that comes too late for a relay that was stopped says so.
        command.stderr(Stdio::null());
        command
    })
}

/// A process a connection, fed with framed messages.
fn netcat(to: SocketAddr, framing: Framing, each: u64) -> Sender {
    assert_eq!(framing, Framing::Line, "nc sends its input as it is");
    from_files(each, |_, file| {
        let mut command = program("nc");
        command.args(["-N", &to.ip().to_string(), &to.port().to_string()]);
        command.stdin(fs::File::open(file).expect("written before"));
        command
    })
}

/// One process for each file of numbered lines.
fn from_files(each: u64, command: impl Fn(u64, &std::path::Path) -> Command) -> Sender {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let peers = (0..8).map(|stream| {
        let path = folder.path().join(stream.to_string());
        let lines: String = (0..each).map(|number| format!("stream-{stream}: number {number}\n")).collect();
        fs::File::create(&path).and_then(|mut file| file.write_all(lines.as_bytes())).expect("a file");
        Peer::start(&mut command(stream, &path))
    });
    Sender { peers: peers.collect(), _folder: Some(folder) }
}

/// `… stream-3: number 42`
fn name_of_lines(line: &str) -> Option<(&str, u64)> {
    let (before, number) = line.rsplit_once(": number ")?;
    Some((before.rsplit_once("stream-")?.1, number.trim_end().parse().ok()?))
}

impl Sender {
    fn wait(self) {
        self.peers.into_iter().for_each(|peer| assert_eq!(peer.wait(), Some(0)));
    }
}

#[track_caller]
fn assert_all_delivered(end: &End) {
    assert_eq!(
        (end.code(), end.book("received"), end.book("delivered")),
        (0, MESSAGES, MESSAGES),
        "{:#?}",
        end.log
    );
    end.assert_balanced();
}

/// Everything that a program sends, into a receiver that writes a file; the relay is stopped after that.
fn into_file(kind: &Kind, framing: Framing, receiver: &Receiver, args: &[&str]) -> End {
    let to = format!("tcp://{}", receiver.address());
    let relay = Order::tcp(&format!("?framing={}", name_of(framing)), &to).args(args).start();
    let each = MESSAGES / kind.connections;
    (kind.start)(relay.address(), framing, each).wait();
    let end = relay.terminate();
    assert_all_delivered(&end);
    let streams = counted(&receiver.lines(MESSAGES), kind.name);
    assert_eq!(streams.len() as u64, kind.connections);
    assert!(streams.values().all(|&count| count == each), "{streams:?}");
    end
}

/// The same into the built `slackload sink`. What others wrote it cannot tell apart, so the bytes must agree.
fn into_slackload(kind: &Kind, framing: Framing) {
    let mut order = Order::bare("slackload");
    order.command.stdout(Stdio::piped());
    let mut sink =
        order.args(&["sink", "--json", "--listen", "127.0.0.1:0", "--framing", name_of(framing)]).spawn();
    let listening = sink.expect_log("listening on ");
    let to = format!("tcp://{}", listening.trim_start_matches("listening on "));
    let relay = Order::tcp(&format!("?framing={}", name_of(framing)), &to).start();
    (kind.start)(relay.address(), framing, MESSAGES / kind.connections).wait();
    assert_all_delivered(&relay.terminate());
    let stdout = sink.stdout();
    sink.signal(Signal::SIGTERM);
    let report: Value = serde_json::from_reader(stdout).expect("the sink's report");
    let tally = &report["tally"];
    assert_eq!(
        (&tally["messages"], &tally["torn"], &tally["misframed"]),
        (&MESSAGES.into(), &0.into(), &0.into())
    );
    sink.wait();
}

#[test]
fn loggen_lines_into_rsyslogd() {
    into_file(&LOGGEN, Framing::Line, &Receiver::rsyslogd(), &[]);
}

#[test]
fn loggen_counted_messages_into_rsyslogd() {
    into_file(&LOGGEN, Framing::Octet, &Receiver::rsyslogd(), &[]);
}

#[test]
fn loggen_lines_into_slackload() {
    into_slackload(&LOGGEN, Framing::Line);
}

#[test]
fn loggen_counted_messages_into_slackload() {
    into_slackload(&LOGGEN, Framing::Octet);
}

#[test]
fn logger_lines_into_rsyslogd() {
    into_file(&LOGGER, Framing::Line, &Receiver::rsyslogd(), &[]);
}

#[test]
fn logger_counted_messages_into_rsyslogd() {
    into_file(&LOGGER, Framing::Octet, &Receiver::rsyslogd(), &[]);
}

#[test]
fn logger_lines_into_slackload() {
    into_slackload(&LOGGER, Framing::Line);
}

#[test]
fn netcat_into_rsyslogd() {
    into_file(&NETCAT, Framing::Line, &Receiver::rsyslogd(), &[]);
}

#[test]
fn netcat_into_slackload() {
    into_slackload(&NETCAT, Framing::Line);
}

#[test]
fn netcat_into_netcat() {
    let receiver = Receiver::netcat();
    into_file(&NETCAT, Framing::Line, &receiver, &["--cores", "1"]);
    receiver.wait();
}

/// TERM while a program that knows nothing of us is in full flow: what is in the books is in the file, and nothing else.
///
/// On one core, since `logger` connects again when it is cut off: to a reactor that had not sealed its listener yet it would
/// go on after a gap of what was in its own kernel.
fn stopped_in_full_flow(kind: &Kind) {
    let receiver = Receiver::rsyslogd();
    let to = format!("tcp://{}", receiver.address());
    let relay: Relay = Order::tcp("", &to).args(&["--cores", "1"]).start();
    let sender = (kind.start)(relay.address(), Framing::Line, 8 * MESSAGES / kind.connections);
    // Until the flow is there; rsyslogd takes some 200,000 a second.
    receiver.lines(20_000);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{:#?}", end.log);
    end.assert_balanced();
    let streams = counted(&receiver.lines(end.book("delivered")), kind.name);
    assert_eq!(streams.values().sum::<u64>(), end.book("delivered"));
    drop(sender);
}

#[test]
fn a_term_in_full_flow_of_loggen_keeps_books_and_file_equal() {
    stopped_in_full_flow(&LOGGEN);
}

#[test]
fn a_term_in_full_flow_of_logger_keeps_books_and_file_equal() {
    stopped_in_full_flow(&LOGGER);
}
