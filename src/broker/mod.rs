//! Queues and services: each file is one, in both directions, spoken to by its own client.
//!
//! ```text
//! source   connect → pull → Feed::offer … Feed::verdicts → acknowledge       (source.rs drives, a [`Puller`] does)
//! sink     connect → Deliveries::take → send → delivered | refused | again   (sink.rs drives, a [`Publisher`] does)
//! ```
//! What is the same for all (waiting, retrying, draining, what happens to what is in hand when a connection breaks) is in those
//! two; a service's file says only how its client does one step. Lives here: the two traits and their drivers. Never here: a ring, a
//! socket of ours, or a protocol written by hand.

#![cfg_attr(
    not(all(feature = "redis", feature = "nats", feature = "amqp", feature = "http")),
    allow(
        dead_code,
        unused_imports,
        unused_variables,
        reason = "each service uses a part of what they share"
    )
)]

#[cfg(feature = "amqp")]
mod amqp;
mod error;
mod files;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
mod sink;
#[cfg(any(feature = "redis", feature = "nats", feature = "amqp"))]
mod source;
mod tls;

use std::net::TcpListener;

pub use error::Error;

use crate::config::services::{HttpListen, Protocol, Pull, Push};
use crate::endpoint::{Deliveries, Feed};

/// Pulls from a queue until a drain, and acknowledges what is settled. `reactor` tells the reactors of one relay apart.
pub async fn pull(name: String, plan: Pull, reactor: usize, feed: Feed) {
    match plan.service.protocol {
        #[cfg(feature = "redis")]
        Protocol::Redis => source::run(name, feed, &redis::streams::Source::new(plan, reactor)).await,
        #[cfg(feature = "redis")]
        Protocol::RedisList => source::run(name, feed, &redis::lists::Source::new(plan, reactor)).await,
        #[cfg(feature = "nats")]
        Protocol::Nats => source::run(name, feed, &nats::Source::new(plan)).await,
        #[cfg(feature = "amqp")]
        Protocol::Amqp => source::run(name, feed, &amqp::Source::new(plan)).await,
        _ => unreachable!("the configuration knows what this build speaks"),
    }
}

/// Sends to a service until everything is settled.
pub async fn push(plan: Push, deliveries: Deliveries) {
    match plan.service.protocol {
        #[cfg(feature = "redis")]
        Protocol::Redis => sink::run(deliveries, &plan, &redis::streams::Sink::new(&plan)).await,
        #[cfg(feature = "redis")]
        Protocol::RedisList => sink::run(deliveries, &plan, &redis::lists::Sink::new(&plan)).await,
        #[cfg(feature = "nats")]
        Protocol::Nats => sink::run(deliveries, &plan, &nats::Sink::new(&plan)).await,
        #[cfg(feature = "amqp")]
        Protocol::Amqp => sink::run(deliveries, &plan, &amqp::Sink::new(&plan)).await,
        #[cfg(feature = "http")]
        Protocol::Http => sink::run(deliveries, &plan, &http::client::Sink::new(&plan)).await,
        #[cfg(not(all(feature = "redis", feature = "nats", feature = "amqp", feature = "http")))]
        _ => unreachable!("the configuration knows what this build speaks"),
    }
}

/// Takes messages in by HTTP until a drain, and answers once they are settled.
#[cfg(feature = "http")]
pub async fn serve(
    name: String,
    plan: HttpListen,
    max_message: usize,
    lines: bool,
    listener: TcpListener,
    feed: Feed,
) {
    http::server::run(name, plan, max_message, lines, listener, feed).await;
}

#[cfg(test)]
mod tests;
