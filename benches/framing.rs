//! What it costs to find messages in received bytes: time of one message, by format and length.
//!
//! Inputs are whole receive buffers, cut wherever they are full: in the midst of a message, unless messages fit.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use slackwater::framing::{Bounds, Framer, Oversize, frames, reframe, slices};
use slackwater::limits::{BUFFER_SIZE, BUFFERS_OFFERED_MAX};
use slackwater::message::{Framing, Run};

/// Received bytes in one round, as many as the largest receive brings: more than the second-level caches of most processors hold.
const STREAM: usize = BUFFERS_OFFERED_MAX * BUFFER_SIZE;
/// Datagrams in one round.
const DATAGRAMS: usize = 256;
const BOUNDS: Bounds = Bounds { max_message: 64 * 1024, oversize: Oversize::Truncate };

/// Messages of one kind, and how they arrive.
struct Traffic {
    name: &'static str,
    framing: Framing,
    message: Vec<u8>,
}

impl Traffic {
    fn line(name: &'static str, len: usize, end: &str) -> Traffic {
        let message = ["x".repeat(len - end.len()), end.to_owned()].concat().into_bytes();
        Traffic { name, framing: Framing::Line, message }
    }

    fn octet(name: &'static str, len: usize) -> Traffic {
        let message = format!("{len} {}", "x".repeat(len)).into_bytes();
        Traffic { name, framing: Framing::Octet, message }
    }

    fn nul(name: &'static str, len: usize) -> Traffic {
        let message = ["x".repeat(len - 1), "\0".to_owned()].concat().into_bytes();
        Traffic { name, framing: Framing::Nul, message }
    }

    fn u32(name: &'static str, len: usize) -> Traffic {
        let message = [&(len as u32).to_be_bytes(), "x".repeat(len).as_bytes()].concat();
        Traffic { name, framing: Framing::U32, message }
    }

    fn messages(&self) -> usize {
        STREAM / self.message.len()
    }

    fn inputs(&self) -> Vec<Bytes> {
        let stream = Bytes::from(self.message.repeat(self.messages()));
        (0..stream.len())
            .step_by(BUFFER_SIZE)
            .map(|at| stream.slice(at..stream.len().min(at + BUFFER_SIZE)))
            .collect()
    }

    fn runs(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut framer = Framer::new(self.framing, BOUNDS);
        for input in self.inputs() {
            framer.feed(input, &mut runs).expect("well-formed");
        }
        runs
    }
}

fn feed(group: &mut BenchmarkGroup<'_, WallTime>, traffic: &Traffic) {
    let inputs = traffic.inputs();
    let mut framer = Framer::new(traffic.framing, BOUNDS);
    let mut runs = Vec::new();
    group.throughput(Throughput::Elements(traffic.messages() as u64));
    group.bench_function(format!("feed/{}", traffic.name), |bench| {
        bench.iter(|| {
            for input in &inputs {
                framer.feed(input.clone(), &mut runs).expect("well-formed");
                black_box(&runs);
                runs.clear();
            }
        });
    });
}

/// Datagrams that hold `each` messages each.
fn feed_datagrams(
    group: &mut BenchmarkGroup<'_, WallTime>,
    framing: Framing,
    traffic: &Traffic,
    each: usize,
) {
    let stream = Bytes::from(traffic.message.repeat(each * DATAGRAMS));
    let len = traffic.message.len() * each;
    // The last delimiter is left out, as senders of datagrams do.
    let datagrams: Vec<Bytes> = (0..DATAGRAMS).map(|at| stream.slice(at * len..(at + 1) * len - 1)).collect();
    let mut framer = Framer::new(framing, BOUNDS);
    let mut runs = Vec::new();
    group.throughput(Throughput::Elements((each * DATAGRAMS) as u64));
    group.bench_function(format!("feed_datagram/{}", traffic.name), |bench| {
        bench.iter(|| {
            for datagram in &datagrams {
                framer.feed_datagram(datagram.clone(), false, &mut runs).expect("well-formed");
                black_box(&runs);
                runs.clear();
            }
        });
    });
}

/// Where a sink that sends a datagram a message finds each.
fn locate(group: &mut BenchmarkGroup<'_, WallTime>, traffic: &Traffic) {
    let runs = traffic.runs();
    group.throughput(Throughput::Elements(traffic.messages() as u64));
    group.bench_function(format!("slices/{}", traffic.name), |bench| {
        bench.iter(|| {
            for run in &runs {
                for frame in frames(run) {
                    black_box(slices(run, frame.payload));
                }
            }
        });
    });
}

fn translate(group: &mut BenchmarkGroup<'_, WallTime>, traffic: &Traffic, to: Framing) {
    let runs = traffic.runs();
    group.throughput(Throughput::Elements(traffic.messages() as u64));
    group.bench_function(format!("reframe/{}", traffic.name), |bench| {
        bench.iter(|| {
            for run in &runs {
                black_box(reframe(run.clone(), to));
            }
        });
    });
}

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    for traffic in [
        Traffic::line("line-64", 64, "\n"),
        Traffic::line("line-256", 256, "\n"),
        Traffic::line("line-1024", 1024, "\n"),
        Traffic::line("crlf-256", 256, "\r\n"),
        Traffic::octet("octet-64", 64),
        Traffic::octet("octet-256", 256),
        Traffic::octet("octet-1024", 1024),
        Traffic::nul("nul-256", 256),
        Traffic::u32("u32-64", 64),
        Traffic::u32("u32-256", 256),
    ] {
        feed(&mut group, &traffic);
    }
    feed_datagrams(&mut group, Framing::Datagram, &Traffic::line("datagram-256", 256, "\n"), 1);
    feed_datagrams(&mut group, Framing::Line, &Traffic::line("line-256", 256, "\n"), 1);
    feed_datagrams(&mut group, Framing::Line, &Traffic::line("line-40-of-30", 40, "\n"), 30);
    locate(&mut group, &Traffic::line("line-256", 256, "\n"));
    locate(&mut group, &Traffic::u32("u32-256", 256));
    translate(&mut group, &Traffic::line("line-256-to-octet", 256, "\n"), Framing::Octet);
    translate(&mut group, &Traffic::octet("octet-256-to-line", 256), Framing::Line);
    translate(&mut group, &Traffic::line("line-256-to-nul", 256, "\n"), Framing::Nul);
    translate(&mut group, &Traffic::nul("nul-256-to-u32", 256), Framing::U32);
    group.finish();
}

criterion_group!(benches, framing);
criterion_main!(benches);
