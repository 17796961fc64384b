//! Drives a queue that is pulled from: what is fetched is handed in, what is settled is acknowledged, in every state of the
//! connection.
//!
//! ```text
//! connect ──→ work: pull │ acknowledge │ keep ──→ (a drain) cut, hand back, acknowledge the rest ──→ close
//!    ↑          │ an error
//!    └─ back off┘ what was in hand stays in flight; its verdict is acknowledged on the next connection, where that means something
//! ```
//! Lives here: that loop. Never here: a protocol.

use std::cell::Cell;
use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::error::{Error, in_time};
use crate::backoff::{Backoff, Pace};
use crate::endpoint::{Feed, Offer, Tag};
use crate::ledger::Outcome;
use crate::limits::{CONNECT_TIMEOUT, GOODBYE_TIMEOUT, RECONNECT_MAX, RECONNECT_MIN, RETURN_TIMEOUT};

/// A queue that can be connected to, again and again.
pub(super) trait Puller {
    type Session: PullSession;

    /// How long a request may take before its connection is given up.
    fn timeout(&self) -> Duration;
    /// Connects, and claims what is ours from an earlier time.
    async fn connect(&self) -> Result<Self::Session, Error>;
}

/// One connection to a queue. An error means that it is of no use any more.
pub(super) trait PullSession {
    /// How one message is acknowledged.
    type Handle: Clone;
    /// Whether a handle means something on a later connection. If not, the queue hands the message out again by itself.
    const HANDLES_LAST: bool;

    /// Waits for messages; at least one, or none if that took long. Not dropped before it is ready, unless the session is.
    async fn pull(&self) -> Result<Vec<Fetched<Self::Handle>>, Error>;
    /// Makes a pull that is under way return soon, with what it has. No other follows.
    async fn cut(&self) -> Result<(), Error>;
    /// After the last pull: what the queue has handed out all the same.
    async fn rest(&self) -> Result<Vec<Fetched<Self::Handle>>, Error> {
        Ok(Vec::new())
    }
    /// Says what became of messages; returns when the queue has it, or has it before anything else on this connection.
    async fn acknowledge(&self, verdicts: Vec<(Self::Handle, Verdict)>) -> Result<(), Error>;
    /// How often [`PullSession::keep`] is due for messages that wait for their sink; `None`: never.
    fn keep_every(&self) -> Option<Duration> {
        None
    }
    /// Tells the queue that these messages are still worked on.
    async fn keep(&self, _handles: Vec<Self::Handle>) -> Result<(), Error> {
        Ok(())
    }
    /// Says goodbye, with nothing in hand.
    async fn close(self);
}

/// A message as a queue hands it out.
pub(super) struct Fetched<H> {
    pub(super) payload: Bytes,
    /// A name of it that stays the same when it is handed out again.
    pub(super) id: String,
    /// Whether the queue says that it was. One that keeps no count never does.
    pub(super) redelivered: bool,
    pub(super) handle: H,
}

/// What the queue is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It arrived: never again.
    Done,
    /// It was refused for good, and is in the dead letters if there are any: never again.
    Refused,
    /// Somebody else may have it, at once.
    Returned,
}

impl Verdict {
    fn of(outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Delivered | Outcome::Spilled => Verdict::Done,
            Outcome::Failed => Verdict::Refused,
            Outcome::Returned | Outcome::Abandoned => Verdict::Returned,
        }
    }
}

/// What was handed in, and what is to be said about it.
struct Hand<H> {
    next: Tag,
    /// Messages without a verdict.
    open: HashMap<Tag, H>,
    /// Verdicts that the queue does not know yet.
    owed: Vec<(H, Verdict)>,
}

impl<H: Clone> Hand<H> {
    fn offer(&mut self, feed: &Feed, fetched: Vec<Fetched<H>>) {
        for Fetched { payload, id, redelivered, handle } in fetched {
            let tag = self.next;
            self.open.insert(tag, handle);
            feed.offer(Offer { payload, tag, id, redelivered });
            self.next += 1;
        }
    }

    /// What is not open any more means nothing to the queue, and needs nothing more.
    fn note(&mut self, feed: &Feed, verdicts: Vec<(Tag, Outcome)>) {
        let count = verdicts.len();
        let before = self.owed.len();
        for (tag, outcome) in verdicts {
            self.owed.extend(self.open.remove(&tag).map(|handle| (handle, Verdict::of(outcome))));
        }
        feed.acted_on(count - (self.owed.len() - before));
    }

    /// The connection is gone, and with it whatever its handles meant. What is owed is not owed any more.
    fn forget(&mut self, feed: &Feed) {
        feed.acted_on(std::mem::take(&mut self.owed).len());
        self.open.clear();
    }

    async fn acknowledge<S: PullSession<Handle = H>>(
        &mut self,
        session: &S,
        feed: &Feed,
        at_most: Duration,
    ) -> Result<(), Error> {
        if self.owed.is_empty() {
            return Ok(());
        }
        in_time(at_most, "acknowledging", session.acknowledge(self.owed.clone())).await?;
        feed.acted_on(std::mem::take(&mut self.owed).len());
        Ok(())
    }
}

/// Pulls from `queue` until a drain, and until everything that came is acknowledged or time is up.
pub(super) async fn run<Q: Puller>(source: String, feed: Feed, queue: &Q) {
    let mut hand = Hand { next: 0, open: HashMap::new(), owed: Vec::new() };
    let (mut backoff, mut told) = (Backoff::new(RECONNECT_MIN), String::new());
    loop {
        let connected = tokio::select! {
            biased;
            () = finished(&feed) => break,
            connected = in_time(CONNECT_TIMEOUT, "connecting", queue.connect()) => connected,
        };
        let failed = match connected {
            Ok(session) => {
                info!(source, failures = backoff.failures(), "connected");
                let since = Instant::now();
                let worked = tokio::select! {
                    worked = work(&session, &feed, &mut hand, queue.timeout()) => worked,
                    // Whatever it waits for: an answer that does not come must not hold the exit.
                    () = overdue(&feed) => Err(Error::new("returning", "no answer in time")),
                };
                if since.elapsed() > RECONNECT_MAX {
                    backoff.reset();
                }
                if worked.is_ok() {
                    let _ = timeout(GOODBYE_TIMEOUT, session.close()).await;
                    break;
                }
                if !Q::Session::HANDLES_LAST {
                    hand.forget(&feed);
                }
                worked
            }
            Err(error) => Err(error),
        };
        if let Err(error) = failed {
            let why = error.to_string();
            if backoff.failures() == 0 || why != told {
                warn!(
                    source,
                    error = why,
                    "no connection; trying again, what is not acknowledged stays in the queue"
                );
                told = why;
            }
            if !rest(&feed, &mut hand, &mut backoff).await {
                break;
            }
        }
    }
    feed.finish();
    let unsaid = feed.outstanding();
    if unsaid > 0 {
        warn!(source, messages = unsaid, "not acknowledged: the queue hands them out again");
    }
}

/// Waits until time is up, and until what is returned has had its time.
async fn overdue(feed: &Feed) {
    feed.expiring().await;
    sleep(RETURN_TIMEOUT).await;
}

/// Waits until no connection is needed any more. While one is, the queue may hand out more on it: the feed is not finished.
async fn finished(feed: &Feed) {
    feed.sealing().await;
    if feed.outstanding() > 0 {
        feed.expiring().await;
    }
}

/// Waits between two attempts; a drain cuts that short. False if none is needed any more.
async fn rest<H: Clone>(feed: &Feed, hand: &mut Hand<H>, backoff: &mut Backoff) -> bool {
    let was_sealing = feed.is_sealing();
    let mut wait = pin!(sleep(backoff.next(Pace::of(was_sealing))));
    loop {
        tokio::select! {
            biased;
            () = finished(feed) => return false,
            () = &mut wait => return true,
            () = feed.sealing(), if !was_sealing => return feed.outstanding() > 0,
            verdicts = feed.verdicts() => {
                hand.note(feed, verdicts);
                if was_sealing && feed.outstanding() == 0 {
                    return false;
                }
            }
        }
    }
}

/// Works on one connection. `Ok` when everything is done.
async fn work<S: PullSession>(
    session: &S,
    feed: &Feed,
    hand: &mut Hand<S::Handle>,
    at_most: Duration,
) -> Result<(), Error> {
    let mut pulling = None;
    // A pull begins when it is first polled, which a verdict may put off.
    let has_begun = Cell::new(false);
    let (mut was_cut, mut has_rested) = (false, false);
    let mut keep = pin!(sleep(session.keep_every().unwrap_or(Duration::MAX)));
    hand.acknowledge(session, feed, at_most).await?;
    loop {
        let sealing = feed.is_sealing();
        if sealing && pulling.is_none() && !has_rested {
            has_rested = true;
            hand.offer(feed, session.rest().await?);
        }
        if has_rested && feed.outstanding() == 0 {
            // Not before: should this connection fail, the next may bring more.
            feed.finish();
            return Ok(());
        }
        if pulling.is_none() && feed.is_open() && !sealing {
            pulling = Some(Box::pin(session.pull()));
        }
        tokio::select! {
            biased;
            verdicts = feed.verdicts() => {
                hand.note(feed, verdicts);
                hand.acknowledge(session, feed, at_most).await?;
            }
            () = feed.expiring() => return expire(session, feed, hand).await,
            () = feed.sealing(), if !was_cut => {
                was_cut = true;
                pulling.take_if(|_| !has_begun.get());
                if pulling.is_some() {
                    in_time(at_most, "ending a pull", session.cut()).await?;
                }
            }
            pulled = async {
                has_begun.set(true);
                pulling.as_mut().expect("guarded below").await
            }, if pulling.is_some() => {
                pulling = None;
                has_begun.set(false);
                hand.offer(feed, pulled?);
            }
            () = feed.opened(), if pulling.is_none() && !sealing => {}
            () = &mut keep, if !hand.open.is_empty() && session.keep_every().is_some() => {
                let kept = session.keep(hand.open.values().cloned().collect());
                // A peer that went without a word would else hold every verdict.
                in_time(at_most, "keeping messages", kept).await?;
                keep.set(sleep(session.keep_every().unwrap_or(Duration::MAX)));
            }
        }
    }
}

/// Time is up: everything is settled by now; the queue gets it back if it answers soon.
async fn expire<S: PullSession>(session: &S, feed: &Feed, hand: &mut Hand<S::Handle>) -> Result<(), Error> {
    feed.finish();
    let returned = timeout(RETURN_TIMEOUT, async {
        while feed.outstanding() > 0 {
            hand.acknowledge(session, feed, RETURN_TIMEOUT).await?;
            if feed.outstanding() > 0 {
                let verdicts = feed.verdicts().await;
                hand.note(feed, verdicts);
            }
        }
        Ok(())
    });
    // What could not be said in time is said in the log.
    returned.await.unwrap_or(Ok(()))
}
