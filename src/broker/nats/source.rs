//! Messages from a stream, by a durable consumer that several relays may share.
//!
//! A request for messages cannot be taken back: what the server hands out to an inbox that nobody reads any more is not handed out
//! again before the consumer's `ack_wait` is over, and from another node of a cluster it may be on its way whenever the inbox is
//! closed. So an inbox lasts as long as its session, a request ends by itself within [`EXPIRES`], and a drain waits for that: the
//! server's last word on a request comes behind its last message. What came in that time is given back like the rest. Lives here:
//! the consumer, and what it is told. Never here: what is on its way ([`Inflow`]).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{AckKind, Context, ErrorCode};
use async_nats::{PublishError, Subject};
use tokio::time::{sleep_until, timeout};

use super::Link;
use super::inflow::Inflow;
use crate::broker::error::{Doing, Error};
use crate::broker::source::{Fetched, PullSession, Puller, Verdict};
use crate::config::services::Pull;

/// How long a request waits for messages, and so the longest that a drain waits for one. Each costs the server a line or two.
const EXPIRES: Duration = Duration::from_millis(100);
/// The server's last word on a request is not waited for any longer than so long after its time.
const LATE: Duration = Duration::from_secs(1);
/// After so long without a word, a consumer that we create hands a message out again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages without a word at the same time, over all that share a consumer that we create. The server's default of 1,000 would not
/// even do for one relay with a slow sink.
const MAX_ACK_PENDING: i64 = 65_536;
/// Of this fraction of a consumer's `ack_wait`, a word is due: two may be lost.
const KEEP_FRACTION: u32 = 3;

/// A word is not said more often.
const KEEP_MIN: Duration = Duration::from_millis(10);

const PULLING: &str = "asking for messages";
const ACKNOWLEDGING: &str = "acknowledging";

/// A stream and a durable consumer of it.
pub(in crate::broker) struct Source {
    plan: Pull,
}

/// One connection to where they are.
pub(in crate::broker) struct SourceSession {
    link: Link,
    consumer: PullConsumer,
    inbox: Subject,
    request: pull::BatchConfig,
    inflow: RefCell<Inflow>,
    /// Whether nothing is asked for any more.
    was_cut: Cell<bool>,
}

impl Source {
    pub(in crate::broker) fn new(plan: Pull) -> Source {
        Source { plan }
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
        let consumer = self.consumer(&link.context).await?;
        let config = &consumer.cached_info().config;
        let request = pull::BatchConfig {
            batch: usize::try_from(config.max_batch)
                .map_or(service.batch, |most| at_most(service.batch, most)),
            expires: Some(at_most(EXPIRES, config.max_expires)),
            ..pull::BatchConfig::default()
        };
        let inbox = Subject::from(link.client.new_inbox());
        let subscriber = link.client.subscribe(inbox.clone()).await.doing("opening an inbox")?;
        let inflow = Inflow::new(subscriber, link.context.clone(), service.to_string());
        Ok(SourceSession {
            link,
            consumer,
            inbox,
            request,
            inflow: RefCell::new(inflow),
            was_cut: Cell::new(false),
        })
    }
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
        self.arrivals().await
    }

    /// The consumer takes the words of one connection in their order, so its answer to the last is one to all.
    async fn acknowledge(&self, mut verdicts: Vec<(Subject, Verdict)>) -> Result<(), Error> {
        let Some((last, verdict)) = verdicts.pop() else { return Ok(()) };
        let client = &self.link.client;
        let words = async {
            let all_but_one = verdicts.into_iter().map(|(reply, verdict)| (reply, word(verdict)));
            self.say(all_but_one).await.doing(ACKNOWLEDGING)?;
            client.request(last, word(verdict).into()).await.doing(ACKNOWLEDGING)
        };
        self.link.within(ACKNOWLEDGING, words).await?;
        self.link.unbroken(ACKNOWLEDGING)
    }

    fn keep_every(&self) -> Option<Duration> {
        Some((self.consumer.cached_info().config.ack_wait / KEEP_FRACTION).max(KEEP_MIN))
    }

    /// Also for what has arrived and waits for its turn.
    async fn keep(&self, mut handles: Vec<Subject>) -> Result<(), Error> {
        {
            let mut inflow = self.inflow.borrow_mut();
            // A pull that is under way is polled next by who awaits us.
            inflow.gather(&mut TaskContext::from_waker(Waker::noop()));
            handles.extend(inflow.waiting().cloned());
        }
        let words = self.say(handles.into_iter().map(|reply| (reply, AckKind::Progress)));
        self.link.within("reporting progress", words).await
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
    async fn say(&self, words: impl Iterator<Item = (Subject, AckKind)>) -> Result<(), PublishError> {
        for (reply, word) in words {
            self.link.client.publish(reply, word.into()).await?;
        }
        Ok(())
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
        let mut inflow = self.inflow.borrow_mut();
        let arrived = inflow.take();
        // What came before a failure is as good as any.
        match ended.err().or_else(|| inflow.failure().map(|why| Error::new(PULLING, why))) {
            Some(error) if arrived.is_empty() => Err(error),
            _ => Ok(arrived),
        }
    }

    /// The server's last word on a request does not come. It went with a node of a cluster, which another has replaced or soon will;
    /// or the consumer is gone, of which nothing else tells.
    async fn write_off(&self) -> Result<(), Error> {
        match timeout(LATE, self.consumer.get_info()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Error::new(PULLING, error)),
            Err(_) if self.inflow.borrow().heard().elapsed() < self.link.timeout => {}
            Err(_) => return Err(Error::new(PULLING, "no answer in time")),
        }
        self.inflow.borrow_mut().write_off();
        Ok(())
    }
}
