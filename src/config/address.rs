//! The host and port of an endpoint on the network.
//!
//! Lives here: the part of a URL between `tcp:` or `udp:` and `?`. Never here: resolving the name.

use std::net::Ipv4Addr;

use url::{Host, ParseError, Url};

use super::endpoint::{Endpoint, Role, Scheme};
use super::error::{ConfigError, Mistake};
use super::plan::HostPort;
use super::word::Word;

/// Longest host name (RFC 1035 section 2.3.4, without the root).
const HOST_NAME_MAX: usize = 253;

/// Reads `//HOST:PORT`, the `rest` of an endpoint's URL.
pub(super) fn host_port(endpoint: Endpoint<'_>, role: Role) -> Result<HostPort, ConfigError> {
    one(authority(endpoint.rest, endpoint.scheme)?, role)
}

/// Reads `//HOST:PORT,HOST:PORT`, each with its place.
pub(super) fn hosts_and_ports<'a>(endpoint: Endpoint<'a>) -> Result<Vec<(Word<'a>, HostPort)>, ConfigError> {
    let authority = authority(endpoint.rest, endpoint.scheme)?;
    authority.split(',').map(|word| Ok((word, one(word, Role::Sink)?))).collect()
}

/// Reads `HOST` or `HOST:PORT`.
pub(super) fn host_and_port(word: Word<'_>, role: Role, default_port: u16) -> Result<HostPort, ConfigError> {
    let text = word.text();
    let has_port = text.rfind(':').is_some_and(|colon| !text[colon..].contains(']'));
    if has_port || text.is_empty() {
        return one(word, role);
    }
    let url = Url::parse(&format!("tcp://{text}")).map_err(|error| refused(error, word, word.behind()))?;
    Ok(HostPort { host: checked_host(&url, word)?, port: default_port })
}

fn one(authority: Word<'_>, role: Role) -> Result<HostPort, ConfigError> {
    if authority.text().is_empty() {
        return Err(authority.wrong(no_host()));
    }
    let (host, port) = cut(authority)?;
    let url =
        Url::parse(&format!("tcp://{}", authority.text())).map_err(|error| refused(error, host, port))?;
    let address = HostPort { host: checked_host(&url, host)?, port: url.port().unwrap_or(0) };
    if role == Role::Sink && address.port == 0 {
        return Err(
            port.wrong(Mistake::new("port 0").hint("1 to 65535; only a source may leave the choice open"))
        );
    }
    Ok(address)
}

fn authority(rest: Word<'_>, scheme: Scheme) -> Result<Word<'_>, ConfigError> {
    let scheme = scheme.name();
    if rest.text().is_empty() {
        return Err(rest.wrong(no_host()));
    }
    let Some(after) = rest.strip_prefix("//") else {
        return Err(
            rest.wrong(Mistake::new("no `//`").hint(format!("did you mean `{scheme}://{}`?", rest.text())))
        );
    };
    let (authority, path) = after.split_once('/');
    if let Some(path) = path.filter(|path| !path.text().is_empty()) {
        return Err(path.wrong(Mistake::new("a path").hint(format!("a {scheme} endpoint has none"))));
    }
    if let (user, Some(_)) = authority.split_once('@') {
        return Err(user.wrong(Mistake::new("a user name").hint(format!("a {scheme} endpoint takes none"))));
    }
    Ok(authority)
}

/// Host and port, neither of them empty.
fn cut(authority: Word<'_>) -> Result<(Word<'_>, Word<'_>), ConfigError> {
    let text = authority.text();
    let host_len = if text.starts_with('[') {
        text.find(']').ok_or_else(|| no_brackets(authority))? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let host = authority.until(host_len);
    let port = authority.from(host_len).strip_prefix(":").filter(|port| !port.text().is_empty());
    match port {
        Some(port) if port.text().contains(':') => Err(no_brackets(authority)),
        _ if host.text().is_empty() => Err(authority.wrong(no_host())),
        Some(port) => Ok((host, port)),
        None => Err(authority.behind().wrong(Mistake::new("no port").hint("like 127.0.0.1:5140"))),
    }
}

fn no_brackets(authority: Word<'_>) -> ConfigError {
    authority.wrong(Mistake::new("an IPv6 address without brackets").hint("like [::1]:5140"))
}

fn no_host() -> Mistake {
    Mistake::new("no host")
        .hint("like 127.0.0.1:5140 for this machine, 0.0.0.0:5140 for every IPv4 address of it")
}

fn refused(error: ParseError, host: Word<'_>, port: Word<'_>) -> ConfigError {
    if error == ParseError::InvalidPort {
        let mistake = Mistake::new(format!("not a port: `{}`", port.text()));
        port.wrong(mistake.hint("a number up to 65535"))
    } else if error == ParseError::InvalidIpv6Address {
        let mistake = Mistake::new(format!("not an IPv6 address: `{}`", host.text()));
        host.wrong(mistake.hint("like [::1]"))
    } else {
        not_a_host(host)
    }
}

fn not_a_host(host: Word<'_>) -> ConfigError {
    let hint =
        if host.text() == "*" { "0.0.0.0 or [::]" } else { "a name, an IPv4 address or [an IPv6 address]" };
    host.wrong(Mistake::new(format!("not a host: `{}`", host.text())).hint(hint))
}

/// The URL standard lets far more pass as a host of a scheme that it does not know.
fn checked_host(url: &Url, host: Word<'_>) -> Result<String, ConfigError> {
    match url.host() {
        Some(Host::Ipv6(address)) => Ok(address.to_string()),
        Some(Host::Ipv4(address)) => Ok(address.to_string()),
        Some(Host::Domain(name)) if is_ipv4(name) || is_host_name(name) => Ok(name.to_owned()),
        Some(Host::Domain(_)) | None => Err(not_a_host(host)),
    }
}

fn is_ipv4(name: &str) -> bool {
    name.parse::<Ipv4Addr>().is_ok()
}

/// Letters, digits, `-`, `_` and dots; not only digits and dots, which would be an IPv4 address gone wrong.
fn is_host_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let only_number = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    name.len() <= HOST_NAME_MAX && name.bytes().all(allowed) && !only_number
}
