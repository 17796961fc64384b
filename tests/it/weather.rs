//! SIGTERM at random instants, from every transport to every other under every balance rule, with peers that come and go.
//!
//! Lives here: storms beyond one TCP sink (those are in `storm`), and their verdict. A failing run prints its seed;
//! `SLACKWATER_WEATHER_SEED` replays it, `SLACKWATER_WEATHER_RUNS` makes it longer.

use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use slackwater::load::{self, Place, Report, SendPlan, SendReport, Sending, SinkHandle, Style};
use slackwater::message::Framing;

use crate::support::arrivals::missing_everywhere;
use crate::support::relay::{End, Order, Relay};
use crate::support::{HANG, Transport, name_of};

/// How many one test run makes.
const RUNS: u64 = 120;

/// What one storm is made of.
#[derive(Clone, Debug)]
struct Weather {
    source: Transport,
    source_framing: Framing,
    sink: Transport,
    sink_framing: Framing,
    endpoints: usize,
    balance: &'static str,
    cores: &'static str,
    parameters: &'static str,
    /// What the receivers do while the senders send.
    fault: Fault,
    styles: Vec<(Style, usize, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// They stall for a while around the signal.
    Stall,
    /// One of them closes its connections gracefully.
    Close,
}

impl Weather {
    fn any(rng: &mut Rng) -> Weather {
        let source = Transport::ALL[rng.usize(..4)];
        let sink = Transport::ALL[rng.usize(..4)];
        let framing_of = |rng: &mut Rng, transport: Transport| {
            let framings = transport.framings();
            framings[rng.usize(..framings.len())]
        };
        let (source_framing, sink_framing) = (framing_of(rng, source), framing_of(rng, sink));
        let balance = ["spread", "failover", "hash", "copy"][rng.usize(..4)];
        let endpoints = if balance == "spread" { rng.usize(1..=3) } else { rng.usize(2..=3) };
        let parameters = match source {
            Transport::Tcp => {
                ["", "&linger=0s", "&linger=0s&half_close=false&receive_buffer=64KiB"][rng.usize(..3)]
            }
            Transport::Unix => ["", "&linger=0s", "&linger=20ms&half_close=false"][rng.usize(..3)],
            Transport::Udp | Transport::Unixgram => ["", "&receive_buffer=4MiB"][rng.usize(..2)],
        };
        let faults = [Fault::None, Fault::None, Fault::Stall, Fault::Close];
        let pieces = if source.is_datagrams() { Style::Single } else { Style::Dribble };
        let styles = [
            (Style::Bulk, 2000),
            (Style::Single, 300),
            (pieces, 3000),
            (Style::Paced { per_second: 5000 }, 100),
        ];
        let styles = styles.map(|(style, most)| (style, rng.usize(53..=most), rng.u32(0..=3)));
        Weather {
            source,
            source_framing,
            sink,
            sink_framing,
            endpoints,
            balance,
            cores: ["1", "2"][rng.usize(..2)],
            parameters,
            fault: faults[rng.usize(..4)],
            styles: styles.into_iter().filter(|(_, _, connections)| *connections > 0).collect(),
        }
    }

    fn sinks(&self, folder: &Path) -> Vec<SinkHandle> {
        let place = |n: usize| self.sink.place(folder, &format!("out-{n}"));
        (0..self.endpoints).map(|n| load::listen(place(n), self.sink_framing).unwrap()).collect()
    }

    fn start(&self, folder: &Path, sinks: &[SinkHandle]) -> Relay {
        let from = format!(
            "{}?framing={}{}",
            self.source.place(folder, "in"),
            name_of(self.source_framing),
            self.parameters
        );
        let first = sinks[0].place().to_string();
        let others = sinks[1..].iter().map(|sink| match sink.place() {
            Place::Tcp(address) | Place::Udp(address) => address.to_string(),
            Place::Unix(path) | Place::Unixgram(path) => path.display().to_string(),
        });
        let endpoints: Vec<String> = std::iter::once(first).chain(others).collect();
        let to = format!(
            "{}?framing={}&balance={}",
            endpoints.join(","),
            name_of(self.sink_framing),
            self.balance
        );
        Order::between(&[&from], &to).args(&["--cores", self.cores, "--max-in-flight", "8MiB"]).start()
    }

    fn send(&self, to: &Place) -> Vec<Sending> {
        let flow = |(style, size, connections): &(Style, usize, u32)| {
            let plan = SendPlan::new(to.clone());
            let (framing, duration) = (self.source_framing, Some(HANG));
            load::start(SendPlan {
                connections: *connections,
                style: *style,
                size: *size,
                framing,
                duration,
                ..plan
            })
            .expect("a plan that can be sent")
        };
        self.styles.iter().map(flow).collect()
    }

    /// The peers misbehave; whether one of them closed what it had.
    fn befall(&self, sinks: &[SinkHandle], rng: &mut Rng) {
        match self.fault {
            Fault::None => {}
            Fault::Stall => sinks[rng.usize(..sinks.len())].stall(),
            Fault::Close => sinks[rng.usize(..sinks.len())].close_all(),
        }
    }
}

struct Aftermath {
    weather: Weather,
    end: End,
    sent: Vec<SendReport>,
    reports: Vec<Report>,
}

fn storm(weather: Weather, rng: &mut Rng) -> Aftermath {
    let folder = tempfile::tempdir().unwrap();
    let sinks = weather.sinks(folder.path());
    let relay = weather.start(folder.path(), &sinks);
    let flows = weather.send(&relay.entrances().remove(0));
    if !flows.is_empty() {
        crate::support::eventually("the flow begins", || sinks.iter().any(|sink| sink.tally().messages > 0));
    }
    weather.befall(&sinks, rng);
    // The instant of the signal is the input here; nothing is waited for.
    std::thread::sleep(Duration::from_micros(rng.u64(0..30_000)));
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    std::thread::sleep(Duration::from_micros(rng.u64(0..10_000)));
    sinks.iter().for_each(SinkHandle::resume);
    let end = relay.wait();
    flows.iter().for_each(|flow| flow.stopper().stop());
    let sent = flows.into_iter().map(Sending::finish).collect();
    Aftermath { weather, end, sent, reports: sinks.into_iter().map(SinkHandle::finish).collect() }
}

impl Aftermath {
    /// What did not arrive at some endpoint; at every one, where they are copied.
    fn lost(&self) -> u64 {
        let of = |sent: &SendReport| {
            if self.weather.balance == "copy" {
                self.reports.iter().map(|report| report.lost(sent)).max().expect("an endpoint")
            } else {
                missing_everywhere(sent, &self.reports)
            }
        };
        self.sent.iter().map(of).sum()
    }

    fn assert_right(&self) {
        let sums = |figure: fn(&Report) -> u64| self.reports.iter().map(figure).sum::<u64>();
        let books = &self.end.books;
        assert_eq!(self.end.code(), 0, "{:?} {books:#?} {:#?}", self.weather, self.end.log);
        self.end.assert_balanced();
        let dropped = sums(|report| report.tally.kernel_drops);
        // Over UDP nobody knows what the receiving kernel dropped of which sender.
        if dropped == 0 {
            assert_eq!(self.lost(), 0, "{:?} {books:#?} {:#?}", self.weather, self.end.log);
        }
        let copies = if self.weather.balance == "copy" { self.reports.len() as u64 } else { 1 };
        let delivered = self.end.book("delivered");
        assert_eq!(delivered, self.end.book("received"));
        let (arrived, twice) = (sums(|report| report.tally.messages), sums(|report| report.tally.duplicates));
        // What a closed connection had taken and not confirmed comes again.
        let again = if self.weather.fault == Fault::Close { u64::MAX } else { 0 };
        assert!(
            arrived + dropped >= delivered * copies && twice <= again,
            "{:?} {arrived} of {delivered}, {dropped} dropped",
            self.weather
        );
        if self.weather.fault != Fault::Close {
            assert_eq!(arrived + dropped, delivered * copies, "{:?}", self.weather);
            assert_eq!(sums(|report| report.tally.torn + report.tally.misframed), 0, "{:?}", self.weather);
        }
        // Of three endpoints each has two links, by the endpoint that they fall back to; the order holds on each.
        // What a receiver had of a connection that it closed it may read after what came on the next.
        let one_link_each = self.weather.balance != "hash" || self.weather.endpoints < 3;
        if one_link_each && self.weather.fault != Fault::Close {
            assert_eq!(sums(|report| report.tally.out_of_order), 0, "{:?}", self.weather);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn no_acknowledged_message_is_lost_between_any_two_transports_under_any_rule() {
    let only = setting("SLACKWATER_WEATHER_SEED");
    let runs = if only.is_some() { 1 } else { setting("SLACKWATER_WEATHER_RUNS").unwrap_or(RUNS) };
    let mut delivered = 0;
    for _ in 0..runs {
        let seed = only.unwrap_or_else(|| fastrand::u64(..));
        let mut rng = Rng::with_seed(seed);
        let weather = Weather::any(&mut rng);
        println!("SLACKWATER_WEATHER_SEED={seed} {weather:?}");
        let aftermath = storm(weather, &mut rng);
        aftermath.assert_right();
        delivered += aftermath.end.book("delivered");
    }
    println!("{runs} storms, {delivered} messages delivered");
}
