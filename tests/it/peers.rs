//! Traffic from and to programs that we did not write: each message arrives exactly once, in the order of its connection.
//!
//! Lives here: `loggen`, `logger` and `nc` as senders, `rsyslogd`, `nc` and the built `slackload sink` as receivers. Never here:
//! how they are started
//! (`support::foreign`, `support::peer`).

use std::net::SocketAddr;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use slackwater::message::Framing;

use crate::support::foreign::{
    Kind, LOGGEN, LOGGER, NETCAT, STAMPED, Sender, endless_loggen, endless_logger,
};
use crate::support::name_of;
use crate::support::peer::{Receiver, counted};
use crate::support::relay::{End, Order, Relay};

/// Messages of one test, over all connections.
const MESSAGES: u64 = 200_000;
/// What has to be behind the relay before it is stopped in full flow.
const FLOW: u64 = 20_000;

#[track_caller]
fn assert_all_delivered(end: &End) {
    assert_eq!(
        (end.code(), end.book("received"), end.book("delivered")),
        (0, MESSAGES, MESSAGES),
        "{:#?}",
        end.log
    );
    assert_eq!((end.book("abandoned"), end.book("torn")), (0, 0));
    end.assert_balanced();
}

/// A relay from `framing` to a receiver that takes the same.
fn relay_to(receiver: SocketAddr, framing: Framing, args: &[&str]) -> Relay {
    Order::tcp(&format!("?linger=1s&framing={}", name_of(framing)), &format!("tcp://{receiver}"))
        .args(args)
        .start()
}

/// Everything that a program sends, into a receiver that writes a file; the relay is stopped after that.
fn into_file(kind: &Kind, framing: Framing, receiver: Receiver, args: &[&str]) {
    let relay = relay_to(receiver.address(), framing, args);
    let each = MESSAGES / kind.connections;
    (kind.send)(relay.address(), framing, each).wait();
    assert_all_delivered(&relay.terminate());
    let streams = counted(&receiver.all_lines(MESSAGES), kind.name);
    assert_eq!(streams.len() as u64, kind.connections);
    assert!(streams.values().all(|&count| count == each), "{streams:?}");
}

/// The built `slackload sink`, and where it listens.
fn slackload(framing: Framing) -> (Relay, SocketAddr) {
    let mut order = Order::bare("slackload");
    order.command.stdout(Stdio::piped());
    let sink =
        order.args(&["sink", "--json", "--listen", "127.0.0.1:0", "--framing", name_of(framing)]).spawn();
    let listening = sink.expect_log("listening on ");
    let address = listening.trim_start_matches("listening on tcp://").parse().expect("an address");
    (sink, address)
}

/// Its end, and what it reports.
fn report_of(mut sink: Relay) -> (i32, Value) {
    let stdout = sink.stdout();
    sink.signal(Signal::SIGTERM);
    let report = serde_json::from_reader(stdout).expect("the sink's report");
    (sink.wait().code(), report)
}

/// Everything that a program sends, into the built `slackload sink`. Of messages without a stamp it only knows how many there
/// are, and how many bytes.
fn into_slackload(kind: &Kind, framing: Framing) -> Value {
    let (sink, address) = slackload(framing);
    let relay = relay_to(address, framing, &[]);
    let sender = (kind.send)(relay.address(), framing, MESSAGES / kind.connections);
    let bytes = sender.bytes();
    sender.wait();
    assert_all_delivered(&relay.terminate());
    let (code, report) = report_of(sink);
    let tally = &report["tally"];
    assert_eq!((code, &tally["messages"], &tally["bytes"]), (0, &MESSAGES.into(), &bytes.into()), "{report}");
    report
}

#[test]
fn loggen_lines_into_rsyslogd() {
    into_file(&LOGGEN, Framing::Line, Receiver::rsyslogd(), &[]);
}

#[test]
fn loggen_counted_messages_into_rsyslogd() {
    into_file(&LOGGEN, Framing::Octet, Receiver::rsyslogd(), &[]);
}

#[test]
fn loggen_lines_into_slackload() {
    into_slackload(&LOGGEN, Framing::Line);
}

#[test]
fn loggen_counted_messages_into_slackload() {
    into_slackload(&LOGGEN, Framing::Octet);
}

#[test]
fn logger_lines_into_rsyslogd() {
    into_file(&LOGGER, Framing::Line, Receiver::rsyslogd(), &[]);
}

#[test]
fn logger_counted_messages_into_rsyslogd() {
    into_file(&LOGGER, Framing::Octet, Receiver::rsyslogd(), &[]);
}

#[test]
fn logger_lines_into_slackload() {
    into_slackload(&LOGGER, Framing::Line);
}

#[test]
fn logger_counted_messages_into_slackload() {
    into_slackload(&LOGGER, Framing::Octet);
}

#[test]
fn netcat_lines_into_rsyslogd() {
    into_file(&NETCAT, Framing::Line, Receiver::rsyslogd(), &[]);
}

#[test]
fn netcat_counted_messages_into_rsyslogd() {
    into_file(&NETCAT, Framing::Octet, Receiver::rsyslogd(), &[]);
}

#[test]
fn netcat_into_netcat() {
    into_file(&NETCAT, Framing::Line, Receiver::netcat(), &["--cores", "1"]);
}

/// Stamped messages, of which the sink tells what is missing, repeated or late.
fn stamped_into_slackload(framing: Framing) {
    let report = into_slackload(&STAMPED, framing);
    assert_eq!(report["tally"]["foreign"], 0);
    let streams = report["streams"].as_array().expect("streams");
    let each = MESSAGES / STAMPED.connections;
    assert_eq!(streams.len() as u64, STAMPED.connections);
    assert!(streams.iter().all(|stream| stream["messages"] == each), "{report}");
}

#[test]
fn netcat_lines_into_slackload() {
    stamped_into_slackload(Framing::Line);
}

#[test]
fn netcat_counted_messages_into_slackload() {
    stamped_into_slackload(Framing::Octet);
}

#[track_caller]
fn assert_stopped(end: &End) -> u64 {
    assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{:#?}", end.log);
    end.assert_balanced();
    assert_eq!(end.book("received"), end.book("delivered"));
    end.book("delivered")
}

/// Starts a program that never stops sending.
type Flood = fn(SocketAddr, Framing) -> Sender;

/// TERM while a program that knows nothing of us is in full flow: what is in the books is in the file, from
/// each connection's first message on without a gap, and nothing else is.
fn stopped_before_rsyslogd(kind: &Kind, flood: Flood, framing: Framing, args: &[&str]) {
    let receiver = Receiver::rsyslogd();
    let relay = relay_to(receiver.address(), framing, args);
    let sender = flood(relay.address(), framing);
    receiver.lines(FLOW);
    let delivered = assert_stopped(&relay.terminate());
    drop(sender);
    let streams = counted(&receiver.all_lines(delivered), kind.name);
    assert_eq!((streams.len() as u64, streams.values().sum::<u64>()), (kind.connections, delivered));
}

/// The same before the built `slackload sink`, which finds no message cut short.
fn stopped_before_slackload(flood: Flood, framing: Framing) {
    let (sink, address) = slackload(framing);
    let relay = relay_to(address, framing, &[]);
    let sender = flood(relay.address(), framing);
    crate::support::eventually("the flow is there", || relay.book("delivered") >= FLOW);
    let delivered = assert_stopped(&relay.terminate());
    drop(sender);
    let (code, report) = report_of(sink);
    assert_eq!((code, &report["tally"]["messages"]), (0, &delivered.into()), "{report}");
}

#[test]
fn a_term_in_full_flow_of_loggen_loses_nothing_before_rsyslogd() {
    stopped_before_rsyslogd(&LOGGEN, endless_loggen, Framing::Octet, &[]);
}

/// `logger` connects again when it is reset; a second core may not have sealed its listeners by then, and the new connection's
/// messages then come beside those of the old one.
#[test]
fn a_term_in_full_flow_of_logger_loses_nothing_before_rsyslogd() {
    stopped_before_rsyslogd(&LOGGER, endless_logger, Framing::Line, &["--cores", "1"]);
}

#[test]
fn a_term_in_full_flow_of_loggen_loses_nothing_before_slackload() {
    stopped_before_slackload(endless_loggen, Framing::Line);
}

#[test]
fn a_term_in_full_flow_of_logger_loses_nothing_before_slackload() {
    stopped_before_slackload(endless_logger, Framing::Octet);
}
