//! A queue or a service, from its URL and its settings.
//!
//! Lives here: what stands behind such a scheme, and its options. Never here: how a single value is read, or a protocol.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::address::host_and_port;
use super::endpoint::{Endpoint, Role};
use super::error::{ConfigError, Mistake};
use super::plan::HostPort;
use super::services::{HttpListen, Login, Prefetch, Protocol, Pull, Push, Secret, Service};
use super::settings::Settings;
use super::values::{count, duration, header, size};
use super::word::Word;
use crate::limits::{
    BATCH_BYTES_DEFAULT, BATCH_DEFAULT, BATCH_MAX, CLAIM_IDLE_DEFAULT, CLAIM_IDLE_MIN, CONCURRENCY_MAX,
    DRAIN_TIMEOUT_MAX, MAX_MESSAGE_MAX, REQUEST_TIMEOUT_DEFAULT, REQUEST_TIMEOUT_MIN, SINK_ENDPOINTS_MAX,
};

/// Options of who we are to a service.
const LOGIN: [&str; 6] = ["user", "password_file", "password_env", "credentials_file", "ca_file", "timeout"];
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=DRAIN_TIMEOUT_MAX;

/// What such an endpoint is called.
pub(super) fn owner_of(protocol: Protocol, tls: bool, role: &str) -> String {
    let article = if protocol == Protocol::Amqp { "an" } else { "a" };
    format!("{article} {} {role}", protocol.scheme(tls))
}

/// The options that a source of this protocol knows.
pub(super) fn source_keys(protocol: Protocol) -> Vec<&'static str> {
    let own: &[&str] = match protocol {
        Protocol::Redis => &["group", "consumer", "claim_idle", "batch"],
        Protocol::RedisList | Protocol::Nats => &["consumer", "batch"],
        Protocol::Amqp => &["prefetch", "batch"],
        Protocol::Http => &["framing", "max_message", "certificate_file", "key_file"],
    };
    [own, login_keys(protocol), &["to", "name"]].concat()
}

/// The options that a sink of this protocol knows.
pub(super) fn sink_keys(protocol: Protocol) -> Vec<&'static str> {
    let own: &[&str] = match protocol {
        Protocol::Redis => &["max_len"],
        Protocol::RedisList | Protocol::Nats => &[],
        Protocol::Amqp => &["exchange"],
        Protocol::Http => &["concurrency", "headers", "certificate_file", "key_file"],
    };
    let batch: &[&str] = &["batch", "batch_bytes", "batch_wait", "dead_letter", "name"];
    [own, login_keys(protocol), batch].concat()
}

fn login_keys(protocol: Protocol) -> &'static [&'static str] {
    const WITHOUT_CREDENTIALS: [&str; 5] = ["user", "password_file", "password_env", "ca_file", "timeout"];
    if protocol == Protocol::Nats { &LOGIN } else { &WITHOUT_CREDENTIALS }
}

/// A queue that is pulled from.
pub(super) fn pull(
    endpoint: Endpoint<'_>,
    (protocol, tls): (Protocol, bool),
    settings: &Settings<'_>,
    max_in_flight: usize,
) -> Result<Pull, ConfigError> {
    let named = |key| settings.get(key, name_there);
    let idle = settings.get("claim_idle", |text| duration(text, CLAIM_IDLE_MIN..=DRAIN_TIMEOUT_MAX))?;
    let prefetch = settings.get("prefetch", |text| {
        let messages = count(text, 1..=BATCH_MAX)?;
        Ok(u16::try_from(messages).unwrap_or(u16::MAX))
    })?;
    let default_consumer = if protocol == Protocol::Nats { "slackwater" } else { "" };
    Ok(Pull {
        service: service(&[endpoint], (protocol, tls), settings)?,
        group: named("group")?.unwrap_or_else(|| "slackwater".to_owned()),
        consumer: named("consumer")?.unwrap_or_else(|| default_consumer.to_owned()),
        claim_idle: idle.unwrap_or(CLAIM_IDLE_DEFAULT),
        prefetch: prefetch.map_or(Prefetch::Bytes(max_in_flight), Prefetch::Messages),
    })
}

/// A service that messages are sent to.
pub(super) fn push(
    endpoints: &[Endpoint<'_>],
    (protocol, tls): (Protocol, bool),
    settings: &Settings<'_>,
) -> Result<Push, ConfigError> {
    let entries = |text: &str| count(text, 1..=usize::MAX);
    let headers = settings.list("headers")?;
    let headers = headers.iter().map(|item| header(&item.text).map_err(|mistake| item.word.wrong(mistake)));
    Ok(Push {
        service: service(endpoints, (protocol, tls), settings)?,
        batch_bytes: settings
            .get("batch_bytes", |text| size(text, 1..=MAX_MESSAGE_MAX))?
            .unwrap_or(BATCH_BYTES_DEFAULT),
        batch_wait: settings.get("batch_wait", |text| duration(text, WAIT))?.unwrap_or(Duration::ZERO),
        concurrency: settings.get("concurrency", |text| count(text, 1..=CONCURRENCY_MAX))?.unwrap_or(1),
        max_len: settings.get("max_len", entries)?.map(|entries| entries as u64),
        exchange: settings.get("exchange", |text| Ok(text.to_owned()))?.unwrap_or_default(),
        headers: headers.collect::<Result<_, _>>()?,
    })
}

/// A listener for HTTP.
pub(super) fn listen(
    endpoint: Endpoint<'_>,
    tls: bool,
    settings: &Settings<'_>,
) -> Result<HttpListen, ConfigError> {
    let protocol = Protocol::Http;
    let (authority, path) = authority_and_path(endpoint)?;
    let login = login(settings)?;
    let missing = tls && (login.certificate.is_none() || login.key.is_none());
    if missing {
        let mistake = Mistake::new("no certificate").hint("https needs certificate_file= and key_file=");
        return Err(endpoint.name.wrong(mistake));
    }
    Ok(HttpListen {
        at: host_and_port(authority, Role::Source, protocol.default_port(tls))?,
        path: path_of(path, authority, protocol)?,
        login,
        tls,
        timeout: request_timeout(settings)?,
    })
}

fn service(
    endpoints: &[Endpoint<'_>],
    (protocol, tls): (Protocol, bool),
    settings: &Settings<'_>,
) -> Result<Service, ConfigError> {
    let (first, others) = endpoints.split_first().expect("a service has a URL");
    let (authority, behind) = authority_and_path(*first)?;
    let mut hosts = hosts(authority, (protocol, tls))?;
    let path = path_of(behind, authority, protocol)?;
    for other in others {
        let (authority, behind) = authority_and_path(*other)?;
        if path_of(behind, authority, protocol)? != path {
            let mistake = Mistake::new("another path").hint("a sink's endpoints differ by their hosts alone");
            return Err(behind.unwrap_or(authority.behind()).wrong(mistake));
        }
        hosts.extend(self::hosts(authority, (protocol, tls))?);
    }
    if hosts.len() > SINK_ENDPOINTS_MAX {
        let mistake = Mistake::new("too many endpoints").hint(format!("at most {SINK_ENDPOINTS_MAX}"));
        return Err(authority.wrong(mistake));
    }
    let (vhost, path) = match protocol {
        Protocol::Amqp => vhost_and_queue(&path, behind.unwrap_or(authority.behind()))?,
        Protocol::Redis | Protocol::RedisList | Protocol::Nats | Protocol::Http => (String::new(), path),
    };
    let default_batch = if protocol == Protocol::Http { 1 } else { BATCH_DEFAULT };
    let batch = settings.get("batch", |text| count(text, 1..=BATCH_MAX))?;
    Ok(Service {
        protocol,
        tls,
        hosts,
        path,
        vhost,
        login: login(settings)?,
        timeout: request_timeout(settings)?,
        batch: batch.unwrap_or(default_batch),
    })
}

fn request_timeout(settings: &Settings<'_>) -> Result<Duration, ConfigError> {
    let given = settings.get("timeout", |text| duration(text, REQUEST_TIMEOUT_MIN..=DRAIN_TIMEOUT_MAX))?;
    Ok(given.unwrap_or(REQUEST_TIMEOUT_DEFAULT))
}

fn login(settings: &Settings<'_>) -> Result<Login, ConfigError> {
    let path = |key| settings.get(key, |text| Ok(PathBuf::from(text)));
    let file = path("password_file")?.map(Secret::File);
    let variable = settings.get("password_env", |text| Ok(Secret::Environment(text.to_owned())))?;
    if let (Some(_), Some(_), Some(word)) = (&file, &variable, settings.key("password_env")) {
        return Err(word.wrong(Mistake::new("two passwords").hint("password_file or password_env, not both")));
    }
    Ok(Login {
        user: settings.get("user", |text| Ok(text.to_owned()))?,
        secret: file.or(variable),
        credentials: path("credentials_file")?,
        authority: path("ca_file")?,
        certificate: path("certificate_file")?,
        key: path("key_file")?,
    })
}

/// `//HOST…` and what follows its slash. A password would be shown by everything that shows command lines.
fn authority_and_path(endpoint: Endpoint<'_>) -> Result<(Word<'_>, Option<Word<'_>>), ConfigError> {
    let Some(after) = endpoint.rest.strip_prefix("//") else {
        let scheme = endpoint.name.text();
        let hint = format!("like {scheme}://127.0.0.1/NAME");
        return Err(endpoint.rest.wrong(Mistake::new("no `//`").hint(hint)));
    };
    let (authority, path) = after.split_once('/');
    if let (user, Some(_)) = authority.split_once('@') {
        let hint = "give user= and password_file= or password_env=, which nobody else can read";
        return Err(user.wrong(Mistake::new("a login in a URL").hint(hint)));
    }
    Ok((authority, path))
}

fn hosts(authority: Word<'_>, (protocol, tls): (Protocol, bool)) -> Result<Vec<HostPort>, ConfigError> {
    let port = protocol.default_port(tls);
    authority.split(',').map(|word| host_and_port(word, Role::Sink, port)).collect()
}

fn path_of(path: Option<Word<'_>>, authority: Word<'_>, protocol: Protocol) -> Result<String, ConfigError> {
    let Some(word) = path.filter(|path| !path.text().is_empty()) else {
        return match (protocol, path) {
            (Protocol::Http, _) => Ok("/".to_owned()),
            (_, word) => {
                let what = match protocol {
                    Protocol::Redis => "no stream",
                    Protocol::RedisList => "no list",
                    Protocol::Nats => "no stream or subject",
                    Protocol::Amqp | Protocol::Http => "no queue",
                };
                let hint = format!("like {}://127.0.0.1/NAME", protocol.scheme(false));
                Err(word.unwrap_or(authority.behind()).wrong(Mistake::new(what).hint(hint)))
            }
        };
    };
    if protocol == Protocol::Http {
        return Ok(format!("/{}", word.text()));
    }
    if protocol == Protocol::Amqp {
        // Cut at its slash before it is decoded.
        return Ok(word.text().to_owned());
    }
    decoded(word.text()).ok_or_else(|| word.wrong(Mistake::new("bytes that are not UTF-8")))
}

fn vhost_and_queue(path: &str, place: Word<'_>) -> Result<(String, String), ConfigError> {
    let (vhost, queue) = path.rsplit_once('/').unwrap_or(("%2f", path));
    match (decoded(vhost), decoded(queue)) {
        (Some(vhost), Some(queue)) if !queue.is_empty() => Ok((vhost, queue)),
        _ => Err(place.wrong(Mistake::new("no queue").hint("like amqp://127.0.0.1/QUEUE or …/VHOST/QUEUE"))),
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

/// What a group or a consumer may be called everywhere.
fn name_there(text: &str) -> Result<String, Mistake> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("an unfit name: `{text}`")).hint("letters, digits, - and _"))
}
