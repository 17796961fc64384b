//! A client of each queue that only reads and acknowledges: the least that the same crate has to do.
//!
//! Lives here: the simplest loop that its documentation suggests, with no more answers awaited than a reader needs. Never here:
//! anything that a relay does beyond that.

use std::error::Error;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use nix::sys::resource::{UsageWho, getrusage};
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, Direction};
use slackwater::limits::BATCH_DEFAULT as BATCH;

use crate::queue::Queue;
use crate::results::Sample;

type Outcome = Result<Sample, Box<dyn Error>>;

/// Reads and acknowledges so many.
pub fn run(queue: Queue, url: &str, messages: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let url = Url::parse(url);
    runtime.block_on(async {
        match queue {
            Queue::RedisStream => redis_stream(&url, messages).await,
            Queue::RedisList => redis_list(&url, messages).await,
            Queue::Jetstream => jetstream(&url, messages).await,
            Queue::Amqp => amqp(&url, messages).await,
        }
    })
}

/// A queue as the relay is told of it.
struct Url<'a> {
    /// With the scheme.
    server: &'a str,
    name: &'a str,
    reader: &'a str,
}

impl Url<'_> {
    fn parse(text: &str) -> Url<'_> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let (server, name) = place.rsplit_once('/').expect("a name in the URL");
        Url { server, name, reader: query.split_once('=').map_or("", |(_, reader)| reader) }
    }
}

/// From the first message on.
#[derive(Default)]
struct Span(Option<(Instant, Duration)>);

impl Span {
    fn begin(&mut self) {
        self.0.get_or_insert_with(|| (Instant::now(), cpu_time()));
    }

    fn end(self, messages: usize) -> Outcome {
        let (begun, used) = self.0.ok_or("nothing was read")?;
        Ok(Sample::of(messages, begun.elapsed(), cpu_time() - used))
    }
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("our own");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000))
        .sum()
}

async fn redis_stream(url: &Url<'_>, messages: usize) -> Outcome {
    let server = url.server;
    let mut connection = redis::Client::open(server)?.get_multiplexed_async_connection().await?;
    let _: () = connection.xgroup_create(url.name, url.reader, "0").await?;
    let options = StreamReadOptions::default().group(url.reader, "bare").count(BATCH);
    let (mut span, mut done) = (Span::default(), 0);
    while done < messages {
        let reply: StreamReadReply = connection.xread_options(&[url.name], &[">"], &options).await?;
        span.begin();
        let entries = reply.keys.into_iter().flat_map(|key| key.ids);
        let ids: Vec<String> = entries.map(|entry| entry.id).collect();
        done += connection.xack::<_, _, _, usize>(url.name, url.reader, &ids).await?;
    }
    span.end(messages)
}

async fn redis_list(url: &Url<'_>, messages: usize) -> Outcome {
    let server = url.server.replace("redis-list", "redis");
    let mut connection = redis::Client::open(server)?.get_multiplexed_async_connection().await?;
    let processing = format!("{}:processing:bare", url.name);
    let (mut span, mut done) = (Span::default(), 0);
    while done < messages {
        let mut read = redis::pipe();
        for _ in 0..BATCH {
            read.lmove(url.name, &processing, Direction::Left, Direction::Right);
        }
        let elements: Vec<Option<Vec<u8>>> = read.query_async(&mut connection).await?;
        span.begin();
        let mut remove = redis::pipe();
        for element in elements.iter().flatten() {
            remove.lrem(&processing, 1, &element[..]);
        }
        done += remove.query_async::<Vec<usize>>(&mut connection).await?.into_iter().sum::<usize>();
    }
    span.end(messages)
}

async fn jetstream(url: &Url<'_>, messages: usize) -> Outcome {
    let context = jetstream::new(async_nats::connect(url.server).await?);
    let config = pull::Config {
        durable_name: Some(url.reader.to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 65_536,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = context.create_consumer_on_stream(config, url.name).await?;
    let mut stream = consumer.stream().max_messages_per_batch(BATCH).messages().await?;
    let mut span = Span::default();
    for number in 1..=messages {
        let message = stream.next().await.ok_or("the consumer ended")??;
        span.begin();
        // One answer, behind all: that of the last.
        if number < messages { message.ack().await } else { message.double_ack().await }
            .map_err(|error| error as Box<dyn Error>)?;
    }
    span.end(messages)
}

async fn amqp(url: &Url<'_>, messages: usize) -> Outcome {
    let server = url.server.replace("amqp://", "amqp://guest:guest@");
    let connection = lapin::Connection::connect(&format!("{server}/%2f"), Default::default()).await?;
    let channel = connection.create_channel().await?;
    // As many batches ahead as the relay has.
    channel.basic_qos(4 * BATCH as u16, BasicQosOptions::default()).await?;
    let name = url.name.into();
    let consuming =
        channel.basic_consume(name, "bare".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consuming.await?;
    let mut span = Span::default();
    for number in 1..=messages {
        let delivery = consumer.next().await.ok_or("the consumer ended")??;
        span.begin();
        if number % BATCH == 0 || number == messages {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    let sample = span.end(messages);
    // Answered once the acknowledgements before it were taken.
    connection.close(200, "".into()).await?;
    sample
}
