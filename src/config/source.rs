//! A source, from its URL and its settings.
//!
//! Lives here: a source's options, their defaults, and which kind of source has which. Never here: how a single value is read.

use std::ops::RangeInclusive;

use super::address::host_port;
use super::endpoint::{Endpoint, Role, Scheme};
use super::error::{ConfigError, Mistake};
use super::names::Names;
use super::paths;
use super::plan::{Listen, Overflow, SocketFile, Source};
use super::service::{self, owner_of};
use super::services::Protocol;
use super::settings::{Known, Settings};
use super::values::{
    Size, block, count, duration, half_close, mode, overflow, oversize, size, source_framing,
};
use super::word::Word;
use crate::framing::{Oversize, SourceFraming};
use crate::kernel::Medium;
use crate::limits::{
    DATAGRAM_MAX, DRAIN_TIMEOUT_MAX, IDLE_TIMEOUT_MIN, LINGER_DEFAULT, MAX_CONNECTIONS_DEFAULT,
    MAX_CONNECTIONS_MAX, MAX_MESSAGE_DEFAULT, MAX_MESSAGE_MAX, RECEIVE_BUFFER_MAX, RECEIVE_BUFFER_MIN,
};
use crate::message::Framing;

const TCP_KEYS: [&str; 13] = [
    "framing",
    "max_message",
    "oversize",
    "to",
    "overflow",
    "max_connections",
    "max_connections_per_client",
    "allow",
    "idle_timeout",
    "half_close",
    "linger",
    "receive_buffer",
    "name",
];
const UDP_KEYS: [&str; 8] =
    ["framing", "max_message", "oversize", "to", "overflow", "allow", "receive_buffer", "name"];
const UNIX_KEYS: [&str; 11] = [
    "framing",
    "max_message",
    "oversize",
    "to",
    "overflow",
    "max_connections",
    "idle_timeout",
    "half_close",
    "linger",
    "mode",
    "name",
];
const UNIXGRAM_KEYS: [&str; 8] =
    ["framing", "max_message", "oversize", "to", "overflow", "receive_buffer", "mode", "name"];
const RECEIVE_BUFFER: RangeInclusive<usize> = RECEIVE_BUFFER_MIN..=RECEIVE_BUFFER_MAX;

/// A source, and the names of the sinks that it is sent to, which are looked up once all sinks are known.
pub(super) struct Draft<'a> {
    pub(super) source: Source,
    pub(super) settings: Settings<'a>,
}

/// Reads one source. In a file `settings` are its table, of which `listen` is the URL; behind a flag there are none.
pub(super) fn source<'a>(
    listen: Word<'a>,
    mut settings: Settings<'a>,
    max_in_flight: usize,
    names: &mut Names,
) -> Result<Draft<'a>, ConfigError> {
    let endpoint = Endpoint::read(listen, Role::Source)?;
    settings.add_query(endpoint.query)?;
    let medium = match endpoint.scheme {
        Scheme::Peer(medium) => medium,
        Scheme::Service(protocol, tls) => {
            let source = of_service(endpoint, (protocol, tls), &settings, max_in_flight, names)?;
            return Ok(Draft { source, settings });
        }
        Scheme::Stdout | Scheme::File => unreachable!("no source is a file"),
    };
    settings.check(known(medium, listen.is_in_file()))?;
    let listen = listen_at(endpoint, medium, &settings)?;
    let source = with_settings(listen, medium, &settings, max_in_flight, names)?;
    Ok(Draft { source, settings })
}

/// A queue, or a listener for HTTP.
fn of_service(
    endpoint: Endpoint<'_>,
    (protocol, tls): (Protocol, bool),
    settings: &Settings<'_>,
    max_in_flight: usize,
    names: &mut Names,
) -> Result<Source, ConfigError> {
    let mut keys = service::source_keys(protocol);
    let how = if protocol == Protocol::Http { "listen" } else { "pull" };
    if endpoint.name.is_in_file() {
        keys.push(how);
    }
    let owner = owner_of(protocol, tls, "source");
    settings.check(Known { owner: &owner, keys: &keys })?;
    let (listen, default_name) = match protocol {
        Protocol::Http => {
            let listen = service::listen(endpoint, tls, settings)?;
            let name = format!("http-{}", listen.at.port);
            (Listen::Http(Box::new(listen)), name)
        }
        Protocol::Redis | Protocol::RedisList | Protocol::Nats | Protocol::Amqp => {
            let pull = service::pull(endpoint, (protocol, tls), settings, max_in_flight)?;
            let name = pull.service.path.clone();
            (Listen::Pull(Box::new(pull)), name)
        }
    };
    let framing = settings.get("framing", |text| match source_framing(text)? {
        framing @ SourceFraming::Always(Framing::Line | Framing::Datagram) => Ok(framing),
        _ => Err(Mistake::new(format!("no framing of a request: `{text}`")).hint("line, or none: all of it")),
    })?;
    let longest = |text: &str| max_message(text, MAX_MESSAGE_MAX, max_in_flight);
    Ok(Source {
        name: names.choose(settings, &default_name)?,
        listen,
        framing: framing.unwrap_or(Framing::Datagram.into()),
        max_message: settings.get("max_message", longest)?.unwrap_or(MAX_MESSAGE_DEFAULT),
        oversize: Oversize::Close,
        to: Vec::new(),
        overflow: Overflow::Block,
        receive_buffer: None,
        allow: Vec::new(),
        max_connections: MAX_CONNECTIONS_DEFAULT,
        max_connections_per_client: None,
        idle_timeout: None,
        half_close: true,
        linger: LINGER_DEFAULT,
    })
}

fn known(medium: Medium, in_file: bool) -> Known<'static> {
    const FILE_KEYS: [&str; 14] = with_listen(TCP_KEYS);
    const FILE_UDP_KEYS: [&str; 9] = with_listen(UDP_KEYS);
    const FILE_UNIX_KEYS: [&str; 12] = with_listen(UNIX_KEYS);
    const FILE_UNIXGRAM_KEYS: [&str; 9] = with_listen(UNIXGRAM_KEYS);
    let (owner, in_url, in_table): (_, &[&str], &[&str]) = match medium {
        Medium::Tcp => ("a tcp source", &TCP_KEYS, &FILE_KEYS),
        Medium::Udp => ("a udp source", &UDP_KEYS, &FILE_UDP_KEYS),
        Medium::Unix => ("a unix source", &UNIX_KEYS, &FILE_UNIX_KEYS),
        Medium::Unixgram => ("a unixgram source", &UNIXGRAM_KEYS, &FILE_UNIXGRAM_KEYS),
    };
    Known { owner, keys: if in_file { in_table } else { in_url } }
}

/// In a file the URL is an option like the others.
const fn with_listen<const N: usize, const M: usize>(keys: [&'static str; N]) -> [&'static str; M] {
    let mut all = ["listen"; M];
    let mut place = 0;
    while place < N {
        all[place + 1] = keys[place];
        place += 1;
    }
    all
}

fn listen_at(endpoint: Endpoint<'_>, medium: Medium, settings: &Settings<'_>) -> Result<Listen, ConfigError> {
    let file = || -> Result<SocketFile, ConfigError> {
        Ok(SocketFile { path: paths::socket(endpoint)?, mode: settings.get("mode", mode)? })
    };
    Ok(match medium {
        Medium::Tcp => Listen::Tcp(host_port(endpoint, Role::Source)?),
        Medium::Udp => Listen::Udp(host_port(endpoint, Role::Source)?),
        Medium::Unix => Listen::Unix(file()?),
        Medium::Unixgram => Listen::Unixgram(file()?),
    })
}

fn with_settings(
    listen: Listen,
    medium: Medium,
    settings: &Settings<'_>,
    max_in_flight: usize,
    names: &mut Names,
) -> Result<Source, ConfigError> {
    let connections = |text: &str| count(text, 1..=MAX_CONNECTIONS_MAX);
    let longest = if medium.is_datagrams() { DATAGRAM_MAX } else { MAX_MESSAGE_MAX };
    let max_message = settings.get("max_message", |text| max_message(text, longest, max_in_flight))?;
    let allow = settings.list("allow")?;
    let allow = allow.iter().map(|item| block(&item.text).map_err(|mistake| item.word.wrong(mistake)));
    Ok(Source {
        name: names.choose(settings, &default_name(&listen))?,
        listen,
        framing: framing(medium, settings)?,
        max_message: max_message.unwrap_or(MAX_MESSAGE_DEFAULT),
        oversize: settings.get("oversize", oversize)?.unwrap_or(Oversize::Truncate),
        to: Vec::new(),
        overflow: settings.get("overflow", overflow)?.unwrap_or(Overflow::Block),
        receive_buffer: settings.get("receive_buffer", |text| size(text, RECEIVE_BUFFER))?,
        allow: allow.collect::<Result<_, _>>()?,
        max_connections: settings.get("max_connections", connections)?.unwrap_or(MAX_CONNECTIONS_DEFAULT),
        max_connections_per_client: settings.get("max_connections_per_client", connections)?,
        idle_timeout: settings
            .get("idle_timeout", |text| duration(text, IDLE_TIMEOUT_MIN..=DRAIN_TIMEOUT_MAX))?,
        half_close: settings.get("half_close", half_close)?.unwrap_or(true),
        linger: linger(settings)?,
    })
}

fn linger(settings: &Settings<'_>) -> Result<std::time::Duration, ConfigError> {
    let given =
        settings.get("linger", |text| duration(text, std::time::Duration::ZERO..=DRAIN_TIMEOUT_MAX))?;
    Ok(given.unwrap_or(LINGER_DEFAULT))
}

fn default_name(listen: &Listen) -> String {
    let of_file =
        |file: &SocketFile| file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match listen {
        Listen::Tcp(at) => format!("tcp-{}", at.port),
        Listen::Udp(at) => format!("udp-{}", at.port),
        Listen::Unix(file) | Listen::Unixgram(file) => of_file(file),
        Listen::Http(_) | Listen::Pull(_) => unreachable!("a service has a name of its own"),
    }
}

/// A stream has no datagrams; a datagram is a message unless it is said to hold several.
fn framing(medium: Medium, settings: &Settings<'_>) -> Result<SourceFraming, ConfigError> {
    let default = if medium.is_datagrams() { Framing::Datagram } else { Framing::Line };
    let given = settings.get("framing", |text| match source_framing(text)? {
        SourceFraming::Always(Framing::Datagram) if !medium.is_datagrams() => {
            Err(Mistake::new("no datagrams in a stream: `datagram`").hint("line, octet, auto, u32 or nul"))
        }
        framing => Ok(framing),
    })?;
    Ok(given.unwrap_or(default.into()))
}

/// One message must leave room for another, or the bound on what is in flight would stop the intake for good.
fn max_message(text: &str, longest: usize, max_in_flight: usize) -> Result<usize, Mistake> {
    let bytes = size(text, 1..=longest)?;
    let half = max_in_flight / 2;
    if bytes > half {
        let hint = format!("at most {}, half of max_in_flight", Size(half));
        return Err(Mistake::new(format!("too large for what may be in flight: `{text}`")).hint(hint));
    }
    Ok(bytes)
}
