//! Measures slackwater beside other relays, in one run: what a message costs, how late it comes, what a stop loses.
//!
//! `scripts/compare` runs this. Each round measures each case's relays one after the other, in an order of its own, so that what
//! disturbs the machine, and what one leaves behind for the next, disturbs all; medians over the rounds are compared. Everything is
//! on loopback and bounded in time. Lives here: the order of things. Never here: what is measured (`cases`), how (`measure`,
//! `stop`), with what (`relays`), or what becomes of it (`results`).

#[path = "../record/mod.rs"]
mod record;
#[path = "../references/mod.rs"]
mod references;

mod cases;
mod measure;
mod plots;
mod process;
mod relays;
mod results;
mod stop;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

use cases::{CASES, STOPS};
use record::Choice;
use references::byte_pipe::{self, Order};
use relays::Relay;
use results::{Results, Sample};

/// Measures relays side by side.
#[derive(Parser)]
struct Arguments {
    /// How often each case is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The processor to bind the sink to, from 0 on; else the scheduler chooses. Our relay's one reactor is on the first.
    #[arg(long, value_name = "PROCESSOR")]
    sink_on: Option<usize>,
    #[command(flatten)]
    choice: Choice,
    #[command(subcommand)]
    reference: Option<Reference>,
}

/// Runs as one of the references instead.
#[derive(Subcommand)]
enum Reference {
    /// The byte pipe on our own ring.
    BytePipe { from: SocketAddr, to: SocketAddr },
    /// The same, which receives from one source after the other.
    BytePipeInTurn { from: SocketAddr, to: SocketAddr },
    /// The relay on tokio.
    Tokio { from: SocketAddr, to: SocketAddr },
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    match arguments.reference {
        Some(Reference::BytePipe { from, to }) => byte_pipe::run(from, to, Order::AsEnded)?,
        Some(Reference::BytePipeInTurn { from, to }) => byte_pipe::run(from, to, Order::InTurn)?,
        Some(Reference::Tokio { from, to }) => references::tokio_relay::run(from, to)?,
        None => compare(&arguments)?,
    }
    Ok(())
}

fn compare(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    process::end_with_parent()?;
    process::raise_descriptor_limit()?;
    relays::install()?;
    let &Arguments { rounds, seconds, sink_on, .. } = arguments;
    let mut results = Results::new(rounds, seconds, sink_on);
    let duration = Duration::from_secs_f64(seconds);
    for round in 1..=rounds {
        for case in CASES.iter().filter(|case| case.name.contains(&arguments.choice.only)) {
            for relay in order_of(round, case.relays) {
                begin(&mut results, round, case.name, relay);
                take(&mut results, round, case.name, relay, measure::run(case, relay, duration, sink_on));
            }
        }
        for case in STOPS.iter().filter(|case| case.name.contains(&arguments.choice.only)) {
            for relay in order_of(round, case.relays) {
                begin(&mut results, round, case.name, relay);
                take(&mut results, round, case.name, relay, stop::run(case, relay, sink_on));
            }
        }
    }
    results.write(&arguments.choice.into)?;
    plots::draw(&results, &arguments.choice.into)?;
    eprintln!("{}", results.targets_as_text());
    Ok(())
}

/// The relays in a round's own order, which is the same in each run.
fn order_of(round: usize, relays: &[Relay]) -> Vec<Relay> {
    let mut relays = relays.to_vec();
    fastrand::Rng::with_seed(round as u64).shuffle(&mut relays);
    relays
}

fn begin(results: &mut Results, round: usize, case: &str, relay: Relay) {
    eprintln!("round {round}: {case}: {}", relay.name());
    results.forgets_connections &= process::forget_connections();
}

/// A relay that cannot be measured is said, and missing in the results; the others are measured all the same.
fn take(
    results: &mut Results,
    round: usize,
    case: &'static str,
    relay: Relay,
    sample: Result<Sample, Box<dyn Error>>,
) {
    match sample {
        Ok(sample) => results.add(round, case, relay.name(), sample),
        Err(error) => eprintln!("not measured: {case}: {}: {error}", relay.name()),
    }
}
