//! The sinks `stdout` and `file`: pipes, readers that stall or go away.
//!
//! Lives here: sinks without a network, and what a log that nobody reads must not do. Never here: TCP sinks (`faults`), full disks
//! (`full_disk`).

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::sys::signal::Signal;
use slackwater::load::{self, SendPlan, SendReport, Sending};

use crate::support::confine::in_a_network_of_its_own;
use crate::support::peer::counted;
use crate::support::relay::{Order, Relay};
use crate::support::{HANG, eventually};

/// The connection and number of a generated line.
fn stamp(line: &str) -> Option<(&str, u64)> {
    let mut fields = line.split_once("slackload run=")?.1.split(' ').skip(1);
    Some((fields.next()?, fields.next()?.parse().ok()?))
}

/// Asserts that these lines are each sender's messages, once, in order, to the last.
fn assert_holds(lines: &[String], sent: &SendReport) {
    let streams = counted(lines, stamp);
    let expected = sent.connections.iter().map(|one| (format!("{:06}", one.connection), one.acked_messages));
    assert_eq!(streams, expected.filter(|(_, messages)| *messages > 0).collect());
}

fn plan(relay: &Relay, messages: u64) -> SendPlan {
    SendPlan { connections: 4, messages_per_connection: Some(messages / 4), ..SendPlan::new(relay.address()) }
}

fn flow(relay: &Relay, messages: u64) -> Sending {
    load::start(plan(relay, messages)).expect("a plan that can be sent")
}

fn to_stdout(args: &[&str]) -> Order {
    let mut order = Order::tcp("", "stdout").args(args);
    order.command.stdout(Stdio::piped());
    order
}

fn lines_of(source: impl Read) -> Vec<String> {
    BufReader::new(source).lines().map(|line| line.expect("text")).collect()
}

#[test]
fn stdout_gets_everything_through_a_pipe() {
    let mut relay = to_stdout(&[]).start();
    let stdout = relay.stdout();
    let reader = std::thread::spawn(move || lines_of(stdout));
    let sent = load::send(plan(&relay, 100_000)).unwrap();
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 100_000, 100_000));
    end.assert_balanced();
    assert_holds(&reader.join().unwrap(), &sent);
}

#[test]
fn a_reader_that_stalls_holds_the_intake_back_and_loses_nothing() {
    let mut relay = to_stdout(&["--max-in-flight", "2MiB"]).start();
    let stdout = relay.stdout();
    let sending = flow(&relay, 400_000);
    eventually("the intake stops at its bound", || relay.book("in_flight") * 257 > 1 << 20);
    assert!(relay.book("received") < 100_000);
    let reader = std::thread::spawn(move || lines_of(stdout));
    let sent = sending.finish();
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered"), sent.acked_messages()), (0, 400_000, 400_000));
    assert_holds(&reader.join().unwrap(), &sent);
}

#[test]
fn a_reader_that_stays_stalled_is_waited_for_until_the_deadline() {
    let mut relay = to_stdout(&["--drain-timeout", "300ms"]).start();
    let mut stdout = relay.stdout();
    let sent = load::send(plan(&relay, 8_000)).unwrap();
    let end = relay.terminate();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    // The pipe may end in the middle of a line, which was never delivered.
    let written = text.matches('\n').count() as u64;
    assert_eq!((end.code(), &end.books["cause"]), (3, &"deadline".into()), "{:#?}", end.log);
    assert_eq!((end.book("received"), sent.acked_messages()), (8_000, 8_000));
    assert_eq!((end.book("delivered"), end.book("abandoned")), (written, 8_000 - written));
    end.assert_balanced();
}

#[test]
fn a_reader_that_has_gone_ends_the_relay_with_exact_books() {
    let mut relay = to_stdout(&[]).start();
    let mut stdout = BufReader::new(relay.stdout());
    let sending = flow(&relay, 4_000_000);
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    // It ends by itself: what it takes in could go nowhere.
    let end = relay.wait();
    let sent = sending.finish();
    assert_eq!((end.code(), &end.books["cause"]), (3, &"error".into()), "{:#?}", end.log);
    assert_eq!((end.book("received"), end.book("in_flight")), (sent.acked_messages(), 0));
    assert!(end.log.iter().any(|line| line.contains("EPIPE")), "{:#?}", end.log);
    end.assert_balanced();
}

/// What it had read is all that was delivered: the next write finds nobody.
#[test]
fn a_reader_that_has_read_everything_and_goes_has_got_what_the_books_say() {
    let mut relay = to_stdout(&[]).start();
    let mut stdout = BufReader::new(relay.stdout());
    let first = load::send(plan(&relay, 1_000)).unwrap();
    let lines: Vec<String> = stdout.by_ref().lines().take(1_000).map(|line| line.expect("text")).collect();
    assert_holds(&lines, &first);
    drop(stdout);
    let second = load::send(plan(&relay, 1_000)).unwrap();
    let end = relay.wait();
    assert_eq!((end.code(), &end.books["cause"]), (3, &"error".into()), "{:#?}", end.log);
    assert_eq!((end.book("delivered"), end.book("abandoned")), (1_000, second.acked_messages()));
    end.assert_balanced();
}

/// Its log is of no use here, so it listens on a port that the test chose.
fn relay_with_log(log: OwnedFd, to: &str) -> (Relay, std::net::SocketAddr) {
    let port = crate::support::port::Reserved::on_loopback();
    let address = port.address();
    // A port that another has bound cannot be listened on by a relay, which wants it for itself.
    drop(port);
    let order = Order::between(&[&format!("tcp://{address}")], to);
    let relay = order.spawn_logging_to(log);
    eventually("the relay listens", || crate::support::port::is_listened(address));
    (relay, address)
}

/// Traffic, USR1 again and again, TERM: nothing of it depends on the log.
fn relays_whatever_becomes_of_its_log(log: OwnedFd) {
    let sink = load::listen(load::Place::loopback(), slackwater::message::Framing::Line).unwrap();
    let (relay, address) = relay_with_log(log, &format!("tcp://{}", sink.address()));
    let sent =
        load::send(SendPlan { messages_per_connection: Some(50_000), ..SendPlan::new(address) }).unwrap();
    for _ in 0..2_000 {
        relay.signal(Signal::SIGUSR1);
    }
    assert!(sink.wait_for(50_000, HANG));
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered"), sent.acked_messages()), (0, 50_000, 50_000));
    assert!(sink.finish().tally.is_whole());
}

#[test]
fn a_log_whose_reader_has_gone_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    relays_whatever_becomes_of_its_log(writer.into());
}

#[test]
fn a_log_that_nobody_reads_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    relays_whatever_becomes_of_its_log(writer.into());
    drop(reader);
}

#[test]
fn two_reactors_append_to_one_file_without_mixing_their_messages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relayed.log");
    fs::write(&path, "what was there before\n").unwrap();
    let relay = Order::tcp("", &format!("file:{}", path.display())).args(&["--cores", "2"]).start();
    let plan =
        SendPlan { connections: 16, messages_per_connection: Some(20_000), ..SendPlan::new(relay.address()) };
    let sent = load::send(plan).unwrap();
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered")), (0, 320_000));
    let mut lines = lines_of(File::open(&path).unwrap());
    assert_eq!(lines.remove(0), "what was there before");
    assert_holds(&lines, &sent);
}

#[test]
fn a_file_that_cannot_be_written_is_named_before_anything_is_bound() {
    for (path, word) in [("/no/such/folder/relayed.log", "No such file"), ("/dev/null", "not a regular file")]
    {
        let end = Order::tcp("", &format!("file:{path}")).spawn().wait();
        let log = end.log.join("\n");
        assert_eq!(end.code(), 1, "{log}");
        assert!(log.contains(path) && log.contains(word) && log.contains("remedy"), "{log}");
        assert!(!log.contains("relaying"));
    }
}

/// By another name, which the configuration cannot know.
#[test]
fn a_ledger_that_would_replace_a_sinks_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("out"), folder.path().join("link"));
    fs::write(&file, "what was there\n").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let to = format!("file:{}", file.display());
    let mut order = Order::bare("slackwater").args(&["run", "--from", "tcp://127.0.0.1:0", "--to", &to]);
    order.command.arg("--ledger").arg(&link);
    let end = order.spawn().wait();
    let log = end.log.join("\n");
    assert!(end.code() == 1 && log.contains("would replace the messages"), "{log}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "what was there\n");
}

/// On the ports of everyone's default: in a network namespace of its own, where nobody else has them.
#[test]
fn run_without_any_flag_relays_from_loopback_to_stdout() {
    let relay = env!("CARGO_BIN_EXE_slackwater");
    let script = format!(
        "ip link set lo up && {{ {relay} run & }} && until printf 'one\\ntwo\\n' | nc -N 127.0.0.1 5140; do :; done; \
         kill -TERM $! && wait $!"
    );
    let output = in_a_network_of_its_own(&script);
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
        (Some(0), "one\ntwo\n")
    );
}
