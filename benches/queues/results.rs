//! What was measured.
//!
//! Lives here: medians, ratios, JSON and Markdown. Never here: measuring.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slackwater::limits::BATCH_DEFAULT;

use crate::queue::{Queue, SIZE};
use crate::record;

/// What the relay is to reach of the bare client's rate.
const TARGET: f64 = 0.8;

/// Who reads a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Contender {
    /// A client of the same crate.
    Bare,
    /// `slackwater run`, to TCP.
    Relay,
}

impl Contender {
    pub const ALL: [Contender; 2] = [Contender::Bare, Contender::Relay];

    pub fn name(self) -> &'static str {
        match self {
            Contender::Bare => "bare client",
            Contender::Relay => "slackwater",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// From the first message to the last.
    pub messages_per_second: f64,
    /// Processor time of the reader's process in that time, in nanoseconds; in steps of the kernel's clock tick.
    pub cpu_nanos_per_message: f64,
}

impl Sample {
    /// What so many messages took.
    pub fn of(messages: usize, span: Duration, cpu: Duration) -> Sample {
        Sample {
            messages_per_second: messages as f64 / span.as_secs_f64(),
            cpu_nanos_per_message: cpu.as_nanos() as f64 / messages as f64,
        }
    }
}

/// All samples.
#[derive(Serialize)]
pub struct Results {
    machine: String,
    commit: String,
    rounds: usize,
    messages: usize,
    samples: BTreeMap<&'static str, BTreeMap<Contender, Vec<Sample>>>,
}

impl Results {
    pub fn new(rounds: usize, messages: usize) -> Results {
        let (machine, commit) = (record::machine(), record::commit());
        Results { machine, commit, rounds, messages, samples: BTreeMap::new() }
    }

    pub fn add(&mut self, queue: Queue, contender: Contender, sample: Sample) {
        self.samples.entry(queue.name()).or_default().entry(contender).or_default().push(sample);
    }

    fn median(&self, queue: Queue, contender: Contender, figure: fn(&Sample) -> f64) -> Option<f64> {
        let samples = self.samples.get(queue.name())?.get(&contender)?;
        record::median(samples.iter().map(figure).collect())
    }

    /// The medians, by queue.
    pub fn as_markdown(&self) -> String {
        let mut text = format!(
            "# Queues to TCP, beside a bare client\n\n\
             Written by `scripts/queues` at {}: {}; medians of {} interleaved rounds of {} messages of {SIZE} B in batches of \
             {BATCH_DEFAULT}. The bare client is one of the same crate that only reads and acknowledges; slackwater, with `--cores 1`, has \
             them confirmed by a TCP sink before it acknowledges. A rate is from the first message to the last that was acknowledged \
             by the bare client, or that was read at the sink: slackwater's does not have the answer to its last acknowledgement in \
             it. Server, reader and sink share the processors; CPU is the reader's process alone.\n\n\
             | queue | bare client, messages/s | slackwater, messages/s | ratio | at least | | CPU a message, bare | slackwater |\n\
             |---|---:|---:|---:|---:|---|---:|---:|\n",
            self.commit, self.machine, self.rounds, self.messages
        );
        let rate: fn(&Sample) -> f64 = |sample| sample.messages_per_second;
        let cpu: fn(&Sample) -> f64 = |sample| sample.cpu_nanos_per_message / 1e3;
        for queue in Queue::ALL {
            let both = |figure| {
                Some((
                    self.median(queue, Contender::Bare, figure)?,
                    self.median(queue, Contender::Relay, figure)?,
                ))
            };
            let (Some((bare, relay)), Some((bare_cpu, relay_cpu))) = (both(rate), both(cpu)) else {
                continue;
            };
            let ratio = relay / bare;
            let verdict = if ratio >= TARGET { "met" } else { "**missed**" };
            let _ = writeln!(
                text,
                "| {} | {bare:.0} | {relay:.0} | {ratio:.3} | {TARGET} | {verdict} | {bare_cpu:.2} µs | {relay_cpu:.2} µs |",
                queue.name()
            );
        }
        text
    }

    pub fn write(&self, into: &Path) -> io::Result<()> {
        fs::create_dir_all(into)?;
        fs::write(into.join("queues.md"), self.as_markdown())?;
        fs::write(into.join("queues.json"), format!("{}\n", serde_json::to_string_pretty(self)?))
    }
}
