//! Senders that we did not write, each over several connections: `loggen`, `logger`, `nc`.
//!
//! Lives here: their options, what they are fed with, and what their messages look like. Never here: receivers, assertions.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use slackwater::message::Framing;

use super::peer::{Peer, program};
use super::sender::Series;

/// Processes of the programs that have one connection each.
const PROCESSES: u64 = 8;
/// Connections of `loggen`.
const LOGGEN_CONNECTIONS: u64 = 20;
/// Bytes of a message of `loggen`; of a line, with its LF.
const LOGGEN_SIZE: u64 = 200;

/// A kind of sender.
pub struct Kind {
    /// How many connections it makes.
    pub connections: u64,
    /// Starts it; so many messages on each connection.
    pub send: fn(SocketAddr, Framing, u64) -> Sender,
    /// The connection and the number within it that a received line names.
    pub name: fn(&str) -> Option<(&str, u64)>,
}

/// One process of 20 connections.
pub const LOGGEN: Kind = Kind { connections: LOGGEN_CONNECTIONS, send: loggen, name: name_of_loggen };
/// Numbered lines, to which it adds a header.
pub const LOGGER: Kind = Kind { connections: PROCESSES, send: logger, name: name_of_lines };
/// Numbered lines, framed already.
pub const NETCAT: Kind = Kind {
    connections: PROCESSES,
    send: |to, framing, each| netcat(to, each, |stream, number| framed(&line(stream, number), framing)),
    name: name_of_lines,
};
/// Messages with our own stamp, framed already.
pub const STAMPED: Kind = Kind {
    send: |to, framing, each| {
        let series = |connection| Series { run: 1, connection, size: 100, framing };
        netcat(to, each, |stream, number| series(stream as u32).wire(number))
    },
    ..NETCAT
};

/// A program that sends, over several connections at once.
pub struct Sender {
    peers: Vec<Peer>,
    bytes: u64,
    /// The files that are fed to it.
    _folder: Option<tempfile::TempDir>,
}

impl Sender {
    /// How many bytes it will have sent.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Waits until it has sent everything.
    #[track_caller]
    pub fn wait(self) {
        self.peers.into_iter().for_each(|peer| assert_eq!(peer.wait(), Some(0)));
    }
}

/// [`LOGGEN`] with more messages than it sends in an hour; it counts in an `int`.
pub fn endless_loggen(to: SocketAddr, framing: Framing) -> Sender {
    loggen(to, framing, 50_000_000)
}

fn loggen(to: SocketAddr, framing: Framing, each: u64) -> Sender {
    let mut command = program("loggen");
    command.args(["--inet", "--stream", "--quiet", "--rate=1000000", "--interval=600"]);
    command.arg(format!("--active-connections={LOGGEN_CONNECTIONS}"));
    command.arg(format!("--size={LOGGEN_SIZE}")).arg(format!("--number={each}"));
    let header = match framing {
        Framing::Line => 0,
        Framing::Octet => {
            command.arg("--syslog-proto");
            format!("{LOGGEN_SIZE} ").len() as u64
        }
        Framing::U32 | Framing::Nul | Framing::Datagram => panic!("loggen does not speak {framing:?}"),
    };
    command.arg(to.ip().to_string()).arg(to.port().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let bytes = LOGGEN_CONNECTIONS.saturating_mul(each).saturating_mul(header + LOGGEN_SIZE);
    Sender { peers: vec![Peer::start(&mut command)], bytes, _folder: None }
}

/// `… seq: 0000000042, thread: 0007, …`
fn name_of_loggen(line: &str) -> Option<(&str, u64)> {
    let (number, rest) = line.split_once("seq: ")?.1.split_once(", thread: ")?;
    Some((rest.split_once(',')?.0, number.parse().ok()?))
}

fn logger(to: SocketAddr, framing: Framing, each: u64) -> Sender {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut peers, mut bytes) = (Vec::new(), 0);
    for stream in 0..PROCESSES {
        let lines: Vec<String> = (0..each).map(|number| line(stream, number)).collect();
        let path = folder.path().join(stream.to_string());
        write(&path, (lines.join("\n") + "\n").as_bytes());
        let sent =
            |line: &String| framed(&format!("{}{line}", header_of_logger(stream)), framing).len() as u64;
        bytes += lines.iter().map(sent).sum::<u64>();
        peers.push(Peer::start(logger_of(to, framing, stream).arg("--file").arg(path)));
    }
    Sender { peers, bytes, _folder: Some(folder) }
}

/// [`LOGGER`] fed by `seq`, so that it never ends by itself.
pub fn endless_logger(to: SocketAddr, framing: Framing) -> Sender {
    let start = |stream| {
        let mut seq = program("seq");
        seq.args(["-f", &format!("stream-{stream}: number %.0f"), "0", "inf"]);
        let mut lines = Peer::start(seq.stdout(Stdio::piped()));
        let logger = Peer::start(logger_of(to, framing, stream).stdin(lines.stdout()));
        [lines, logger]
    };
    Sender { peers: (0..PROCESSES).flat_map(start).collect(), bytes: u64::MAX, _folder: None }
}

fn logger_of(to: SocketAddr, framing: Framing, stream: u64) -> Command {
    let mut command = program("logger");
    command.args(["--tcp", "--rfc3164", "--server", &to.ip().to_string()]);
    command.args(["--port", &to.port().to_string(), "--tag", &tag(stream)]);
    if framing == Framing::Octet {
        command.arg("--octet-count");
    }
    // One that writes to a relay which was stopped says so, again and again.
    command.stderr(Stdio::null());
    command
}

/// As long as what it puts before a line.
fn header_of_logger(stream: u64) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let host = host.trim_end().split('.').next().expect("at least one part");
    format!("<13>Nov 24 12:00:00 {host} {}: ", tag(stream))
}

fn tag(stream: u64) -> String {
    format!("tag-{stream}")
}

fn netcat(to: SocketAddr, each: u64, message: impl Fn(u64, u64) -> Vec<u8>) -> Sender {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut peers, mut bytes) = (Vec::new(), 0);
    for stream in 0..PROCESSES {
        let messages: Vec<u8> = (0..each).flat_map(|number| message(stream, number)).collect();
        let path = folder.path().join(stream.to_string());
        write(&path, &messages);
        bytes += messages.len() as u64;
        let mut command = program("nc");
        command.args(["-N", &to.ip().to_string(), &to.port().to_string()]);
        peers.push(Peer::start(command.stdin(File::open(path).expect("written above"))));
    }
    Sender { peers, bytes, _folder: Some(folder) }
}

fn write(path: &Path, content: &[u8]) {
    File::create(path).and_then(|mut file| file.write_all(content)).expect("a file in a temporary folder");
}

fn line(stream: u64, number: u64) -> String {
    format!("stream-{stream}: number {number}")
}

fn framed(payload: &str, framing: Framing) -> Vec<u8> {
    match framing {
        Framing::Line => format!("{payload}\n").into(),
        Framing::Octet => format!("{} {payload}", payload.len()).into(),
        Framing::Nul => format!("{payload}\0").into(),
        Framing::U32 => [&(payload.len() as u32).to_be_bytes()[..], payload.as_bytes()].concat(),
        Framing::Datagram => payload.into(),
    }
}

/// `… stream-3: number 42`
fn name_of_lines(line: &str) -> Option<(&str, u64)> {
    let (before, number) = line.rsplit_once(": number ")?;
    Some((before.rsplit_once("stream-")?.1, number.trim_end().parse().ok()?))
}
