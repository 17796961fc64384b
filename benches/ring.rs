//! What the ring costs: an operation that does nothing but come back, and bytes through a socket.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nix::sys::eventfd::EventFd;
use slackwater::kernel::{Event, Gather};
use slackwater::limits::BUFFER_SIZE;
use slackwater::ring::{Ring, Support};

const MEMORY: usize = 64 * BUFFER_SIZE;

fn ring() -> Ring<()> {
    Ring::new(Support::detect().expect("io_uring"), MEMORY).expect("a ring")
}

fn an_operation(criterion: &mut Criterion) {
    let (mut ring, bell) = (ring(), EventFd::new().expect("a descriptor"));
    let fd: Rc<OwnedFd> =
        Rc::new(std::os::fd::AsFd::as_fd(&bell).try_clone_to_owned().expect("a descriptor"));
    let mut completions = Vec::new();
    criterion.bench_function("an eventfd read and its completion", |bencher| {
        bencher.iter(|| {
            bell.write(1).expect("room");
            ring.wake((), &fd);
            ring.park(None, Duration::ZERO, 0).expect("the ring works");
            ring.reap(&mut completions);
            assert_eq!(completions.len(), 1);
            completions.clear();
        });
    });
}

fn bytes_through(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send and receive");
    for size in [256, 4096, 65_536] {
        let (mut ring, mut completions) = (ring(), Vec::new());
        let (near, far) = UnixStream::pair().expect("descriptors");
        let (near, far): (Rc<OwnedFd>, Rc<OwnedFd>) = (Rc::new(near.into()), Rc::new(far.into()));
        let piece = Bytes::from(vec![b'x'; size]);
        ring.offer(16 * BUFFER_SIZE);
        ring.receive((), &far);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let mut gather = Gather::default();
                gather.push(piece.clone());
                ring.send((), &near, gather);
                let mut missing = size;
                while missing > 0 {
                    ring.offer(16 * BUFFER_SIZE);
                    ring.park(None, Duration::ZERO, 0).expect("the ring works");
                    ring.reap(&mut completions);
                    for completion in completions.drain(..) {
                        if let Event::Received(lease) = completion.event {
                            missing -= lease.as_ref().len();
                        }
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, an_operation, bytes_through);
criterion_main!(benches);
