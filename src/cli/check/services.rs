//! Queues and services as a human reads them: where, who we are there, and never a secret.
//!
//! Lives here: their rows. Never here: those of sockets and files.

use std::fmt;

use super::{row, size, time};
use crate::config::plan::Source;
use crate::config::services::{HttpListen, Login, Prefetch, Protocol, Pull, Push};
use crate::framing::SourceFraming;
use crate::message::Framing;

pub(super) fn show_pull(f: &mut fmt::Formatter<'_>, pull: &Pull) -> fmt::Result {
    match pull.service.protocol {
        Protocol::Redis => {
            row(f, "group", &pull.group)?;
            row(f, "consumer", or(&pull.consumer, "one of this process alone"))?;
            row(f, "claim_idle", time(pull.claim_idle))?;
        }
        Protocol::RedisList => row(f, "consumer", or(&pull.consumer, "the host's name"))?,
        Protocol::Nats => row(f, "consumer", &pull.consumer)?,
        Protocol::Amqp => match pull.prefetch {
            Prefetch::Bytes(bytes) => row(f, "prefetch", format_args!("what fits into {}", size(bytes)))?,
            Prefetch::Messages(messages) => row(f, "prefetch", messages)?,
        },
        Protocol::Http => {}
    }
    row(f, "batch", pull.service.batch)?;
    show_login(f, &pull.service.login)?;
    row(f, "timeout", time(pull.service.timeout))
}

/// What is chosen at the start, if the configuration names none.
fn or<'a>(consumer: &'a str, chosen: &'a str) -> &'a str {
    if consumer.is_empty() { chosen } else { consumer }
}

pub(super) fn show_listen(f: &mut fmt::Formatter<'_>, listen: &HttpListen, source: &Source) -> fmt::Result {
    let lines = source.framing == SourceFraming::Always(Framing::Line);
    row(f, "framing", if lines { "line: each line of a request" } else { "none: all of a request" })?;
    row(f, "max_message", size(source.max_message))?;
    show_login(f, &listen.login)?;
    row(f, "timeout", time(listen.timeout))
}

pub(super) fn show_push(f: &mut fmt::Formatter<'_>, push: &Push) -> fmt::Result {
    row(f, "batch", format_args!("{}, {}", push.service.batch, size(push.batch_bytes)))?;
    if !push.batch_wait.is_zero() {
        row(f, "batch_wait", time(push.batch_wait))?;
    }
    if push.service.protocol == Protocol::Http {
        row(f, "concurrency", push.concurrency)?;
        for (name, _) in &push.headers {
            // What it says may be a secret.
            row(f, "header", name)?;
        }
    }
    if let Some(entries) = push.max_len {
        row(f, "max_len", format_args!("about {entries}"))?;
    }
    if !push.exchange.is_empty() {
        row(f, "exchange", &push.exchange)?;
    }
    show_login(f, &push.service.login)?;
    row(f, "timeout", time(push.service.timeout))
}

fn show_login(f: &mut fmt::Formatter<'_>, login: &Login) -> fmt::Result {
    let Login { user, secret, credentials, authority, certificate, key } = login;
    if let Some(user) = user {
        row(f, "user", user)?;
    }
    if let Some(secret) = secret {
        row(f, "password", format_args!("in {secret}"))?;
    }
    let files = [
        ("credentials", credentials),
        ("ca_file", authority),
        ("certificate", certificate),
        ("key_file", key),
    ];
    for (name, file) in files {
        if let Some(file) = file {
            row(f, name, file.display())?;
        }
    }
    Ok(())
}
