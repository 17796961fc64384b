//! Two endpoints of a sink, over every transport and under every balance rule, of which one or both fail while TERM comes.
//!
//! Lives here: the table of what can befall them, with and without a recovery. Never here: what one endpoint alone does
//! (`faults`, `local_faults`), or instants drawn at random (`weather`).

use std::path::Path;

use nix::sys::signal::Signal;
use slackwater::load::{self, Place, Report, SendReport, SinkHandle};
use slackwater::message::Framing;

use crate::support::arrivals::missing_everywhere;
use crate::support::flow::{flow_for, wait_until_blocked};
use crate::support::port::Reserved;
use crate::support::relay::{End, Order, Relay};
use crate::support::{HANG, Transport, eventually, name_of};

const BALANCES: [&str; 4] = ["spread", "failover", "hash", "copy"];

/// What befalls an endpoint while messages flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It was never there.
    Down,
    /// It goes, with all that it had accepted.
    Gone,
    /// It reads no more.
    Stalled,
    /// It sends FIN on each connection, and accepts others.
    Closed,
    /// It resets each connection in mid-batch, and accepts others.
    Reset,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Ordeal {
    transport: Transport,
    balance: &'static str,
    fault: Fault,
}

/// An endpoint that comes and goes at one place.
struct Endpoint {
    place: Place,
    framing: Framing,
    alive: Option<SinkHandle>,
    lives: Vec<Report>,
    /// Keeps the port while nobody listens.
    _held: Option<Reserved>,
}

impl Endpoint {
    fn new(folder: &Path, name: &str, transport: Transport) -> Endpoint {
        let framing = if transport.is_datagrams() { Framing::Datagram } else { Framing::Line };
        let held = (transport == Transport::Tcp).then(Reserved::on_loopback);
        let place = held.as_ref().map_or(transport.place(folder, name), |held| held.address().into());
        let alive = load::listen(place, framing).expect("a free place");
        Endpoint { place: alive.place().clone(), framing, alive: Some(alive), lives: Vec::new(), _held: held }
    }

    fn leave(&mut self) {
        self.lives.extend(self.alive.take().map(SinkHandle::abort));
    }

    fn here(&self) -> &SinkHandle {
        self.alive.as_ref().expect("it is there")
    }

    fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Down => {}
            Fault::Gone => self.leave(),
            Fault::Stalled => self.here().stall(),
            Fault::Closed => self.here().close_all(),
            Fault::Reset => self.here().cut_all(),
        }
    }

    fn recover(&mut self) {
        match &self.alive {
            Some(sink) => sink.resume(),
            None => {
                // Its last connections may hold the port for an instant.
                eventually("the place is free", || {
                    self.alive = load::listen(self.place.clone(), self.framing).ok();
                    self.alive.is_some()
                });
            }
        }
    }

    fn finish(mut self) -> Vec<Report> {
        self.lives.extend(self.alive.take().map(SinkHandle::finish));
        self.lives
    }
}

/// What came of an ordeal.
struct Outcome {
    end: End,
    sent: SendReport,
    endpoints: [Vec<Report>; 2],
}

impl Ordeal {
    fn each(transports: &'static [Transport], faults: &'static [Fault]) -> impl Iterator<Item = Ordeal> {
        transports.iter().flat_map(move |&transport| {
            let possible = faults.iter().filter(move |fault| Ordeal::happens_to(transport, **fault));
            possible.flat_map(move |&fault| BALANCES.map(|balance| Ordeal { transport, balance, fault }))
        })
    }

    fn happens_to(transport: Transport, fault: Fault) -> bool {
        match fault {
            Fault::Down | Fault::Gone | Fault::Stalled => true,
            Fault::Closed => !transport.is_datagrams(),
            Fault::Reset => transport == Transport::Tcp,
        }
    }

    fn relay(self, endpoints: &[Endpoint; 2], drain_timeout: &str) -> Relay {
        let other = endpoints[1].place.to_string();
        let (_, other) = other.split_once(':').expect("a scheme");
        let to = format!(
            "{},{}?balance={}&framing={}",
            endpoints[0].place,
            other.trim_start_matches("//"),
            self.balance,
            name_of(endpoints[0].framing)
        );
        Order::tcp("?linger=100ms", &to)
            .args(&["--cores", "1", "--max-in-flight", "4MiB", "--drain-timeout", drain_timeout])
            .start()
    }

    /// The first `suffering` of two endpoints suffer while messages flow and TERM comes, and `recover` or not.
    fn undergo(self, suffering: usize, recover: bool) -> Outcome {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut endpoints = ["one", "two"].map(|name| Endpoint::new(folder.path(), name, self.transport));
        if self.fault == Fault::Down {
            endpoints[..suffering].iter_mut().for_each(Endpoint::leave);
        }
        let relay = self.relay(&endpoints, if recover { "60s" } else { "300ms" });
        let sending = flow_for(&relay, HANG);
        self.wait_until_it_flows(&relay, &endpoints[..suffering]);
        endpoints[..suffering].iter_mut().for_each(|endpoint| endpoint.suffer(self.fault));
        if !recover {
            // Until then the kernels of both sides have room for what a stalled endpoint does not read.
            wait_until_blocked(&sending);
        }
        relay.signal(Signal::SIGTERM);
        relay.expect_log("\"draining\"");
        if recover {
            endpoints[..suffering].iter_mut().for_each(Endpoint::recover);
        }
        let end = relay.wait();
        sending.stopper().stop();
        Outcome { end, sent: sending.finish(), endpoints: endpoints.map(Endpoint::finish) }
    }

    /// Those that will suffer have got something, or nobody is there and the relay has something for them.
    fn wait_until_it_flows(self, relay: &Relay, suffering: &[Endpoint]) {
        match self.fault {
            Fault::Down => eventually("the flow begins", || relay.book("received") > 0),
            _ => eventually("the flow begins", || {
                let got = |endpoint: &Endpoint| endpoint.here().tally().messages > 0;
                if self.balance == "failover" { got(&suffering[0]) } else { suffering.iter().all(got) }
            }),
        }
    }

    /// Whether a receiver that goes takes with it what only its kernel had: `written` is all that we know then.
    fn may_swallow(self) -> bool {
        let to_nobody = self.transport == Transport::Udp && self.fault == Fault::Down;
        to_nobody || self.fault == Fault::Gone && self.transport != Transport::Tcp
    }

    #[track_caller]
    fn assert_nothing_lost(self, outcome: &Outcome) {
        let Outcome { end, sent, endpoints } = outcome;
        let acked = sent.acked_messages();
        let books = (end.code(), end.book("received"), end.book("delivered"));
        assert_eq!(books, (0, acked, acked), "{self:?} {} {:#?}", end.books, end.log);
        end.assert_balanced();
        let reports: Vec<Report> = endpoints.iter().flatten().cloned().collect();
        let dropped: u64 = reports.iter().map(|report| report.tally.kernel_drops).sum();
        if self.may_swallow() || dropped > 0 {
            return;
        }
        let lost = match self.balance {
            "copy" => endpoints.iter().map(|lives| missing_everywhere(sent, lives)).sum(),
            _ => missing_everywhere(sent, &reports),
        };
        assert_eq!(lost, 0, "{self:?} of {acked}: {:#?}", end.log);
    }

    #[track_caller]
    fn assert_exact_number(self, outcome: &Outcome) {
        let Outcome { end, sent, endpoints } = outcome;
        let (received, delivered) = (end.book("received"), end.book("delivered"));
        assert_eq!((end.code(), received), (3, sent.acked_messages()), "{self:?} {:#?}", end.log);
        assert_eq!((end.book("abandoned"), &end.books["cause"]), (received - delivered, &"deadline".into()));
        end.assert_balanced();
        let arrived = endpoints.iter().flatten().map(|report| report.tally.messages).sum::<u64>();
        if !self.may_swallow() {
            assert!(delivered <= arrived, "{self:?} {delivered} and only {arrived} arrived: {:#?}", end.log);
        }
    }
}

fn one_fails_and_recovers(transports: &'static [Transport]) {
    for ordeal in
        Ordeal::each(transports, &[Fault::Down, Fault::Gone, Fault::Stalled, Fault::Closed, Fault::Reset])
    {
        ordeal.assert_nothing_lost(&ordeal.undergo(1, true));
    }
}

fn both_fail_for_good(transports: &'static [Transport]) {
    for ordeal in Ordeal::each(transports, &[Fault::Down, Fault::Gone, Fault::Stalled]) {
        ordeal.assert_exact_number(&ordeal.undergo(2, false));
    }
}

#[test]
fn over_tcp_one_endpoint_fails_and_recovers_during_the_drain() {
    one_fails_and_recovers(&[Transport::Tcp]);
}

#[test]
fn on_unix_sockets_one_endpoint_fails_and_recovers_during_the_drain() {
    one_fails_and_recovers(&[Transport::Unix, Transport::Unixgram]);
}

/// A datagram socket that nobody reads stalls no sender: its kernel drops, and counts.
#[test]
fn over_udp_one_endpoint_fails_and_recovers_during_the_drain() {
    one_fails_and_recovers(&[Transport::Udp]);
}

#[test]
fn over_tcp_both_endpoints_fail_for_good() {
    both_fail_for_good(&[Transport::Tcp]);
}

#[test]
fn on_unix_sockets_both_endpoints_fail_for_good() {
    both_fail_for_good(&[Transport::Unix, Transport::Unixgram]);
}
