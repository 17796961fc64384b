//! Messages to a subject that a stream takes.
//!
//! A message has a name that stays the same when it is sent again, so that the stream takes it once, as long as it remembers names
//! (its duplicate window, two minutes unless set). The subject is part of it: two sinks may lead to two subjects of one stream, and
//! neither message is a copy of the other. Lives here: a batch, its names, and what the answers mean. Never here: when a batch is
//! due (`broker::sink`).

use std::error::Error as _;

use async_nats::Subject;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use tokio::time::{Instant, timeout_at};

use super::Link;
use crate::broker::error::Error;
use crate::broker::sink::{PublishSession, Publisher, Verdict};
use crate::config::services::{Push, Service};
use crate::endpoint::Delivery;

/// The answers to a batch may take this fraction of what one may: if the driver gave the batch up, those that did come would not
/// count.
const ANSWERS_FRACTION: f32 = 0.9;
/// What fails with a connection that is of no use any more.
const DOING: &str = "publishing";

/// A subject.
pub(in crate::broker) struct Sink {
    service: Service,
    /// Tells our names of messages apart from those of others.
    random: u64,
}

/// One connection to where it is.
pub(in crate::broker) struct SinkSession {
    link: Link,
    subject: Subject,
    random: u64,
}

/// What became of a message that the client took, or did not take.
type Sent = Result<PublishAckFuture, PublishError>;

impl Sink {
    pub(in crate::broker) fn new(plan: &Push) -> Sink {
        Sink { service: plan.service.clone(), random: fastrand::u64(..) }
    }
}

impl Publisher for Sink {
    type Session = SinkSession;

    async fn connect(&self) -> Result<SinkSession, Error> {
        let link = Link::connect(&self.service, self.service.batch).await?;
        Ok(SinkSession { link, subject: Subject::from(self.service.path.as_str()), random: self.random })
    }
}

impl PublishSession for SinkSession {
    async fn send(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, Error> {
        let deadline = Instant::now() + self.link.patience.mul_f32(ANSWERS_FRACTION);
        let verdicts = async {
            let mut sent = Vec::with_capacity(batch.len());
            for delivery in batch {
                sent.push(self.publish(delivery).await);
            }
            self.answers(sent, deadline).await
        };
        tokio::select! {
            verdicts = verdicts => verdicts,
            error = self.link.broken(DOING) => Err(error),
        }
    }

    async fn close(self) {
        self.link.close().await;
    }
}

impl SinkSession {
    async fn publish(&self, delivery: &Delivery) -> Sent {
        let message =
            PublishMessage::build().payload(delivery.payload().clone()).message_id(self.name(delivery));
        self.link.context.send_publish(self.subject.clone(), message).await
    }

    fn name(&self, delivery: &Delivery) -> String {
        match delivery.id() {
            // A source's name may hold anything, a header no end of a line.
            Some(id) => format!("{}>{}", utf8_percent_encode(id, CONTROLS), self.subject),
            None => format!("slackwater:{:016x}-{}", self.random, delivery.number()),
        }
    }

    /// The verdicts, in order. A server that does not answer at all is asked on another connection.
    async fn answers(&self, sent: Vec<Sent>, deadline: Instant) -> Result<Vec<Verdict>, Error> {
        let (mut verdicts, mut has_answered) = (Vec::with_capacity(sent.len()), false);
        for sent in sent {
            let answer = match sent {
                Ok(acknowledged) => timeout_at(deadline, acknowledged).await,
                Err(error) => Ok(Err(error)),
            };
            has_answered |= answer.is_ok();
            verdicts.push(match answer {
                Ok(Ok(_)) => Verdict::Delivered,
                Ok(Err(error)) => self.verdict(&error)?,
                Err(_) => Verdict::Again(None, "no answer in time".to_owned()),
            });
        }
        if has_answered { Ok(verdicts) } else { Err(Error::new(DOING, "no answer in time")) }
    }

    fn verdict(&self, error: &PublishError) -> Result<Verdict, Error> {
        match error.kind() {
            PublishErrorKind::BrokenPipe => Err(Error::new(DOING, error)),
            PublishErrorKind::MaxPayloadExceeded => Ok(Verdict::Refused(error.to_string())),
            PublishErrorKind::StreamNotFound => {
                Ok(Verdict::Again(None, format!("no stream takes {}", self.subject)))
            }
            _ if is_final(error) => Ok(Verdict::Refused(error.to_string())),
            // A full stream, a server without space, a cluster without a leader: all of that can be mended while we wait.
            _ => Ok(Verdict::Again(None, error.to_string())),
        }
    }
}

/// Whether it is about the message alone.
fn is_final(error: &PublishError) -> bool {
    let said = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    said.is_some_and(|error| {
        matches!(
            error.error_code(),
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
        )
    })
}
