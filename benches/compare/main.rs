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
mod targets;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand};

use cases::{CASES, Case, STOPS, Stop};
use record::Choice;
use references::byte_pipe::{self, Order};
use relays::Relay;
use results::{Results, Sample};

/// Measures relays side by side.
#[derive(Parser)]
#[command(name = "scripts/compare", bin_name = "scripts/compare")]
struct Arguments {
    /// How often each case is measured.
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    rounds: usize,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: Duration,
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

/// Between a tenth of one and a minute.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write a number from 0.1 to 60".to_owned())
}

fn main() -> ExitCode {
    match begin_as_asked() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin_as_asked() -> Result<(), Box<dyn Error>> {
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
    let &Arguments { rounds, seconds, sink_on, ref choice, .. } = arguments;
    let (cases, stops) = chosen(&choice.only)?;
    let into = choice.folder()?;
    process::begin_on(sink_on, || Ok(()))?;
    process::end_with_parent()?;
    process::raise_descriptor_limit()?;
    relays::install()?;
    let mut results = Results::new(rounds, seconds.as_secs_f64(), sink_on);
    for round in 1..=rounds {
        for case in &cases {
            for relay in order_of(round, case.relays) {
                begin(&mut results, round, case.name, relay);
                take(&mut results, round, case.name, relay, measure::run(case, relay, seconds, sink_on));
            }
        }
        for case in &stops {
            for relay in order_of(round, case.relays) {
                begin(&mut results, round, case.name, relay);
                take(&mut results, round, case.name, relay, stop::run(case, relay, sink_on));
            }
        }
    }
    if results.is_empty() {
        return Err("nothing could be measured; why not is said above".into());
    }
    results.write(&into)?;
    plots::draw(&results, &into)?;
    eprintln!("{}", results.targets_as_text());
    Ok(())
}

/// The cases with that in their name.
fn chosen(only: &str) -> Result<(Vec<&'static Case>, Vec<&'static Stop>), String> {
    let cases: Vec<_> = CASES.iter().filter(|case| case.name.contains(only)).collect();
    let stops: Vec<_> = STOPS.iter().filter(|stop| stop.name.contains(only)).collect();
    if cases.is_empty() && stops.is_empty() {
        let names = CASES.iter().map(|case| case.name).chain(STOPS.iter().map(|stop| stop.name));
        let names = names.collect::<Vec<_>>().join("\n  ");
        return Err(format!("no case has `{only}` in its name; there are\n  {names}"));
    }
    Ok((cases, stops))
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
