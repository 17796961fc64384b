//! The queues, and the messages in them.
//!
//! Lives here: filling each for a contender, and making sure that it was read to the end. Never here: reading it.

use std::cell::Cell;

use async_nats::jetstream::stream::RetentionPolicy;
use clap::ValueEnum;
use serde::Serialize;

use crate::support::servers::Backlog;
use crate::support::servers::nats::Nats;
use crate::support::servers::rabbitmq::RabbitMq;
use crate::support::servers::redis::Redis;

/// Bytes of a message.
pub const SIZE: usize = 256;
/// The same with the end of a line.
pub const SIZE_AS_LINE: usize = SIZE + 1;
/// All of them there, none handed out: what an observer sees when everything is acknowledged.
const EMPTY: Backlog = Backlog { ready: 0, unacknowledged: 0 };

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
pub enum Queue {
    RedisStream,
    RedisList,
    Jetstream,
    Amqp,
}

impl Queue {
    pub const ALL: [Queue; 4] = [Queue::RedisStream, Queue::RedisList, Queue::Jetstream, Queue::Amqp];

    /// As on the command line, and in its server.
    pub fn name(self) -> &'static str {
        match self {
            Queue::RedisStream => "redis-stream",
            Queue::RedisList => "redis-list",
            Queue::Jetstream => "jetstream",
            Queue::Amqp => "amqp",
        }
    }
}

/// One of each.
pub struct Servers {
    redis: Redis,
    nats: Nats,
    rabbitmq: RabbitMq,
    fills: Cell<usize>,
}

impl Servers {
    pub fn start() -> Servers {
        Servers {
            redis: Redis::start(),
            nats: Nats::start(),
            rabbitmq: RabbitMq::start(),
            fills: Cell::new(0),
        }
    }

    /// Puts messages where each contender reads them by a group or a consumer of its own.
    pub fn prepare(&self, queue: Queue, messages: usize) {
        let name = queue.name();
        match queue {
            Queue::RedisStream => self.redis.add(name, &messages_of(messages)),
            Queue::Jetstream => {
                let client = self.nats.jetstream();
                client.create(name, &[name], 1, RetentionPolicy::Limits);
                client.publish(name, &messages_of(messages));
            }
            Queue::Amqp => self.rabbitmq.queues().declare(name),
            Queue::RedisList => {}
        }
    }

    /// Makes sure that there are so many to read, and returns where, as the relay is told of it.
    pub fn fill(&self, queue: Queue, messages: usize) -> String {
        self.fills.set(self.fills.get() + 1);
        let name = queue.name();
        let reader = format!("reader-{}", self.fills.get());
        match queue {
            Queue::RedisStream => format!("{}?group={reader}", self.redis.url("redis", name)),
            Queue::RedisList => {
                self.redis.push(name, &messages_of(messages));
                self.redis.url("redis-list", name)
            }
            Queue::Jetstream => format!("{}?consumer={reader}", self.nats.url("nats", name)),
            Queue::Amqp => {
                self.rabbitmq.queues().publish(name, &messages_of(messages));
                self.rabbitmq.queues().url("amqp", name)
            }
        }
    }

    /// Panics if anything of it was not read and acknowledged.
    pub fn assert_read(&self, queue: Queue, url: &str) {
        let name = queue.name();
        let reader = url.split_once('=').map_or(name, |(_, reader)| reader);
        let backlog = match queue {
            Queue::RedisStream => self.redis.backlog_of_group(name, reader),
            Queue::RedisList => self.redis.backlog_of_list(name),
            Queue::Jetstream => self.nats.jetstream().backlog(name, reader),
            Queue::Amqp => self.rabbitmq.queues().backlog(name),
        };
        assert_eq!(backlog, EMPTY, "{queue:?}");
    }
}

fn messages_of(count: usize) -> Vec<Vec<u8>> {
    vec![vec![b'm'; SIZE]; count]
}
