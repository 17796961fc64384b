//! A relay with nothing to do does nothing, and is gone at once when it is told to.
//!
//! Lives here: system calls while idle, and the drain of an idle relay. Never here: load.

use std::fs;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use slackwater::load;
use slackwater::message::Framing;

use crate::support::peer::{Peer, program};
use crate::support::relay::{Order, Relay};
use crate::support::sender::{Sender, Series};
use crate::support::{HANG, eventually};

/// After this time without a message nobody would call a relay busy. A drain asks its links how long they have been silent, and a
/// machine under load may have measured round trips of many milliseconds.
const IDLE: Duration = Duration::from_millis(200);

/// A relay with a connected sink, and connections that have sent something and then nothing more.
fn idle_relay(connections: u32) -> (load::SinkHandle, Relay, Vec<Sender>) {
    let sink = load::listen(load::Place::loopback(), Framing::Line).unwrap();
    let relay = Order::tcp("", &format!("tcp://{}", sink.address())).start();
    let senders: Vec<Sender> = (0..connections)
        .map(|connection| {
            let series = Series { run: 1, connection, size: 64, framing: Framing::Line };
            let mut sender = Sender::connect(relay.address(), series, HANG).expect("the relay accepts");
            sender.write_messages(1).expect("the relay reads");
            sender
        })
        .collect();
    assert!(sink.wait_for(u64::from(connections), HANG));
    eventually("everything is confirmed", || relay.book("delivered") == u64::from(connections));
    // To be idle is to have done nothing for a while.
    std::thread::sleep(Duration::from_millis(50));
    (sink, relay, senders)
}

/// Five seconds are the promise; nothing is waited for.
#[test]
fn an_idle_relay_makes_no_system_call_in_five_seconds() {
    let (_sink, relay, _senders) = idle_relay(16);
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut strace = program("strace");
    strace.args(["-f", "-o"]).arg(&trace).args(["-p", &relay.pid().to_string()]);
    let strace = Peer::start(strace.stderr(Stdio::null()));
    // Once attached, strace shows the calls in which the threads sleep.
    let threads = fs::read_dir(format!("/proc/{}/task", relay.pid())).unwrap().count();
    let calls = || fs::read_to_string(&trace).unwrap_or_default();
    eventually("strace is attached", || calls().lines().count() >= threads);
    // Being attached interrupts each of them, and they go to sleep again.
    let (mut attached, mut since) = (calls(), Instant::now());
    eventually("all sleep again", || {
        if calls() != attached {
            (attached, since) = (calls(), Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(calls(), attached, "a system call was made");
    drop(strace);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered")), (0, 16));
}

#[test]
fn an_idle_relay_is_gone_at_once() {
    let mut micros: Vec<u64> = (0..11)
        .map(|_| {
            let (sink, relay, senders) = idle_relay(16);
            std::thread::sleep(IDLE);
            let end = relay.terminate();
            assert_eq!((end.code(), end.book("delivered")), (0, 16));
            drop((sink, senders));
            end.book("drain_micros")
        })
        .collect();
    micros.sort_unstable();
    println!("drain of an idle relay with 16 connections: {micros:?} µs");
    // The quickest shows whether something is waited for: the silence that is asked of busy links, 250 ms, is not asked here.
    assert!(micros[0] < 100_000, "{micros:?}");
}

#[test]
fn a_relay_that_nobody_ever_used_is_gone_at_once() {
    let sink = load::listen(load::Place::loopback(), Framing::Line).unwrap();
    let relay = Order::tcp("", &format!("tcp://{}", sink.address())).start();
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received")), (0, 0));
    let refused = TcpStream::connect(sink.address()).is_ok();
    assert!(refused, "the sink outlives the relay");
}

#[test]
fn a_drain_waits_for_nothing_that_could_be_gathered() {
    let sink = load::listen(load::Place::loopback(), Framing::Line).unwrap();
    let relay = Order::tcp("", &sink.place().to_string()).args(&["--gather", "100ms"]).start();
    let series = Series { run: 1, connection: 0, size: 64, framing: Framing::Line };
    let mut sender = Sender::connect(relay.address(), series, HANG).expect("the relay accepts");
    sender.write_messages(5).expect("the relay reads");
    assert!(sink.wait_for(5, HANG));
    std::thread::sleep(IDLE);
    let end = relay.terminate();
    end.assert_all_delivered(5);
    // One such wait would take as long, and a drain takes several turns.
    assert!(end.book("drain_micros") < 100_000, "{} us", end.book("drain_micros"));
}
