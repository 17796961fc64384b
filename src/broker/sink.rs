//! Drives a service that messages are sent to: in batches, one after another, until each is confirmed or refused.
//!
//! ```text
//! connect ──→ take a batch ──→ send ──→ delivered, refused, or again
//!    ↑                          │ an error, or no answer in time
//!    └── back off ──────────────┘ the batch is the next again
//! ```
//! Lives here: that loop. Never here: a protocol.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::error::{Error, in_time};
use crate::backoff::{Backoff, Pace};
use crate::config::services::Push;
use crate::endpoint::{Deliveries, Delivery};
use crate::limits::{
    CONNECT_TIMEOUT, GOODBYE_TIMEOUT, RECONNECT_MIN, REFUSED_LOG_EVERY, RETRY_AFTER_MAX_DRAINING,
};

/// A service that can be connected to, again and again.
pub(super) trait Publisher {
    type Session: PublishSession;

    /// Connects.
    async fn connect(&self) -> Result<Self::Session, Error>;
}

/// One connection to a service. An error means that it is of no use any more, and that all of what it had is sent again.
pub(super) trait PublishSession {
    /// Sends a batch, at least one message, and waits for the answers: one verdict for each message, in order.
    async fn send(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, Error>;
    /// Says goodbye, with nothing in hand.
    async fn close(self);
}

/// What a service said about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has it.
    Delivered,
    /// It will never take it.
    Refused(String),
    /// Not now; perhaps after so long.
    Again(Option<Duration>, String),
}

/// Sends what comes until nothing more will, or time is up.
pub(super) async fn run<S: Publisher>(deliveries: Deliveries, plan: &Push, service: &S) {
    let not_before = Cell::new(None);
    let workers = (0..plan.concurrency).map(|_| work(&deliveries, plan, service, &not_before));
    tokio::select! {
        _ = join_all(workers) => {}
        // What is in hand is let go of.
        () = deliveries.given_up() => {}
    }
}

/// One of the workers of a service. What the service says of when it may be asked again holds for all of them.
async fn work<S: Publisher>(
    deliveries: &Deliveries,
    plan: &Push,
    service: &S,
    not_before: &Cell<Option<Instant>>,
) {
    let (mut backoff, mut told) = (Backoff::new(RECONNECT_MIN), String::new());
    let sink = deliveries.name();
    loop {
        let connected = tokio::select! {
            connected = in_time(CONNECT_TIMEOUT, "connecting", service.connect()) => connected,
            () = deliveries.ended() => return,
        };
        let error = match connected {
            Ok(session) => {
                info!(sink, failures = backoff.failures(), "connected");
                match serve(&session, deliveries, plan, &mut backoff, not_before).await {
                    Ok(()) => {
                        let _ = timeout(GOODBYE_TIMEOUT, session.close()).await;
                        return;
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let why = error.to_string();
        if backoff.failures() == 0 || why != told {
            warn!(sink, error = why, "no connection; trying again, nothing is lost meanwhile");
            told = why;
        }
        pause(deliveries, &mut backoff, None).await;
    }
}

/// Serves one connection. `Ok` when nothing more will come.
async fn serve<S: PublishSession>(
    session: &S,
    deliveries: &Deliveries,
    plan: &Push,
    backoff: &mut Backoff,
    not_before: &Cell<Option<Instant>>,
) -> Result<(), Error> {
    let mut complained: Option<Instant> = None;
    while deliveries.any().await {
        if !plan.batch_wait.is_zero() {
            let full = deliveries.full(plan.service.batch, plan.batch_bytes);
            // A batch that does not fill up in time leaves as it is.
            let _ = timeout(plan.batch_wait, full).await;
        }
        // Looked at last: another worker may have been told while this one waited.
        if let Some(at) = not_before.get().filter(|&at| at > Instant::now()) {
            pause_until(deliveries, at).await;
            if deliveries.is_hurried() {
                // Cut short once; what is said from here on is heeded within bounds.
                not_before.set(None);
            }
            continue;
        }
        let batch = deliveries.take(plan.service.batch, plan.batch_bytes);
        if batch.is_empty() {
            continue;
        }
        match in_time(plan.service.timeout, "sending", session.send(&batch)).await {
            Ok(verdicts) => match settle(deliveries, batch, verdicts) {
                None => backoff.reset(),
                Some((after, why)) => {
                    if complained.is_none_or(|at| at.elapsed() > REFUSED_LOG_EVERY) {
                        complained = Some(Instant::now());
                        warn!(sink = deliveries.name(), why, "not now; sent again later");
                    }
                    // One that says no time does not take back what another worker was told.
                    if let Some(after) = after {
                        not_before.set(Some(Instant::now() + patience(deliveries, after)));
                    }
                    pause(deliveries, backoff, after).await;
                }
            },
            Err(error) => {
                deliveries.put_back(batch);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Settles a batch. If some of it is to be sent again: after how long at least, if that was said, and why.
fn settle(
    deliveries: &Deliveries,
    batch: Vec<Delivery>,
    verdicts: Vec<Verdict>,
) -> Option<(Option<Duration>, String)> {
    debug_assert_eq!(batch.len(), verdicts.len(), "a verdict for each");
    let (mut again, mut why) = (Vec::new(), None);
    for (delivery, verdict) in batch.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Delivered => delivery.delivered(),
            Verdict::Refused(reason) => delivery.refused(&reason),
            Verdict::Again(after, reason) => {
                again.push(delivery);
                why = Some((after, reason));
            }
        }
    }
    if !again.is_empty() {
        deliveries.put_back(again);
    }
    why
}

/// What of a service's own Retry-After is heeded.
fn patience(deliveries: &Deliveries, after: Duration) -> Duration {
    if deliveries.is_hurried() { after.min(RETRY_AFTER_MAX_DRAINING) } else { after }
}

/// Waits until then; a drain that begins cuts that short, and one that has begun waits no longer than it ever does.
async fn pause_until(deliveries: &Deliveries, at: Instant) {
    let was_hurried = deliveries.is_hurried();
    let left = patience(deliveries, at.saturating_duration_since(Instant::now()));
    tokio::select! {
        () = sleep(left) => {}
        () = deliveries.hurried(), if !was_hurried => {}
        () = deliveries.ended() => {}
    }
}

/// Waits before the next attempt; a drain cuts that short, and makes the waits after it short.
async fn pause(deliveries: &Deliveries, backoff: &mut Backoff, at_least: Option<Duration>) {
    let was_hurried = deliveries.is_hurried();
    let by_itself = backoff.next(Pace::of(was_hurried));
    let wait = at_least.map_or(by_itself, |after| patience(deliveries, after).max(by_itself));
    tokio::select! {
        () = sleep(wait) => {}
        () = deliveries.hurried(), if !was_hurried => {}
        () = deliveries.ended() => {}
    }
}
