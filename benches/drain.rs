//! How long a drain takes, in process: from the request to the moment at which every reactor is sealed and has nothing in flight.
//!
//! Beside criterion's estimate stands the distribution of all drains, from an HDR histogram. `RESULTS=benches/results` writes these,
//! with what was aimed at, into that folder's `drain.md`. `WINDOWS=file` writes when each drain began and ended, so that a profile
//! can be cut to what falls within (`scripts/flamegraph`).

#[path = "in_process/mod.rs"]
mod in_process;
#[path = "record/provenance.rs"]
mod provenance;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};

use in_process::{Relay, read_to_end};
use slackwater::limits::QUIET;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

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

/// Where it is told when each drain began and ended.
struct Windows(Option<File>);

impl Windows {
    /// Into the file that `WINDOWS` names; nowhere without it.
    fn from_environment() -> Windows {
        Windows(std::env::var_os("WINDOWS").map(|path| File::create(path).expect("a file to write to")))
    }

    /// A line for a drain that ended this moment: when it began, and when it ended, in nanoseconds of `CLOCK_MONOTONIC`, by which
    /// `perf record --clockid` can sample (clock_gettime(2)).
    fn add(&self, took: Duration) {
        let Some(mut file) = self.0.as_ref() else { return };
        let ended = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("each Linux has it"));
        writeln!(file, "{} {}", (ended - took).as_nanos(), ended.as_nanos()).expect("room in the file");
    }
}

/// One drain; the relay is made for it and ended after it, outside the time.
fn drain(state: State, reactors: usize, windows: &Windows) -> Duration {
    let mut relay = Relay::start(reactors);
    let receivers = std::mem::take(&mut relay.receivers);
    let each = state.messages() / reactors as u64;
    let text = [&[b'x'; MESSAGE - 1][..], b"\n"].concat().repeat(each as usize);
    let read =
        || receivers.iter().map(|stream| read_to_end(stream.try_clone().expect("a descriptor"))).collect();
    let is_stalled = matches!(state, State::Stalled(_));
    // A thread takes as long to start as an idle relay to drain, so all that can begin before the request does.
    let mut readers: Vec<_> = if is_stalled { Vec::new() } else { read() };
    let send = |relay: &mut Relay| {
        relay.senders.iter_mut().for_each(|sender| sender.write_all(&text).expect("it is read"));
    };
    send(&mut relay);
    if let State::Idle = state {
        // A connection is quiet once it has been silent for this long.
        std::thread::sleep(2 * QUIET);
    }
    if is_stalled {
        // Some are; the rest is in the kernels of both sides.
        while relay.in_flight() == 0 {
            std::thread::yield_now();
        }
    }
    let begun = Instant::now();
    relay.ask();
    if is_stalled {
        readers = read();
    }
    // A sender that is done says so; one that is idle stays.
    if state.messages() > 0 {
        relay.senders.clear();
    }
    relay.wait();
    let took = begun.elapsed();
    windows.add(took);
    relay.end(each * reactors as u64);
    readers.into_iter().for_each(|reader| drop(reader.join()));
    took
}

/// How long a thread that sleeps takes to run once another one has written to its pipe: no drain can take less.
fn wake() -> Duration {
    let (mut hears, mut wakes) = io::pipe().expect("descriptors");
    let woken = std::thread::spawn(move || hears.read_exact(&mut [0]).map(|()| Instant::now()));
    // As long as before an idle drain; it is asleep long since.
    std::thread::sleep(2 * QUIET);
    let begun = Instant::now();
    wakes.write_all(&[0]).expect("room for a byte");
    let woken = woken.join().expect("no panic").expect("a byte");
    woken - begun
}

/// Measures `once` again and again, for criterion and for a row of the table.
fn measure(group: &mut Group<'_>, id: BenchmarkId, once: impl Fn() -> Duration) -> Histogram<u64> {
    let mut histogram = Histogram::<u64>::new(3).expect("three digits");
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|iterations| {
            let took = (0..iterations).map(|_| once()).inspect(|took| {
                histogram.record(took.as_nanos() as u64).expect("it grows");
            });
            took.sum()
        });
    });
    histogram
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
    let windows = Windows::from_environment();
    let mut table = String::new();
    for reactors in [1, 2] {
        for state in states {
            if state.messages() % reactors as u64 != 0 {
                continue;
            }
            let id = BenchmarkId::new(state.name(), format!("{reactors} reactors"));
            let histogram = measure(&mut group, id, || drain(state, reactors, &windows));
            table += &row(&state.name(), reactors, &histogram, state.target_micros());
        }
    }
    let floor = "a sleeping thread is woken, and nothing else";
    table += &row(floor, 0, &measure(&mut group, BenchmarkId::new(floor, ""), wake), None);
    group.finish();
    if let Some(folder) = std::env::var_os("RESULTS") {
        let folder = PathBuf::from(folder);
        write(&folder, &table).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    }
}

/// A row of the table; the same is told at once.
fn row(name: &str, reactors: usize, histogram: &Histogram<u64>, target: Option<u32>) -> String {
    let micros = |nanos: u64| format!("{:.1}", nanos as f64 / 1e3);
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|quantile| micros(histogram.value_at_quantile(quantile)));
    let (most, drains) = (micros(histogram.max()), histogram.len());
    eprintln!("    all {drains}, in µs: p50 {p50}, p90 {p90}, p99 {p99}, at most {most}");
    let target = target.map_or(String::new(), |micros| micros.to_string());
    format!("| {name} | {reactors} | {drains} | {p50} | {p90} | {p99} | {most} | {target} |\n")
}

/// Writes the table into a folder, which is made if it is not there.
fn write(folder: &Path, table: &str) -> io::Result<()> {
    let (commit, machine) = (provenance::commit(), provenance::machine());
    let text = format!(
        "# Drains in process\n\nWritten by `RESULTS=benches/results cargo bench --bench drain` at {commit}: {machine}. From the request \
         to the moment at which every reactor is sealed and has nothing in flight, in microseconds; the target is for the median.\n\n\
         | in flight | reactors | drains | p50 | p90 | p99 | most | target |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n{table}"
    );
    fs::create_dir_all(folder)?;
    fs::write(folder.join("drain.md"), text)
}

criterion_group!(benches, drains);
criterion_main!(benches);
