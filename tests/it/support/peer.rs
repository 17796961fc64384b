//! Programs that we did not write, as senders and receivers.
//!
//! Lives here: starting and ending them, and reading what they received. Never here: what is expected of it.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::port::{Reserved, is_listened};
use super::{HANG, eventually};

/// A program from the system, or one that `scripts/peers` has unpacked.
pub fn program(name: &str) -> Command {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
    let folders = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let system = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    let mut places = std::iter::once(unpacked).chain(folders).chain(system).map(|folder| folder.join(name));
    match places.find(|path| path.is_file()) {
        Some(path) => Command::new(path),
        None => panic!("there is no {name}: scripts/test installs what the tests need"),
    }
}

/// A program that runs, and is killed if the test ends before it does.
pub struct Peer(Child);

impl Peer {
    #[track_caller]
    pub fn start(command: &mut Command) -> Peer {
        match command.spawn() {
            Ok(child) => Peer(child),
            Err(error) => panic!("{command:?}: {error}"),
        }
    }

    /// Waits for its end and returns its exit code.
    #[track_caller]
    pub fn wait(mut self) -> Option<i32> {
        eventually("a peer ends", || self.0.try_wait().expect("a child").is_some());
        self.0.wait().expect("a child").code()
    }

    /// Its standard output, which was piped, for another program.
    pub fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("piped and not yet taken")
    }

    fn terminate(&self) {
        let pid = Pid::from_raw(self.0.id() as i32);
        kill(pid, Signal::SIGTERM).expect("a child that was not waited for");
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_some()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A receiver that writes each message as it came into a file.
pub struct Receiver {
    peer: Peer,
    address: SocketAddr,
    file: PathBuf,
    _folder: tempfile::TempDir,
    _port: Reserved,
}

impl Receiver {
    /// `rsyslogd`, which tells lines from counted messages by itself. A second worker thread would write out of order.
    pub fn rsyslogd() -> Receiver {
        let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), Reserved::on_loopback());
        let (file, configuration) = (folder.path().join("messages"), folder.path().join("rsyslog.conf"));
        let text = format!(
            "global(workDirectory=\"{0}\" maxMessageSize=\"64k\")\n\
             main_queue(queue.workerThreads=\"1\")\n\
             module(load=\"imtcp\")\n\
             template(name=\"asis\" type=\"string\" string=\"%rawmsg%\\n\")\n\
             ruleset(name=\"keep\") {{ action(type=\"omfile\" file=\"{1}\" template=\"asis\") }}\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{2}\" ruleset=\"keep\")\n",
            folder.path().display(),
            file.display(),
            port.address().port(),
        );
        fs::write(&configuration, text).expect("a file in a temporary folder");
        let mut command = program("rsyslogd");
        command.arg("-n").arg("-i").arg(folder.path().join("pid")).arg("-f").arg(configuration);
        Receiver::start(command, folder, file, port)
    }

    /// `nc`, which takes one connection and ends with it.
    pub fn netcat() -> Receiver {
        let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), Reserved::on_loopback());
        let file = folder.path().join("received");
        let mut command = program("nc");
        command.args(["-l", "127.0.0.1", &port.address().port().to_string()]);
        command.stdin(Stdio::null()).stdout(File::create(&file).expect("a file in a temporary folder"));
        Receiver::start(command, folder, file, port)
    }

    fn start(mut command: Command, folder: tempfile::TempDir, file: PathBuf, port: Reserved) -> Receiver {
        let mut peer = Peer::start(&mut command);
        let address = port.address();
        eventually("the receiver listens", || {
            assert!(!peer.has_ended(), "{command:?} ended");
            is_listened(address)
        });
        Receiver { peer, address, file, _folder: folder, _port: port }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The lines that it wrote, once there are so many; more are shown too.
    #[track_caller]
    pub fn lines(&self, at_least: u64) -> Vec<String> {
        let text = || String::from_utf8_lossy(&fs::read(&self.file).unwrap_or_default()).into_owned();
        let count = || text().lines().count() as u64;
        let (mut seen, mut since) = (0, std::time::Instant::now());
        // A receiver that is slow goes on writing; one that has stopped for so long never will.
        while count() < at_least {
            if count() > seen {
                (seen, since) = (count(), std::time::Instant::now());
            }
            assert!(since.elapsed() < HANG / 4, "{at_least} lines were delivered, {seen} are in the file");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        text().lines().map(str::to_owned).collect()
    }

    /// All that it ever wrote, at least so many lines: it is ended once those are there.
    #[track_caller]
    pub fn all_lines(mut self, at_least: u64) -> Vec<String> {
        self.lines(at_least);
        if !self.peer.has_ended() {
            self.peer.terminate();
        }
        eventually("the receiver ends", || self.peer.has_ended());
        self.lines(at_least)
    }
}

/// How many messages of each stream there are, if each stream's numbers are 0, 1, 2 … in this order; `name` tells a line's stream
/// and number.
#[track_caller]
pub fn counted(lines: &[String], name: fn(&str) -> Option<(&str, u64)>) -> BTreeMap<String, u64> {
    let mut next = BTreeMap::<String, u64>::new();
    for line in lines {
        let Some((stream, number)) = name(line) else { panic!("not a message: {line}") };
        let expected = next.entry(stream.to_owned()).or_default();
        assert_eq!(number, *expected, "of {stream}: {line}");
        *expected += 1;
    }
    next
}
