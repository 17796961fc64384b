//! Queues and services as the program uses them: where one is, who we are there, and what is asked of it.
//!
//! Lives here: plain data, and how it is shown, never with a secret. Never here: parsing, or a protocol.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::plan::HostPort;

/// Which service, spoken to by which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Redis streams (XREADGROUP, XADD).
    Redis,
    /// Redis lists (LMOVE, RPUSH).
    RedisList,
    /// NATS JetStream.
    Nats,
    /// AMQP 0.9.1.
    Amqp,
    /// HTTP/1.1 (RFC 9112).
    Http,
}

/// One queue, stream or path of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Whether over TLS.
    pub tls: bool,
    /// Its servers, at least one; the next is tried when one is not there.
    pub hosts: Vec<HostPort>,
    /// What there: a stream, a list, a queue, a subject; of HTTP the path with its leading slash.
    pub path: String,
    /// The virtual host of AMQP; empty elsewhere.
    pub vhost: String,
    /// Who we are there.
    pub login: Login,
    /// How long one request may take before its connection is given up.
    pub timeout: Duration,
    /// Messages that are asked for, or sent, at once; at least 1.
    pub batch: usize,
}

/// Who we are to a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// A user name.
    pub user: Option<String>,
    /// The password, or the token where there is no user.
    pub secret: Option<Secret>,
    /// A NATS credentials file.
    pub credentials: Option<PathBuf>,
    /// Certificates to trust instead of the system's, as PEM.
    pub authority: Option<PathBuf>,
    /// Our own certificate chain, as PEM: what an HTTP listener shows, or an HTTP client that is asked for one.
    pub certificate: Option<PathBuf>,
    /// Its private key, as PEM.
    pub key: Option<PathBuf>,
}

/// Where a secret is read when it is needed. It is never held longer than a connection is made, and never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The first line of a file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

/// A queue that is pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Which one.
    pub service: Service,
    /// The consumer group of a Redis stream.
    pub group: String,
    /// Our name there: of Redis the consumer within the group, or whose processing list it is; of NATS the durable consumer.
    pub consumer: String,
    /// What another consumer has left unacknowledged for so long is claimed.
    pub claim_idle: Duration,
    /// What AMQP may hand out ahead of the acknowledgements.
    pub prefetch: Prefetch,
}

/// How many messages may be unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// As many as fit into so many bytes, the relay's `max_in_flight`.
    Bytes(usize),
    /// So many, at least 1.
    Messages(u16),
}

/// A listener for HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpListen {
    /// Where it listens.
    pub at: HostPort,
    /// The path that messages are posted to.
    pub path: String,
    /// The certificate, the key and the token that it asks for, if any.
    pub login: Login,
    /// Whether over TLS.
    pub tls: bool,
    /// How long a client may take to send its request.
    pub timeout: Duration,
}

/// A service that messages are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Which one.
    pub service: Service,
    /// Bytes of a batch at most.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub batch_wait: Duration,
    /// Requests at the same time; more than one do not keep the order.
    pub concurrency: usize,
    /// Entries that a Redis stream keeps, about; `None`: all.
    pub max_len: Option<u64>,
    /// The exchange of AMQP; empty is the default one.
    pub exchange: String,
    /// Further headers of an HTTP request.
    pub headers: Vec<(String, String)>,
}

impl Protocol {
    /// Every one.
    pub const ALL: [Protocol; 5] =
        [Protocol::Redis, Protocol::RedisList, Protocol::Nats, Protocol::Amqp, Protocol::Http];

    /// Its scheme, with TLS or without.
    pub fn scheme(self, tls: bool) -> &'static str {
        match (self, tls) {
            (Protocol::Redis, false) => "redis",
            (Protocol::Redis, true) => "rediss",
            (Protocol::RedisList, false) => "redis-list",
            (Protocol::RedisList, true) => "rediss-list",
            (Protocol::Nats, false) => "nats",
            (Protocol::Nats, true) => "nats+tls",
            (Protocol::Amqp, false) => "amqp",
            (Protocol::Amqp, true) => "amqps",
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
        }
    }

    /// Where its servers listen if nothing else is said.
    pub fn default_port(self, tls: bool) -> u16 {
        match (self, tls) {
            (Protocol::Redis | Protocol::RedisList, _) => 6379,
            (Protocol::Nats, _) => 4222,
            (Protocol::Amqp, false) => 5672,
            (Protocol::Amqp, true) => 5671,
            (Protocol::Http, false) => 80,
            (Protocol::Http, true) => 443,
        }
    }
}

impl fmt::Display for Service {
    /// As it is typed, without what could be a secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(HostPort::to_string).collect();
        write!(out, "{}://{}", self.protocol.scheme(self.tls), hosts.join(","))?;
        if !self.vhost.is_empty() {
            write!(out, "/{}", self.vhost.replace('/', "%2f"))?;
        }
        let slash = if self.protocol == Protocol::Http { "" } else { "/" };
        write!(out, "{slash}{}", self.path)
    }
}

impl fmt::Display for HttpListen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}{}", Protocol::Http.scheme(self.tls), self.at, self.path)
    }
}

impl fmt::Display for Secret {
    /// Where it stands.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(out, "{}", path.display()),
            Secret::Environment(name) => write!(out, "${name}"),
        }
    }
}
