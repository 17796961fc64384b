//! The monitor's promises, one test each; polled by hand where the order matters.
//!
//! Lives here: single steps. Never here: random sequences ([`model`]), threads ([`threads`]).

mod drain;
mod model;
mod outcomes;
mod runtimes;
mod threads;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::oneshot;

use super::*;

/// How a piece of work is told to end.
#[derive(Clone, Copy, Debug)]
enum End {
    Success,
    Error,
    Panic,
}

/// What a panic in a test carries; it is resumed and not thrown, so that no hook prints it.
const PAYLOAD: &str = "as told";

/// Work that ends when it is told how; never told, it never ends.
fn told(
    monitor: &ProgressMonitor,
) -> (oneshot::Sender<End>, Work<impl Future<Output = Result<u8, u8>> + use<>>) {
    let (tell, ear) = oneshot::channel();
    let work = monitor.register(async move {
        match ear.await.unwrap_or(End::Error) {
            End::Success => Ok(1),
            End::Error => Err(2),
            End::Panic => std::panic::resume_unwind(Box::new(PAYLOAD)),
        }
    });
    (tell, work.expect("an open intake"))
}

/// Work that has ended in each way: four.
fn one_of_each(monitor: &ProgressMonitor) {
    for end in [End::Success, End::Error, End::Panic] {
        let (tell, mut work) = told(monitor);
        tell.send(end).expect("a listener");
        let polled =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Hand::new().poll(&mut work).is_ready()));
        assert_eq!(polled.is_err(), matches!(end, End::Panic));
    }
    drop(told(monitor));
}

fn outcomes(succeeded: u64, failed: u64, panicked: u64, dropped: u64) -> Outcomes {
    Outcomes { succeeded, failed, panicked, dropped }
}

/// Polls by hand, and counts how often it was asked to.
#[derive(Default)]
struct Hand(Arc<Wakes>);

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Hand {
    fn new() -> Hand {
        Hand::default()
    }

    fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(&self.0))))
    }

    fn wakes(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
}
