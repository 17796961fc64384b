//! SIGTERM at random instants, with every kind of sender in full flow: what our kernel acknowledged is at the sink, once.
//!
//! Lives here: one storm, its verdict, and the test of the test. Never here: how a sender writes (`support::sender`, the
//! generator). A failing run prints its seed; `SLACKWATER_STORM_SEED` replays it, `SLACKWATER_STORM_RUNS` makes it longer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastrand::Rng;
use slackwater::load::{self, End, Report, SendPlan, SendReport, Sending, SinkHandle, Style};
use slackwater::message::Framing;

use crate::support::confine::{start_without_freeze, with_slow_closes, without_capabilities};
use crate::support::relay::{End as RelayEnd, Order, Relay};
use crate::support::sender::{self, Sender, Series};
use crate::support::{HANG, name_of};

/// How many storms one test run makes, at least 200.
const RUNS: u64 = 220;
/// How long a connection made during the drain is waited for: nobody answers it once the listener is frozen.
const LATE_PATIENCE: Duration = Duration::from_millis(100);
/// How many storms the test of the test makes at most; without the freeze nearly each finds a loss.
const RUNS_OF_SLOW_CLOSES: u64 = 10;

/// What a relay does with its senders in a storm.
#[derive(Clone, Copy, Debug)]
struct Weather {
    source: Framing,
    sink: Framing,
    parameters: &'static str,
    sink_parameters: &'static str,
    cores: &'static str,
    /// The capabilities(7) that it has not: which of them it has decides in which way it freezes its sockets.
    denied: &'static [&'static str],
    /// Whether a drain reads on until every sender has closed: then nothing that was written is lost, acknowledged or not.
    patient: bool,
    /// Connections that write in bulk, one message at a time, pieces of messages, and at a pace.
    connections: [u32; 4],
    /// How long its senders go on by themselves.
    duration: Duration,
}

/// Everything that sends in one storm.
struct Senders {
    flows: Vec<Sending>,
    /// Connected, and silent since their last whole message.
    idle: (u32, Vec<Sender>),
    /// Closed just before the signal, with much still in their kernel: their run, and how many whole messages each wrote.
    closed: (u32, Vec<u64>),
}

/// What came of a storm.
struct Aftermath {
    end: RelayEnd,
    report: Report,
    sent: Vec<SendReport>,
    closed: (u32, Vec<u64>),
}

impl Weather {
    fn any(rng: &mut Rng) -> Weather {
        let framings = [Framing::Line, Framing::Octet];
        let manners = [
            ("", true),
            ("&receive_buffer=16KiB", true),
            ("&receive_buffer=256KiB", true),
            ("&linger=0s", false),
            ("&linger=0s&half_close=false&receive_buffer=64KiB", false),
            ("&linger=20ms&half_close=false", false),
        ];
        let (parameters, patient) = manners[rng.usize(..manners.len())];
        // One program for all sockets; a filter for each; a socket that takes none, as newer kernels let only net_admin filter TCP.
        let freezes = [&[][..], &["bpf", "sys_admin"], &["net_admin"]];
        let sinks = ["", "&connections=3", "&confirm=written"];
        Weather {
            source: framings[rng.usize(..2)],
            sink: framings[rng.usize(..2)],
            parameters,
            sink_parameters: sinks[rng.usize(..sinks.len())],
            cores: ["1", "2"][rng.usize(..2)],
            denied: freezes[rng.usize(..freezes.len())],
            patient,
            connections: [4, 8, 4, 8].map(|most| rng.u32(1..=most)),
            duration: HANG,
        }
    }

    /// Senders that go on whatever comes, a relay that does not wait for them: only the freeze stands between it and a loss.
    fn without_patience() -> Weather {
        Weather {
            source: Framing::Line,
            sink: Framing::Line,
            parameters: "&linger=0s&half_close=false",
            sink_parameters: "",
            cores: "1",
            denied: &[],
            patient: false,
            // None writes in bulk: without the freeze it would be read from, and all others wait, for as long as it goes on.
            connections: [0, 8, 4, 8],
            duration: Duration::from_millis(500),
        }
    }

    fn order(&self, sink: &SinkHandle) -> Order {
        let from = format!("?framing={}{}", name_of(self.source), self.parameters);
        let to = format!("tcp://{}?framing={}{}", sink.address(), name_of(self.sink), self.sink_parameters);
        without_capabilities(Order::tcp(&from, &to).args(&["--cores", self.cores]), self.denied)
    }
}

impl Senders {
    fn start(relay: &Relay, weather: &Weather, rng: &mut Rng) -> Senders {
        let flow = |(style, size, connections)| {
            let (framing, duration) = (weather.source, Some(weather.duration));
            let plan = SendPlan::new(relay.address());
            load::start(SendPlan { connections, style, size, framing, duration, ..plan }).unwrap()
        };
        let [bulk, single, dribble, paced] = weather.connections;
        let flows = [
            (Style::Bulk, rng.usize(53..=2000), bulk),
            (Style::Single, rng.usize(53..=300), single),
            (Style::Dribble, rng.usize(53..=9000), dribble),
            (Style::Paced { per_second: 5000 }, 100, paced),
        ];
        let flows = flows.into_iter().filter(|(_, _, connections)| *connections > 0).map(flow).collect();
        let run = rng.u32(..);
        let idle = (0..rng.u32(0..=8)).map(|connection| {
            let mut sender = connect(relay, Series { run, connection, size: 80, framing: weather.source });
            sender.write_messages(u64::from(connection)).unwrap();
            sender
        });
        let idle = (run, idle.collect());
        Senders { flows, idle, closed: (rng.u32(..), Vec::new()) }
    }

    /// Connections that write as much as their kernel takes and close, so that most of it is not with the relay yet.
    fn close_some(&mut self, relay: &Relay, weather: &Weather, count: u32) {
        let run = self.closed.0;
        for connection in 0..count {
            let mut sender = connect(relay, Series { run, connection, size: 1000, framing: weather.source });
            sender.fill(8_000).unwrap();
            self.closed.1.push(sender.close());
        }
    }

    fn finish(self) -> (Vec<SendReport>, (u32, Vec<u64>)) {
        let mut sent: Vec<SendReport> = self.flows.into_iter().map(Sending::finish).collect();
        sent.push(sender::report(self.idle.0, &self.idle.1));
        (sent, self.closed)
    }
}

fn connect(relay: &Relay, series: Series) -> Sender {
    Sender::connect(relay.address(), series, HANG).expect("the relay accepts")
}

/// Connects, writes one message and holds the connection, again and again, until nobody answers.
fn connect_until_unanswered(to: SocketAddr, run: u32, framing: Framing) -> SendReport {
    let mut senders = Vec::new();
    while senders.len() < 500 {
        let series = Series { run, connection: senders.len() as u32, size: 60, framing };
        let Ok(mut sender) = Sender::connect(to, series, LATE_PATIENCE) else { break };
        // What a reset leaves unwritten is not acknowledged either.
        let _ = sender.write_messages(1);
        senders.push(sender);
    }
    sender::report(run, &senders)
}

/// One relay, SIGTERM at a random instant, and what came of it.
fn storm(weather: &Weather, rng: &mut Rng, start: impl FnOnce(Order) -> Relay) -> Aftermath {
    let sink = load::listen(load::Place::loopback(), weather.sink).unwrap();
    let relay = start(weather.order(&sink));
    let mut senders = Senders::start(&relay, weather, rng);
    assert!(sink.wait_for(1, HANG), "the flow begins");
    // The instant of the signal is the input here; nothing is waited for.
    std::thread::sleep(Duration::from_micros(rng.u64(0..40_000)));
    let (to, run, framing) = (relay.address(), rng.u32(..), weather.source);
    let latecomers = std::thread::spawn(move || connect_until_unanswered(to, run, framing));
    if weather.patient {
        senders.close_some(&relay, weather, rng.u32(0..=3));
    }
    let end = relay.terminate();
    let (mut sent, closed) = senders.finish();
    sent.push(latecomers.join().unwrap());
    Aftermath { end, report: sink.finish(), sent, closed }
}

impl Aftermath {
    /// Messages that were acknowledged in whole, or written by a sender that had closed, and are not at the sink.
    fn lost(&self) -> u64 {
        let acknowledged: u64 = self.sent.iter().map(|sent| self.report.lost(sent)).sum();
        let (run, written) = &self.closed;
        let arrived = |connection: usize| {
            self.report.stream(*run, connection as u32).map_or(0, |stream| stream.messages)
        };
        let closed: u64 = written.iter().enumerate().map(|(n, written)| written - arrived(n)).sum();
        acknowledged + closed
    }

    fn assert_right(&self) {
        let (code, tally) = (self.end.code(), self.report.tally);
        assert_eq!((code, self.lost()), (0, 0), "{tally:?} {:#?} {:#?}", self.end.books, self.end.log);
        assert!(tally.is_whole(), "{tally:?}");
        assert_eq!(self.end.book("received"), tally.messages);
        assert_eq!(self.end.book("delivered"), tally.messages);
        self.end.assert_balanced();
        self.assert_those_who_stopped_lost_nothing();
    }

    /// A sender that stops on our FIN, after a whole message, finds everything acknowledged.
    fn assert_those_who_stopped_lost_nothing(&self) {
        let stopped = self.sent.iter().flat_map(|sent| &sent.connections);
        for one in stopped.filter(|one| one.end == End::PeerClosed) {
            assert_eq!(one.acked_bytes, one.written_bytes, "{one:?}");
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn no_acknowledged_message_is_lost_by_a_term_at_any_moment() {
    let only = setting("SLACKWATER_STORM_SEED");
    let runs = if only.is_some() { 1 } else { setting("SLACKWATER_STORM_RUNS").unwrap_or(RUNS) };
    let began = Instant::now();
    let (mut messages, mut acknowledged) = (0, 0);
    for _ in 0..runs {
        let seed = only.unwrap_or_else(|| fastrand::u64(..));
        let mut rng = Rng::with_seed(seed);
        let weather = Weather::any(&mut rng);
        println!("SLACKWATER_STORM_SEED={seed} {weather:?}");
        let aftermath = storm(&weather, &mut rng, Order::start);
        aftermath.assert_right();
        messages += aftermath.report.tally.messages;
        acknowledged += aftermath.sent.iter().map(SendReport::acked_messages).sum::<u64>();
    }
    println!("{runs} storms in {:?}: {acknowledged} acknowledged, {messages} arrived", began.elapsed());
    assert!(acknowledged > runs * 100, "there was no storm: {acknowledged}");
}

/// The first of a few storms in which a relay that closes slowly loses something and does not know it.
fn silent_loss(start: fn(Order) -> Relay) -> Option<u64> {
    (0..RUNS_OF_SLOW_CLOSES).find(|&seed| {
        let mut rng = Rng::with_seed(seed);
        let weather = Weather::without_patience();
        let aftermath = storm(&weather, &mut rng, |order| start(with_slow_closes(order)));
        aftermath.end.code() == 0 && aftermath.lost() > 0
    })
}

#[test]
fn without_the_freeze_a_storm_finds_losses() {
    let found = silent_loss(start_without_freeze);
    assert!(found.is_some(), "the storm does not notice what the freeze is there to prevent");
}

#[test]
fn with_the_freeze_the_same_storm_finds_none() {
    assert_eq!(silent_loss(Order::start), None);
}
