//! The built `slackwater run` as a child process.
//!
//! Lives here: start, signals, log, end, and the bound on its memory, which holds in every test. Never here: what is sent
//! through it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use slackwater::load::Place;

use super::HANG;
use super::memory::{bound_kib, peak_kib};

/// A relay that is told what to do, and not yet started.
pub struct Order {
    pub command: Command,
    folder: tempfile::TempDir,
}

/// A relay that runs. It is killed if the test ends before it does.
pub struct Relay {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
    ended: Option<ExitStatus>,
    /// What it may take, if it is one that relays.
    bound_kib: Option<u64>,
}

/// How a relay ended.
pub struct End {
    pub status: ExitStatus,
    /// The `--ledger` file; `Null` when none was written.
    pub books: Value,
    pub log: Vec<String>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grew: Condvar,
}

impl Order {
    /// `slackwater run --from tcp://127.0.0.1:0?PARAMS --to …`, with a ledger file, logging JSON.
    pub fn tcp(from_parameters: &str, to: &str) -> Order {
        Order::between(&[&format!("tcp://127.0.0.1:0{from_parameters}")], to)
    }

    /// `slackwater run` from all of these, with a ledger file, logging JSON.
    pub fn between(from: &[&str], to: &str) -> Order {
        let mut order = Order::bare("slackwater");
        order.command.args(["run", "--log-format", "json", "--to", to]);
        for from in from {
            order.command.args(["--from", from]);
        }
        let ledger = order.ledger();
        order.command.arg("--ledger").arg(ledger);
        order
    }

    /// One of the built programs, without arguments.
    pub fn bare(program: &str) -> Order {
        let path = match program {
            "slackwater" => env!("CARGO_BIN_EXE_slackwater"),
            "slackload" => env!("CARGO_BIN_EXE_slackload"),
            other => panic!("{other} is not one of ours"),
        };
        Order { command: Command::new(path), folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Where the ledger goes.
    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("books.json")
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Order {
        self.command.args(args);
        self
    }

    /// Starts it with a log that the test keeps to itself, without waiting for anything.
    pub fn spawn_logging_to(mut self, stderr: OwnedFd) -> Relay {
        let child =
            self.command.stdin(Stdio::null()).stderr(stderr).spawn().expect("the built program starts");
        Relay::of(child, &self.command, self.folder, Arc::default(), None)
    }

    /// Starts it, without waiting for anything.
    pub fn spawn(mut self) -> Relay {
        let child = self.command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the built program starts");
        let log = Arc::new(Log::default());
        let (stderr, filled) = (child.stderr.take().expect("piped above"), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| filled.push(line));
            filled.close();
        });
        Relay::of(child, &self.command, self.folder, log, Some(reader))
    }

    /// Starts it and waits until it relays.
    pub fn start(self) -> Relay {
        let relay = self.spawn();
        relay.expect_log("\"relaying\"");
        relay
    }
}

impl Log {
    fn push(&self, line: String) {
        self.lines.lock().unwrap().0.push(line);
        self.grew.notify_all();
    }

    fn close(&self) {
        self.lines.lock().unwrap().1 = true;
        self.grew.notify_all();
    }

    fn wait_for(&self, word: &str) -> Option<String> {
        let (deadline, mut held) = (Instant::now() + HANG, self.lines.lock().unwrap());
        loop {
            if let Some(line) = held.0.iter().find(|line| line.contains(word)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if held.1 || left.is_zero() {
                return None;
            }
            held = self.grew.wait_timeout(held, left).unwrap().0;
        }
    }
}

impl Relay {
    fn of(
        child: Child,
        command: &Command,
        folder: tempfile::TempDir,
        log: Arc<Log>,
        reader: Option<JoinHandle<()>>,
    ) -> Relay {
        Relay { child, log, reader, folder, ended: None, bound_kib: bound_kib(command) }
    }

    /// Where it listens first.
    pub fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    /// Where it listens on the network, in the order of its sources.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let on_network = self.entrances().into_iter().filter_map(|place| match place {
            Place::Tcp(address) | Place::Udp(address) => Some(address),
            Place::Unix(_) | Place::Unixgram(_) => None,
        });
        on_network.collect()
    }

    /// Where it listens, in the order of its sources.
    pub fn entrances(&self) -> Vec<Place> {
        let line: Value = serde_json::from_str(&self.expect_log("\"relaying\"")).expect("a log line in JSON");
        let from = line["from"].as_str().expect("where it listens");
        from.split(' ').map(place_of).collect()
    }

    /// The first log line that contains `word`, when it comes.
    #[track_caller]
    pub fn expect_log(&self, word: &str) -> String {
        match self.log.wait_for(word) {
            Some(line) => line,
            None => panic!("no log line contains {word}: {:#?}", self.log.lines.lock().unwrap().0),
        }
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().0.clone()
    }

    /// How many log lines so far contain `word`.
    pub fn logged(&self, word: &str) -> usize {
        self.log.lines.lock().unwrap().0.iter().filter(|line| line.contains(word)).count()
    }

    /// A figure of the books as they are now, asked for by USR1.
    #[track_caller]
    pub fn book(&self, key: &str) -> u64 {
        let before = self.logged("\"books\"");
        self.signal(Signal::SIGUSR1);
        super::eventually("the books are logged", || self.logged("\"books\"") > before);
        let log = self.log();
        let line = log.iter().rfind(|line| line.contains("\"books\"")).expect("logged above");
        let books: Value = serde_json::from_str(line).expect("a log line in JSON");
        books[key].as_u64().unwrap_or_else(|| panic!("no {key} in {line}"))
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the relay is there");
    }

    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("stdout is piped")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// A figure of /proc/PID/status, e.g. `VmHWM` in KiB.
    pub fn proc_status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the relay is there");
        let line = status.lines().find(|line| line.starts_with(key)).expect("a known key");
        line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
    }

    /// TERM, and its end.
    pub fn terminate(self) -> End {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Its end; up to there it has kept to its memory.
    #[track_caller]
    pub fn wait(mut self) -> End {
        let mut peak = 0;
        let ended = super::comes_true(|| {
            // A peak stays once it was reached; one that has just ended has no memory to tell of.
            peak = peak_kib(self.pid()).unwrap_or(0).max(peak);
            self.ended = self.child.try_wait().expect("a child");
            self.ended.is_some()
        });
        assert!(ended, "the relay does not end; its log: {:#?}", self.log.lines.lock().unwrap().0);
        let status = self.ended.expect("it ended");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log was read");
        }
        let books = fs::read(self.folder.path().join("books.json")).unwrap_or_default();
        let books = serde_json::from_slice(&books).unwrap_or(Value::Null);
        let log = std::mem::take(&mut self.log.lines.lock().unwrap().0);
        let bound = self.bound_kib.unwrap_or(u64::MAX);
        assert!(peak <= bound, "{peak} KiB of memory, and may take {bound} KiB; books: {books}");
        End { status, books, log }
    }
}

fn place_of(url: &str) -> Place {
    let (scheme, rest) = url.split_once(':').expect("a URL");
    let address = || rest.trim_start_matches("//").parse().expect("an address");
    match scheme {
        "tcp" => Place::Tcp(address()),
        "udp" => Place::Udp(address()),
        "unix" => Place::Unix(rest.into()),
        "unixgram" => Place::Unixgram(rest.into()),
        other => panic!("no such entrance: {other}"),
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl End {
    /// The exit code; a death by signal fails the test.
    #[track_caller]
    pub fn code(&self) -> i32 {
        match self.status.code() {
            Some(code) => code,
            None => panic!("killed by signal {:?}; log: {:#?}", self.status.signal(), self.log),
        }
    }

    /// A figure of the books.
    #[track_caller]
    pub fn book(&self, key: &str) -> u64 {
        self.books[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}; log: {:#?}", self.books, self.log))
    }

    /// So many messages were received, all were delivered, and the books balance.
    #[track_caller]
    pub fn assert_all_delivered(&self, messages: u64) {
        let books = (self.code(), self.book("received"), self.book("delivered"));
        assert_eq!(books, (0, messages, messages), "{} {:#?}", self.books, self.log);
        self.assert_balanced();
    }

    /// The ledger's identity, for the whole and for each source and sink.
    #[track_caller]
    pub fn assert_balanced(&self) {
        let columns = ["delivered", "failed", "spilled", "returned", "abandoned", "in_flight"];
        let each =
            |name: &str| self.books[name].as_object().expect("books by name").values().cloned().collect();
        let all: Vec<Vec<Value>> = vec![vec![self.books.clone()], each("sources"), each("sinks")];
        for books in all.into_iter().flatten() {
            let sum: u64 = columns.iter().map(|column| books[column].as_u64().expect("a column")).sum();
            assert_eq!(books["received"].as_u64(), Some(sum), "out of balance: {books}");
        }
    }
}
