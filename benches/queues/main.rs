//! Measures the relay from a queue to TCP beside a bare client of the same crate, which only reads and acknowledges.
//!
//! `scripts/queues` runs this. In each round each queue is read by each contender, one after the other, so that what disturbs the
//! machine disturbs all; medians over the rounds are compared. Both read batches of the same size from the same server, with the
//! same messages in it. Everything is on loopback and bounded. Lives here: the order of things. Never here: a server
//! (`tests/it/support/servers`), how a queue is filled (`queue`), the bare clients (`bare`), or what becomes of it (`results`).

#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests' servers, with what else the tests need")]
mod support;

#[path = "../record/mod.rs"]
mod record;

mod bare;
mod queue;
mod results;
mod sink;

use std::error::Error;
use std::process::Command;

use clap::{Parser, Subcommand};

use queue::{Queue, Servers};
use record::Choice;
use results::{Contender, Results, Sample};
use sink::Sink;
use support::procfs::cpu_time;
use support::relay::Order;

/// Measures the relay from each queue beside a bare client.
#[derive(Parser)]
struct Arguments {
    /// How often each is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Messages that each reads.
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    #[command(flatten)]
    choice: Choice,
    #[command(subcommand)]
    bare: Option<Bare>,
}

/// Runs as a bare client instead, and prints its sample.
#[derive(Subcommand)]
enum Bare {
    /// Reads and acknowledges so many messages.
    Bare { queue: Queue, url: String, messages: usize },
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(Bare::Bare { queue, url, messages }) = arguments.bare {
        serde_json::to_writer(std::io::stdout(), &bare::run(queue, &url, messages)?)?;
        return Ok(());
    }
    let into = arguments.choice.folder()?;
    let mut results = Results::new(arguments.rounds, arguments.messages);
    let servers = Servers::start();
    let queues = || Queue::ALL.into_iter().filter(|queue| queue.name().contains(&arguments.choice.only));
    queues().for_each(|queue| servers.prepare(queue, arguments.messages));
    for round in 1..=arguments.rounds {
        for queue in queues() {
            for contender in Contender::ALL {
                eprintln!("round {round}: {}: {}", queue.name(), contender.name());
                let url = servers.fill(queue, arguments.messages);
                let sample = match contender {
                    Contender::Bare => bare_client(queue, &url, arguments.messages)?,
                    Contender::Relay => relay(&url, arguments.messages)?,
                };
                servers.assert_read(queue, &url);
                results.add(queue, contender, sample);
            }
        }
    }
    results.write(&into)?;
    eprintln!("{}", results.as_markdown());
    Ok(())
}

/// As a process of its own, as the relay is one.
fn bare_client(queue: Queue, url: &str, messages: usize) -> Result<Sample, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["bare", queue.name(), url, &messages.to_string()]).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {output:?}").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// From the first byte at the sink to the last; what its start and its stop take is no part of it.
fn relay(url: &str, messages: usize) -> Result<Sample, Box<dyn Error>> {
    let sink = Sink::listen()?;
    let order = Order::between(&[url], &format!("tcp://{}", sink.address()));
    let relay = order.args(&["--cores", "1", "--max-in-flight", "64MiB"]).spawn();
    let cpu = || cpu_time(relay.pid());
    let mut first = None;
    let span = sink.receive(messages * queue::SIZE_AS_LINE, || {
        first.get_or_insert_with(cpu);
    })?;
    let used = cpu().saturating_sub(first.unwrap_or_default());
    let end = relay.terminate();
    end.assert_all_delivered(messages as u64);
    Ok(Sample::of(messages, span, used))
}
