//! What was measured, and what of it was aimed at.
//!
//! Lives here: medians, ratios, the targets, JSON and Markdown. Never here: measuring, drawing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use slackwater::load::Latency;

use crate::cases::{
    BULK, BULK_1K, BULK_BOUNDED, CROWD, CROWD_BOUNDED, CROWD_SETTLED, IDLE, PACED, SINGLE, STOP_FLOOD,
    STOP_IDLE, STOP_PACED, UDP, UDP_FLOOD,
};
use crate::record;
use crate::relays::{
    BYTE_PIPE, BYTE_PIPE_IN_TURN, GATHER, HAPROXY, NGINX, NGINX_UDP, OCTET, QUICK, RSYSLOG, RSYSLOG_UDP,
    Relay, SLACKWATER, SLACKWATER_UDP, SLEEP, SOCAT_UDP, SYSLOG_NG, TOKIO, TWO_CORES, WRITTEN,
};

/// One measurement; what a case does not show is not there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// The round that it was taken in, from 1 on.
    pub round: usize,
    /// Processor time of the relay's process for each message that arrived, in nanoseconds.
    pub cpu_nanos_per_message: Option<f64>,
    /// The same for each byte of these messages, without what frames them.
    pub cpu_nanos_per_byte: Option<f64>,
    /// The part of that of a message which was spent outside the kernel.
    pub user_nanos_per_message: Option<f64>,
    /// Messages that arrived a second.
    pub messages_per_second: Option<f64>,
    /// What the connection that could write least wrote, by what the one that could write most did.
    pub evenness: Option<f64>,
    /// How late paced messages came.
    pub latency: Option<Latency>,
    /// What the kernel held for TCP when the measurement ended, of everybody's sockets, in bytes.
    pub tcp_memory_bytes: Option<u64>,
    /// The most memory that was resident, in KiB.
    pub peak_rss_kib: Option<u64>,
    /// System calls for each message that arrived, while strace(1) looked on.
    pub system_calls_per_message: Option<f64>,
    /// How long the kernel was still short of memory for TCP once the load was warm, in seconds.
    pub settled_seconds: Option<f64>,
    /// From SIGTERM to the exit, in microseconds; `None` if it did not come.
    pub exit_micros: Option<f64>,
    /// Messages that the relay's kernel had acknowledged and that did not arrive.
    pub lost: Option<u64>,
}

/// A figure of a sample.
type Figure = fn(&Sample) -> Option<f64>;

pub const CPU: Figure = |sample| sample.cpu_nanos_per_message;
pub const CPU_OF_BYTE: Figure = |sample| sample.cpu_nanos_per_byte;
pub const USER: Figure = |sample| sample.user_nanos_per_message;
pub const RATE: Figure = |sample| sample.messages_per_second;
pub const EVENNESS: Figure = |sample| sample.evenness;
pub const P50: Figure = |sample| Some(sample.latency?.p50_nanos as f64 / 1e3);
pub const P99: Figure = |sample| Some(sample.latency?.p99_nanos as f64 / 1e3);
pub const RSS: Figure = |sample| Some(sample.peak_rss_kib? as f64 / 1e3);
pub const TCP_MEMORY: Figure = |sample| Some(sample.tcp_memory_bytes? as f64 / 1e6);
pub const CALLS: Figure = |sample| sample.system_calls_per_message;
pub const SETTLED: Figure = |sample| sample.settled_seconds;
pub const EXIT: Figure = |sample| Some(sample.exit_micros? / 1e3);
pub const LOST: Figure = |sample| sample.lost.map(|lost| lost as f64);

/// All samples, by case and relay.
#[derive(Serialize)]
pub struct Results {
    machine: String,
    commit: String,
    rounds: usize,
    seconds: f64,
    /// The processor that the sink was bound to, if any.
    sink_on: Option<usize>,
    /// Whether the kernel was made to forget what it learned of earlier connections before each measurement.
    pub forgets_connections: bool,
    cases: BTreeMap<&'static str, BTreeMap<&'static str, Vec<Sample>>>,
}

/// What a ratio or a figure may be at most.
struct Target {
    what: &'static str,
    /// Of ours, or of the byte pipe in its place.
    value: fn(&Results, Relay) -> Option<f64>,
    at_most: f64,
    /// Whether the byte pipe's says what the kernel alone takes of it.
    has_floor: bool,
}

const TARGETS: &[Target] = &[
    Target {
        what: "bulk 256 B, CPU a message / byte pipe",
        value: |of, ours| of.between(BULK, CPU, ours, BYTE_PIPE),
        at_most: 1.15,
        has_floor: false,
    },
    Target {
        what: "bulk 256 B, CPU a message / byte pipe in turn",
        value: |of, ours| of.between(BULK, CPU, ours, BYTE_PIPE_IN_TURN),
        at_most: 1.15,
        has_floor: false,
    },
    Target {
        what: "bulk 1 KiB, CPU a message / byte pipe",
        value: |of, ours| of.between(BULK_1K, CPU, ours, BYTE_PIPE),
        at_most: 1.15,
        has_floor: false,
    },
    Target {
        what: "bulk 1 KiB, CPU a message / byte pipe in turn",
        value: |of, ours| of.between(BULK_1K, CPU, ours, BYTE_PIPE_IN_TURN),
        at_most: 1.15,
        has_floor: false,
    },
    Target {
        what: "bulk 256 B of 128 KiB each, CPU a message / byte pipe",
        value: |of, ours| of.between(BULK_BOUNDED, CPU, ours, BYTE_PIPE),
        at_most: 1.15,
        has_floor: false,
    },
    Target {
        what: "bulk 256 B, CPU a message / tokio",
        value: |of, ours| of.best_ratio(BULK, CPU, ours, &[TOKIO]),
        at_most: 0.62,
        has_floor: true,
    },
    Target {
        what: "bulk 1 KiB, CPU a message / tokio",
        value: |of, ours| of.best_ratio(BULK_1K, CPU, ours, &[TOKIO]),
        at_most: 0.62,
        has_floor: true,
    },
    Target {
        what: "bulk 256 B, CPU a message / haproxy, nginx",
        value: |of, ours| of.best_ratio(BULK, CPU, ours, &[HAPROXY, NGINX]),
        at_most: 0.85,
        has_floor: true,
    },
    Target {
        what: "bulk 1 KiB, CPU a message / haproxy, nginx",
        value: |of, ours| of.best_ratio(BULK_1K, CPU, ours, &[HAPROXY, NGINX]),
        at_most: 0.85,
        has_floor: true,
    },
    Target {
        what: "bulk 256 B, CPU a message / rsyslog, syslog-ng",
        value: |of, ours| of.best_ratio(BULK, CPU, ours, &[RSYSLOG, SYSLOG_NG]),
        at_most: 0.08,
        has_floor: true,
    },
    Target {
        what: "bulk 1 KiB, CPU a message / rsyslog, syslog-ng",
        value: |of, ours| of.best_ratio(BULK_1K, CPU, ours, &[RSYSLOG, SYSLOG_NG]),
        at_most: 0.08,
        has_floor: true,
    },
    Target {
        what: "line to octet / line to line, CPU a message",
        value: |of, _| of.between(BULK, CPU, OCTET, SLACKWATER),
        at_most: 1.6,
        has_floor: false,
    },
    Target {
        what: "paced, p50 / best of haproxy, nginx, tokio",
        value: |of, ours| of.best_ratio(PACED, P50, ours, &[HAPROXY, NGINX, TOKIO]),
        at_most: 1.05,
        has_floor: true,
    },
    Target {
        what: "paced, p99 / best of haproxy, nginx, tokio",
        value: |of, ours| of.best_ratio(PACED, P99, ours, &[HAPROXY, NGINX, TOKIO]),
        at_most: 1.05,
        has_floor: true,
    },
    Target {
        what: "paced with gather = 200us, CPU a message / haproxy",
        value: |of, _| of.between(PACED, CPU, GATHER, HAPROXY),
        at_most: 0.5,
        has_floor: false,
    },
    Target {
        what: "one message a write, CPU a message / best of haproxy, nginx, tokio",
        value: |of, ours| of.best_ratio(SINGLE, CPU, ours, &[HAPROXY, NGINX, TOKIO]),
        at_most: 0.8,
        has_floor: true,
    },
    Target {
        what: "acked / written, CPU a message",
        value: |of, _| of.between(BULK, CPU, SLACKWATER, WRITTEN),
        at_most: 1.03,
        has_floor: false,
    },
    Target {
        what: "two reactors / one, CPU a message",
        value: |of, _| of.between(BULK, CPU, TWO_CORES, SLACKWATER),
        at_most: 1.05,
        has_floor: false,
    },
    Target {
        what: "1,000 connections / 16, CPU a message",
        value: |of, ours| Some(of.median(CROWD, ours, CPU)? / of.median(BULK, ours, CPU)?),
        at_most: 1.15,
        has_floor: true,
    },
    Target {
        what: "1,000 connections, settled / 16, CPU a message",
        value: |of, ours| Some(of.median(CROWD_SETTLED, ours, CPU)? / of.median(BULK, ours, CPU)?),
        at_most: 1.15,
        has_floor: true,
    },
    Target {
        what: "1,000 connections of 128 KiB each / 16, CPU a message",
        value: |of, ours| Some(of.median(CROWD_BOUNDED, ours, CPU)? / of.median(BULK, ours, CPU)?),
        at_most: 1.15,
        has_floor: true,
    },
    Target {
        what: "peak RSS, bulk over 1,000 connections, MB",
        value: |of, _| of.median(CROWD, SLACKWATER, RSS),
        at_most: 14.0,
        has_floor: false,
    },
    Target {
        what: "peak RSS, 9,000 idle connections, MB",
        value: |of, _| of.median(IDLE, SLACKWATER, RSS),
        at_most: 24.0,
        has_floor: false,
    },
    Target {
        what: "datagrams 256 B, CPU each / best of socat, nginx, rsyslog",
        value: |of, _| of.best_ratio(UDP, CPU, SLACKWATER_UDP, &[SOCAT_UDP, NGINX_UDP, RSYSLOG_UDP]),
        at_most: 0.5,
        has_floor: false,
    },
    Target {
        what: "datagrams 256 B in full flow, CPU each / best of socat, nginx, rsyslog",
        value: |of, _| of.best_ratio(UDP_FLOOD, CPU, SLACKWATER_UDP, &[SOCAT_UDP, NGINX_UDP, RSYSLOG_UDP]),
        at_most: 0.5,
        has_floor: false,
    },
    Target {
        what: "TERM to exit, idle, beyond that of sleep, ms",
        value: |of, _| Some(of.median(STOP_IDLE, SLACKWATER, EXIT)? - of.median(STOP_IDLE, SLEEP, EXIT)?),
        at_most: 1.0,
        has_floor: false,
    },
    Target {
        what: "TERM to exit, paced, ms",
        value: |of, _| of.median(STOP_PACED, SLACKWATER, EXIT),
        at_most: 2.0,
        has_floor: false,
    },
    Target {
        what: "TERM to exit, flooded, receive_buffer 256 KiB, linger 0s, ms",
        value: |of, _| of.median(STOP_FLOOD, QUICK, EXIT),
        at_most: 25.0,
        has_floor: false,
    },
    Target {
        what: "acknowledged messages lost at TERM, in all",
        value: |of, _| of.lost(),
        at_most: 0.0,
        has_floor: false,
    },
];

impl Results {
    pub fn new(rounds: usize, seconds: f64, sink_on: Option<usize>) -> Results {
        Results {
            machine: record::machine(),
            commit: record::commit(),
            rounds,
            seconds,
            sink_on,
            forgets_connections: true,
            cases: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, round: usize, case: &'static str, relay: &'static str, mut sample: Sample) {
        sample.round = round;
        self.cases.entry(case).or_default().entry(relay).or_default().push(sample);
    }

    /// What one round alone gave.
    fn of_round(&self, round: usize) -> Results {
        let mut alone =
            Results { cases: BTreeMap::new(), machine: String::new(), commit: String::new(), ..*self };
        for (case, relays) in &self.cases {
            for (relay, samples) in relays {
                for sample in samples.iter().filter(|sample| sample.round == round) {
                    alone.add(round, case, relay, sample.clone());
                }
            }
        }
        alone
    }

    /// The median of a figure over the rounds.
    pub fn median(&self, case: &str, relay: Relay, figure: Figure) -> Option<f64> {
        self.median_of(self.cases.get(case)?.get(relay.name())?, figure)
    }

    fn median_of(&self, samples: &[Sample], figure: Figure) -> Option<f64> {
        // One that some rounds lack is none.
        record::median(samples.iter().map(figure).collect::<Option<_>>()?)
    }

    fn between(&self, case: &str, figure: Figure, relay: Relay, other: Relay) -> Option<f64> {
        Some(self.median(case, relay, figure)? / self.median(case, other, figure)?)
    }

    /// Ours by the best of others.
    fn best_ratio(&self, case: &str, figure: Figure, ours: Relay, others: &[Relay]) -> Option<f64> {
        let others = others.iter().filter_map(|relay| self.median(case, *relay, figure));
        Some(self.median(case, ours, figure)? / others.min_by(f64::total_cmp)?)
    }

    /// Messages that any stop of ours lost.
    fn lost(&self) -> Option<f64> {
        let stops = [STOP_IDLE, STOP_PACED, STOP_FLOOD];
        let ours = stops
            .iter()
            .filter_map(|stop| self.cases.get(stop))
            .flat_map(|relays| [SLACKWATER, QUICK].into_iter().filter_map(|relay| relays.get(relay.name())));
        ours.flatten()
            .map(LOST)
            .try_fold(None, |sum: Option<f64>, lost| Some(Some(sum.unwrap_or(0.0) + lost?)))?
    }

    /// Writes compare.json and compare.md.
    ///
    /// Errors: as creating a folder and writing files.
    pub fn write(&self, into: &Path) -> io::Result<()> {
        fs::create_dir_all(into)?;
        fs::write(into.join("compare.json"), serde_json::to_vec_pretty(self)?)?;
        fs::write(into.join("compare.md"), self.as_markdown())
    }

    fn as_markdown(&self) -> String {
        let mut text = format!(
            "# slackwater beside other relays\n\nWritten by `scripts/compare` at {}: {}; medians of {} interleaved rounds of {} s. \
             Before each measurement the kernel {} what it had learned of earlier connections, ip-tcp_metrics(8). \
             Generator, relay and sink share the processors{}; CPU is the relay's process alone. \
             Behind a target stand the least and the most of a single round, and what our byte pipe reaches, which looks at no byte: what the \
             kernel alone takes. Why those that are missed are: [missed.md](missed.md).\n\n## Targets\n\n{}",
            self.commit,
            self.machine,
            self.rounds,
            self.seconds,
            if self.forgets_connections { "forgot" } else { "kept (not root, or no `ip`)" },
            self.sink_on
                .map_or(String::new(), |processor| format!(", and the sink is bound to number {processor}")),
            self.targets_as_text()
        );
        for (case, relays) in &self.cases {
            let _ = write!(text, "\n## {case}\n\n| relay |");
            let columns: Vec<_> = COLUMNS
                .iter()
                .filter(|column| relays.values().flatten().any(|sample| (column.figure)(sample).is_some()))
                .collect();
            for column in &columns {
                let _ = write!(text, " {} |", column.name);
            }
            let _ = write!(text, "\n|---|{}\n", "---:|".repeat(columns.len()));
            for (relay, samples) in relays {
                let _ = write!(text, "| {relay}{} |", self.of_rounds(samples));
                for column in &columns {
                    let _ = write!(
                        text,
                        " {} |",
                        self.median_of(samples, column.figure)
                            .map_or("–".to_owned(), |value| shown(value, column.digits))
                    );
                }
                text.push('\n');
            }
        }
        text
    }

    /// What is said of a relay that some rounds could not measure.
    fn of_rounds(&self, samples: &[Sample]) -> String {
        match samples.len() == self.rounds {
            true => String::new(),
            false => format!(" ({} of {} rounds)", samples.len(), self.rounds),
        }
    }

    /// The targets as a Markdown table, of which only those that were measured.
    pub fn targets_as_text(&self) -> String {
        let mut text =
            "| target | at most | measured | | in a single round | the byte pipe |\n|---|---:|---:|---|---:|---:|\n".to_owned();
        let rounds: Vec<_> = (1..=self.rounds).map(|round| self.of_round(round)).collect();
        for Target { what, value, at_most, has_floor } in TARGETS {
            if let Some(ours) = value(self, SLACKWATER) {
                let verdict = if ours <= *at_most { "met" } else { "**missed**" };
                let alone: Vec<_> = rounds.iter().filter_map(|round| value(round, SLACKWATER)).collect();
                let alone = self.range(&alone);
                let floor = if *has_floor { value(self, BYTE_PIPE) } else { None };
                let floor = floor.map_or(String::new(), |floor| format!("{floor:.3}"));
                let _ = writeln!(text, "| {what} | {at_most} | {ours:.3} | {verdict} | {alone} | {floor} |");
            }
        }
        text
    }

    /// The least and the most of what the rounds gave, and of how many, where some gave nothing.
    fn range(&self, of_rounds: &[f64]) -> String {
        let least = of_rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = of_rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match of_rounds.len() {
            0 => "none".to_owned(),
            all if all == self.rounds => format!("{least:.3} to {most:.3}"),
            some => format!("{least:.3} to {most:.3} ({some} of {} rounds)", self.rounds),
        }
    }

    /// The median of a figure for each relay of a case.
    pub fn each(&self, case: &str, figure: Figure) -> Vec<(&'static str, f64)> {
        let relays = self.cases.get(case).into_iter().flatten();
        relays.filter_map(|(relay, samples)| Some((*relay, self.median_of(samples, figure)?))).collect()
    }
}

struct Column {
    name: &'static str,
    figure: Figure,
    digits: usize,
}

const COLUMNS: &[Column] = &[
    Column { name: "CPU, ns a message", figure: CPU, digits: 0 },
    Column { name: "of that outside the kernel", figure: USER, digits: 0 },
    Column { name: "CPU, ns a byte", figure: CPU_OF_BYTE, digits: 3 },
    Column { name: "messages/s", figure: RATE, digits: 0 },
    Column { name: "least / most of a connection", figure: EVENNESS, digits: 3 },
    Column { name: "p50, µs", figure: P50, digits: 1 },
    Column { name: "p99, µs", figure: P99, digits: 1 },
    Column { name: "peak RSS, MB", figure: RSS, digits: 1 },
    Column { name: "kernel's memory for TCP, MB", figure: TCP_MEMORY, digits: 0 },
    Column { name: "system calls a message", figure: CALLS, digits: 4 },
    Column { name: "settled after, s", figure: SETTLED, digits: 1 },
    Column { name: "TERM to exit, ms", figure: EXIT, digits: 2 },
    Column { name: "acknowledged and lost", figure: LOST, digits: 0 },
];

/// A number with so many digits behind the point.
fn shown(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}
