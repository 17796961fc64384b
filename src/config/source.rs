//! A source, from its URL.
//!
//! Lives here: a source's parameters and their defaults. Never here: how a single value is read.

use std::ops::RangeInclusive;

use super::address::host_port;
use super::endpoint::{Endpoint, Role};
use super::error::{ConfigError, Mistake};
use super::names::Names;
use super::params::Params;
use super::plan::{HostPort, Listen, Overflow, Source};
use super::values::{Size, count, duration, framing, half_close, oversize, size};
use super::word::Word;
use crate::framing::{Oversize, SourceFraming};
use crate::limits::{
    DRAIN_TIMEOUT_MAX, LINGER_DEFAULT, MAX_CONNECTIONS_DEFAULT, MAX_CONNECTIONS_MAX, MAX_MESSAGE_DEFAULT,
    MAX_MESSAGE_MAX, RECEIVE_BUFFER_MAX, RECEIVE_BUFFER_MIN,
};
use crate::message::Framing;

const KEYS: [&str; 8] = [
    "framing",
    "max_message",
    "oversize",
    "max_connections",
    "half_close",
    "linger",
    "receive_buffer",
    "name",
];
const RECEIVE_BUFFER: RangeInclusive<usize> = RECEIVE_BUFFER_MIN..=RECEIVE_BUFFER_MAX;

/// Reads the URL of one source.
pub(super) fn source(
    typed: Word<'_>,
    max_in_flight: usize,
    names: &mut Names,
) -> Result<Source, ConfigError> {
    let endpoint = Endpoint::read(typed, Role::Source)?;
    let listen = host_port(endpoint.rest, Role::Source)?;
    let params = Params::read(endpoint.query, "a tcp source", &KEYS)?;
    with_params(listen, &params, max_in_flight, names)
}

fn with_params(
    listen: HostPort,
    params: &Params<'_>,
    max_in_flight: usize,
    names: &mut Names,
) -> Result<Source, ConfigError> {
    let max_message = params.get("max_message", |text| max_message(text, max_in_flight))?;
    let max_connections = params.get("max_connections", |text| count(text, 1..=MAX_CONNECTIONS_MAX))?;
    Ok(Source {
        name: names.choose(params, &format!("tcp-{}", listen.port))?,
        listen: Listen::Tcp(listen),
        framing: SourceFraming::Always(params.get("framing", framing)?.unwrap_or(Framing::Line)),
        to: vec![0],
        overflow: Overflow::Block,
        allow: Vec::new(),
        max_connections_per_client: None,
        idle_timeout: None,
        max_message: max_message.unwrap_or(MAX_MESSAGE_DEFAULT),
        oversize: params.get("oversize", oversize)?.unwrap_or(Oversize::Truncate),
        max_connections: max_connections.unwrap_or(MAX_CONNECTIONS_DEFAULT),
        half_close: params.get("half_close", half_close)?.unwrap_or(true),
        linger: params.get("linger", |text| duration(text, DRAIN_TIMEOUT_MAX))?.unwrap_or(LINGER_DEFAULT),
        receive_buffer: params.get("receive_buffer", |text| size(text, RECEIVE_BUFFER))?,
    })
}

/// One message must leave room for another, or the bound on what is in flight would stop the intake for good.
fn max_message(text: &str, max_in_flight: usize) -> Result<usize, Mistake> {
    let bytes = size(text, 1..=MAX_MESSAGE_MAX)?;
    let half = max_in_flight / 2;
    if bytes > half {
        let hint = format!("at most {}, half of --max-in-flight", Size(half));
        return Err(Mistake::new(format!("too large for what may be in flight: `{text}`")).hint(hint));
    }
    Ok(bytes)
}
