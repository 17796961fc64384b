//! Redis, whose streams and lists are queues.
//!
//! ```text
//! source   a connection that blocks until there is something (link.rs), and one beside it for all else
//! sink     one connection, and a pipeline for each batch (pipeline.rs)
//! ```
//! Lives here: what streams and lists have in common; each of the two is a file. Never here: the protocol of the server, which is
//! its client's.

mod connection;
mod entry;
mod group;
mod link;
pub(in crate::broker) mod lists;
mod pipeline;
pub(in crate::broker) mod streams;

use nix::sys::utsname::uname;
use redis::{RedisResult, ServerError};

use super::error::Error;

/// This machine, in names that an operator meets.
fn host_name() -> String {
    uname().map_or_else(|_| "localhost".to_owned(), |system| system.nodename().to_string_lossy().into_owned())
}

/// What a client's step came to. Of a pipeline's errors, which are mostly all the same, the first is said.
fn step<T>(doing: &'static str, answer: RedisResult<T>) -> Result<T, Error> {
    answer.map_err(|error| match error.clone().into_server_errors() {
        Some(all) if !all.is_empty() => Error::new(doing, shown(&all[0].1)),
        _ => Error::new(doing, error),
    })
}

/// An error as its server wrote it.
fn shown(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default()).trim_end().to_owned()
}
