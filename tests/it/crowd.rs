//! Many connections, and more than there is room for: none is harmed, and none that was taken is forgotten.
//!
//! Lives here: numbers of connections, and the limits on them. Never here: what one connection may do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP, SIGTERM};
use rustix::process::{Pid as Process, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use slackwater::limits;
use slackwater::limits::MAX_IN_FLIGHT_MIN;
use slackwater::load::SinkHandle;
use socket2::SockRef;

use crate::support::confine::limited;
use crate::support::hold::{assert_whole, feed, sink, sink_at};
use crate::support::port::Reserved;
use crate::support::relay::{Order, Relay};
use crate::support::{HANG, eventually, procfs};

const CROWD: usize = 9_000;
const PAUSED: &str = "accepting paused";

fn to(sink: &SinkHandle) -> String {
    format!("tcp://{}", sink.address())
}

fn connect(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let one = || TcpStream::connect_timeout(&address, HANG).expect("a place in the queue at least");
    std::iter::repeat_with(one).take(count).collect()
}

/// As many connections, each of which has sent one message.
fn speak(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let streams = connect(address, count);
    say(&streams, "hello\n");
    streams
}

fn say(streams: &[TcpStream], what: &str) {
    streams.iter().for_each(|mut stream| stream.write_all(what.as_bytes()).expect("room for a line"));
}

/// A relay that sleeps uses no processor to speak of, however many connections wait.
#[track_caller]
fn assert_no_spin(relay: &Relay) {
    let (began, before) = (Instant::now(), procfs::cpu_time(relay.pid()));
    // What is measured is how little is done in a time.
    std::thread::sleep(Duration::from_secs(1));
    let (used, passed) = (procfs::cpu_time(relay.pid()) - before, began.elapsed());
    assert!(used < passed / 5, "{used:?} of processor time within {passed:?}");
}

/// The sender learns of the end: FIN or a reset.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(HANG)).expect("a timeout");
    match stream.read(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// The kernel has a process of several threads wait each time that it enlarges the table of its descriptors.
#[test]
fn room_for_all_connections_is_made_at_the_start() {
    let sink = sink();
    let relay = Order::tcp("?max_connections=600", &to(&sink)).args(&["--cores", "1"]).start();
    let room = relay.proc_status("FDSize");
    assert!(room >= 600, "{room} descriptors");
    let crowd = speak(relay.address(), 500);
    eventually("all are accepted", || procfs::descriptors(relay.pid()) > crowd.len());
    assert_eq!(relay.proc_status("FDSize"), room);
    drop(crowd);
    relay.terminate().assert_all_delivered(500);
}

#[test]
fn nine_thousand_idle_connections_and_one_busy_one() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(hard >= CROWD as u64 + 1000, "raise the hard limit of open files (`ulimit -Hn`) above 10000");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may rise up to the hard one");
    let sink = sink();
    let max_in_flight = 4 * MAX_IN_FLIGHT_MIN;
    let args = ["--cores", "2", "--max-in-flight", &format!("{max_in_flight}B")];
    let relay = Order::tcp("", &to(&sink)).args(&args).start();
    let crowd = connect(relay.address(), CROWD);
    eventually("all are accepted", || procfs::descriptors(relay.pid()) > CROWD);
    feed(&relay, 200_000);
    assert!(sink.wait_for(200_000, HANG), "{:?}", sink.tally());
    assert_no_spin(&relay);
    let kib = relay.proc_status("VmHWM");
    let end = relay.terminate();
    eprintln!("{CROWD} idle connections: VmHWM {kib} KiB, drained in {} µs", end.book("drain_micros"));
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 200_000, 200_000));
    end.assert_balanced();
    assert!(crowd.iter().all(is_closed));
    assert_whole(sink, 200_000);
    // The program and its rings, what may be in flight on two cores, and a kilobyte for each connection.
    let bound = (32 << 10) + 2 * (max_in_flight >> 10) as u64 + CROWD as u64;
    assert!(kib < bound, "{kib} KiB, more than {bound}");
}

#[test]
fn silent_connections_keep_no_other_from_being_read() {
    let sink = sink();
    let relay = Order::tcp("", &to(&sink)).args(&["--cores", "1"]).start();
    let address = relay.address();
    // All in one turn of the reactor, so that no event comes after them.
    relay.signal(SIGSTOP);
    eventually("it is stopped", || procfs::state(relay.pid()) == 'T');
    let silent = connect(address, 300);
    let last = speak(address, 1);
    relay.signal(SIGCONT);
    assert!(sink.wait_for(1, HANG), "the last one is read: {:?}", relay.log());
    drop((silent, last));
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 1, 1));
}

#[test]
fn a_connection_may_leave_unread_what_a_turn_takes_and_less_in_a_crowd() {
    let sink = sink();
    let relay = Order::tcp("", &to(&sink)).args(&["--cores", "1"]).start();
    let crowd = speak(relay.address(), limits::CROWD + 9);
    assert!(sink.wait_for(crowd.len() as u64, HANG), "{:?}", sink.tally());
    let (open, bounded): (Vec<_>, Vec<_>) =
        receive_buffers(&relay).into_iter().partition(|bytes| *bytes >= limits::RECEIVE_WINDOW);
    let neighbours: Vec<_> = (limits::NEIGHBOURS..crowd.len())
        .map(|others| limits::RECEIVE_BUFFERS_OF_NEIGHBOURS / others)
        .map(|share| in_crowd(share.max(limits::RECEIVE_BUFFER_OF_NEIGHBOUR)))
        .collect();
    let distant = in_crowd(limits::RECEIVE_BUFFER_IN_CROWD);
    assert!(bounded.iter().all(|bytes| neighbours.contains(bytes) || *bytes == distant), "{bounded:?}");
    // On a machine that is busy a handshake may take long, and its sender count as distant, as not so many of them do.
    assert!(open.len() >= limits::NEIGHBOURS && open.len() < limits::CROWD / 2, "{open:?}");
    assert_eq!(relay.terminate().code(), 0);
}

#[test]
fn small_segments_are_asked_for_while_there_is_a_crowd() {
    let sink = sink();
    let relay = Order::tcp("", &to(&sink)).args(&["--cores", "1"]).start();
    // Each step is taken once the relay has accepted all who came before.
    let come = |count: usize, in_all: u64| {
        let came = speak(relay.address(), count);
        assert!(sink.wait_for(in_all, HANG), "{:?}", sink.tally());
        came
    };
    let (crowd, one_more) = (come(limits::NEIGHBOURS + 1, 17), come(1, 18));
    assert!(segment(&crowd[0]) > limits::SEGMENT_OF_NEIGHBOUR, "{}", segment(&crowd[0]));
    assert!(segment(&one_more[0]) <= limits::SEGMENT_OF_NEIGHBOUR, "{}", segment(&one_more[0]));
    let left = procfs::descriptors(relay.pid()) - 18;
    drop((crowd, one_more));
    eventually("all are gone", || procfs::descriptors(relay.pid()) <= left);
    // The first that comes then shows that the crowd is gone.
    let (_first, second) = (come(1, 19), come(1, 20));
    assert!(segment(&second[0]) > limits::SEGMENT_OF_NEIGHBOUR, "{}", segment(&second[0]));
    assert_eq!(relay.terminate().code(), 0);
}

/// How large the segments are that a connection sends, in bytes.
fn segment(connection: &TcpStream) -> u32 {
    SockRef::from(connection).tcp_mss().expect("it is connected")
}

#[test]
fn a_receive_buffer_that_was_asked_for_is_what_each_in_a_crowd_has() {
    let sink = sink();
    let relay = Order::tcp("?receive_buffer=64KiB", &to(&sink)).args(&["--cores", "1"]).start();
    let crowd = speak(relay.address(), limits::CROWD + 10);
    assert!(sink.wait_for(crowd.len() as u64, HANG), "{:?}", sink.tally());
    assert_eq!(receive_buffers(&relay), vec![2 * 64 * 1024; crowd.len()]);
    assert_eq!(relay.terminate().code(), 0);
}

/// What `SO_RCVBUF` says where so many bytes were asked for: the kernel doubles them (socket(7)).
fn in_crowd(bytes: usize) -> usize {
    let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").expect("a bound");
    2 * bytes.min(most.trim().parse().expect("a number"))
}

/// `SO_RCVBUF` of each connection that the relay accepted, in bytes.
fn receive_buffers(relay: &Relay) -> Vec<usize> {
    let process = pidfd_open(Process::from_raw(relay.pid().as_raw()).expect("a pid"), PidfdFlags::empty())
        .expect("it lives");
    let of = |descriptor| {
        let socket = pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty()).ok()?;
        let socket = SockRef::from(&socket);
        let is_accepted =
            socket.local_addr().ok()?.as_socket()? == relay.address() && socket.peer_addr().is_ok();
        is_accepted.then(|| socket.recv_buffer_size().expect("it has one"))
    };
    procfs::descriptor_numbers(relay.pid()).into_iter().filter_map(of).collect()
}

#[test]
fn at_the_limit_of_descriptors_accepting_pauses_and_resumes() {
    let sink = sink();
    let relay = limited(Order::tcp("", &to(&sink)), "-n 64").start();
    let first = speak(relay.address(), 10);
    assert!(sink.wait_for(10, HANG), "{:?}", sink.tally());
    let crowd = speak(relay.address(), 200);
    let paused = relay.expect_log(PAUSED);
    let before = sink.tally().messages;
    say(&first, "established ones go on\n");
    eventually("they are relayed", || sink.tally().messages >= before + 10);
    assert_no_spin(&relay);
    drop((first, crowd));
    assert!(sink.wait_for(220, HANG), "those that waited are read too: {:?}", sink.tally());
    for line in [paused, relay.expect_log("accepting resumed")] {
        assert!(line.contains("\"source\":"), "which source is not said: {line}");
    }
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 220, 220));
    end.assert_balanced();
    assert_eq!(end.log.iter().filter(|line| line.contains(PAUSED)).count(), 1, "{:#?}", end.log);
    assert_eq!(sink.finish().tally.messages, 220);
}

#[test]
fn at_the_limit_of_descriptors_a_sink_can_still_be_connected() {
    let reserved = Reserved::on_loopback();
    let order = Order::tcp("", &format!("tcp://{}", reserved.address()));
    let relay = limited(order, "-n 64").start();
    let crowd = speak(relay.address(), 200);
    relay.expect_log(PAUSED);
    let sink = sink_at(reserved.address());
    assert!(sink.wait_for(1, HANG), "the sink is connected: {:#?}", relay.log());
    drop(crowd);
    assert!(sink.wait_for(200, HANG), "{:?}", sink.tally());
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 200, 200));
}

#[test]
fn past_max_connections_others_wait_for_a_seat() {
    let sink = sink();
    let relay = Order::tcp("?max_connections=4", &to(&sink)).start();
    let first = speak(relay.address(), 4);
    assert!(sink.wait_for(4, HANG), "{:?}", sink.tally());
    let others = speak(relay.address(), 12);
    relay.expect_log(PAUSED);
    say(&first, "established ones go on\n");
    assert!(sink.wait_for(8, HANG), "{:?}", sink.tally());
    assert_no_spin(&relay);
    assert_eq!(relay.book("received"), 8, "nothing is read without a seat");
    drop((first, others));
    assert!(sink.wait_for(20, HANG), "those that waited are read too: {:?}", sink.tally());
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 20, 20));
    assert_eq!(end.log.iter().filter(|line| line.contains(PAUSED)).count(), 1, "{:#?}", end.log);
}

#[test]
fn a_drain_at_the_limit_of_descriptors_takes_in_those_that_wait() {
    let sink = sink();
    let relay = limited(Order::tcp("", &to(&sink)), "-n 64").start();
    let crowd = connect(relay.address(), 200);
    say(&crowd, "one\ntwo\nthree\n");
    relay.expect_log(PAUSED);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 600, 600), "{:#?}", end.log);
    end.assert_balanced();
    assert!(crowd.iter().all(is_closed));
    assert_eq!(sink.finish().tally.messages, 600);
}

#[test]
fn a_drain_at_max_connections_takes_in_those_that_wait() {
    let sink = sink();
    let relay = Order::tcp("?max_connections=4", &to(&sink)).start();
    let crowd = connect(relay.address(), 200);
    say(&crowd, "one\ntwo\nthree\n");
    relay.expect_log(PAUSED);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 600, 600), "{:#?}", end.log);
    assert!(crowd.iter().all(is_closed));
    assert_eq!(sink.finish().tally.messages, 600);
}

#[test]
fn a_drain_that_ran_out_of_descriptors_sleeps_while_it_waits_for_senders() {
    let sink = sink();
    let order = Order::tcp("?linger=1h", &to(&sink)).args(&["--cores", "1", "--drain-timeout", "2h"]);
    let relay = limited(order, "-n 64").start();
    let unfinished = connect(relay.address(), 20);
    say(&unfinished, "the rest of this message never com");
    let crowd = speak(relay.address(), 60);
    relay.expect_log(PAUSED);
    relay.signal(SIGTERM);
    assert!(sink.wait_for(60, HANG), "those that wait are taken in: {:?}", sink.tally());
    assert!(crowd.iter().all(is_closed));
    assert_no_spin(&relay);
    // A last line without its end is a message when FIN follows it.
    drop(unfinished);
    let end = relay.wait();
    assert_eq!((end.code(), end.book("received"), end.book("torn")), (0, 80, 0), "{:#?}", end.log);
}
