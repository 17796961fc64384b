//! A terminal that takes nothing (Ctrl-S, a pager) holds messages back, never the relay itself.
//!
//! Lives here: standard output that is a terminal. Never here: pipes and files.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;

use crate::support::relay::Order;

#[test]
fn a_stalled_terminal_does_not_keep_the_drain_from_its_end() {
    let terminal = openpty(None, None).unwrap();
    // Else every program that another test starts meanwhile has it, too.
    fcntl(&terminal.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    fcntl(&terminal.slave, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    let mut order = Order::tcp("", "stdout").args(&["--drain-timeout", "1s", "--max-in-flight", "1MiB"]);
    order.command.stdout(Stdio::from(terminal.slave));
    let relay = order.start();
    let mut sender = TcpStream::connect(relay.address()).unwrap();
    sender.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let stalled = loop {
        if let Err(error) = sender.write_all(&b"hello\n".repeat(1000)) {
            break error;
        }
    };
    assert_eq!(stalled.kind(), ErrorKind::WouldBlock);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("in_flight")), (3, 0), "{:#?}", end.log);
    end.assert_balanced();
    assert!(end.book("abandoned") > 0);
    drop(terminal.master);
}
