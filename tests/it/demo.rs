//! `slackwater demo`: the main job in one command.
//!
//! Lives here: what it prints, its books, its exit codes. Never here: the relay's promises themselves.

use std::io::Read;
use std::process::Stdio;

use crate::support::relay::{End, Order};

fn demo(args: &[&str]) -> (End, String) {
    let mut order = Order::bare("slackwater");
    order.command.stdout(Stdio::piped());
    let ledger = order.ledger();
    order.command.args(["demo", "--ledger"]).arg(ledger);
    let mut relay = order.args(args).spawn();
    let mut text = String::new();
    relay.stdout().read_to_string(&mut text).expect("text");
    (relay.wait(), text)
}

#[test]
fn the_demonstration_loses_nothing_and_says_so() {
    let (end, text) = demo(&["--messages", "300000"]);
    assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{text}");
    end.assert_balanced();
    assert!(end.book("delivered") >= 300_000 && end.book("delivered") == end.book("received"));
    assert!(text.ends_with("abandoned   0\n"), "{text}");
    for part in ["throughput", "drain", &format!("delivered {}", end.book("delivered"))] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let log = end.log.join("\n");
    assert!(
        !log.contains('\r') && !log.contains('\u{1b}'),
        "no progress bar where there is no terminal: {log}"
    );
}

#[test]
fn the_demonstration_is_as_large_as_one_asks() {
    let (end, text) = demo(&["--messages", "50000", "--connections", "3", "--size", "100", "--cores", "1"]);
    assert_eq!(end.code(), 0, "{text}");
    assert!(text.contains("over 3 connections"), "{text}");
}

#[test]
fn messages_of_any_size_that_one_asks_for_travel_whole() {
    let (end, text) = demo(&["--messages", "300", "--size", "200000", "--log-level", "debug"]);
    assert_eq!(end.code(), 0, "{text}");
    assert!(!end.log.iter().any(|line| line.contains("truncated")), "{:#?}", end.log);
}

#[test]
fn a_demonstration_that_makes_no_sense_is_bad_usage_and_starts_nothing() {
    for args in [
        ["--messages", "0"],
        ["--cores", "none"],
        ["--size", "x"],
        ["--size", "52"],
        ["--size", "16777217"],
        ["--connections", "1000001"],
        ["--speed", "1"],
    ] {
        let (end, text) = demo(&args);
        assert_eq!((end.code(), text.as_str()), (2, ""), "{args:?} {:#?}", end.log);
        let log = end.log.join("\n");
        assert!(log.starts_with("error: ") && !log.contains("INFO"), "{args:?} {log}");
    }
}
