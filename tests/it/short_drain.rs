//! A short `--drain-timeout` leaves time to deliver, whatever `linger` says.
//!
//! Lives here: the two times against each other. Never here: sinks that are slow.

use slackwater::load::{self, SendPlan};
use slackwater::message::Framing;

use crate::support::relay::Order;

#[test]
fn senders_that_go_on_sending_do_not_use_up_a_short_drain() {
    let receiver = load::listen(load::Place::loopback(), Framing::Line).unwrap();
    let to = format!("tcp://{}", receiver.address());
    let relay = Order::tcp("?half_close=false", &to).args(&["--drain-timeout", "3s"]).start();
    let sending = load::start(SendPlan { connections: 4, ..SendPlan::new(relay.address()) }).unwrap();
    assert!(receiver.wait_for(100_000, crate::support::HANG));
    let end = relay.terminate();
    let (sent, report) = (sending.finish(), receiver.finish());
    assert_eq!((end.code(), end.book("abandoned")), (0, 0), "{:#?}", end.log);
    assert_eq!((report.lost(&sent), report.tally.messages), (0, end.book("delivered")));
}
