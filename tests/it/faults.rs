//! Sinks that fail under load: nothing is lost, and the order holds, whatever state TERM meets them in.
//!
//! Lives here: faults of the receiving side, without and with TERM. Never here: faults of senders (`storm`, `torn`).

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use slackwater::load::{self, Report, SendPlan, SendReport, Sending, SinkHandle, Style, Tally};
use slackwater::message::Framing;

use crate::support::flow::{flow, wait_until_blocked};
use crate::support::port::Reserved;
use crate::support::relay::{End, Order, Relay};
use crate::support::sender::{Sender, Series};
use crate::support::{HANG, eventually};

fn listen(at: SocketAddr) -> SinkHandle {
    load::listen(at, Framing::Line).expect("a free address")
}

fn sink() -> SinkHandle {
    listen(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn relay_to(address: SocketAddr, args: &[&str]) -> Relay {
    Order::tcp("", &format!("tcp://{address}")).args(args).start()
}

/// Nothing was lost, and the books say so to the message.
#[track_caller]
fn assert_complete(end: &End, sent: &SendReport, report: &Report) {
    let (total, tally) = (sent.acked_messages(), report.tally);
    end.assert_all_delivered(total);
    assert_eq!((report.lost(sent), tally.distinct()), (0, total), "{tally:?}");
    assert_eq!((tally.holes, tally.misframed), (0, 0), "{tally:?}");
}

/// A flow during which the sink does `fault` again and again; returns what came of it there.
fn survives(fault: impl Fn(&SinkHandle)) -> Tally {
    const MESSAGES: u64 = 400_000;
    let sink = sink();
    let relay = relay_to(sink.address(), &[]);
    let sending = flow(&relay, MESSAGES / 4);
    for part in 1..8 {
        assert!(sink.wait_for(part * MESSAGES / 8, HANG), "{:?} {:#?}", sink.tally(), relay.log());
        fault(&sink);
    }
    let sent = sending.finish();
    assert_eq!(sent.acked_messages(), MESSAGES);
    assert!(sink.wait_for(MESSAGES, HANG), "{:?}", sink.tally());
    let (end, report) = (relay.terminate(), sink.finish());
    assert_complete(&end, &sent, &report);
    report.tally
}

#[test]
fn a_sink_that_closes_under_load_loses_nothing() {
    // The order shows only where the sink has read one connection to its end before it accepts the next, as below.
    let tally = survives(SinkHandle::close_all);
    // A send that the FIN met in the middle of a message leaves a part there, and the whole goes to the next connection.
    assert!(tally.duplicates == 0 && tally.torn <= 14, "{tally:?}");
}

#[test]
fn a_sink_that_resets_in_mid_batch_loses_nothing_and_keeps_the_order() {
    // What its kernel had taken and not yet acknowledged comes again: at least once.
    let tally = survives(SinkHandle::cut_all);
    println!("{} of 400000 came twice", tally.duplicates);
    assert_eq!((tally.out_of_order, tally.torn), (0, 0), "{tally:?}");
}

#[test]
fn a_sink_that_is_down_at_the_start_gets_everything_once_it_is_up() {
    let reserved = Reserved::on_loopback();
    let relay = relay_to(reserved.address(), &[]);
    let sent = flow(&relay, 5_000).finish();
    assert_eq!(sent.acked_messages(), 20_000);
    let sink = listen(reserved.address());
    assert!(sink.wait_for(20_000, HANG));
    let (end, report) = (relay.terminate(), sink.finish());
    assert_complete(&end, &sent, &report);
    assert!(report.tally.is_whole(), "{:?}", report.tally);
}

/// A sink stalls from the start: the intake stops within its bound, and goes on when the sink reads again.
fn stops_and_goes_on(style: Style, size: usize, messages: u64) {
    let sink = sink();
    sink.stall();
    let relay = relay_to(sink.address(), &["--max-in-flight", "8MiB", "--cores", "1"]);
    let plan = SendPlan {
        connections: 16,
        messages_per_connection: Some(messages / 16),
        ..SendPlan::new(relay.address())
    };
    let sending = load::start(SendPlan { style, size, ..plan }).expect("a plan that can be sent");
    wait_until_blocked(&sending);
    assert!(relay.book("received") < messages / 2, "nothing held the intake back");
    assert_eq!(sink.tally().messages, 0);
    sink.resume();
    let sent = sending.finish();
    assert_eq!(sent.acked_messages(), messages);
    assert!(sink.wait_for(messages, HANG));
    let (end, report) = (relay.terminate(), sink.finish());
    assert_complete(&end, &sent, &report);
    assert!(report.tally.is_whole(), "{:?}", report.tally);
}

#[test]
fn a_stalled_sink_stops_bulk_writers_within_the_bound() {
    stops_and_goes_on(Style::Bulk, 200, 1_600_000);
}

#[test]
fn a_stalled_sink_stops_writers_of_single_messages_within_the_bound() {
    stops_and_goes_on(Style::Single, 60, 1_600_000);
}

/// At a pace that the relay keeps up with, each message is received by itself: what is kept beside its bytes counts too.
#[test]
fn a_stalled_sink_stops_paced_writers_within_the_bound() {
    stops_and_goes_on(Style::Paced { per_second: 100_000 }, 60, 400_000);
}

/// With `written` a message counts as delivered once our kernel has it: written into a connection that the sink has closed
/// it would be lost, and nobody would know.
#[test]
fn the_fin_of_an_idle_sink_is_noticed_before_the_next_write() {
    let sink = sink();
    let relay =
        Order::tcp("", &format!("tcp://{}?confirm=written", sink.address())).args(&["--cores", "1"]).start();
    let series = Series { run: 1, connection: 0, size: 100, framing: Framing::Line };
    let mut sender = Sender::connect(relay.address(), series, HANG).expect("the relay accepts");
    for message in 1..=50 {
        sender.write_messages(1).expect("the relay reads");
        assert!(sink.wait_for(message, HANG), "{:?}", sink.tally());
        sink.close_all();
        eventually("the relay leaves the closed connection", || {
            sink.open_connections() == 0 || sink.tally().connections > message
        });
    }
    let end = relay.terminate();
    assert_eq!((end.code(), end.book("delivered")), (0, 50));
    assert!(sink.finish().tally.is_whole());
}

/// The state in which TERM meets the sink.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Down,
    Closed,
    Reset,
    Stalled,
}

/// A relay with something in flight that its sink does not take.
struct Trouble {
    relay: Relay,
    sending: Sending,
    reserved: Reserved,
    /// Until it went; none if it was never there. A stalled one is still there.
    first: Option<Report>,
    stalled: Option<SinkHandle>,
}

impl Trouble {
    fn begin(fault: Fault, drain_timeout: &str) -> Trouble {
        let reserved = Reserved::on_loopback();
        let sink = (!matches!(fault, Fault::Down)).then(|| listen(reserved.address()));
        let relay =
            relay_to(reserved.address(), &["--max-in-flight", "4MiB", "--drain-timeout", drain_timeout]);
        let sending = flow(&relay, u64::from(u32::MAX));
        if let Some(sink) = &sink {
            assert!(sink.wait_for(50_000, HANG));
        }
        let (first, stalled) = sink.map_or((None, None), |sink| meet(fault, sink));
        wait_until_blocked(&sending);
        Trouble { relay, sending, reserved, first, stalled }
    }
}

/// The sink fails; what it had read until then, or itself if it goes on.
fn meet(fault: Fault, sink: SinkHandle) -> (Option<Report>, Option<SinkHandle>) {
    match fault {
        Fault::Down => (None, None),
        Fault::Closed => (Some(sink.finish()), None),
        Fault::Reset => (Some(sink.abort()), None),
        Fault::Stalled => {
            sink.stall();
            (None, Some(sink))
        }
    }
}

impl Trouble {
    /// TERM, and the sink is back while the relay drains.
    fn end_with_recovery(self) -> Aftermath {
        let Trouble { relay, sending, reserved, first, stalled } = self;
        relay.signal(Signal::SIGTERM);
        relay.expect_log("\"draining\"");
        let sink = stalled.unwrap_or_else(|| listen(reserved.address()));
        sink.resume();
        let end = relay.wait();
        Aftermath { end, sent: sending.finish(), first, last: Some(sink.finish()) }
    }

    /// TERM, and the sink is never back.
    fn end_without_recovery(self) -> Aftermath {
        let Trouble { relay, sending, first, stalled, .. } = self;
        let end = relay.terminate();
        // What a stalled sink's kernel had acknowledged is still there to be read.
        Aftermath { end, sent: sending.finish(), first, last: stalled.map(SinkHandle::finish) }
    }
}

/// What came of it: the sink's two lives are one stream of messages for each sender.
struct Aftermath {
    end: End,
    sent: SendReport,
    first: Option<Report>,
    last: Option<Report>,
}

impl Aftermath {
    /// Distinct messages of one sender that arrived, in order and without a hole, from its first on.
    fn arrived(&self, connection: u32) -> u64 {
        let stream = |report: &Option<Report>| report.as_ref()?.stream(self.sent.run, connection).cloned();
        let first = stream(&self.first).map_or(0, |stream| {
            assert_eq!((stream.gaps.len(), stream.duplicates, stream.out_of_order), (0, 0, 0), "{stream:?}");
            stream.messages
        });
        let Some(last) = stream(&self.last) else { return first };
        // What comes on the second connection goes on where the first ended, or where its acknowledgements did.
        assert_eq!((last.duplicates, last.out_of_order), (0, 0), "{last:?}");
        match &last.gaps[..] {
            [] => last.messages,
            [gap] if gap.start == 0 && gap.end <= first => gap.end + last.messages,
            gaps => panic!("after {first} messages came {last:?} with holes {gaps:?}"),
        }
    }

    fn all_arrived(&self) -> u64 {
        self.sent.connections.iter().map(|one| self.arrived(one.connection)).sum()
    }

    /// The relay's figures beside both ends'.
    #[track_caller]
    fn assert_books(&self, fault: Fault) {
        self.end.assert_balanced();
        assert_eq!(self.end.book("received"), self.sent.acked_messages(), "{:#?}", self.end.log);
        let (delivered, arrived) = (self.end.book("delivered"), self.all_arrived());
        // A sink that resets may have read what it never acknowledged; nobody can count that as delivered.
        let agree = if matches!(fault, Fault::Reset) { delivered <= arrived } else { delivered == arrived };
        assert!(agree, "{delivered} delivered, {arrived} arrived: {:#?}", self.end.log);
    }
}

fn recovers(fault: Fault) {
    let aftermath = Trouble::begin(fault, "60s").end_with_recovery();
    aftermath.assert_books(fault);
    let (end, sent) = (&aftermath.end, aftermath.sent.acked_messages());
    assert_eq!((end.code(), end.book("delivered"), end.book("abandoned")), (0, sent, 0), "{:#?}", end.log);
    assert_eq!((aftermath.all_arrived(), &end.books["cause"]), (sent, &"TERM".into()));
}

fn gives_up(fault: Fault) {
    let aftermath = Trouble::begin(fault, "400ms").end_without_recovery();
    aftermath.assert_books(fault);
    let end = &aftermath.end;
    let lost = aftermath.sent.acked_messages() - end.book("delivered");
    assert!(lost > 0, "nothing was in flight");
    assert_eq!((end.code(), end.book("abandoned")), (3, lost), "{:#?}", end.log);
    assert_eq!(end.books["cause"], "deadline");
    let sink = end.books["sinks"].as_object().and_then(|sinks| sinks.values().next()).expect("a sink");
    assert!(sink["unsettled"].as_u64() > Some(0) && sink["oldest_micros"].as_u64() > Some(0), "{sink}");
}

#[test]
fn a_drain_delivers_when_a_sink_that_was_down_comes_up() {
    recovers(Fault::Down);
}

#[test]
fn a_drain_delivers_when_a_sink_that_had_closed_is_back() {
    recovers(Fault::Closed);
}

#[test]
fn a_drain_delivers_when_a_sink_that_had_reset_is_back() {
    recovers(Fault::Reset);
}

#[test]
fn a_drain_delivers_when_a_stalled_sink_reads_again() {
    recovers(Fault::Stalled);
}

#[test]
fn a_drain_to_a_sink_that_stays_down_ends_at_the_deadline_with_the_exact_number() {
    gives_up(Fault::Down);
}

#[test]
fn a_drain_to_a_sink_that_stays_closed_ends_at_the_deadline_with_the_exact_number() {
    gives_up(Fault::Closed);
}

#[test]
fn a_drain_to_a_sink_that_stays_reset_ends_at_the_deadline_with_the_exact_number() {
    gives_up(Fault::Reset);
}

#[test]
fn a_drain_to_a_sink_that_stays_stalled_ends_at_the_deadline_with_the_exact_number() {
    gives_up(Fault::Stalled);
}
