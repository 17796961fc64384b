//! Queues and services of others, each a child with its data in a folder of its own.
//!
//! Lives here: what their tests share. A server's configuration, and the clients that fill and read it, are in a file of its own.
//! Never here: what is expected of a relay.

pub mod access;
pub mod credentials;
pub mod messages;
pub mod nats;
pub mod nginx;
pub mod process;
pub mod rabbitmq;
pub mod redis;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::HANG;

/// What a queue holds for its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Not delivered to anyone yet, or given back.
    pub ready: u64,
    /// Delivered and not acknowledged.
    pub unacknowledged: u64,
}

/// Carries out what a client does, on a runtime of its own.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bounded = async { tokio::time::timeout(HANG, work).await };
    runtime.block_on(bounded).expect("the server answers its client")
}

/// The body of the answer to a GET, if it is one of success.
fn http_get(at: SocketAddr, path: &str) -> Option<String> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1)?.starts_with('2').then(|| body.to_owned())
}
