//! The ends of connections in the middle of a message: what is a message, and what never was one.
//!
//! Lives here: senders that stop where no message ends. Never here: framing itself (its properties are beside the framers).

use slackwater::load::{self, SinkHandle};
use slackwater::message::Framing;

use crate::support::relay::{End, Order, Relay};
use crate::support::sender::{Sender, Series};
use crate::support::{HANG, eventually, name_of};

struct Scene {
    sink: SinkHandle,
    relay: Relay,
    sender: Sender,
}

/// A sender whose three messages have arrived, and 30 bytes of its fourth are with the relay.
fn in_mid_message(framing: Framing, parameters: &str) -> Scene {
    let sink = load::listen(load::Place::loopback(), framing).unwrap();
    let from = format!("?framing={}{parameters}", name_of(framing));
    let relay = Order::tcp(&from, &format!("tcp://{}", sink.address())).start();
    let series = Series { run: 7, connection: 0, size: 100, framing };
    let mut sender = Sender::connect(relay.address(), series, HANG).expect("the relay accepts");
    sender.write_messages(3).unwrap();
    sender.write_beginning(30).unwrap();
    assert!(sink.wait_for(3, HANG));
    eventually("the beginning is acknowledged", || sender.is_acknowledged());
    Scene { sink, relay, sender }
}

/// Three messages arrived whole, and this many that are no numbered messages.
fn assert_three_and(end: &End, sink: SinkHandle, torn: u64, others: u64) {
    let tally = sink.finish().tally;
    assert_eq!((tally.messages, tally.foreign, tally.torn), (3 + others, others, 0), "{tally:?}");
    assert_eq!(
        (end.code(), end.book("delivered"), end.book("torn")),
        (0, 3 + others, torn),
        "{:#?}",
        end.log
    );
    end.assert_balanced();
}

#[test]
fn a_reset_in_mid_message_delivers_nothing_of_it() {
    for framing in [Framing::Line, Framing::Octet] {
        let Scene { sink, relay, sender } = in_mid_message(framing, "");
        sender.reset();
        // The next connection's message comes through after the reset was seen.
        let series = Series { run: 8, connection: 0, size: 100, framing };
        let mut next = Sender::connect(relay.address(), series, HANG).unwrap();
        next.write_messages(1).unwrap();
        assert!(sink.wait_for(4, HANG));
        let end = relay.terminate();
        assert_eq!((end.code(), end.book("delivered"), end.book("torn")), (0, 4, 1));
        let tally = sink.finish().tally;
        assert!(tally.is_whole() && tally.messages == 4, "{tally:?}");
    }
}

#[test]
fn a_last_line_without_its_end_is_a_message_when_its_sender_closes() {
    let Scene { sink, relay, sender } = in_mid_message(Framing::Line, "");
    sender.close();
    assert!(sink.wait_for(4, HANG), "{:?}", sink.tally());
    assert_three_and(&relay.terminate(), sink, 0, 1);
}

#[test]
fn half_a_counted_message_is_torn_when_its_sender_closes() {
    let Scene { sink, relay, sender } = in_mid_message(Framing::Octet, "");
    sender.close();
    assert_three_and(&relay.terminate(), sink, 1, 0);
}

#[test]
fn half_a_message_is_torn_when_the_relay_is_stopped_and_its_sender_stays_silent() {
    for framing in [Framing::Line, Framing::Octet] {
        let Scene { sink, relay, sender } = in_mid_message(framing, "&linger=50ms");
        assert_three_and(&relay.terminate(), sink, 1, 0);
        drop(sender);
    }
}

#[test]
fn half_a_message_whose_rest_comes_during_the_drain_is_delivered() {
    for framing in [Framing::Line, Framing::Octet] {
        let Scene { sink, relay, mut sender } = in_mid_message(framing, "&linger=60s");
        relay.signal(nix::sys::signal::Signal::SIGTERM);
        relay.expect_log("\"draining\"");
        sender.write_rest().unwrap();
        sender.finish_writing();
        let end = relay.wait();
        assert_eq!((end.code(), end.book("delivered"), end.book("torn")), (0, 4, 0), "{:#?}", end.log);
        let tally = sink.finish().tally;
        assert!(tally.is_whole() && tally.messages == 4, "{tally:?}");
    }
}
