//! What a session asked for, and what came of it.
//!
//! ```text
//! expect ──→ due ──→ (gather) ──→ waiting ──→ take
//!             └──→ the server's word that so many will not come
//! ```
//! Lives here: the inbox, and how many messages may still come into it. Never here: when to ask.

use std::future::poll_fn;
use std::mem::{forget, take};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_nats::jetstream::{Context, Message};
use async_nats::{StatusCode, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::Handle;
use tokio::task::unconstrained;
use tokio::time::Instant;
use tracing::debug;

use crate::broker::source::Fetched;

/// How many messages of a request will not come, in the server's last word on it.
const PENDING: &str = "Nats-Pending-Messages";

/// An inbox, and what is on its way into it.
pub(super) struct Inflow {
    /// There until it is dropped.
    subscriber: Option<Subscriber>,
    context: Context,
    waiting: Vec<Fetched<Subject>>,
    /// Messages that may still come.
    due: usize,
    /// What was asked for at once.
    batch: usize,
    /// When the last request ends by itself.
    over: Instant,
    /// A request was turned down; the next one waits until then.
    rested: Option<Instant>,
    heard: Instant,
    failure: Option<String>,
}

impl Inflow {
    /// Nothing is due yet; `waiting` arrived earlier.
    pub(super) fn new(subscriber: Subscriber, context: Context, waiting: Vec<Fetched<Subject>>) -> Inflow {
        Inflow {
            subscriber: Some(subscriber),
            context,
            waiting,
            due: 0,
            batch: 0,
            over: Instant::now(),
            rested: None,
            heard: Instant::now(),
            failure: None,
        }
    }

    /// So many were asked for; the request ends by itself after so long.
    pub(super) fn expect(&mut self, batch: usize, expires: Duration) {
        self.batch = batch;
        self.rested = None;
        self.due += batch;
        self.over = Instant::now() + expires;
    }

    /// What is due is not waited for any more. What comes of it all the same is as good as any.
    pub(super) fn write_off(&mut self) {
        self.due = 0;
    }

    /// When the server last said something.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Messages that may still come.
    pub(super) fn due(&self) -> usize {
        self.due
    }

    /// When nothing should be due any more.
    pub(super) fn over(&self) -> Instant {
        self.over
    }

    /// Until when nothing should be asked for, because the server turned a request down.
    pub(super) fn rested(&self) -> Option<Instant> {
        self.rested
    }

    /// Whether nothing waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The handles of what waits to be taken.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Subject> {
        self.waiting.iter().map(|fetched| &fetched.handle)
    }

    /// What waits, and does not any more.
    pub(super) fn take(&mut self) -> Vec<Fetched<Subject>> {
        take(&mut self.waiting)
    }

    /// All that has arrived and was not taken, at the end.
    pub(super) fn remains(&mut self) -> Vec<Fetched<Subject>> {
        // Whatever else this task has done in its turn, as nothing is read later.
        let all = poll_fn(|context| {
            self.gather(context);
            Poll::Ready(())
        });
        unconstrained(all).now_or_never();
        self.take()
    }

    /// Why nothing more will come, if so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Reads what has arrived; `context` is woken when more has.
    pub(super) fn gather(&mut self, context: &mut TaskContext<'_>) {
        while let (None, Some(subscriber)) = (&self.failure, &mut self.subscriber) {
            match subscriber.poll_next_unpin(context) {
                Poll::Ready(Some(message)) => self.enter(message),
                Poll::Ready(None) => self.failure = Some("the connection is closed".to_owned()),
                Poll::Pending => return,
            }
        }
    }

    fn enter(&mut self, message: async_nats::Message) {
        self.heard = Instant::now();
        // A status of the server's asks for no answer. A message of a stream may bear one too, which is its sender's.
        if let (None, Some(status)) = (&message.reply, message.status) {
            return self.note(status, &message);
        }
        let message = Message { message, context: self.context.clone() };
        let Some(fetched) = Inflow::fetched(&message) else {
            self.failure = Some(format!("a message on {} that no consumer sent", message.subject));
            return;
        };
        self.due = self.due.saturating_sub(1);
        self.waiting.push(fetched);
    }

    /// `None` if it is not from a consumer.
    fn fetched(message: &Message) -> Option<Fetched<Subject>> {
        let info = message.info().ok()?;
        let redelivered = info.delivered > 1;
        // Numbers start again in a stream that is made anew, and are the same in another cluster's: the time tells them apart.
        let (stream, number, time) =
            (info.stream, info.stream_sequence, info.published.unix_timestamp_nanos());
        let id = format!("nats:{stream}:{number}@{time}");
        let (payload, handle) = (message.payload.clone(), message.reply.clone()?);
        Some(Fetched { payload, id, redelivered, handle })
    }

    /// The server's last word on a request.
    fn note(&mut self, status: StatusCode, message: &async_nats::Message) {
        let said = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => return,
            StatusCode::NO_RESPONDERS => {
                self.failure = Some("nobody answers for the consumer".to_owned());
                return;
            }
            StatusCode::TIMEOUT => {}
            status => debug!(%status, said, "a request for messages ended"),
        }
        let headers = message.headers.as_ref();
        let missing =
            headers.and_then(|headers| headers.get(PENDING)).and_then(|text| text.as_str().parse().ok());
        if missing.is_none() {
            // It was turned down as a whole, and the next would be.
            self.rested = Some(self.over);
        }
        self.due = self.due.saturating_sub(missing.unwrap_or(self.batch));
    }
}

impl Drop for Inflow {
    /// A subscription says by a task that it ends, and panics where it cannot have one: when a reactor goes down with its runtime.
    fn drop(&mut self) {
        if Handle::try_current().is_err() {
            forget(self.subscriber.take());
        }
    }
}
