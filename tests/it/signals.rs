//! Each signal, at any moment: the real relay gets the real signal, and its books stay exact.
//!
//! Lives here: what a signal leads to. Never here: drains in full flow with many connections, or what a sink does.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal::{
    SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2,
};
use slackwater::load::{self, SendPlan};
use slackwater::socket::tcp_info::tcp_info;

use crate::support::confine::unprivileged;
use crate::support::hold::{Held, against_a_stalled_sink, assert_whole, feed, sink, sink_at};
use crate::support::port::Reserved;
use crate::support::relay::{End, Order, Relay};
use crate::support::{HANG, eventually, procfs};

/// Enough that a stalled sink's buffers do not take it all, in messages of 256 bytes.
const MANY: u64 = 80_000;

fn to(address: SocketAddr) -> String {
    format!("tcp://{address}")
}

#[track_caller]
fn assert_nothing_lost(end: &End, messages: u64, cause: &str) {
    assert_eq!((end.code(), end.books["cause"].as_str()), (0, Some(cause)), "{:#?}", end.log);
    assert_eq!((end.book("received"), end.book("delivered")), (messages, messages));
    end.assert_balanced();
}

/// Everything that was acknowledged is in the books; what is not delivered is abandoned, to the message.
#[track_caller]
fn assert_abandoned(end: &End, messages: u64, cause: &str) -> u64 {
    assert_eq!((end.code(), end.books["cause"].as_str()), (3, Some(cause)), "{:#?}", end.log);
    let abandoned = end.book("abandoned");
    assert_eq!((end.book("received"), end.book("delivered") + abandoned), (messages, messages));
    assert!(abandoned > 0);
    assert_eq!(end.book("in_flight"), 0);
    end.assert_balanced();
    abandoned
}

#[test]
fn term_while_it_starts_is_obeyed_as_soon_as_it_is_heard() {
    let sink = sink();
    let heard = (0..=60).filter(|&half_millis| term_after(Duration::from_micros(500 * half_millis), &sink));
    assert!(heard.count() > 0, "no start came as far as to listen to signals");
}

/// One start that gets TERM after `delay`. Says whether it listened to signals by then: in that case it must end by itself.
fn term_after(delay: Duration, sink: &load::SinkHandle) -> bool {
    let relay = Order::tcp("", &to(sink.address())).spawn();
    // The delay is what is tried out here, not a wait for something.
    std::thread::sleep(delay);
    let heard = procfs::blocks(relay.pid(), SIGTERM);
    let end = relay.terminate();
    if heard || end.status.code().is_some() {
        assert_nothing_lost(&end, 0, "TERM");
    } else {
        assert_eq!(end.status.signal(), Some(SIGTERM as i32), "{:#?}", end.log);
        assert!(end.books.is_null() && end.log.is_empty(), "it did not even begin: {:#?}", end.log);
    }
    heard
}

/// Reading the command line and all that follows takes longer than what comes before `main`; a TERM in that time is kept.
#[test]
fn signals_are_kept_from_before_the_command_line_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (trace, missing) = (folder.path().join("trace"), folder.path().join("missing").join("books.json"));
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(&trace).args(["-e", "trace=rt_sigprocmask,ioctl", env!("CARGO_BIN_EXE_slackwater")]);
    strace.args(["run", "--log-format", "human", "--ledger"]).arg(missing);
    let output = strace.stdin(Stdio::null()).output().expect("strace; scripts/test installs it");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let trace = fs::read_to_string(trace).expect("a trace");
    let line_of = |part: &str| trace.lines().position(|line| line.contains(part)).expect(part);
    // The first thing that is done about what was read: are the logs for a terminal?
    assert!(line_of("SIG_BLOCK, [HUP INT QUIT USR1 USR2 TERM]") < line_of("ioctl(2, TCGETS"), "{trace}");
}

/// The configuration is a pipe that nobody writes to: it would be waited for as long as nobody does.
#[test]
fn term_ends_a_start_that_is_held_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    for (subcommand, ends) in [("run", Ok(0)), ("check", Err(SIGTERM)), ("doctor", Err(SIGTERM))] {
        let relay = Order::bare("slackwater").args(&[subcommand, "-c", &pipe.display().to_string()]).spawn();
        let status = || fs::read_to_string(format!("/proc/{}/wchan", relay.pid())).unwrap_or_default();
        eventually("it waits for a writer", || status().contains("wait_for_partner"));
        let end = relay.terminate();
        assert_eq!(
            end.status.code().ok_or(end.status.signal()),
            ends.map_err(|signal| Some(signal as i32)),
            "{:#?}",
            end.log
        );
    }
}

#[test]
fn term_repeated_cuts_no_drain_short() {
    let Held { relay, sink, .. } = against_a_stalled_sink(MANY, &[]);
    for _ in 0..5 {
        relay.signal(SIGTERM);
        // Five within five milliseconds, so that not all of them come as one (signal(7)).
        std::thread::sleep(Duration::from_millis(1));
    }
    relay.expect_log("\"draining\"");
    relay.signal(SIGTERM);
    relay.expect_log("under way already");
    assert!(relay.book("in_flight") > 0, "the drain goes on");
    sink.resume();
    assert_nothing_lost(&relay.wait(), MANY, "TERM");
    assert_whole(sink, MANY);
}

/// A listener that is frozen answers nobody; one that is closed says so, however long the drain takes.
#[test]
fn whoever_comes_during_a_drain_is_refused() {
    let Held { relay, sink, .. } = against_a_stalled_sink(MANY, &["--drain-timeout", "1h"]);
    relay.signal(SIGTERM);
    relay.expect_log("\"draining\"");
    let comes = || TcpStream::connect_timeout(&relay.address(), Duration::from_millis(100));
    eventually("a connection is refused", || {
        comes().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert!(relay.book("in_flight") > 0, "the drain goes on");
    sink.resume();
    assert_nothing_lost(&relay.wait(), MANY, "TERM");
    assert_whole(sink, MANY);
}

#[test]
fn int_drains() {
    let sink = sink();
    let relay = Order::tcp("", &to(sink.address())).start();
    feed(&relay, 1000);
    relay.signal(SIGINT);
    assert_nothing_lost(&relay.wait(), 1000, "INT");
    assert_whole(sink, 1000);
}

#[test]
fn a_second_int_ends_a_drain_at_once() {
    let Held { relay, sink, sent } = against_a_stalled_sink(MANY, &["--drain-timeout", "1h"]);
    relay.signal(SIGINT);
    relay.expect_log("\"draining\"");
    relay.signal(SIGINT);
    let end = relay.wait();
    let abandoned = assert_abandoned(&end, MANY, "forced");
    assert!(unsettled(&end) >= abandoned, "the send under way may turn out to have delivered something");
    sink.resume();
    assert!(sink.finish().lost(&sent) <= abandoned, "what was delivered has arrived");
}

fn unsettled(end: &End) -> u64 {
    let sinks = end.books["sinks"].as_object().expect("books by sink");
    sinks.values().map(|sink| sink["unsettled"].as_u64().expect("a figure")).sum()
}

#[test]
fn quit_ends_it_at_once_and_counts_what_it_held() {
    let reserved = Reserved::on_loopback();
    let relay = Order::tcp("", &to(reserved.address())).args(&["--drain-timeout", "1h"]).start();
    feed(&relay, MANY);
    relay.signal(SIGQUIT);
    let end = relay.wait();
    assert_eq!(assert_abandoned(&end, MANY, "forced"), MANY);
    assert_eq!(unsettled(&end), MANY);
}

#[test]
fn quit_with_nothing_in_flight_loses_nothing() {
    let sink = sink();
    let relay = Order::tcp("", &to(sink.address())).start();
    feed(&relay, 1000);
    eventually("everything is delivered", || relay.book("delivered") == 1000);
    relay.signal(SIGQUIT);
    assert_nothing_lost(&relay.wait(), 1000, "forced");
    assert_whole(sink, 1000);
}

#[test]
fn hup_usr1_usr2_and_pipe_disturb_no_flow() {
    let sink = sink();
    let relay = Order::tcp("", &to(sink.address())).start();
    let plan = SendPlan { connections: 4, ..SendPlan::new(relay.address()) };
    let sending = load::start(plan).expect("a plan that can be sent");
    for round in 1..=20 {
        [SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE].iter().for_each(|&signal| relay.signal(signal));
        assert!(sink.wait_for(1000 * round, HANG), "it flows on: {:?}", sink.tally());
    }
    sending.stopper().stop();
    let sent = sending.finish().acked_messages();
    assert!(sink.wait_for(sent, HANG), "{:?}", sink.tally());
    ["HUP changes nothing", "USR2 changes nothing"].iter().for_each(|note| drop(relay.expect_log(note)));
    assert_nothing_lost(&relay.terminate(), sent, "TERM");
    assert_whole(sink, sent);
}

#[test]
fn usr1_logs_what_is_in_the_books() {
    let Held { relay, sink, .. } = against_a_stalled_sink(MANY, &[]);
    let (delivered, in_flight) = (relay.book("delivered"), relay.book("in_flight"));
    assert!(in_flight > 0);
    assert_eq!(delivered + in_flight, MANY);
    let others = ["received", "failed", "abandoned", "torn"].map(|figure| relay.book(figure));
    assert_eq!(others, [MANY, 0, 0, 0]);
    sink.resume();
    assert!(sink.wait_for(MANY, HANG), "{:?}", sink.tally());
    eventually("all is delivered", || relay.book("delivered") == MANY && relay.book("in_flight") == 0);
    assert_nothing_lost(&relay.terminate(), MANY, "TERM");
    assert_whole(sink, MANY);
}

fn stop(relay: &Relay) {
    relay.signal(SIGSTOP);
    eventually("it is stopped", || procfs::state(relay.pid()) == 'T');
}

#[test]
fn term_to_a_stopped_relay_is_obeyed_when_it_goes_on() {
    let sink = sink();
    let relay = Order::tcp("", &to(sink.address())).start();
    let sending = load::start(SendPlan { connections: 4, ..SendPlan::new(relay.address()) }).expect("a plan");
    assert!(sink.wait_for(1000, HANG), "it flows");
    stop(&relay);
    relay.signal(SIGTERM);
    relay.signal(SIGCONT);
    let end = relay.wait();
    let sent = sending.finish();
    assert_nothing_lost(&end, end.book("received"), "TERM");
    assert!(end.book("received") >= sent.acked_messages());
    assert_eq!(sink.finish().lost(&sent), 0);
}

/// Senders that ignore our FIN are cut off in the middle of what they write.
#[test]
fn without_privileges_what_was_acknowledged_to_a_flood_is_not_lost_either() {
    let sink = sink();
    let relay = unprivileged(Order::tcp("?linger=50ms", &to(sink.address()))).start();
    let address = relay.address();
    let floods: Vec<_> = (0..8).map(|_| std::thread::spawn(move || flood(address))).collect();
    assert!(sink.wait_for(50_000, HANG), "it flows");
    let end = relay.terminate();
    let acknowledged: u64 = floods.into_iter().map(|flood| flood.join().expect("a sender")).sum();
    assert_nothing_lost(&end, end.book("received"), "TERM");
    assert!(end.book("received") >= acknowledged, "{} of {acknowledged}", end.book("received"));
    let unfrozen: Vec<_> = end.log.iter().filter(|line| line.contains("cannot freeze")).collect();
    assert!(unfrozen.is_empty(), "{unfrozen:#?}");
    assert_whole(sink, end.book("received"));
}

/// Writes lines until that fails. Returns how many were acknowledged in whole.
fn flood(to: SocketAddr) -> u64 {
    const LINE: &[u8] = b"as much as goes in, for as long as there is a connection\n";
    let stream = TcpStream::connect(to).expect("a relay that listens");
    let acknowledged = || tcp_info(stream.as_fd()).expect("a TCP socket").bytes_acked;
    let baseline = acknowledged();
    while (&stream).write_all(LINE).is_ok() {}
    (acknowledged() - baseline) / LINE.len() as u64
}

#[test]
fn a_drain_goes_on_after_a_stop() {
    let Held { relay, sink, .. } = against_a_stalled_sink(MANY, &[]);
    relay.signal(SIGTERM);
    relay.expect_log("\"draining\"");
    for _ in 0..3 {
        stop(&relay);
        relay.signal(SIGCONT);
    }
    stop(&relay);
    sink.resume();
    relay.signal(SIGCONT);
    assert_nothing_lost(&relay.wait(), MANY, "TERM");
    assert_whole(sink, MANY);
}

#[test]
fn term_while_the_sink_is_down_waits_for_the_sink() {
    let reserved = Reserved::on_loopback();
    let relay = Order::tcp("", &to(reserved.address())).args(&["--drain-timeout", "1h"]).start();
    feed(&relay, 1000);
    relay.signal(SIGTERM);
    relay.expect_log("\"draining\"");
    let sink = sink_at(reserved.address());
    assert_nothing_lost(&relay.wait(), 1000, "TERM");
    assert_whole(sink, 1000);
}

#[test]
fn a_sink_that_stays_down_ends_the_drain_at_its_deadline() {
    let reserved = Reserved::on_loopback();
    let relay = Order::tcp("", &to(reserved.address())).args(&["--drain-timeout", "300ms"]).start();
    feed(&relay, 1000);
    let end = relay.terminate();
    assert_eq!(assert_abandoned(&end, 1000, "deadline"), 1000);
    assert_eq!(unsettled(&end), 1000);
    assert!(end.book("drain_micros") >= 300_000, "not before its time");
}

#[test]
fn a_sink_that_stays_stalled_ends_the_drain_at_its_deadline() {
    let Held { relay, sink, sent } = against_a_stalled_sink(MANY, &["--drain-timeout", "300ms"]);
    let end = relay.terminate();
    let abandoned = assert_abandoned(&end, MANY, "deadline");
    assert!(unsettled(&end) >= abandoned, "the send under way may turn out to have delivered something");
    assert!(end.book("drain_micros") >= 300_000, "not before its time");
    sink.resume();
    assert!(sink.finish().lost(&sent) <= abandoned, "what was delivered has arrived");
}

#[test]
fn after_a_kill_another_relay_has_the_port_at_once() {
    let sink = sink();
    let mut relay = Order::tcp("", &to(sink.address())).start();
    let address = relay.address();
    for _ in 0..10 {
        let sending = load::start(SendPlan { connections: 4, ..SendPlan::new(address) }).expect("a plan");
        assert!(sink.wait_for(sink.tally().messages + 1000, HANG), "it flows");
        relay.signal(SIGKILL);
        drop(relay.wait());
        relay = Order::between(&[&to(address)], &to(sink.address())).start();
        drop(sending);
    }
    let before = sink.tally().distinct();
    let sent = feed(&relay, 1000);
    assert_nothing_lost(&relay.terminate(), 1000, "TERM");
    assert!(sink.wait_for(before + 1000, HANG), "{:?}", sink.tally());
    assert_eq!(sink.finish().lost(&sent), 0);
}
