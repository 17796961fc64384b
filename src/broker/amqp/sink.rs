//! Messages to a queue or an exchange.
//!
//! Lives here: one channel in confirm mode, and what its answers mean. Never here: when a batch is due (`broker::sink`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::iter;
use std::ops::Range;

use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use twox_hash::XxHash3_64;

use super::{Line, Servers, in_order, is_soft};
use crate::broker::error::{Doing, Error};
use crate::broker::sink::{PublishSession, Publisher, Verdict};
use crate::config::services::Push;
use crate::endpoint::Delivery;

/// The delivery mode that a server keeps on disk.
const PERSISTENT: u8 = 2;
/// What a message's name may be long, in bytes.
const NAME_MAX: usize = 255;

/// A queue, or an exchange and a routing key.
pub(in crate::broker) struct Sink {
    servers: Servers,
    exchange: String,
    /// Tells our names of messages apart from those of others.
    random: u64,
}

/// One channel to it.
pub(in crate::broker) struct SinkSession {
    line: Line,
    /// Another one when the server closed it.
    channel: RefCell<Channel>,
    exchange: ShortString,
    routing_key: ShortString,
    random: u64,
}

impl Sink {
    pub(in crate::broker) fn new(plan: &Push) -> Sink {
        let servers = Servers::new(plan.service.clone());
        Sink { servers, exchange: plan.exchange.clone(), random: fastrand::u64(..) }
    }
}

impl Publisher for Sink {
    type Session = SinkSession;

    async fn connect(&self) -> Result<SinkSession, Error> {
        let routing_key = self.servers.path()?;
        let exchange = ShortString::try_new(self.exchange.as_str()).doing("naming the exchange")?;
        let line = self.servers.connect().await?;
        // What is behind an exchange is its owner's; the default one leads to the queue.
        let channel = if self.exchange.is_empty() {
            line.channel_with(&routing_key).await?
        } else {
            line.channel().await?
        };
        confirm(&channel).await?;
        Ok(SinkSession { line, channel: RefCell::new(channel), exchange, routing_key, random: self.random })
    }
}

async fn confirm(channel: &Channel) -> Result<(), Error> {
    channel.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirms")
}

impl PublishSession for SinkSession {
    /// A server says only by closing the channel that it does not take a message, and not which one: halves find it.
    async fn send(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = vec![None; batch.len()];
        let mut parts: Vec<Range<usize>> = iter::once(0..batch.len()).collect();
        while let Some(part) = parts.pop() {
            match self.publish(&batch[part.clone()]).await {
                Ok(said) => {
                    for (verdict, said) in verdicts[part].iter_mut().zip(said) {
                        *verdict = Some(said);
                    }
                }
                Err(error) if is_soft(&error, AMQPSoftError::PRECONDITIONFAILED) => {
                    self.reopen().await?;
                    let middle = part.start + part.len() / 2;
                    if middle == part.start {
                        verdicts[middle] = Some(Verdict::Refused(error.to_string()));
                    } else {
                        parts.extend([middle..part.end, part.start..middle]);
                    }
                }
                Err(error) => return Err(Error::new("publishing", error)),
            }
        }
        Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(unanswered)).collect())
    }

    async fn close(self) {
        let channel = self.channel.into_inner();
        self.line.close(&channel).await;
    }
}

impl SinkSession {
    async fn publish(&self, part: &[Delivery]) -> Result<Vec<Verdict>, lapin::Error> {
        let channel = self.channel.borrow().clone();
        let names: Vec<ShortString> = part.iter().map(|delivery| self.name(delivery)).collect();
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let sending = part.iter().zip(&names).map(async |(delivery, name)| {
            let (exchange, key) = (self.exchange.clone(), self.routing_key.clone());
            let properties =
                BasicProperties::default().with_delivery_mode(PERSISTENT).with_message_id(name.clone());
            channel.basic_publish(exchange, key, options, delivery.payload(), properties).await?.await
        });
        let confirms = in_order(sending).await?;
        let payloads = part.iter().map(|delivery| &**delivery.payload());
        Ok(verdicts(names.iter().zip(payloads), confirms))
    }

    /// The name under which a receiver knows a message that it already has.
    fn name(&self, delivery: &Delivery) -> ShortString {
        match delivery.id() {
            Some(id) => short(id),
            None => short(&format!("{:016x}-{}", self.random, delivery.number())),
        }
    }

    async fn reopen(&self) -> Result<(), Error> {
        let channel = self.line.channel().await?;
        confirm(&channel).await?;
        self.channel.replace(channel);
        Ok(())
    }
}

/// A name that fits; one that is too long ends with a hash of all of it instead.
fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_else(|_| {
        let hash = format!("-{:016x}", XxHash3_64::oneshot(name.as_bytes()));
        let fits = (0..=NAME_MAX - hash.len()).rev().find(|&end| name.is_char_boundary(end));
        ShortString::from(format!("{}{hash}", &name[..fits.unwrap_or(0)]))
    })
}

/// What the confirms say, and the messages that came back: before their confirm, but one confirm may be of several, and then
/// the client hands a message to any of them.
fn verdicts<'a>(
    sent: impl Iterator<Item = (&'a ShortString, &'a [u8])>,
    confirms: Vec<Confirmation>,
) -> Vec<Verdict> {
    let (mut taken, mut returned) = (Vec::new(), HashMap::<ShortString, Vec<BasicReturnMessage>>::new());
    for confirm in confirms {
        taken.push(confirm.is_ack());
        if let Some(message) = confirm.take_message() {
            let name = message.properties.message_id().clone().unwrap_or_default();
            returned.entry(name).or_default().push(message);
        }
    }
    let back = |(name, payload): (&ShortString, &[u8])| {
        let same = returned.get_mut(name)?;
        Some(same.swap_remove(same.iter().position(|message| message.data == payload)?))
    };
    let back: Vec<Option<BasicReturnMessage>> = sent.map(back).collect();
    // One that came back changed is not known again: then none of them counts as taken.
    let is_known = returned.values().all(Vec::is_empty);
    let told = |(back, is_taken): (Option<BasicReturnMessage>, bool)| match back {
        Some(message) => {
            Verdict::Refused(format!("unroutable: {} {}", message.reply_code, message.reply_text))
        }
        None if is_taken && is_known => Verdict::Delivered,
        None => Verdict::Again(None, "the server did not take it".to_owned()),
    };
    back.into_iter().zip(taken).map(told).collect()
}

fn unanswered() -> Verdict {
    Verdict::Again(None, "the server said nothing about it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came_back(name: &str, payload: &[u8]) -> Confirmation {
        let mut delivery = lapin::message::Delivery::mock(0, "".into(), "".into(), false, payload.to_vec());
        delivery.properties = BasicProperties::default().with_message_id(name.into());
        let (reply_code, reply_text) = (312, "NO_ROUTE".into());
        Confirmation::Ack(Some(BasicReturnMessage { delivery, reply_code, reply_text }))
    }

    #[test]
    fn a_message_that_came_back_is_refused_whichever_confirm_brought_it() {
        let names: [ShortString; 4] = ["a", "b", "b", "c"].map(ShortString::from);
        let payloads: [&[u8]; 4] = [b"1", b"2", b"3", b"4"];
        let confirms = vec![
            came_back("b", b"3"),
            Confirmation::Ack(None),
            Confirmation::Ack(None),
            Confirmation::Nack(None),
        ];
        let refused = Verdict::Refused("unroutable: 312 NO_ROUTE".to_owned());
        let again = Verdict::Again(None, "the server did not take it".to_owned());
        let told = verdicts(names.iter().zip(payloads), confirms);
        assert_eq!(told, [Verdict::Delivered, Verdict::Delivered, refused, again]);
    }

    #[test]
    fn a_name_that_is_too_long_still_tells_messages_apart() {
        let long = |end: char| format!("{}{end}", "é".repeat(200));
        let (one, other) = (short(&long('1')), short(&long('2')));
        assert!(one != other && one == short(&long('1')), "{one} {other}");
        assert!(one.as_str().len() <= NAME_MAX);
        assert_eq!(short("as it is").as_str(), "as it is");
    }
}
