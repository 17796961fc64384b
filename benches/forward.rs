//! What a message costs from a socket to a socket, through one reactor in this process: time of all three threads together, so
//! it compares versions, not relays (`scripts/compare` does that).

#[path = "in_process/mod.rs"]
mod in_process;

use std::io::Write;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use in_process::{Relay, read_to_end};

/// Bytes of one batch.
const BATCH: usize = 4 * 1024 * 1024;

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for size in [64, 256, 1024, 16 * 1024] {
        let batch = [&vec![b'x'; size - 1][..], b"\n"].concat().repeat(BATCH / size);
        group.throughput(Throughput::Elements((BATCH / size) as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|batches| through_a_relay(&batch, batches, (BATCH / size) as u64));
        });
    }
    group.finish();
}

/// The time until everything has arrived and is confirmed.
fn through_a_relay(batch: &[u8], batches: u64, messages: u64) -> Duration {
    let mut relay = Relay::start(1);
    let reader = read_to_end(relay.receivers.remove(0));
    let begun = Instant::now();
    for _ in 0..batches {
        relay.senders[0].write_all(batch).expect("the relay reads");
    }
    relay.senders.clear();
    relay.ask();
    relay.wait();
    let took = begun.elapsed();
    assert_eq!(relay.in_flight(), 0);
    relay.end(batches * messages);
    assert_eq!(reader.join().expect("no panic"), batches * batch.len() as u64);
    took
}

criterion_group!(benches, forward);
criterion_main!(benches);
