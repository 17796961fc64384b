//! What was measured.
//!
//! Lives here: medians, ratios, JSON and Markdown. Never here: measuring, drawing, what is aimed at.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use slackwater::load::Latency;

use crate::cases::{STOP_FLOOD, STOP_IDLE, STOP_PACED};
use crate::record;
use crate::relays::{BYTE_PIPE, QUICK, Relay, SLACKWATER};
use crate::targets::{TARGETS, Target};

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

    /// Whether nothing could be measured.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
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

    pub fn between(&self, case: &str, figure: Figure, relay: Relay, other: Relay) -> Option<f64> {
        Some(self.median(case, relay, figure)? / self.median(case, other, figure)?)
    }

    /// Ours by the best of others.
    pub fn best_ratio(&self, case: &str, figure: Figure, ours: Relay, others: &[Relay]) -> Option<f64> {
        let others = others.iter().filter_map(|relay| self.median(case, *relay, figure));
        Some(self.median(case, ours, figure)? / others.min_by(f64::total_cmp)?)
    }

    /// Messages that any stop of ours lost.
    pub fn lost(&self) -> Option<f64> {
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
    /// # Errors
    /// As creating a folder and writing files.
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

    /// How many of the targets that were measured are met, and a Markdown table of them and of what explains them.
    pub fn targets_as_text(&self) -> String {
        let rounds: Vec<_> = (1..=self.rounds).map(|round| self.of_round(round)).collect();
        let (mut rows, mut met, mut all) = (String::new(), 0, 0);
        for target in TARGETS {
            let Some(ours) = (target.value)(self, SLACKWATER) else { continue };
            let is_met = ours <= target.at_most;
            all += usize::from(target.counts);
            met += usize::from(target.counts && is_met);
            let _ = writeln!(rows, "{}", self.row(target, ours, is_met, &rounds));
        }
        format!(
            "{met} of {all} are met; what stands in parentheses explains others, and is none.\n\n\
             | target | at most | measured | | in a single round | the byte pipe |\n|---|---:|---:|---|---:|---:|\n{rows}"
        )
    }

    fn row(&self, target: &Target, ours: f64, is_met: bool, rounds: &[Results]) -> String {
        let Target { what, at_most, value, has_floor, counts } = target;
        let verdict = match (counts, is_met) {
            (true, true) => "met",
            (true, false) => "**missed**",
            (false, true) => "(met)",
            (false, false) => "(missed)",
        };
        let alone: Vec<_> = rounds.iter().filter_map(|round| value(round, SLACKWATER)).collect();
        let alone = self.range(&alone);
        let floor = if *has_floor { value(self, BYTE_PIPE) } else { None };
        let floor = floor.map_or(String::new(), |floor| format!("{floor:.3}"));
        format!("| {what} | {at_most} | {ours:.3} | {verdict} | {alone} | {floor} |")
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
