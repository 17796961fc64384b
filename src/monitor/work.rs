//! A registered future: it settles its entry however it ends.
//!
//! Lives here: the four ways to end, and their order: the future's destructor first, the entry last. Never here: what the
//! entry's end means to those who wait.

use std::any::type_name;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Shared;
use super::books::Outcome;

/// What an output says about the work that ends with it.
///
/// Implement it for an output of your own; [`register_judged`](super::ProgressMonitor::register_judged) takes any other.
///
/// ```
/// use slackwater::monitor::{Conclusion, ProgressMonitor};
///
/// enum Reply {
///     Accepted,
///     Refused,
/// }
///
/// impl Conclusion for Reply {
///     fn is_success(&self) -> bool {
///         matches!(self, Reply::Accepted)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let monitor = ProgressMonitor::new();
/// for reply in [Reply::Accepted, Reply::Refused] {
///     monitor.register(async { reply }).expect("an open intake").await;
/// }
/// assert_eq!((monitor.outcomes().succeeded, monitor.outcomes().failed), (1, 1));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whether the work succeeded",
    label = "the output of this future",
    note = "`register_judged` takes a function that says it; of work that cannot fail, `|_| true`"
)]
pub trait Conclusion {
    /// Whether the work came to a good end.
    fn is_success(&self) -> bool;
}

/// `Ok` is the good end.
impl<T, E> Conclusion for Result<T, E> {
    fn is_success(&self) -> bool {
        self.is_ok()
    }
}

/// How tokio-uring's operations end: with a result, and their buffer back.
impl<T, E, B> Conclusion for (Result<T, E>, B) {
    fn is_success(&self) -> bool {
        self.0.is_ok()
    }
}

/// What returns nothing succeeds when it returns.
impl Conclusion for () {
    fn is_success(&self) -> bool {
        true
    }
}

/// The intake is closed, and here is the future back.
pub struct Refused<F>(pub F);

impl<F> fmt::Debug for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refused({})", type_name::<F>())
    }
}

impl<F> fmt::Display for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the monitor takes no more work: its intake is closed")
    }
}

impl<F> std::error::Error for Refused<F> {}

/// A registered future. Await it, spawn it, hand it to another thread; it gives what the future gives.
///
/// Counted until it ends: by an output, by a panic (counted, and passed on), or by being dropped, polled or not. Whoever sees it
/// settled may rely on it that the future's destructor has run, with all that it held. `Send` where the future is, and `Unpin`
/// whatever the future is, at the price of one allocation: `select!` can poll it by `&mut`. What is leaked
/// ([`std::mem::forget`]) never settles, and is named as long as the program runs.
#[must_use = "work that is not polled does nothing, and counts as dropped when it is thrown away"]
pub struct Work<F: Future>(Option<Running<F>>);

/// The fields drop in this order, the entry last.
struct Running<F: Future> {
    future: Pin<Box<F>>,
    judge: fn(&F::Output) -> bool,
    entry: Entry,
}

impl<F: Future> Work<F> {
    pub(super) fn new(future: F, judge: fn(&F::Output) -> bool, entry: Entry) -> Work<F> {
        Work(Some(Running { future: Box::pin(future), judge, entry }))
    }

    /// Gives it a name, by which a report calls it from now on. Of work that has ended it has no effect.
    ///
    /// ```
    /// # use slackwater::ProgressMonitor;
    /// let monitor = ProgressMonitor::new();
    /// let order = 7;
    /// let work = monitor.register(async move { Ok::<_, ()>(order) })?.named(format!("order {order}"));
    /// assert_eq!(monitor.progress().left[0].name, "order 7");
    /// # drop(work);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(self, name: impl Into<Arc<str>>) -> Work<F> {
        if let Some(running) = &self.0 {
            running.entry.monitor.rename(running.entry.number, name.into());
        }
        self
    }
}

impl<F: Future> Future for Work<F> {
    type Output = F::Output;

    /// # Panics
    ///
    /// As the future does; and when it is polled after its end.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let place = &mut self.get_mut().0;
        let mut running = place.take().expect("work that has ended is not polled again");
        // Nobody sees what a panic may have left half done: all that is done with the future after it is to drop it.
        match catch_unwind(AssertUnwindSafe(|| running.future.as_mut().poll(context))) {
            Ok(Poll::Pending) => {
                *place = Some(running);
                Poll::Pending
            }
            Ok(Poll::Ready(output)) => {
                running.conclude(&output);
                Poll::Ready(output)
            }
            Err(panic) => {
                running.entry.outcome = Outcome::Panicked;
                // While nothing unwinds, so that a second panic, in a destructor, does not abort the program.
                drop(running);
                resume_unwind(panic)
            }
        }
    }
}

impl<F: Future> Running<F> {
    fn conclude(self, output: &F::Output) {
        let Running { future, judge, mut entry } = self;
        // What is still to run is foreign: if it panics, the entry is dropped on the way out.
        entry.outcome = Outcome::Panicked;
        drop(future);
        entry.outcome = if judge(output) { Outcome::Succeeded } else { Outcome::Failed };
    }
}

impl<F: Future> fmt::Debug for Work<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(running) => write!(f, "Work(#{})", running.entry.number),
            None => f.write_str("Work(ended)"),
        }
    }
}

/// The place of one piece of work in the books. Dropping it settles it.
pub(super) struct Entry {
    monitor: Arc<Shared>,
    number: u64,
    /// How it ends if it ends now.
    outcome: Outcome,
}

impl Entry {
    pub(super) fn new(monitor: Arc<Shared>, number: u64) -> Entry {
        Entry { monitor, number, outcome: Outcome::Dropped }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.monitor.settle(self.number, self.outcome);
    }
}
