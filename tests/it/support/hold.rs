//! Relays that hold messages which they cannot get rid of.
//!
//! Lives here: the way to such a state. Never here: what a signal then leads to.

use std::net::SocketAddr;

use slackwater::load::{self, SendPlan, SendReport, SinkHandle};
use slackwater::message::Framing;

use super::relay::{Order, Relay};
use super::{HANG, eventually};

/// A relay into a sink that does not read, once it has taken in all that was sent to it.
pub struct Held {
    pub relay: Relay,
    pub sink: SinkHandle,
    pub sent: SendReport,
}

/// Sends `messages` of 256 bytes through a relay with `args` into a sink that does not read. Some fit into the buffers of the
/// kernels in between and count as delivered; a few megabytes do not.
pub fn against_a_stalled_sink(messages: u64, args: &[&str]) -> Held {
    let sink = sink();
    sink.stall();
    let relay = Order::tcp("", &format!("tcp://{}", sink.address())).args(args).start();
    let sent = feed(&relay, messages);
    Held { relay, sink, sent }
}

/// A sink that takes lines.
pub fn sink() -> SinkHandle {
    sink_at(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// The same at an address that is ours.
pub fn sink_at(address: SocketAddr) -> SinkHandle {
    load::listen(address, Framing::Line).expect("a sink")
}

/// Sends `messages` over one connection and waits until the relay has entered them into its books.
pub fn feed(relay: &Relay, messages: u64) -> SendReport {
    let plan = SendPlan { messages_per_connection: Some(messages), ..SendPlan::new(relay.address()) };
    let sent = load::send(plan).expect("a plan that can be sent");
    assert_eq!(sent.acked_messages(), messages, "the relay's kernel took them");
    eventually("the relay received them all", || relay.book("received") == messages);
    sent
}

/// Waits until everything came, and asserts that it came once and in order.
pub fn assert_whole(sink: SinkHandle, messages: u64) {
    assert!(sink.wait_for(messages, HANG), "{:?}", sink.tally());
    let report = sink.finish();
    assert!(report.tally.is_whole(), "{:?}", report.tally);
    assert_eq!(report.tally.messages, messages);
}
