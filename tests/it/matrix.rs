//! Every source transport and framing to every sink transport and framing: each message once, and all books equal.

use std::fs;

use slackwater::framing::{Bounds, Framer, Oversize, payloads};
use slackwater::load::{self, Place, SendPlan, SendReport, Stamp, Style};
use slackwater::message::Framing;

use crate::support::relay::{End, Order};
use crate::support::{HANG, Transport, name_of};

const MESSAGES: u64 = 5_000;
const CONNECTIONS: u32 = 5;
/// Holds all of them, if the kernel gives it: then nothing is dropped.
const BUFFER: &str = "&receive_buffer=8MiB";

/// A source as it is written, how its senders frame, and how they send.
#[derive(Clone, Copy, Debug)]
struct Source {
    transport: Transport,
    written: &'static str,
    framing: Framing,
}

fn sources(transport: Transport) -> Vec<Source> {
    let source = |&framing| Source { transport, written: name_of(framing), framing };
    let auto = [Framing::Line, Framing::Octet].map(|framing| Source { transport, written: "auto", framing });
    transport.framings().iter().map(source).chain(auto).collect()
}

fn send(to: Place, source: Source) -> SendReport {
    let styles = if source.transport.is_datagrams() {
        [Style::Bulk, Style::Single]
    } else {
        [Style::Bulk, Style::Dribble]
    };
    let style = styles[usize::from(source.framing == Framing::Octet)];
    let messages_per_connection = Some(MESSAGES / u64::from(CONNECTIONS));
    let framing = source.framing;
    load::send(SendPlan {
        connections: CONNECTIONS,
        messages_per_connection,
        size: 120,
        framing,
        style,
        ..SendPlan::new(to)
    })
    .expect("a plan that can be sent")
}

/// One relay, all messages, TERM at once; the relay's end, and what its source did not get for want of room.
fn relay(source: Source, to: &str) -> (End, u64) {
    let folder = tempfile::tempdir().unwrap();
    let place = source.transport.place(folder.path(), "in");
    let buffer = if source.transport == Transport::Unix { "" } else { BUFFER };
    let from = format!("{place}?framing={}{buffer}", source.written);
    let relay = Order::between(&[&from], to).args(&["--cores", "1"]).start();
    let sent = send(relay.entrances().remove(0), source);
    assert_eq!(sent.written_messages(), MESSAGES);
    let end = relay.terminate();
    let dropped = end.book("kernel_drops");
    assert!(dropped == 0 || source.transport == Transport::Udp);
    // A datagram may have held several messages: then none is dropped, or it cannot be told how many.
    assert_eq!(
        (end.code(), end.book("received") + dropped, end.book("torn")),
        (0, MESSAGES, 0),
        "{source:?} {to}"
    );
    assert_eq!((end.book("delivered"), end.book("misframed")), (end.book("received"), 0), "{source:?} {to}");
    end.assert_balanced();
    (end, dropped)
}

fn to_peers(source: Source) {
    for transport in Transport::ALL {
        for &framing in transport.framings() {
            let folder = tempfile::tempdir().unwrap();
            let sink = load::listen(transport.place(folder.path(), "out"), framing).unwrap();
            let to = format!("{}?framing={}", sink.place(), name_of(framing));
            let (end, dropped) = relay(source, &to);
            let tally = sink.finish().tally;
            let what = format!("{source:?} to {transport:?} {framing:?}: {tally:?}");
            assert_eq!(tally.messages + tally.kernel_drops, end.book("delivered"), "{what}");
            assert_eq!(
                (tally.foreign, tally.duplicates, tally.torn, tally.misframed),
                (0, 0, 0, 0),
                "{what}"
            );
            assert_eq!(tally.out_of_order, 0, "{what}");
            assert!(dropped + tally.kernel_drops > 0 || tally.holes == 0, "{what}");
        }
    }
}

fn to_files(source: Source) {
    for framing in [Framing::Line, Framing::Octet, Framing::U32, Framing::Nul] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let (end, _) = relay(source, &format!("file:{}?framing={}", path.display(), name_of(framing)));
        let mut framer = Framer::new(framing, Bounds { max_message: 120, oversize: Oversize::Close });
        let mut runs = Vec::new();
        framer.feed(fs::read(&path).unwrap().into(), &mut runs).unwrap();
        assert!(framer.is_at_boundary());
        let stamps: Vec<Stamp> =
            runs.iter().flat_map(payloads).map(|message| Stamp::parse(&message).expect("a stamp")).collect();
        assert_eq!(stamps.len() as u64, end.book("delivered"));
        for connection in 0..CONNECTIONS {
            let of_one = stamps.iter().filter(|stamp| stamp.connection == connection);
            assert!(of_one.is_sorted_by_key(|stamp| stamp.sequence), "{source:?} to a file {framing:?}");
        }
    }
}

fn from(transport: Transport) {
    for source in sources(transport) {
        to_peers(source);
        to_files(source);
    }
}

#[test]
fn tcp_to_everything() {
    from(Transport::Tcp);
}

#[test]
fn udp_to_everything() {
    from(Transport::Udp);
}

#[test]
fn unix_streams_to_everything() {
    from(Transport::Unix);
}

#[test]
fn unix_datagrams_to_everything() {
    from(Transport::Unixgram);
}

/// Without a framing a sink frames as its source does; what came as a datagram leaves as a line.
#[test]
fn without_a_framing_messages_leave_as_they_came() {
    for (source, framing, sink) in [
        (Transport::Tcp, Framing::U32, Framing::U32),
        (Transport::Unix, Framing::Nul, Framing::Nul),
        (Transport::Unixgram, Framing::Datagram, Framing::Line),
        (Transport::Unixgram, Framing::Octet, Framing::Octet),
    ] {
        let receiver = load::listen(Place::loopback(), sink).unwrap();
        relay(
            Source { transport: source, written: name_of(framing), framing },
            &receiver.place().to_string(),
        );
        assert!(receiver.wait_for(MESSAGES, HANG));
        let tally = receiver.finish().tally;
        assert!(tally.is_whole() && tally.foreign == 0, "{source:?} {framing:?}: {tally:?}");
    }
}
