//! What the program uses: every value decided, nothing optional that must be there.
//!
//! Lives here: plain data. Never here: parsing, or where a value came from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::services::{HttpListen, Pull, Push};
use crate::framing::{Oversize, SourceFraming};
use crate::limits::HTTP_CONNECTIONS_MAX;
use crate::message::Framing;

/// Everything that one relay process runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which cores get a reactor.
    pub cores: Cores,
    /// From the signal to the moment at which what is left is abandoned.
    pub drain_timeout: Duration,
    /// Bound on received and not yet settled bytes, per core.
    pub max_in_flight: usize,
    /// How long a reactor waits for more to come beside the first thing that comes, at most; zero: not at all, `None`: after datagrams by
    /// UDP, [`GATHER_DATAGRAMS`](crate::limits::GATHER_DATAGRAMS).
    pub gather: Option<Duration>,
    /// Where messages come from; at least one.
    pub sources: Vec<Source>,
    /// Where they go; at least one.
    pub sinks: Vec<Sink>,
    /// Where the books are written as JSON at the end.
    pub ledger_file: Option<PathBuf>,
}

impl Plan {
    /// Connections held at once, of all sources together: those that senders open.
    pub fn max_connections(&self) -> u64 {
        let of_source = |source: &Source| match source.listen {
            Listen::Tcp(_) | Listen::Unix(_) => source.max_connections as u64,
            Listen::Http(_) => HTTP_CONNECTIONS_MAX as u64,
            Listen::Udp(_) | Listen::Unixgram(_) | Listen::Pull(_) => 0,
        };
        self.sources.iter().map(of_source).sum()
    }
}

/// Which cores get a reactor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// Every core that this process may run on.
    All,
    /// That many, the first ones that this process may run on.
    Count(usize),
    /// Exactly these, by number.
    List(Vec<usize>),
}

/// A host name or address, and a port. IPv6 addresses are held without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Host name, IPv4 or IPv6 address.
    pub host: String,
    /// Port; 0 on a listener lets the kernel choose one.
    pub port: u16,
}

/// As in a URL: `host:port`, an IPv6 address in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostPort { host, port } = self;
        if host.contains(':') { write!(out, "[{host}]:{port}") } else { write!(out, "{host}:{port}") }
    }
}

/// One place that messages come in at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Unique among the sources; in logs and books.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
    /// How its messages are told apart.
    pub framing: SourceFraming,
    /// Longest message, in bytes of payload.
    pub max_message: usize,
    /// What happens to a longer one.
    pub oversize: Oversize,
    /// Indices of the sinks that each of its messages goes to, ascending; at least one.
    pub to: Vec<usize>,
    /// What happens to a message for which there is no room.
    pub overflow: Overflow,
    /// `SO_RCVBUF` of its connections, or of its datagram socket, in bytes; `None` leaves the system's own.
    pub receive_buffer: Option<usize>,
    /// Whom it takes messages from; empty: everyone. Always empty for a socket file.
    pub allow: Vec<IpNet>,
    /// Connections held at once, over all reactors; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// Connections of one client address held at once, over all reactors; more are refused. `None`: no limit.
    pub max_connections_per_client: Option<usize>,
    /// A connection that was silent for so long is closed. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Whether a drain sends FIN to a sender that is not quiet, so that it stops by itself.
    pub half_close: bool,
    /// How long a drain reads on from a sender that goes on sending; at most half of the drain's own time.
    pub linger: Duration,
}

/// Where a source's messages come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP connections.
    Tcp(HostPort),
    /// UDP datagrams.
    Udp(HostPort),
    /// Connections to a unix socket (`SOCK_STREAM`, unix(7)).
    Unix(SocketFile),
    /// Datagrams to a unix socket (`SOCK_DGRAM`, unix(7)).
    Unixgram(SocketFile),
    /// Requests of HTTP clients.
    Http(Box<HttpListen>),
    /// A queue, from which we pull.
    Pull(Box<Pull>),
}

/// A unix socket that a source makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// Where it is made.
    pub path: PathBuf,
    /// Its permissions (chmod(2)), e.g. 0o660; `None` leaves them to the umask.
    pub mode: Option<u32>,
}

impl Source {
    /// Whether its senders wait where there is no room: they are connected, and nothing of theirs is thrown away.
    pub fn can_wait(&self) -> bool {
        self.overflow == Overflow::Block && !matches!(self.listen, Listen::Udp(_) | Listen::Unixgram(_))
    }
}

/// What happens to a message for which there is no room within `max_in_flight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It stays with its sender, which feels it; the kernel drops datagrams then, and counts them.
    Block,
    /// It is received, thrown away, and counted as failed.
    DropNewest,
}

/// One sink: a pool of endpoints of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Unique among the sinks; in logs and books.
    pub name: String,
    /// Where the messages go.
    pub target: Target,
    /// How they are framed; `None` frames each as its source does, and what came as a datagram as a line. Always given where each
    /// message leaves in a datagram of its own.
    pub framing: Option<Framing>,
    /// What makes a message delivered.
    pub confirm: Confirm,
    /// Links to each endpoint, per reactor; 1 for files, datagrams and hashing.
    pub connections: usize,
    /// Which endpoint a message goes to.
    pub balance: Balance,
    /// Index of the sink that gets what this one refuses for good; `None`: that is counted, and gone.
    pub dead_letter: Option<usize>,
}

/// Where a sink sends. Lists have at least one endpoint, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// TCP connections.
    Tcp(Vec<HostPort>),
    /// UDP datagrams, a message each.
    Udp(Vec<HostPort>),
    /// Connections to unix sockets (`SOCK_STREAM`).
    Unix(Vec<PathBuf>),
    /// Datagrams to unix sockets (`SOCK_DGRAM`), a message each.
    Unixgram(Vec<PathBuf>),
    /// This process's standard output.
    Stdout,
    /// A regular file, appended to; created if missing.
    File(PathBuf),
    /// A queue or a service.
    Service(Box<Push>),
}

/// Which endpoint of its sink a message goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// A source link keeps to the link that was least loaded when it opened; one whose endpoint is down uses the next.
    Spread,
    /// The first that is healthy, in the order given.
    Failover,
    /// By a key of the message; an endpoint that is lost moves only its own share.
    Hash(Key),
    /// To each; settled when all have settled it, by the worst outcome.
    Copy,
}

/// What of a message decides where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// All of it.
    Message,
    /// What stands before the first such byte; all of it where there is none.
    Until(u8),
    /// What the first group of a pattern matches, or the whole pattern if it has no group; all of it where it does not match.
    Pattern(Pattern),
}

/// A regular expression over bytes; equal to another if it is written the same.
#[derive(Clone, Debug)]
pub struct Pattern(pub regex::bytes::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// What makes a message delivered (README, "Delivered means confirmed").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// Our kernel took its last byte.
    Written,
    /// The receiving host's TCP acknowledged its last byte (`tcpi_bytes_acked`, tcp(7)).
    Acked,
    /// The service answered that it has it.
    Replied,
}

impl fmt::Display for Listen {
    /// As it is typed after `--from`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(at) => write!(f, "tcp://{at}"),
            Listen::Udp(at) => write!(f, "udp://{at}"),
            Listen::Unix(file) => write!(f, "unix:{}", file.path.display()),
            Listen::Unixgram(file) => write!(f, "unixgram:{}", file.path.display()),
            Listen::Http(listen) => write!(f, "{listen}"),
            Listen::Pull(pull) => write!(f, "{}", pull.service),
        }
    }
}

impl fmt::Display for Target {
    /// As it is typed after `--to`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(to) => write!(f, "tcp://{}", listed(to)),
            Target::Udp(to) => write!(f, "udp://{}", listed(to)),
            Target::Unix(to) => write!(f, "unix:{}", listed(to.iter().map(|path| path.display()))),
            Target::Unixgram(to) => write!(f, "unixgram:{}", listed(to.iter().map(|path| path.display()))),
            Target::Stdout => f.write_str("stdout"),
            Target::File(path) => write!(f, "file:{}", path.display()),
            Target::Service(push) => write!(f, "{}", push.service),
        }
    }
}

fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(",")
}
