//! The generator: connections that write numbered messages and know how much of it was acknowledged.
//!
//! Lives here: starting a plan's threads and collecting what they report. Never here: how a connection writes (that is
//! `link`), or how a thread shares itself among connections (that is `worker`).

mod batch;
mod channel;
mod course;
mod link;
mod pace;
pub(super) mod plan;
pub(super) mod sent;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use self::plan::{SendError, SendPlan};
use self::sent::SendReport;
use self::worker::{Outcome, Worker};
use super::stop::Stop;
use crate::limits::LOAD_THREADS_MAX;

/// Stack of a generator thread, in bytes; its buffers are on the heap.
const STACK: usize = 256 * 1024;

/// Sends a whole plan and returns what became of it.
///
/// # Errors
/// A plan that cannot be carried out, or threads that cannot be started. What happens to a connection is no error
/// but in its [`Sent`](sent::Sent).
pub fn send(plan: SendPlan) -> Result<SendReport, SendError> {
    Ok(start(plan)?.finish())
}

/// Begins to send a plan; returns while its threads connect and write. Errors as [`send`].
pub fn start(plan: SendPlan) -> Result<Sending, SendError> {
    plan.check()?;
    let stop = Stop::new()?;
    let written = Arc::new(AtomicU64::new(0));
    let threads = plan.connections.min(LOAD_THREADS_MAX);
    let (report, reports) = channel();
    let run = plan.run;
    let plan = Arc::new(plan);
    for first in 0..threads {
        let connections = (first..plan.connections).step_by(threads as usize).collect();
        let worker = Worker::new(Arc::clone(&plan), connections, stop.clone(), Arc::clone(&written));
        let report = report.clone();
        // A receiver that is gone means that nobody wants the figures.
        spawn(first, move || drop(report.send(worker.run()))).inspect_err(|_| stop.stop())?;
    }
    let outcome = Outcome::default();
    Ok(Sending { run, begun: Instant::now(), reports, pending: threads, outcome, written, stop })
}

fn spawn(number: u32, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(format!("load-send-{number}")).stack_size(STACK).spawn(work).map(drop)
}

/// A plan that is being sent. Dropping it ends the run early.
#[derive(Debug)]
pub struct Sending {
    run: u32,
    begun: Instant,
    reports: Receiver<Outcome>,
    /// Threads that have not reported yet.
    pending: u32,
    /// Of those that have.
    outcome: Outcome,
    written: Arc<AtomicU64>,
    stop: Stop,
}

impl Sending {
    /// Messages that have been written whole so far, over all connections.
    pub fn written_messages(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// A handle that ends this run early: each connection stops after the message in progress.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Waits until all connections have ended, at most for `timeout`; says whether they have.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.pending > 0 {
            match self.reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(outcome) => self.take(outcome),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => panic!("a generator thread panicked"),
            }
        }
        true
    }

    /// Why a connection never came about, if one of those that have ended could not; known of all once [`Sending::wait`] says so.
    pub fn refusal(&self) -> Option<&io::Error> {
        self.outcome.refusal.as_ref()
    }

    /// Waits until all connections have ended and reports, ordered by connection.
    pub fn finish(mut self) -> SendReport {
        while self.pending > 0 {
            let outcome = self.reports.recv().expect("a generator thread panicked");
            self.take(outcome);
        }
        let mut connections = std::mem::take(&mut self.outcome.sent);
        connections.sort_unstable_by_key(|sent| sent.connection);
        SendReport { run: self.run, micros: self.begun.elapsed().as_micros() as u64, connections }
    }

    fn take(&mut self, outcome: Outcome) {
        self.pending -= 1;
        self.outcome.sent.extend(outcome.sent);
        self.outcome.refusal = self.outcome.refusal.take().or(outcome.refusal);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.stop();
    }
}
