//! A drain that begins with everything full goes on as soon as the sink does.
//!
//! Lives here: more in the kernel's receive buffers than may be in flight. Never here: senders that go on sending.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::relay::Order;

/// Writes until nothing more is taken.
fn fill(mut sender: &TcpStream) {
    sender.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while sender.write_all(&[b'x'; 99].repeat(100)).and_then(|()| sender.write_all(b"\n")).is_ok() {}
}

#[test]
fn a_full_relay_drains_without_a_pause() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", sink.local_addr().unwrap());
    let relay = Order::tcp("?linger=0s", &to).args(&["--cores", "1", "--max-in-flight", "1MiB"]).start();
    let mut connection = sink.accept().unwrap().0;
    let senders: Vec<_> = (0..40).map(|_| TcpStream::connect(relay.address()).unwrap()).collect();
    thread::scope(|scope| senders.iter().for_each(|sender| drop(scope.spawn(|| fill(sender)))));
    relay.signal(Signal::SIGTERM);
    relay.expect_log("\"draining\"");
    let reader = thread::spawn(move || connection.read_to_end(&mut Vec::new()));
    let end = relay.wait();
    assert_eq!((end.code(), end.books["cause"].as_str()), (0, Some("TERM")), "{:#?}", end.log);
    assert_eq!(end.book("delivered"), end.book("received"));
    reader.join().unwrap().unwrap();
}
