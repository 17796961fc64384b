//! A sink, from its URL.
//!
//! Lives here: a sink's parameters and their defaults, one function a kind. Never here: how a single value is read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::address::host_port;
use super::endpoint::{Endpoint, Role, Scheme};
use super::error::{ConfigError, Mistake};
use super::names::Names;
use super::params::Params;
use super::plan::{Balance, Confirm, Sink, Target};
use super::values::{confirm, confirm_locally, count, framing};
use super::word::Word;
use crate::limits::SINK_CONNECTIONS_MAX;

const TCP_KEYS: [&str; 4] = ["framing", "confirm", "connections", "name"];
const LOCAL_KEYS: [&str; 3] = ["framing", "confirm", "name"];

/// Reads the URL of one sink.
pub(super) fn sink(typed: Word<'_>, names: &mut Names) -> Result<Sink, ConfigError> {
    let endpoint = Endpoint::read(typed, Role::Sink)?;
    match endpoint.scheme {
        Scheme::Tcp => tcp(endpoint, names),
        Scheme::Stdout => stdout(endpoint, names),
        Scheme::File => file(endpoint, names),
    }
}

fn tcp(endpoint: Endpoint<'_>, names: &mut Names) -> Result<Sink, ConfigError> {
    let address = host_port(endpoint.rest, Role::Sink)?;
    let params = Params::read(endpoint.query, "a tcp sink", &TCP_KEYS)?;
    let connections = params.get("connections", |text| count(text, 1..=SINK_CONNECTIONS_MAX))?;
    Ok(Sink {
        name: names.choose(&params, &address.to_string())?,
        target: Target::Tcp(vec![address]),
        balance: Balance::Spread,
        framing: params.get("framing", framing)?,
        confirm: params.get("confirm", confirm)?.unwrap_or(Confirm::Acked),
        connections: connections.unwrap_or(1),
    })
}

fn stdout(endpoint: Endpoint<'_>, names: &mut Names) -> Result<Sink, ConfigError> {
    if !matches!(endpoint.rest.text(), "" | "//") {
        return Err(endpoint
            .rest
            .wrong(Mistake::new("something behind `stdout:`").hint("it takes only ?PARAMETERS")));
    }
    let params = Params::read(endpoint.query, "stdout", &LOCAL_KEYS)?;
    local(Target::Stdout, &params, "stdout", names)
}

fn file(endpoint: Endpoint<'_>, names: &mut Names) -> Result<Sink, ConfigError> {
    let path = path(endpoint.rest)?;
    let params = Params::read(endpoint.query, "a file", &LOCAL_KEYS)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    local(Target::File(path), &params, &name, names)
}

fn local(
    target: Target,
    params: &Params<'_>,
    default_name: &str,
    names: &mut Names,
) -> Result<Sink, ConfigError> {
    Ok(Sink {
        name: names.choose(params, default_name)?,
        target,
        framing: params.get("framing", framing)?,
        confirm: params.get("confirm", confirm_locally)?.unwrap_or(Confirm::Written),
        connections: 1,
        balance: Balance::Spread,
    })
}

/// `///absolute/path` or `relative/path`; not resolved against anything, so that `..` stays what it is.
fn path(rest: Word<'_>) -> Result<PathBuf, ConfigError> {
    let path = match rest.strip_prefix("//") {
        Some(after) if !after.text().starts_with('/') => return Err(host_in_file(after)),
        Some(after) => after,
        None => rest,
    };
    let bytes: Vec<u8> = percent_decode_str(path.text()).collect();
    if bytes.contains(&0) {
        return Err(path.wrong(Mistake::new("a zero byte").hint("no path holds one")));
    }
    let path_buf = PathBuf::from(OsString::from_vec(bytes));
    if path.text().ends_with('/') || path_buf.file_name().is_none() {
        return Err(path.wrong(Mistake::new("no file name").hint("like file:///var/log/relay.log")));
    }
    Ok(path_buf)
}

fn host_in_file(after: Word<'_>) -> ConfigError {
    let (host, _) = after.split_once('/');
    let hint = format!("did you mean `file:///{0}` or `file:{0}`?", after.text());
    host.wrong(Mistake::new("a host before a file's path").hint(hint))
}
