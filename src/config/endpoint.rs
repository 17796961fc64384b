//! An endpoint's URL, cut into its parts.
//!
//! Lives here: schemes, and which of them this version knows. Never here: what stands behind the scheme.

use super::error::{ConfigError, Mistake};
use super::nearest::{did_you_mean, nearest};
use super::word::Word;
use crate::kernel::Medium;

/// Schemes that are named in the design and do not work yet.
const LATER: [&str; 9] = ["tls", "http", "https", "redis", "rediss", "nats", "amqp", "amqps", "stdin"];

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

    fn schemes(self) -> &'static [&'static str] {
        match self {
            Role::Source => &["tcp", "udp", "unix", "unixgram"],
            Role::Sink => &["tcp", "udp", "unix", "unixgram", "stdout", "file"],
        }
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
            Role::Source => "a source is tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH",
            Role::Sink => {
                "a sink is tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unixgram:PATH, file:PATH or stdout"
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
    let known = match name.text().to_ascii_lowercase().as_str() {
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
        (Role::Source, Scheme::Peer(_)) | (Role::Sink, _) => Ok(known),
    }
}

fn not_yet(name: Word<'_>, role: Role) -> ConfigError {
    let mistake = Mistake::new(format!("unsupported scheme `{}`", name.text()));
    name.wrong(mistake.hint("not in this version").allowed(role.forms()))
}

fn unknown(name: Word<'_>, role: Role) -> ConfigError {
    let mistake = Mistake::new(format!("unknown scheme `{}`", name.text()));
    name.wrong(mistake.hint(did_you_mean(name.text(), role.schemes())).allowed(role.forms()))
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
