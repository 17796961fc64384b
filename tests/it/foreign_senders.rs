//! From programs that we did not write, over every transport: as they send by themselves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use slackwater::load::Place;

use crate::support::eventually;
use crate::support::peer::{Peer, program};
use crate::support::relay::{Order, Relay};

const MESSAGES: u64 = 2_000;

/// A relay from one source into a file of lines.
struct Kept {
    relay: Relay,
    place: Place,
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl Kept {
    /// `source` is a URL in which FOLDER stands for a folder of the test's own.
    fn start(source: &str) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept");
        let source = source.replace("FOLDER", folder.path().to_str().unwrap());
        let to = format!("file:{}?framing=line", file.display());
        let relay = Order::between(&[&source], &to).args(&["--cores", "1"]).start();
        let place = relay.entrances().remove(0);
        Kept { relay, place, file, folder }
    }

    fn port(&self) -> String {
        match &self.place {
            Place::Tcp(address) | Place::Udp(address) => address.port().to_string(),
            Place::Unix(_) | Place::Unixgram(_) => panic!("no port"),
        }
    }

    fn path(&self) -> &Path {
        match &self.place {
            Place::Unix(path) | Place::Unixgram(path) => path,
            Place::Tcp(_) | Place::Udp(_) => panic!("no path"),
        }
    }

    /// A file of numbered lines.
    fn numbers(&self) -> PathBuf {
        let path = self.folder.path().join("numbers");
        let lines: String = (0..MESSAGES).map(|number| format!("number {number}\n")).collect();
        fs::write(&path, lines).unwrap();
        path
    }

    /// TERM; the lines that were kept, after a look at the books.
    #[track_caller]
    fn end(self, expected: u64) -> Vec<String> {
        let end = self.relay.terminate();
        let dropped = end.book("kernel_drops");
        assert_eq!((end.code(), end.book("received") + dropped), (0, expected), "{:#?}", end.log);
        assert_eq!((end.book("delivered"), end.book("torn")), (end.book("received"), 0));
        let text = fs::read_to_string(&self.file).unwrap();
        assert_eq!(text.lines().count() as u64, end.book("delivered"));
        if let Place::Unix(path) | Place::Unixgram(path) = &self.place {
            assert!(!path.exists(), "its socket is left behind");
        }
        text.lines().map(str::to_owned).collect()
    }
}

#[track_caller]
fn run(command: &mut Command) {
    assert_eq!(Peer::start(command).wait(), Some(0), "{command:?}");
}

/// Each of the numbers, in order, is what its line ends with. UDP may have lost some.
#[track_caller]
fn assert_numbers(lines: &[String]) {
    let number =
        |line: &String| line.rsplit_once("number ").expect(line).1.trim().parse::<u64>().expect(line);
    assert!(lines.is_sorted_by(|one, next| number(one) < number(next)), "out of order");
}

const BUFFER: &str = "receive_buffer=8MiB";

#[test]
fn logger_over_udp() {
    let kept = Kept::start(&format!("udp://127.0.0.1:0?{BUFFER}"));
    let port = kept.port();
    run(program("logger")
        .args(["-d", "-n", "127.0.0.1", "-P", &port, "--rfc5424", "-f"])
        .arg(kept.numbers()));
    assert_numbers(&kept.end(MESSAGES));
}

#[test]
fn logger_over_a_unix_socket() {
    for (scheme, option) in [("unixgram", "-d"), ("unix", "-T")] {
        let kept = Kept::start(&format!(
            "{scheme}:FOLDER/log?framing={}",
            if scheme == "unix" { "line" } else { "datagram" }
        ));
        let mut logger = program("logger");
        logger.arg(option).arg("-u").arg(kept.path()).arg("-f").arg(kept.numbers());
        run(&mut logger);
        let lines = kept.end(MESSAGES);
        assert_eq!(lines.len() as u64, MESSAGES);
        assert_numbers(&lines);
    }
}

/// Python's own handler; it ends messages with NUL, everywhere.
fn python(kept: &Kept, address: &str, kind: &str) {
    let script = format!(
        "import logging.handlers, socket\n\
         handler = logging.handlers.SysLogHandler(address={address}, socktype=socket.{kind})\n\
         log = logging.getLogger('test')\n\
         log.addHandler(handler)\n\
         for n in range({MESSAGES}): log.warning('number %d', n)\n\
         handler.close()\n"
    );
    run(Command::new("python3").args(["-c", &script]).stderr(Stdio::null()));
    assert!(kept.place.to_string().contains(':'));
}

#[test]
fn python_over_udp_tcp_and_unix_sockets() {
    for (source, kind) in [
        (format!("udp://127.0.0.1:0?framing=nul&{BUFFER}"), "SOCK_DGRAM"),
        ("tcp://127.0.0.1:0?framing=nul".to_owned(), "SOCK_STREAM"),
        ("unixgram:FOLDER/log?framing=nul".to_owned(), "SOCK_DGRAM"),
        ("unix:FOLDER/log?framing=nul".to_owned(), "SOCK_STREAM"),
    ] {
        let kept = Kept::start(&source);
        let address = match &kept.place {
            Place::Tcp(_) | Place::Udp(_) => format!("('127.0.0.1', {})", kept.port()),
            Place::Unix(path) | Place::Unixgram(path) => format!("'{}'", path.display()),
        };
        python(&kept, &address, kind);
        let lines = kept.end(MESSAGES);
        assert_numbers(&lines);
        assert!(lines.iter().all(|line| line.starts_with("<12>number ") && !line.contains('\0')));
    }
}

#[test]
fn a_statsd_client_alone_and_packing() {
    let kept = Kept::start(&format!("udp://127.0.0.1:0?framing=line&{BUFFER}"));
    let script = format!(
        "import statsd\n\
         client = statsd.StatsClient('127.0.0.1', {})\n\
         for n in range({MESSAGES}): client.incr('alone')\n\
         with client.pipeline() as pipe:\n\
         \x20   for n in range({MESSAGES}): pipe.gauge('packed', n)\n",
        kept.port()
    );
    run(program("python3-statsd").args(["-c", &script]));
    let lines = kept.end(2 * MESSAGES);
    let of = |name: &str| lines.iter().filter(|line| line.starts_with(name)).count() as u64;
    assert_eq!((of("alone:1|c"), of("packed:")), (MESSAGES, MESSAGES));
}

#[test]
fn netcat_into_a_unix_socket() {
    let kept = Kept::start("unix:FOLDER/log");
    let numbers = File::open(kept.numbers()).unwrap();
    run(program("nc").args(["-N", "-U"]).arg(kept.path()).stdin(numbers));
    let lines = kept.end(MESSAGES);
    assert_eq!(lines.len() as u64, MESSAGES);
    assert_numbers(&lines);
}

#[test]
fn loggen_over_unix_sockets() {
    for (scheme, option) in [("unix", "--stream"), ("unixgram", "--dgram")] {
        let kept = Kept::start(&format!("{scheme}:FOLDER/log"));
        let mut loggen = program("loggen");
        loggen.args(["--unix", option, "--quiet", "--rate=100000", "--interval=60", "--size=200"]);
        loggen
            .arg(format!("--number={MESSAGES}"))
            .arg(kept.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        run(&mut loggen);
        let lines = kept.end(MESSAGES);
        assert!(lines.iter().all(|line| line.contains("seq: ")), "{:?}", lines.first());
    }
}

/// What a relay that was killed left behind does not keep the next from starting; one that lives does.
#[test]
fn the_socket_of_a_killed_relay_is_taken_over_and_that_of_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let source = format!("unix:{}?mode=0600", path.display());
    let order = || Order::between(&[&source], &format!("file:{}", folder.path().join("out").display()));
    let first = order().start();
    let second = order().spawn();
    let end = second.wait();
    assert_eq!(end.code(), 1);
    assert!(end.log.iter().any(|line| line.contains("another program does")), "{:#?}", end.log);
    assert!(path.exists());
    first.signal(nix::sys::signal::Signal::SIGKILL);
    drop(first);
    let third = order().start();
    eventually("it listens", || std::os::unix::net::UnixStream::connect(&path).is_ok());
    assert_eq!(third.terminate().code(), 0);
    assert!(!path.exists());
}
