//! Messages of our own generator through the built relay into our own sink: every count agrees.

use slackwater::load::{self, SendPlan, Style};
use slackwater::message::Framing;

use crate::support::relay::Order;
use crate::support::{HANG, name_of};

fn forward(source: Framing, sink: Framing, style: Style, args: &[&str]) {
    let receiver = load::listen("127.0.0.1:0".parse().unwrap(), sink).unwrap();
    let to = format!("tcp://{}?framing={}", receiver.address(), name_of(sink));
    let relay = Order::tcp(&format!("?framing={}", name_of(source)), &to).args(args).start();
    let messages = 10 * 2000;
    let plan = SendPlan {
        connections: 10,
        messages_per_connection: Some(2000),
        framing: source,
        style,
        ..SendPlan::new(relay.address())
    };
    let sent = load::send(plan).unwrap();
    assert_eq!(sent.acked_messages(), messages);
    assert!(receiver.wait_for(messages, HANG), "{:?}", receiver.tally());
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("received"), end.book("delivered")), (0, messages, messages));
    end.assert_balanced();
    let report = receiver.finish();
    assert!(report.tally.is_whole(), "{:?}", report.tally);
    assert_eq!(report.tally.messages, messages);
}

#[test]
fn lines_stay_lines() {
    forward(Framing::Line, Framing::Line, Style::Bulk, &[]);
}

#[test]
fn octet_counts_stay_octet_counts() {
    forward(Framing::Octet, Framing::Octet, Style::Bulk, &[]);
}

#[test]
fn lines_become_octet_counts() {
    forward(Framing::Line, Framing::Octet, Style::Single, &[]);
}

#[test]
fn octet_counts_become_lines() {
    forward(Framing::Octet, Framing::Line, Style::Dribble, &["--cores", "1"]);
}
