//! An endpoint's URL, cut into its parts.
//!
//! Lives here: schemes, and which of them this version knows. Never here: what stands behind the scheme.

use super::error::{ConfigError, Mistake};
use super::nearest::{did_you_mean, nearest};
use super::services::Protocol;
use super::word::Word;
use crate::kernel::Medium;

/// Schemes that users may try, and this version does not have.
const LATER: [&str; 2] = ["tls", "stdin"];

/// The service that a scheme names, and whether over TLS.
fn service(scheme: &str) -> Option<(Protocol, bool)> {
    services().find(|(protocol, tls)| protocol.scheme(*tls) == scheme)
}

fn services() -> impl Iterator<Item = (Protocol, bool)> {
    Protocol::ALL.into_iter().flat_map(|protocol| [(protocol, false), (protocol, true)])
}

/// What this build was made with (`cargo build --features …`).
fn is_built(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Redis | Protocol::RedisList => cfg!(feature = "redis"),
        Protocol::Nats => cfg!(feature = "nats"),
        Protocol::Amqp => cfg!(feature = "amqp"),
        Protocol::Http => cfg!(feature = "http"),
    }
}

/// Which end of the relay an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Sink,
}

impl Role {
    /// The flag that names such endpoints.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Role::Source => "--from",
            Role::Sink => "--to",
        }
    }

    /// Every scheme that it knows, among them those that this build lacks.
    pub(super) fn schemes(self) -> Vec<&'static str> {
        let own: &[_] = match self {
            Role::Source => &["tcp", "udp", "unix", "unixgram"],
            Role::Sink => &["tcp", "udp", "unix", "unixgram", "stdout", "file"],
        };
        own.iter().copied().chain(services().map(|(protocol, tls)| protocol.scheme(tls))).collect()
    }

    /// What needs nothing behind it.
    fn bare_words(self) -> &'static [&'static str] {
        match self {
            Role::Source => &[],
            Role::Sink => &["stdout"],
        }
    }

    fn forms(self) -> &'static str {
        match self {
            Role::Source => {
                "a source is tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, http://HOST:PORT/PATH,\n\
                 redis://HOST/STREAM, redis-list://HOST/LIST, nats://HOST/STREAM or amqp://HOST/QUEUE"
            }
            Role::Sink => {
                "a sink is tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, file:PATH, stdout, http://HOST/PATH,\n\
                 redis://HOST/STREAM, redis-list://HOST/LIST, nats://HOST/SUBJECT or amqp://HOST/QUEUE"
            }
        }
    }
}

/// What kind of endpoint a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Peer(Medium),
    Stdout,
    File,
    /// A service, and whether over TLS.
    Service(Protocol, bool),
}

impl Scheme {
    /// As it stands in a URL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Scheme::Peer(Medium::Tcp) => "tcp",
            Scheme::Peer(Medium::Udp) => "udp",
            Scheme::Peer(Medium::Unix) => "unix",
            Scheme::Peer(Medium::Unixgram) => "unixgram",
            Scheme::Stdout => "stdout",
            Scheme::File => "file",
            Scheme::Service(protocol, tls) => protocol.scheme(tls),
        }
    }
}

/// The parts of an endpoint's URL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint<'a> {
    pub(super) scheme: Scheme,
    /// All of the scheme, without its colon.
    pub(super) name: Word<'a>,
    /// What stands between `scheme:` and `?`.
    pub(super) rest: Word<'a>,
    /// What follows `?`.
    pub(super) query: Option<Word<'a>>,
}

impl<'a> Endpoint<'a> {
    /// Cuts `typed`; `-` and `stdout` need no colon.
    pub(super) fn read(typed: Word<'a>, role: Role) -> Result<Self, ConfigError> {
        refuse_fragment(typed)?;
        let (address, query) = typed.split_once('?');
        let (name, rest) = match address.split_once(':') {
            (name, Some(rest)) => (name, rest),
            (name, None) if matches!(name.text(), "-" | "stdout") => (name, name.behind()),
            (..) => return Err(no_scheme(address, role)),
        };
        let scheme = scheme(name, role, address)?;
        Ok(Endpoint { scheme, name, rest, query })
    }
}

fn refuse_fragment(typed: Word<'_>) -> Result<(), ConfigError> {
    let Some(at) = typed.text().find('#') else { return Ok(()) };
    Err(typed.from(at).wrong(Mistake::new("a fragment").hint("write %23 for a `#` in a name")))
}

fn scheme(name: Word<'_>, role: Role, address: Word<'_>) -> Result<Scheme, ConfigError> {
    let lower = name.text().to_ascii_lowercase();
    if let Some((protocol, tls)) = service(&lower) {
        return if is_built(protocol) {
            Ok(Scheme::Service(protocol, tls))
        } else {
            Err(not_built(name, protocol))
        };
    }
    let known = match lower.as_str() {
        "tcp" => Scheme::Peer(Medium::Tcp),
        "udp" => Scheme::Peer(Medium::Udp),
        "unix" => Scheme::Peer(Medium::Unix),
        "unixgram" => Scheme::Peer(Medium::Unixgram),
        "-" | "stdout" => Scheme::Stdout,
        "file" => Scheme::File,
        later if LATER.contains(&later) => return Err(not_yet(name, role)),
        _ if is_host_and_port(address.text()) => return Err(no_scheme(address, role)),
        _ => return Err(unknown(name, role)),
    };
    match (role, known) {
        (Role::Source, Scheme::Stdout | Scheme::File) => Err(not_yet(name, role)),
        (Role::Source, Scheme::Peer(_) | Scheme::Service(..)) | (Role::Sink, _) => Ok(known),
    }
}

fn not_built(name: Word<'_>, protocol: Protocol) -> ConfigError {
    let feature = match protocol {
        Protocol::Redis | Protocol::RedisList => "redis",
        Protocol::Nats => "nats",
        Protocol::Amqp => "amqp",
        Protocol::Http => "http",
    };
    let mistake = Mistake::new(format!("`{}` is not in this build", name.text()));
    name.wrong(mistake.hint(format!("build it with `--features {feature}`")))
}

fn not_yet(name: Word<'_>, role: Role) -> ConfigError {
    let mistake = Mistake::new(format!("unsupported scheme `{}`", name.text()));
    name.wrong(mistake.hint("not in this version").allowed(role.forms()))
}

fn unknown(name: Word<'_>, role: Role) -> ConfigError {
    let mistake = Mistake::new(format!("unknown scheme `{}`", name.text()));
    name.wrong(mistake.hint(did_you_mean(name.text(), &role.schemes())).allowed(role.forms()))
}

fn no_scheme(address: Word<'_>, role: Role) -> ConfigError {
    let guess = guess(address.text(), role).map(|url| format!("did you mean `{url}`?"));
    address.wrong(Mistake::new("no scheme").hint(guess.unwrap_or_default()).allowed(role.forms()))
}

/// What somebody meant who left the scheme out.
fn guess(text: &str, role: Role) -> Option<String> {
    if is_host_and_port(text) {
        Some(format!("tcp://{text}"))
    } else if role == Role::Sink && text.contains('/') {
        Some(format!("file:{text}"))
    } else if text.contains('/') {
        Some(format!("unix:{text}"))
    } else {
        nearest(text, role.bare_words()).map(str::to_owned)
    }
}

fn is_host_and_port(text: &str) -> bool {
    let port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    text.rsplit_once(':').is_some_and(|(host, after)| !host.contains('/') && port(after))
}
