//! A sink that resets its connection while a send is under way costs a connection, never a message.
//!
//! Lives here: resets. Never here: sinks that close in good order.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use slackwater::socket::seal::reset_on_close;
use slackwater::socket::tcp_info::tcp_info;

use crate::support::eventually;
use crate::support::procfs::is_stopped;
use crate::support::relay::{Order, Relay};

/// Holds the whole relay still for the time of `meanwhile`, so that it sees everything that happened in it at once.
fn while_stopped(relay: &Relay, meanwhile: impl FnOnce()) {
    relay.signal(Signal::SIGSTOP);
    eventually("the relay is stopped", || is_stopped(relay.pid()));
    meanwhile();
    relay.signal(Signal::SIGCONT);
}

/// Sends numbered lines until nothing more is taken: the buffers of the sink, the relay and the kernel are full. How many.
fn fill(sender: &mut TcpStream) -> u64 {
    sender.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    for line in 0.. {
        if let Err(error) = sender.write_all(format!("{line:0999}\n").as_bytes()) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            return line;
        }
    }
    unreachable!("every buffer is bounded")
}

/// The next connection, without waiting for ever.
fn accept(sink: &TcpListener) -> TcpStream {
    sink.set_nonblocking(true).unwrap();
    let mut accepted = None;
    eventually("the relay connects", || {
        accepted = sink.accept().ok();
        accepted.is_some()
    });
    let connection = accepted.expect("accepted above").0;
    connection.set_nonblocking(false).unwrap();
    connection
}

#[test]
fn a_sink_that_answers_and_resets_in_mid_send_loses_nothing() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", sink.local_addr().unwrap());
    let relay = Order::tcp("", &to).args(&["--cores", "1", "--max-in-flight", "8MiB"]).start();
    let mut first = accept(&sink);
    let mut sender = TcpStream::connect(relay.address()).unwrap();
    let lines = fill(&mut sender);
    // The answer makes the relay watch the connection anew: the reset then ends the watch before it ends the send.
    first.write_all(b"answer").unwrap();
    eventually("the answer has arrived", || tcp_info(first.as_fd()).unwrap().bytes_acked >= 6);
    while_stopped(&relay, || {
        reset_on_close(&first).unwrap();
        drop(first);
    });
    let second = BufReader::new(accept(&sink));
    let reader = thread::spawn(move || second.lines().map_while(Result::ok).collect::<Vec<_>>());
    drop(sender);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{:#?}", end.log);
    end.assert_balanced();
    let again = reader.join().unwrap();
    let numbers: Vec<u64> = again.iter().filter_map(|line| line.parse().ok()).take(again.len() - 1).collect();
    let expected: Vec<u64> = (numbers[0]..numbers[0] + numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "in order, without a hole");
    assert!(numbers.last().is_some_and(|&last| last + 1 >= lines), "up to the last line that was sent");
}
