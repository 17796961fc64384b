//! Whatever keeps a relay from starting: it names the thing and the remedy, ends at once, and leaves nothing behind.
//!
//! Lives here: refusals at the start. Never here: what goes wrong once it relays.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

use crate::support::confine::{files_beside, limited, shown_disabled, spawn_refused, unprivileged};
use crate::support::eventually;
use crate::support::hold::{assert_whole, feed, sink};
use crate::support::relay::{End, Order, Relay};

/// Port 9 of this machine, where nobody listens and nobody has to.
const NOWHERE: &str = "tcp://127.0.0.1:9";
const COULD_NOT_START: i32 = 1;
const BAD_USAGE: i32 = 2;

/// Its end, with a message that has every one of `words`, and nothing written where the ledger would be.
#[track_caller]
fn assert_refused(mut relay: Relay, ledger: &Path, code: i32, words: &[&str]) -> End {
    eventually("it ends", || !relay.is_running());
    let left: Vec<String> = files_beside(ledger).into_iter().filter(|name| name.contains("books")).collect();
    let end = relay.wait();
    let said = end.log.join("\n");
    assert_eq!(end.code(), code, "{said}");
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} not in: {said}");
    assert!(left.is_empty(), "{left:?} is left");
    end
}

#[track_caller]
fn assert_cannot_start(order: Order, words: &[&str]) {
    let ledger = order.ledger();
    assert_refused(order.spawn(), &ledger, COULD_NOT_START, &[words, &["remedy:"]].concat());
}

/// As [`assert_cannot_start`], with a system call that fails.
#[track_caller]
fn assert_refused_by_filter(order: Order, syscall: i64, errno: Errno, words: &[&str]) {
    let ledger = order.ledger();
    let relay = spawn_refused(order, syscall, errno);
    assert_refused(relay, &ledger, COULD_NOT_START, &[words, &["remedy:"]].concat());
}

/// What each mistake in usage is, and what the message must name.
const MISTAKES: [(&[&str], &[&str]); 8] = [
    (&[], &["Usage:"]),
    (&["ruin"], &["ruin", "run"]),
    (&["run", "--form", "tcp://a:1"], &["--form", "--from"]),
    (&["run", "--from", "tcp://127.0.0.1:0?framming=octet"], &["framming", "^^^^^^^^", "framing", "--from"]),
    (&["run", "--to", "tcp://127.0.0.1:0"], &["port 0", "--to"]),
    (&["run", "--to", "kafka://127.0.0.1:1"], &["kafka", "tcp"]),
    (&["run", "--drain-timeout", "5"], &["no unit", "--drain-timeout"]),
    (&["run", "--cores", "0"], &["--cores"]),
];

#[test]
fn a_mistake_in_usage_is_named() {
    for (arguments, words) in MISTAKES {
        let order = Order::bare("slackwater").args(arguments);
        let ledger = order.ledger();
        assert_refused(order.spawn(), &ledger, BAD_USAGE, words);
    }
    let mut order = Order::tcp("", NOWHERE);
    order.command.env("SLACKWATER_LOG", "loud");
    let ledger = order.ledger();
    assert_refused(order.spawn(), &ledger, BAD_USAGE, &["loud", "SLACKWATER_LOG", "debug"]);
}

#[track_caller]
fn assert_taken(address: SocketAddr) {
    assert_cannot_start(
        Order::between(&[&format!("tcp://{address}")], NOWHERE),
        &[&address.to_string(), "ss -ltunp"],
    );
}

#[test]
fn a_port_that_another_program_has_is_an_error() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    assert_taken(other.local_addr().expect("bound"));
}

#[test]
fn a_port_that_another_program_would_share_is_an_error() {
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    other.set_reuse_port(true).expect("an option of sockets");
    other.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    other.listen(1).expect("nobody else has it");
    assert_taken(other.local_addr().expect("bound").as_socket().expect("an address of IP"));
}

#[test]
fn a_port_that_another_relay_has_is_an_error_and_that_relay_goes_on() {
    let sink = sink();
    let first = Order::tcp("", &format!("tcp://{}", sink.address())).start();
    assert_taken(first.address());
    feed(&first, 1000);
    assert_eq!(first.terminate().code(), 0);
    assert_whole(sink, 1000);
}

#[test]
fn a_relay_that_gets_only_one_of_its_ports_gives_it_back() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let taken = other.local_addr().expect("bound").to_string();
    let order =
        Order::between(&[&format!("tcp://{free}")], NOWHERE).args(&["--from", &format!("tcp://{taken}")]);
    assert_cannot_start(order, &[&taken]);
    TcpListener::bind(free).expect("nobody has it any more");
}

#[test]
fn a_privileged_port_needs_a_privilege() {
    let first: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .expect("proc(5) is mounted")
        .trim()
        .parse()
        .expect("a port");
    let order = Order::between(&["tcp://127.0.0.1:514"], NOWHERE);
    let words = ["127.0.0.1:514", "CAP_NET_BIND_SERVICE"];
    if first > 514 {
        assert_cannot_start(unprivileged(order), &words);
    } else {
        // Container runtimes make every port free to everyone; elsewhere bind(2) says this.
        assert_refused_by_filter(order, libc::SYS_bind, Errno::EACCES, &words);
    }
}

#[test]
fn an_address_of_another_machine_is_an_error() {
    // RFC 5737: no machine has an address of this block.
    assert_cannot_start(Order::between(&["tcp://192.0.2.1:0"], NOWHERE), &["192.0.2.1", "ip address"]);
}

#[test]
fn a_name_without_an_address_is_an_error() {
    // RFC 6761, section 6.4: `invalid` never has one.
    for (from, to) in [("no-such-source.invalid:1", "127.0.0.1:9"), ("127.0.0.1:0", "no-such-sink.invalid:1")]
    {
        let mut order = Order::between(&[&format!("tcp://{from}")], &format!("tcp://{to}"));
        // Where there is no network the resolver gives up soon (resolv.conf(5)).
        order.command.env("RES_OPTIONS", "timeout:1 attempts:1");
        assert_cannot_start(order, &["no-such-s", ".invalid", "check the name"]);
    }
}

#[test]
fn a_core_that_is_not_there_is_an_error() {
    assert_cannot_start(Order::tcp("", NOWHERE).args(&["--cores", "0,1023"]), &["1023", "--cores"]);
}

#[test]
fn a_file_in_a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing").join("books.json");
    let (ledger, path) = (missing.as_path(), missing.to_str().expect("a path in UTF-8"));
    let run = || Order::bare("slackwater").args(&["run", "--from", "tcp://127.0.0.1:0"]);
    assert_cannot_start(run().args(&["--to", NOWHERE, "--ledger", path]), &["ledger", path]);
    assert_cannot_start(run().args(&["--to", &format!("file://{path}")]), &[path]);
    assert!(!ledger.exists());
    let itself = folder.path().to_str().expect("a path in UTF-8");
    assert_cannot_start(run().args(&["--to", NOWHERE, "--ledger", itself]), &["ledger", itself, "folder"]);
}

const IO_URING: [i64; 3] = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

#[test]
fn a_filter_that_forbids_io_uring_is_named() {
    for syscall in IO_URING {
        let words = ["EPERM", "seccomp", "SystemCallFilter="];
        assert_refused_by_filter(Order::tcp("", NOWHERE), syscall, Errno::EPERM, &words);
    }
}

#[test]
fn a_filter_that_hides_io_uring_is_named() {
    for syscall in IO_URING {
        assert_refused_by_filter(Order::tcp("", NOWHERE), syscall, Errno::ENOSYS, &["ENOSYS", "seccomp"]);
    }
}

#[test]
fn a_machine_where_io_uring_is_disabled_is_told_how_to_enable_it() {
    for (value, words) in [
        (1, ["sysctl kernel.io_uring_disabled is 1", "kernel.io_uring_group"]),
        (2, ["sysctl kernel.io_uring_disabled is 2", "sysctl -w kernel.io_uring_disabled=0"]),
    ] {
        let order = shown_disabled(Order::tcp("", NOWHERE), value);
        assert_refused_by_filter(order, libc::SYS_io_uring_setup, Errno::EPERM, &words);
    }
}

/// Kernels from 5.12 on charge a ring to the memory cgroup only, and newer ones to this limit again (tried: 6.18 does).
#[test]
fn a_limit_of_locked_memory_that_is_too_small_is_named_or_does_not_matter() {
    let order = limited(unprivileged(Order::tcp("", NOWHERE)), "-l 0");
    let ledger = order.ledger();
    let mut relay = order.spawn();
    eventually("it ends or relays", || relay.logged("\"relaying\"") > 0 || !relay.is_running());
    if relay.is_running() {
        assert_eq!(relay.terminate().code(), 0);
    } else {
        assert_refused(relay, &ledger, COULD_NOT_START, &["ENOMEM", "0 KiB", "ulimit -l", "LimitMEMLOCK="]);
    }
}

#[test]
fn a_kernel_without_memory_for_a_ring_is_named() {
    let words = ["ENOMEM", "memory lock limit", "memory cgroup"];
    assert_refused_by_filter(Order::tcp("", NOWHERE), libc::SYS_io_uring_setup, Errno::ENOMEM, &words);
}

/// Each limit from the least under which a program can be loaded: there is no half start, and the message is always the same.
#[test]
fn a_limit_of_descriptors_that_is_too_small_is_named() {
    let (mut refused, mut started) = (0, 0);
    for limit in 4..=40 {
        let order = Order::tcp("", NOWHERE).args(&["--cores", "1"]);
        let ledger = order.ledger();
        let mut relay = limited(order, &format!("-n {limit}")).spawn();
        eventually("it ends or relays", || relay.logged("\"relaying\"") > 0 || !relay.is_running());
        if relay.is_running() {
            let end = relay.terminate();
            assert_eq!((end.code(), end.book("received")), (0, 0));
            assert!(!end.log.iter().any(|line| line.contains("Too many open files")), "{:#?}", end.log);
            started += 1;
        } else {
            assert_refused(relay, &ledger, COULD_NOT_START, &["remedy:", "ulimit -n", "LimitNOFILE="]);
            refused += 1;
        }
    }
    assert!(refused > 0 && started > 0, "{refused} refused, {started} started");
}
