//! Messages from a stream, by a durable consumer that several relays may share.
//!
//! A request for messages cannot be taken back: what the server hands out to an inbox that nobody reads any more is not handed out
//! again before the consumer's `ack_wait` is over, and from another node of a cluster it may be on its way whenever the inbox is
//! closed. So an inbox lasts as long as its session, a request ends by itself within [`EXPIRES`], and a drain waits for that: the
//! server's last word on a request comes behind its last message. What came in that time is given back like the rest; to the server
//! it counts as pending until somebody else takes it, which may be at once. Lives here: the consumer, and what it is told. Never
//! here: what is on its way ([`Inflow`]).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{AckKind, Context, ErrorCode};
use async_nats::{PublishError, Subject};
use tokio::time::{sleep_until, timeout};
use tracing::debug;

use super::Link;
use super::inflow::Inflow;
use super::remains::Remains;
use crate::broker::error::{Doing, Error};
use crate::broker::source::{Fetched, PullSession, Puller, Verdict};
use crate::config::services::Pull;

/// How long a request waits for messages, and so the longest that a drain waits for one. Each costs the server a line or two.
const EXPIRES: Duration = Duration::from_millis(100);
/// The server's last word on a request is not waited for any longer than so long after its time: now and then 2.9 says none, and a
/// drain takes that much longer.
const LATE: Duration = Duration::from_millis(100);
/// How long the consumer may then take to say that it is there, before that is asked again.
const THERE: Duration = Duration::from_secs(1);
/// After so long without a word, a consumer that we create hands a message out again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages without a word at the same time, over all that share a consumer that we create. The server's default of 1,000 would not
/// even do for one relay with a slow sink.
const MAX_ACK_PENDING: i64 = 65_536;
/// Of this fraction of a consumer's `ack_wait`, a word is due: two may be lost.
const KEEP_FRACTION: u32 = 3;
/// A word is not said more often.
const KEEP_MIN: Duration = Duration::from_millis(10);
/// Acknowledgements that are said before the server's answer to one of them is waited for.
const UNCONFIRMED_MAX: usize = 2048;

const PULLING: &str = "asking for messages";
const ACKNOWLEDGING: &str = "acknowledging";

/// A stream and a durable consumer of it.
pub(in crate::broker) struct Source {
    plan: Pull,
    remains: Rc<Remains>,
}

/// One connection to where they are.
pub(in crate::broker) struct SourceSession {
    link: Link,
    consumer: PullConsumer,
    inbox: Subject,
    request: pull::BatchConfig,
    inflow: RefCell<Inflow>,
    remains: Rc<Remains>,
    /// After so long without a word the server counts as gone.
    silence: Duration,
    /// Whether nothing is asked for any more.
    was_cut: Cell<bool>,
}

impl Source {
    pub(in crate::broker) fn new(plan: Pull) -> Source {
        Source { plan, remains: Rc::default() }
    }

    /// The consumer as it is, or a new one.
    async fn consumer(&self, context: &Context) -> Result<PullConsumer, Error> {
        let (stream, name) = (self.plan.service.path.as_str(), self.plan.consumer.as_str());
        let consumer = match context.get_consumer_from_stream(name, stream).await {
            Err(error) if is(&error, ErrorCode::CONSUMER_NOT_FOUND) => {
                context.create_consumer_on_stream(config(name), stream).await
            }
            there => there,
        };
        let consumer = consumer.map_err(|error| explain(&error, stream, name))?;
        match consumer.cached_info().config.ack_policy {
            AckPolicy::Explicit => Ok(consumer),
            // Without, what we have not delivered would be gone, or be acknowledged by what came after it.
            _ => Err(Error::new("the consumer", format_args!("{name} has no explicit acknowledgements"))),
        }
    }
}

/// A consumer of everything, without a limit of attempts.
fn config(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    }
}

fn is(error: &ConsumerError, code: ErrorCode) -> bool {
    matches!(error.kind(), ConsumerErrorKind::JetStream(error) if error.error_code() == code)
}

fn explain(error: &ConsumerError, stream: &str, name: &str) -> Error {
    if is(error, ErrorCode::STREAM_NOT_FOUND) {
        return Error::new(
            "opening",
            format_args!("no stream {stream}: create it, e.g. `nats stream add {stream}`"),
        );
    }
    if error.kind() == ConsumerErrorKind::InvalidConsumerType {
        return Error::new(
            "the consumer",
            format_args!("{name} is pushed to somebody: a relay needs one that is pulled from"),
        );
    }
    Error::new("the consumer", error)
}

impl Puller for Source {
    type Session = SourceSession;

    fn timeout(&self) -> Duration {
        self.plan.service.timeout
    }

    async fn connect(&self) -> Result<SourceSession, Error> {
        let service = &self.plan.service;
        let link = Link::connect(service, service.batch).await?;
        let consumer = tokio::select! {
            consumer = self.consumer(&link.context) => consumer?,
            // What the server forbids it does not answer.
            error = link.broken("the consumer") => return Err(error),
        };
        let config = &consumer.cached_info().config;
        let request = pull::BatchConfig {
            batch: usize::try_from(config.max_batch)
                .map_or(service.batch, |most| at_most(service.batch, most)),
            expires: Some(at_most(EXPIRES, config.max_expires)),
            ..pull::BatchConfig::default()
        };
        let inbox = Subject::from(link.client.new_inbox());
        let subscriber = link.client.subscribe(inbox.clone()).await.doing("opening an inbox")?;
        let arrived = self.remains.inherit(keep_every(&consumer));
        let inflow = Inflow::new(subscriber, link.context.clone(), arrived);
        let session = SourceSession {
            link,
            consumer,
            inbox,
            request,
            inflow: RefCell::new(inflow),
            remains: Rc::clone(&self.remains),
            silence: service.timeout,
            was_cut: Cell::new(false),
        };
        session.say_again().await?;
        Ok(session)
    }
}

/// How often a consumer is told that a message is still worked on.
fn keep_every(consumer: &PullConsumer) -> Duration {
    (consumer.cached_info().config.ack_wait / KEEP_FRACTION).max(KEEP_MIN)
}

/// A limit of a consumer is none if it is zero.
fn at_most<T: Ord + Default>(wanted: T, limit: T) -> T {
    if limit == T::default() { wanted } else { wanted.min(limit) }
}

impl PullSession for SourceSession {
    type Handle = Subject;
    /// The subject of an acknowledgement names the message, not the connection.
    const HANDLES_LAST: bool = true;

    async fn pull(&self) -> Result<Vec<Fetched<Subject>>, Error> {
        self.ask().await?;
        self.arrivals().await
    }

    async fn cut(&self) -> Result<(), Error> {
        self.was_cut.set(true);
        Ok(())
    }

    async fn rest(&self) -> Result<Vec<Fetched<Subject>>, Error> {
        self.was_cut.set(true);
        self.confirm().await?;
        self.arrivals().await
    }

    /// Under load an answer to each batch would cost a round trip in which nothing else is done: one to several is as good, as what
    /// a session leaves unconfirmed the next one says again. Only the end of a drain, and what somebody else may have, cannot wait.
    async fn acknowledge(&self, mut verdicts: Vec<(Subject, Verdict)>) -> Result<(), Error> {
        let is_due = self.was_cut.get()
            || self.remains.unconfirmed_len() + verdicts.len() >= UNCONFIRMED_MAX
            || verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Returned);
        let last = if is_due { verdicts.pop() } else { None };
        self.say(verdicts.iter().cloned().map(|(reply, verdict)| (reply, word(verdict)))).await?;
        if let Some(last) = last {
            return self.ask_for_answer(last).await;
        }
        self.remains.said(verdicts);
        Ok(())
    }

    fn keep_every(&self) -> Option<Duration> {
        Some(keep_every(&self.consumer))
    }

    /// Also for what has arrived and waits for its turn.
    async fn keep(&self, mut handles: Vec<Subject>) -> Result<(), Error> {
        {
            let mut inflow = self.inflow.borrow_mut();
            // A pull that is under way is polled next by who awaits us.
            inflow.gather(&mut TaskContext::from_waker(Waker::noop()));
            handles.extend(inflow.waiting().cloned());
        }
        self.say(handles.into_iter().map(|reply| (reply, AckKind::Progress))).await
    }

    async fn close(self) {
        self.link.close().await;
    }
}

/// What the consumer is told.
fn word(verdict: Verdict) -> AckKind {
    match verdict {
        Verdict::Done => AckKind::Ack,
        Verdict::Refused => AckKind::Term,
        Verdict::Returned => AckKind::Nak(None),
    }
}

impl SourceSession {
    async fn say(&self, words: impl Iterator<Item = (Subject, AckKind)>) -> Result<(), Error> {
        let client = &self.link.client;
        let said = async {
            for (reply, word) in words {
                client.publish(reply, word.into()).await?;
            }
            Ok::<_, PublishError>(())
        };
        self.link.within(ACKNOWLEDGING, said).await
    }

    /// Says the last of several words and waits for the answer, which is one to all: the consumer takes those of one connection in
    /// their order.
    async fn ask_for_answer(&self, (reply, verdict): (Subject, Verdict)) -> Result<(), Error> {
        self.link.within(ACKNOWLEDGING, self.link.client.request(reply, word(verdict).into())).await?;
        self.link.unbroken(ACKNOWLEDGING)?;
        self.remains.heard();
        Ok(())
    }

    /// Makes sure that all that was said was heard. The last is said twice, which means nothing to the consumer.
    async fn confirm(&self) -> Result<(), Error> {
        match self.remains.last() {
            Some(last) => self.ask_for_answer(last).await,
            None => Ok(()),
        }
    }

    /// Says what an earlier session may have said in vain.
    async fn say_again(&self) -> Result<(), Error> {
        let again = self.remains.unconfirmed();
        self.say(again.into_iter().map(|(reply, verdict)| (reply, word(verdict)))).await?;
        self.confirm().await
    }

    /// Asks for more once half of what was asked for is here: the server always has a request at hand under load, and waits with
    /// one at other times.
    async fn ask(&self) -> Result<(), Error> {
        let request = self.request.clone();
        if self.inflow.borrow().due() > request.batch / 2 {
            return Ok(());
        }
        let rested = self.inflow.borrow().rested();
        if let Some(rested) = rested {
            sleep_until(rested).await;
        }
        if self.was_cut.get() {
            return Ok(());
        }
        self.inflow.borrow_mut().expect(request.batch, EXPIRES);
        self.link.within(PULLING, self.consumer.request_batch(request, self.inbox.clone())).await
    }

    /// Waits for messages: any, or until nothing is due, which after a cut is the last that comes.
    async fn arrivals(&self) -> Result<Vec<Fetched<Subject>>, Error> {
        let is_over = |context: &mut TaskContext<'_>| {
            let mut inflow = self.inflow.borrow_mut();
            inflow.gather(context);
            let is_enough = !inflow.is_empty() && !self.was_cut.get();
            if is_enough || inflow.due() == 0 || inflow.failure().is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        };
        let late = self.inflow.borrow().over() + LATE;
        let ended = tokio::select! {
            biased;
            () = poll_fn(is_over) => Ok(()),
            error = self.link.broken(PULLING) => Err(error),
            () = sleep_until(late) => self.write_off().await,
        };
        ended?;
        let mut inflow = self.inflow.borrow_mut();
        match inflow.failure() {
            Some(why) => Err(Error::new(PULLING, why)),
            None => Ok(inflow.take()),
        }
    }

    /// The server's last word on a request does not come. It was forgotten, or went with a node of a cluster, which another has
    /// replaced or soon will; or the consumer is gone, of which nothing else tells.
    async fn write_off(&self) -> Result<(), Error> {
        debug!(inbox = %self.inbox, "no last word on a request");
        match timeout(THERE, self.consumer.get_info()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Error::new(PULLING, error)),
            Err(_) if self.inflow.borrow().heard().elapsed() < self.silence => {}
            Err(_) => return Err(Error::new(PULLING, "no answer in time")),
        }
        self.inflow.borrow_mut().write_off();
        Ok(())
    }
}

impl Drop for SourceSession {
    /// What arrived and was not taken is the next session's.
    fn drop(&mut self) {
        self.remains.leave(self.inflow.get_mut().remains());
    }
}
