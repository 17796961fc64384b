//! Messages from a queue.
//!
//! Lives here: one consumer, and what the queue is told about its deliveries. Never here: when that is due (`broker::source`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::future::poll_fn;
use std::process;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions,
};
use lapin::types::{DeliveryTag, FieldTable, ShortString};
use lapin::{Channel, Consumer};

use super::window::Window;
use super::{Line, NAME, Servers, in_order};
use crate::broker::error::{Doing, Error, in_time};
use crate::broker::source::{Fetched, PullSession, Puller, Verdict};
use crate::config::services::{Prefetch, Pull};

/// A queue. Messages are acknowledged when they are settled; what a server takes for too long is its `consumer_timeout`.
pub(in crate::broker) struct Source {
    servers: Servers,
    prefetch: Prefetch,
}

/// One consumer of it; another follows when it is to have another [`Window`], which a server gives to none that it has.
pub(in crate::broker) struct SourceSession {
    line: Line,
    channel: Channel,
    queue: ShortString,
    consumer: RefCell<Consumer>,
    window: RefCell<Window>,
    /// Deliveries that were pulled, and of which the queue was told nothing.
    open: RefCell<BTreeSet<DeliveryTag>>,
    stage: Cell<Stage>,
    /// Whether no other consumer follows.
    is_last: Cell<bool>,
    names: Names,
    batch: usize,
    timeout: Duration,
}

/// What becomes of a consumer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Consuming,
    /// The server is asked to hand out no more; what it has handed out is still to come.
    Cancelling,
    /// There is nothing more.
    Ended,
}

/// How messages are named.
struct Names {
    queue: String,
    /// Tells those apart that have no name of their own, also from those of other sessions.
    session: u64,
}

/// What the queue is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Done(DeliveryTag),
    /// This one, and every one before it that it was told nothing about.
    DoneUpTo(DeliveryTag),
    /// To the queue's dead-letter exchange, if it has one.
    Refused(DeliveryTag),
    Returned(DeliveryTag),
}

impl Source {
    pub(in crate::broker) fn new(plan: Pull) -> Source {
        Source { servers: Servers::new(plan.service), prefetch: plan.prefetch }
    }
}

impl Puller for Source {
    type Session = SourceSession;

    fn timeout(&self) -> Duration {
        self.servers.service.timeout
    }

    async fn connect(&self) -> Result<SourceSession, Error> {
        let queue = self.servers.path()?;
        let line = self.servers.connect().await?;
        let channel = line.channel_with(&queue).await?;
        let window = Window::new(self.prefetch);
        let session = fastrand::u64(..);
        let consumer = consume(&channel, &queue, consumer_tag(session)?, window.size()).await?;
        Ok(SourceSession {
            line,
            channel,
            queue,
            consumer: RefCell::new(consumer),
            window: RefCell::new(window),
            open: RefCell::default(),
            stage: Cell::new(Stage::Consuming),
            is_last: Cell::new(false),
            names: Names { queue: self.servers.service.path.clone(), session },
            batch: self.servers.service.batch,
            timeout: self.timeout(),
        })
    }
}

/// A consumer to which the server hands out so many messages ahead of their acknowledgements.
async fn consume(
    channel: &Channel,
    queue: &ShortString,
    tag: ShortString,
    ahead: u16,
) -> Result<Consumer, Error> {
    channel.basic_qos(ahead, BasicQosOptions::default()).await.doing("limiting what is fetched")?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(queue.clone(), tag, options, arguments).await.doing("consuming the queue")
}

/// Who consumes, where an operator lists consumers.
fn consumer_tag(session: u64) -> Result<ShortString, Error> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let tag = format!("{NAME}-{}-{}-{session:016x}", host.trim(), process::id());
    ShortString::try_new(tag).doing("naming the consumer")
}

impl PullSession for SourceSession {
    type Handle = DeliveryTag;
    // The server hands out again by itself what a connection leaves behind.
    const HANDLES_LAST: bool = false;

    async fn pull(&self) -> Result<Vec<Fetched<DeliveryTag>>, Error> {
        let mut fetched = Vec::new();
        let mut next = self.next().await?;
        if next.is_none() && !self.is_last.get() {
            self.renew().await?;
            next = self.next().await?;
        }
        while let Some(delivery) = next {
            fetched.push(self.take(delivery));
            if fetched.len() >= self.batch {
                break;
            }
            // No more than what is here already.
            next = self.next().now_or_never().transpose()?.flatten();
        }
        if self.window.borrow().is_due(self.open.borrow().len()) {
            self.cancel()?;
        }
        Ok(fetched)
    }

    async fn cut(&self) -> Result<(), Error> {
        self.is_last.set(true);
        self.cancel()
    }

    async fn rest(&self) -> Result<Vec<Fetched<DeliveryTag>>, Error> {
        self.cut().await?;
        let all = async {
            let mut rest = Vec::new();
            while let Some(delivery) = self.next().await? {
                rest.push(self.take(delivery));
            }
            Ok(rest)
        };
        in_time(self.timeout, "ending the consumer", all).await
    }

    async fn acknowledge(&self, verdicts: Vec<(DeliveryTag, Verdict)>) -> Result<(), Error> {
        let words = words(&mut self.open.borrow_mut(), verdicts);
        in_order(words.into_iter().map(|word| self.say(word))).await.doing("acknowledging")?;
        Ok(())
    }

    async fn close(self) {
        self.line.close(&self.channel).await;
    }
}

impl SourceSession {
    /// Asks for the end. It is answered on the consumer's stream, which ends behind the last delivery.
    fn cancel(&self) -> Result<(), Error> {
        if self.stage.get() != Stage::Consuming {
            return Ok(());
        }
        self.stage.set(Stage::Cancelling);
        let tag = self.consumer.borrow().tag();
        let asked = self.channel.basic_cancel(tag, BasicCancelOptions::default()).now_or_never();
        asked.unwrap_or(Ok(())).doing("ending the consumer")
    }

    /// Consumes again where a consumer has ended, with the window that is due.
    async fn renew(&self) -> Result<(), Error> {
        let window = self.window.borrow().renewed(self.open.borrow().len());
        let tag = self.consumer.borrow().tag();
        let consumer = consume(&self.channel, &self.queue, tag, window.size()).await?;
        self.window.replace(window);
        self.consumer.replace(consumer);
        self.stage.set(Stage::Consuming);
        // A drain may have begun meanwhile.
        if self.is_last.get() { self.cancel() } else { Ok(()) }
    }

    /// The next delivery; `None` once there are no more because we asked for that.
    async fn next(&self) -> Result<Option<Delivery>, Error> {
        if self.stage.get() == Stage::Ended {
            return Ok(None);
        }
        let next = poll_fn(|context| self.consumer.borrow_mut().poll_next_unpin(context)).await;
        match (next, self.stage.get()) {
            (Some(delivery), _) => delivery.map(Some).doing("reading the queue"),
            (None, Stage::Consuming) => Err(Error::new("reading the queue", "the server ended the consumer")),
            (None, _) => {
                self.stage.set(Stage::Ended);
                Ok(None)
            }
        }
    }

    fn take(&self, delivery: Delivery) -> Fetched<DeliveryTag> {
        let handle = delivery.delivery_tag;
        self.open.borrow_mut().insert(handle);
        self.window.borrow_mut().note(delivery.data.len());
        let own = delivery.properties.message_id().as_ref().map(ShortString::as_str);
        let (id, payload) = (self.names.of(own, handle), Bytes::from(delivery.data));
        Fetched { payload, id, redelivered: delivery.redelivered, handle }
    }

    async fn say(&self, word: Word) -> Result<(), lapin::Error> {
        let channel = &self.channel;
        match word {
            Word::Done(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: false }).await,
            Word::DoneUpTo(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
            Word::Refused(tag) => channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await,
            Word::Returned(tag) => {
                channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true }).await
            }
        }
    }
}

impl Names {
    /// A name that stays the same is one that the sender gave.
    fn of(&self, own: Option<&str>, tag: DeliveryTag) -> String {
        let Names { queue, session } = self;
        match own {
            Some(own) if !own.is_empty() => format!("amqp:{queue}:{own}"),
            _ => format!("amqp:{queue}:{session:016x}-{tag}"),
        }
    }
}

/// How these verdicts are said, in order: one word for all that are done before the first that is open.
fn words(open: &mut BTreeSet<DeliveryTag>, verdicts: Vec<(DeliveryTag, Verdict)>) -> Vec<Word> {
    let (mut words, mut done) = (Vec::new(), Vec::new());
    for (tag, verdict) in verdicts {
        open.remove(&tag);
        match verdict {
            Verdict::Done => done.push(tag),
            // Before any that says "and every one before it".
            Verdict::Refused => words.push(Word::Refused(tag)),
            Verdict::Returned => words.push(Word::Returned(tag)),
        }
    }
    done.sort_unstable();
    let first_open = open.first().copied().unwrap_or(DeliveryTag::MAX);
    let (together, singly) = done.split_at(done.partition_point(|&tag| tag < first_open));
    words.extend(together.last().map(|&tag| Word::DoneUpTo(tag)));
    words.extend(singly.iter().map(|&tag| Word::Done(tag)));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_said_at_once_as_far_as_the_order_allows() {
        let mut open: BTreeSet<DeliveryTag> = (1..=6).collect();
        let mut say = |verdicts: &[(DeliveryTag, Verdict)]| words(&mut open, verdicts.to_vec());
        let (done, refused, returned) = (Verdict::Done, Verdict::Refused, Verdict::Returned);
        assert_eq!(say(&[(3, done)]), [Word::Done(3)], "1 and 2 are open");
        assert_eq!(say(&[(2, done), (1, done)]), [Word::DoneUpTo(2)]);
        let mixed = say(&[(5, done), (4, refused), (6, returned)]);
        assert_eq!(
            mixed,
            [Word::Refused(4), Word::Returned(6), Word::DoneUpTo(5)],
            "5 must not take 4 along"
        );
        assert!(open.is_empty());
    }

    #[test]
    fn a_message_keeps_the_name_that_it_came_with() {
        let names = Names { queue: "jobs".to_owned(), session: 0xbeef };
        assert_eq!(names.of(Some("one"), 7), "amqp:jobs:one");
        assert_eq!(names.of(None, 7), "amqp:jobs:000000000000beef-7");
        assert_eq!(names.of(Some(""), 7), names.of(None, 7), "no name tells nothing apart");
    }
}
