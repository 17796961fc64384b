//! What the books cost: entering a run of messages and settling it, and publishing the sums.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use slackwater::ledger::{Ledger, Outcome, Published, Way};

const WAY: Way = Way { source: 0, sink: 0 };

fn entries(criterion: &mut Criterion) {
    let ledger = Ledger::new(1, 1);
    let mut group = criterion.benchmark_group("admit and settle");
    for messages in [1, 16, 256] {
        group.throughput(Throughput::Elements(u64::from(messages)));
        group.bench_function(BenchmarkId::new("a run of", messages), |bencher| {
            bencher.iter(|| black_box(ledger.admit(WAY, messages, 65_536)).settle(Outcome::Delivered));
        });
    }
    group.finish();
}

fn part_by_part(criterion: &mut Criterion) {
    let ledger = Ledger::new(1, 1);
    criterion.bench_function("settle a run of 256 in 16 parts", |bencher| {
        bencher.iter(|| {
            let mut ticket = ledger.admit(WAY, 256, 65_536);
            (1..16).for_each(|_| ticket.split_first(16).settle(Outcome::Delivered));
            ticket.settle(Outcome::Delivered);
        });
    });
}

fn publication(criterion: &mut Criterion) {
    let (ledger, published) = (Ledger::new(1, 1), Published::new());
    let held = ledger.admit(WAY, 256, 65_536);
    criterion.bench_function("publish", |bencher| {
        bencher.iter(|| published.publish(black_box(&ledger.totals()), false));
    });
    held.settle(Outcome::Delivered);
}

criterion_group!(benches, entries, part_by_part, publication);
criterion_main!(benches);
