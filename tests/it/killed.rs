//! A sink whose process is killed and started again: what its host had not acknowledged is sent to the next one.
//!
//! Lives here: kill -9 of the receiving program. Never here: faults that a program commits itself (`faults`).

use std::net::SocketAddr;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use slackwater::load::{self, SendPlan, SendReport};

use crate::support::eventually;
use crate::support::port::{Reserved, unread_bytes};
use crate::support::relay::{Order, Relay};

const CONNECTIONS: u32 = 4;

/// `slackload sink` as a process of its own.
fn sink_at(address: SocketAddr) -> Relay {
    let mut order = Order::bare("slackload").args(&["sink", "--json", "--listen", &address.to_string()]);
    order.command.stdout(Stdio::piped());
    let sink = order.spawn();
    sink.expect_log("listening on");
    sink
}

fn kill(sink: Relay) {
    sink.signal(Signal::SIGKILL);
    assert!(sink.wait().status.code().is_none());
}

/// What a sink reports after TERM.
fn report_of(mut sink: Relay) -> Value {
    let stdout = sink.stdout();
    sink.signal(Signal::SIGTERM);
    let report = serde_json::from_reader(stdout).expect("the sink's report");
    sink.wait();
    report
}

fn plan(relay: &Relay, messages: u64) -> SendPlan {
    SendPlan {
        connections: CONNECTIONS,
        messages_per_connection: Some(messages),
        ..SendPlan::new(relay.address())
    }
}

/// The messages of each sender in `report` are its last ones, without a hole, in order, once.
fn assert_is_the_rest(report: &Value, sent: &SendReport) {
    for one in &sent.connections {
        let mut streams = report["streams"].as_array().expect("streams").iter();
        let stream = streams.find(|stream| stream["connection"] == one.connection).expect("each has a rest");
        assert_eq!((&stream["duplicates"], &stream["out_of_order"]), (&0.into(), &0.into()), "{stream}");
        assert_eq!(stream["highest"], one.written_messages - 1, "{stream}");
        let gaps = stream["gaps"].as_array().expect("gaps");
        assert!(gaps.len() <= 1 && gaps.iter().all(|gap| gap["start"] == 0), "{stream}");
    }
}

#[test]
fn a_sink_that_is_killed_under_load_gets_the_rest_in_order_once_it_is_back() {
    const MESSAGES: u64 = 100_000;
    let reserved = Reserved::on_loopback();
    let first = sink_at(reserved.address());
    let relay = Order::tcp("", &format!("tcp://{}", reserved.address())).start();
    let sending = load::start(plan(&relay, MESSAGES)).expect("a plan that can be sent");
    eventually("the flow begins", || sending.written_messages() > MESSAGES / 2);
    kill(first);
    let second = sink_at(reserved.address());
    let sent = sending.finish();
    assert_eq!(sent.acked_messages(), MESSAGES * u64::from(CONNECTIONS));
    relay.terminate().assert_all_delivered(MESSAGES * u64::from(CONNECTIONS));
    assert_is_the_rest(&report_of(second), &sent);
}

#[test]
fn a_sink_that_is_killed_when_it_has_read_everything_loses_nothing() {
    const MESSAGES: u64 = 5_000;
    let reserved = Reserved::on_loopback();
    let first = sink_at(reserved.address());
    let relay = Order::tcp("", &format!("tcp://{}", reserved.address())).start();
    let before = load::send(plan(&relay, MESSAGES)).expect("a plan that can be sent");
    eventually("everything is delivered", || relay.book("delivered") == before.acked_messages());
    eventually("the sink has read everything", || unread_bytes(reserved.address()) == 0);
    kill(first);
    let after = load::send(plan(&relay, MESSAGES)).expect("a plan that can be sent");
    let second = sink_at(reserved.address());
    relay.terminate().assert_all_delivered(before.acked_messages() + after.acked_messages());
    let report = report_of(second);
    let tally = &report["tally"];
    assert_eq!((&tally["messages"], &tally["duplicates"]), (&after.acked_messages().into(), &0.into()));
    assert_eq!((&tally["holes"], &tally["out_of_order"], &tally["torn"]), (&0.into(), &0.into(), &0.into()));
}
