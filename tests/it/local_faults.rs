//! Receivers on unix sockets and over UDP that are not there, stall or close, also when TERM comes.
//!
//! Lives here: what `faults` does with TCP, for the other transports. There our kernel's own word is what counts as delivered.

use std::path::Path;

use nix::sys::signal::Signal;
use slackwater::load::{self, Place, SendReport, SinkHandle};
use slackwater::message::Framing;

use crate::support::flow::{flow, wait_until_blocked};
use crate::support::relay::{End, Order, Relay};
use crate::support::{HANG, Transport, eventually, name_of};

const LOCAL: [Transport; 2] = [Transport::Unix, Transport::Unixgram];

fn framing(transport: Transport) -> Framing {
    if transport.is_datagrams() { Framing::Datagram } else { Framing::Line }
}

fn relay(to: &Place, transport: Transport, drain_timeout: &str) -> Relay {
    let to = format!("{to}?framing={}", name_of(framing(transport)));
    Order::tcp("", &to)
        .args(&["--cores", "1", "--max-in-flight", "4MiB", "--drain-timeout", drain_timeout])
        .start()
}

fn listen(place: &Place, transport: Transport) -> SinkHandle {
    load::listen(place.clone(), framing(transport)).expect("a free place")
}

#[track_caller]
fn assert_complete(end: &End, sent: &SendReport, sink: SinkHandle) {
    let total = sent.acked_messages();
    end.assert_all_delivered(total);
    let report = sink.finish();
    assert!(report.tally.is_whole() && report.lost(sent) == 0, "{:?}", report.tally);
    assert_eq!(report.tally.messages, total);
}

fn place(folder: &Path, transport: Transport) -> Place {
    transport.place(folder, "out")
}

#[test]
fn a_receiver_that_comes_later_gets_everything() {
    for transport in LOCAL {
        let folder = tempfile::tempdir().unwrap();
        let to = place(folder.path(), transport);
        let relay = relay(&to, transport, "60s");
        let sent = flow(&relay, 2_000).finish();
        assert_eq!(sent.acked_messages(), 8_000);
        let sink = listen(&to, transport);
        assert!(sink.wait_for(8_000, HANG), "{transport:?} {:?} {:#?}", sink.tally(), relay.log());
        assert_complete(&relay.terminate(), &sent, sink);
    }
}

#[test]
fn a_stalled_receiver_stops_the_intake_within_the_bound_and_a_drain_waits_for_it() {
    for transport in LOCAL {
        let folder = tempfile::tempdir().unwrap();
        let to = place(folder.path(), transport);
        let sink = listen(&to, transport);
        sink.stall();
        let relay = relay(&to, transport, "60s");
        let sending = flow(&relay, 100_000);
        wait_until_blocked(&sending);
        relay.signal(Signal::SIGTERM);
        relay.expect_log("\"draining\"");
        sink.resume();
        let end = relay.wait();
        let sent = sending.finish();
        assert!(sent.acked_messages() > 1_000);
        assert_complete(&end, &sent, sink);
    }
}

#[test]
fn a_drain_to_a_receiver_that_is_not_there_ends_at_the_deadline_with_the_exact_number() {
    for transport in LOCAL {
        let folder = tempfile::tempdir().unwrap();
        let relay = relay(&place(folder.path(), transport), transport, "400ms");
        let sending = flow(&relay, 100_000);
        wait_until_blocked(&sending);
        let end = relay.terminate();
        let sent = sending.finish();
        let received = sent.acked_messages();
        assert_eq!(
            (end.code(), end.book("abandoned"), end.book("received")),
            (3, received, received),
            "{transport:?}"
        );
        assert_eq!((end.book("delivered"), &end.books["cause"]), (0, &"deadline".into()));
        end.assert_balanced();
    }
}

#[test]
fn a_receiver_that_closes_its_connections_under_load_loses_nothing() {
    const MESSAGES: u64 = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let to = place(folder.path(), Transport::Unix);
    let sink = listen(&to, Transport::Unix);
    let relay = relay(&to, Transport::Unix, "60s");
    let sending = flow(&relay, MESSAGES / 4);
    for part in 1..8 {
        assert!(sink.wait_for(part * MESSAGES / 8, HANG), "{:?} {:#?}", sink.tally(), relay.log());
        sink.close_all();
    }
    let sent = sending.finish();
    assert!(sink.wait_for(MESSAGES, HANG), "{:?}", sink.tally());
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered")), (0, MESSAGES), "{:#?}", end.log);
    let report = sink.finish();
    // A part of a message stays behind on a connection that closed in its midst; the whole goes to the next.
    assert_eq!(
        (report.lost(&sent), report.tally.duplicates, report.tally.holes),
        (0, 0, 0),
        "{:?}",
        report.tally
    );
}

/// Nobody knows what became of a datagram; that nobody listens is known, and then the rest is kept.
#[test]
fn over_udp_a_receiver_that_is_not_there_is_noticed_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let reserved = load::listen(Transport::Udp.place(folder.path(), ""), Framing::Datagram).unwrap();
    let to = reserved.place().clone();
    drop(reserved);
    let relay = relay(&to, Transport::Udp, "60s");
    let sent = flow(&relay, 1_000).finish();
    relay.expect_log("connection ended");
    let sink = listen(&to, Transport::Udp);
    eventually("it is sent to again", || relay.book("in_flight") == 0);
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, 4_000, 4_000));
    let tally = sink.finish().tally;
    // A few went while nobody was there, one for each attempt, whatever is sent in one call after the first.
    let missing = sent.acked_messages() - tally.messages - tally.kernel_drops;
    assert!(missing < 100, "{missing} missing: {tally:?}");
}
