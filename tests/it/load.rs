//! The built `slackload`: what it says, in what pieces, and how it ends.
//!
//! Lives here: its words, its exit codes, and what it does without descriptors. Never here: the relay (all others), or how load is
//! made and verified (its tests are beside it).

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use slackwater::load::{self, Place};
use slackwater::message::Framing;

use crate::support::port::Reserved;
use crate::support::procfs::{cpu_time, descriptor_numbers};
use crate::support::relay::{End, Order, Relay};
use crate::support::sender::{Sender, Series};
use crate::support::{HANG, eventually};

/// Descriptors of a program that is short of them.
const FEW: &str = "40";

fn slackload(args: &[&str]) -> Relay {
    Order::bare("slackload").args(args).spawn()
}

/// With no more than [`FEW`] descriptors.
fn confined(args: &[&str]) -> Relay {
    let mut order = Order::bare("slackload");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", FEW]).arg(order.command.get_program());
    order.command = shell;
    order.args(args).spawn()
}

/// Where a sink on loopback listens, once it does.
fn address_of(sink: &Relay) -> String {
    sink.expect_log("listening on ").trim_start_matches("listening on tcp://").to_owned()
}

fn sender_to(address: &str, connection: u32) -> Sender {
    let series = Series { run: 7, connection, size: 100, framing: Framing::Line };
    Sender::connect(address.parse().expect("an address"), series, HANG).expect("the sink listens")
}

fn assert_said(end: &End, code: i32, words: &[&str]) {
    let text = end.log.join("\n");
    assert_eq!(end.code(), code, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not all in: {text}");
}

/// A socket that keeps apart what was written at once.
fn pieces() -> (UnixDatagram, OwnedFd) {
    let (here, there) = UnixDatagram::pair().expect("two sockets");
    here.set_read_timeout(Some(HANG)).expect("a socket option");
    (here, there.into())
}

fn piece(from: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = from.recv(&mut bytes).expect("something is written");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn every_line_is_written_at_once() {
    let ((stderr, theirs), (stdout, their_stdout)) = (pieces(), pieces());
    let mut order =
        Order::bare("slackload").args(&["sink", "--listen", "127.0.0.1:0", "--json", "--expect", "1"]);
    order.command.stdout(Stdio::from(their_stdout));
    let sink = order.spawn_logging_to(theirs);
    let listening = piece(&stderr);
    assert!(listening.starts_with("listening on tcp://127.0.0.1:"), "{listening}");
    assert!(listening.ends_with('\n'), "{listening}");
    sink.signal(Signal::SIGTERM);
    for words in ["received 0 messages", "holes 0", "missing: 1 of the 1 numbered"] {
        let line = piece(&stderr);
        assert!(line.starts_with(words) && line.ends_with('\n'), "{line}");
    }
    let report: serde_json::Value = serde_json::from_str(&piece(&stdout)).expect("the whole report");
    assert_eq!(report["tally"]["messages"], 0);
    assert_eq!(sink.wait().code(), 3);
}

#[test]
fn a_refusal_is_written_at_once() {
    for arguments in [&["send", "--to", "nowhere"][..], &["sink", "--listen", "unix:/none/sink.sock"]] {
        let (stderr, theirs) = pieces();
        let refused = Order::bare("slackload").args(arguments).spawn_logging_to(theirs);
        let text = piece(&stderr);
        assert!(text.contains(arguments[2]) && text.ends_with('\n'), "{text}");
        assert!([1, 2].contains(&refused.wait().code()));
        stderr.set_nonblocking(true).expect("a socket option");
        assert!(stderr.recv(&mut [0]).is_err(), "nothing follows");
    }
}

#[test]
fn foreign_messages_hide_none_that_is_missing() {
    let sink = slackload(&["sink", "--listen", "127.0.0.1:0", "--expect", "100", "--idle-exit", "2s"]);
    let address = address_of(&sink);
    sender_to(&address, 0).write_messages(90).unwrap();
    TcpStream::connect(&address).unwrap().write_all(&b"none of ours\n".repeat(10)).unwrap();
    assert_said(&sink.wait(), 3, &["received 100 messages", "missing: 10 of the 100", "foreign 10"]);
}

#[test]
fn messages_that_were_all_cut_to_one_length_are_torn() {
    let sink = slackload(&["sink", "--listen", "127.0.0.1:0", "--idle-exit", "2s"]);
    let series = Series { run: 7, connection: 0, size: 256, framing: Framing::Line };
    let mut peer = TcpStream::connect(address_of(&sink)).unwrap();
    for sequence in 0..50 {
        peer.write_all(&[&series.wire(sequence)[..100], b"\n"].concat()).unwrap();
    }
    drop(peer);
    assert_said(&sink.wait(), 3, &["received 0 messages", "torn 50"]);
}

#[test]
fn a_sink_without_descriptors_says_so_once_waits_asleep_and_goes_on() {
    const CONNECTIONS: u32 = 60;
    let sink = confined(&["sink", "--listen", "127.0.0.1:0", "--expect", "60"]);
    let address = address_of(&sink);
    let mut senders: Vec<_> = (0..CONNECTIONS).map(|connection| sender_to(&address, connection)).collect();
    sink.expect_log("Too many open files");
    sink.expect_log("remedy: raise the limit of open files, which is 40 (`ulimit -n`)");
    let before = cpu_time(sink.pid());
    // What it takes meanwhile is what is looked at.
    std::thread::sleep(Duration::from_secs(1));
    let taken = cpu_time(sink.pid()) - before;
    assert!(taken < Duration::from_millis(300), "it took {taken:?} of a second");
    senders.iter_mut().for_each(|sender| sender.write_messages(1).unwrap());
    drop(senders);
    let end = sink.wait();
    assert_said(&end, 0, &["received 60 messages", "over 60 connections"]);
    assert_eq!(end.log.iter().filter(|line| line.contains("ulimit -n")).count(), 1, "{:#?}", end.log);
}

#[test]
fn a_sink_with_just_enough_descriptors_says_nothing() {
    let sink = confined(&["sink", "--listen", "127.0.0.1:0"]);
    let address = address_of(&sink);
    let few: usize = FEW.parse().expect("a number");
    let held = || descriptor_numbers(sink.pid()).into_iter().filter(|&number| number < few as i32).count();
    let free = few - held();
    let senders: Vec<_> = (0..free as u32).map(|connection| sender_to(&address, connection)).collect();
    eventually("all are accepted", || held() == few);
    // Two of its looks.
    std::thread::sleep(Duration::from_millis(250));
    drop(senders);
    let end = sink.terminate();
    assert_said(&end, 0, &[&format!("over {free} connections")]);
    assert!(!end.log.iter().any(|line| line.contains("open files")), "{:#?}", end.log);
}

#[test]
fn a_generator_without_descriptors_says_so_and_not_that_nobody_listens() {
    let sink = load::listen(Place::loopback(), Framing::Line).unwrap();
    let to = sink.place().to_string();
    let end = confined(&["send", "--to", &to, "--connections", "200", "--duration", "500ms"]).wait();
    assert_said(&end, 1, &["cannot connect to", "Too many open files", "which is 40 (`ulimit -n`)"]);
    assert!(!end.log.iter().any(|line| line.contains("something listening")), "{:#?}", end.log);
}

#[test]
fn a_generator_that_nobody_listens_to_says_what_the_kernel_said() {
    let nobody = Reserved::on_loopback();
    let refused = slackload(&["send", "--to", &nobody.address().to_string(), "--messages", "1"]).wait();
    assert_said(&refused, 1, &["Connection refused", "is something listening there?"]);
    let folder = tempfile::tempdir().unwrap();
    let nothing = format!("unix:{}", folder.path().join("none.sock").display());
    let end = slackload(&["send", "--to", &nothing, "--messages", "1"]).wait();
    assert_said(&end, 1, &["No such file or directory", "is something listening there?"]);
}

#[test]
fn a_socket_file_that_a_killed_sink_left_is_told_to_be_stale() {
    let folder = tempfile::tempdir().unwrap();
    let at = format!("unix:{}", folder.path().join("sink.sock").display());
    let first = slackload(&["sink", "--listen", &at]);
    first.expect_log("listening on ");
    let other = slackload(&["sink", "--listen", &at]).wait();
    assert_said(&other, 1, &["Address already in use", "stop the program that listens there"]);
    first.signal(Signal::SIGKILL);
    first.wait();
    let next = slackload(&["sink", "--listen", &at]).wait();
    assert_said(&next, 1, &["Address already in use", "stale", "may be removed"]);
}

#[test]
fn whole_datagrams_on_a_stream_are_refused_in_the_same_words_at_both_ends() {
    let refusal = |args: &[&str]| {
        let end = slackload(&[args, &["--framing", "datagram"]].concat()).wait();
        assert_said(&end, 2, &["choose another framing than datagram"]);
        end.log
    };
    let sink = refusal(&["sink", "--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(sink, refusal(&["send", "--to", "tcp://127.0.0.1:9", "--messages", "1"]));
}

#[test]
fn paced_messages_without_room_for_their_moment_are_told_to_measure_no_latency() {
    let sink = load::listen(Place::loopback(), Framing::Line).unwrap();
    let to = sink.place().to_string();
    let paced =
        |size| slackload(&["send", "--to", &to, "--rate", "1000", "--messages", "10", "--size", size]).wait();
    assert_said(&paced("76"), 0, &["no latency", "less than 77 bytes"]);
    assert!(sink.take_latency().is_none());
    let end = paced("77");
    assert_said(&end, 0, &[]);
    assert!(!end.log.iter().any(|line| line.contains("no latency")), "{:#?}", end.log);
    assert!(sink.wait_for(10, HANG));
}
