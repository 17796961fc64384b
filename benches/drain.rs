//! How long a drain takes, in process: from the request to the moment at which every reactor is sealed and has nothing in flight.
//!
//! Beside criterion's estimate stands the distribution of all drains, from an HDR histogram. `RESULTS=benches/results` writes these,
//! with what was aimed at, into that folder's `drain.md`.

#[path = "in_process/mod.rs"]
mod in_process;
#[path = "record/provenance.rs"]
mod provenance;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hdrhistogram::Histogram;

use in_process::{Relay, read_to_end};
use slackwater::limits::QUIET;

/// Length of a message with its delimiter, in bytes.
const MESSAGE: usize = 257;

/// What there is to drain.
#[derive(Clone, Copy)]
enum State {
    /// Nothing, and a silent connection.
    Idle,
    /// So many messages that were written just before, to a sink that reads.
    InFlight(u64),
    /// So many messages that wait for a sink which begins to read when the drain does.
    Stalled(u64),
}

impl State {
    fn name(self) -> String {
        match self {
            State::Idle => "idle".to_owned(),
            State::InFlight(messages) => format!("{messages} in flight"),
            State::Stalled(messages) => format!("{messages} to a sink that was stalled"),
        }
    }

    /// What a drain from it may take at most, in microseconds, where something was aimed at.
    fn target_micros(self) -> Option<u32> {
        match self {
            State::Idle => Some(60),
            State::InFlight(1_000) => Some(1_000),
            State::InFlight(_) | State::Stalled(_) => None,
        }
    }

    fn messages(self) -> u64 {
        match self {
            State::Idle => 0,
            State::InFlight(messages) | State::Stalled(messages) => messages,
        }
    }
}

/// One drain; the relay is made for it and ended after it, outside the time.
fn drain(state: State, reactors: usize) -> Duration {
    let mut relay = Relay::start(reactors);
    let receivers = std::mem::take(&mut relay.receivers);
    let each = state.messages() / reactors as u64;
    let text = [&[b'x'; MESSAGE - 1][..], b"\n"].concat().repeat(each as usize);
    let mut readers = Vec::new();
    if let State::InFlight(_) = state {
        readers =
            receivers.iter().map(|stream| read_to_end(stream.try_clone().expect("a descriptor"))).collect();
    }
    let send = |relay: &mut Relay| {
        relay.senders.iter_mut().for_each(|sender| sender.write_all(&text).expect("it is read"));
    };
    send(&mut relay);
    if let State::Idle = state {
        // A connection is quiet once it has been silent for this long.
        std::thread::sleep(2 * QUIET);
    }
    if let State::Stalled(_) = state {
        // Some are; the rest is in the kernels of both sides.
        while relay.in_flight() == 0 {
            std::thread::yield_now();
        }
    }
    let begun = Instant::now();
    relay.ask();
    if readers.is_empty() {
        readers = receivers.into_iter().map(read_to_end).collect();
    }
    // A sender that is done says so; one that is idle stays.
    if state.messages() > 0 {
        relay.senders.clear();
    }
    relay.wait();
    let took = begun.elapsed();
    relay.end(each * reactors as u64);
    readers.into_iter().for_each(|reader| drop(reader.join()));
    took
}

fn drains(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drain");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    let states = [
        State::Idle,
        State::InFlight(1),
        State::InFlight(1_000),
        State::InFlight(100_000),
        State::Stalled(20_000),
    ];
    let mut table = String::new();
    for reactors in [1, 2] {
        for state in states {
            if state.messages() % reactors as u64 != 0 {
                continue;
            }
            let mut histogram = Histogram::<u64>::new(3).expect("three digits");
            let id = BenchmarkId::new(state.name(), format!("{reactors} reactors"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut all = Duration::ZERO;
                    for _ in 0..iterations {
                        let took = drain(state, reactors);
                        histogram.record(took.as_nanos() as u64).expect("it grows");
                        all += took;
                    }
                    all
                });
            });
            table += &row(state, reactors, &histogram);
        }
    }
    group.finish();
    if let Some(folder) = std::env::var_os("RESULTS") {
        write(&PathBuf::from(folder).join("drain.md"), &table).expect("the folder is there");
    }
}

/// A row of the table; the same is told at once.
fn row(state: State, reactors: usize, histogram: &Histogram<u64>) -> String {
    let micros = |nanos: u64| format!("{:.1}", nanos as f64 / 1e3);
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|quantile| micros(histogram.value_at_quantile(quantile)));
    let (most, drains) = (micros(histogram.max()), histogram.len());
    eprintln!("    all {drains} drains, in µs: p50 {p50}, p90 {p90}, p99 {p99}, at most {most}");
    let target = state.target_micros().map_or(String::new(), |micros| micros.to_string());
    let name = state.name();
    format!("| {name} | {reactors} | {drains} | {p50} | {p90} | {p99} | {most} | {target} |\n")
}

fn write(path: &PathBuf, table: &str) -> io::Result<()> {
    let (commit, machine) = (provenance::commit(), provenance::machine());
    let text = format!(
        "# Drains in process\n\nWritten by `RESULTS=benches/results cargo bench --bench drain` at {commit}: {machine}. From the request \
         to the moment at which every reactor is sealed and has nothing in flight, in microseconds; the target is for the median.\n\n\
         | in flight | reactors | drains | p50 | p90 | p99 | most | target |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n{table}"
    );
    std::fs::write(path, text)
}

criterion_group!(benches, drains);
criterion_main!(benches);
