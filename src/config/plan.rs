//! What the program uses: every value decided, nothing optional that must be there.
//!
//! Lives here: plain data. Never here: parsing, or where a value came from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::framing::Oversize;
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
    /// Where messages come from; at least one.
    pub sources: Vec<Source>,
    /// Where they go; exactly one so far.
    pub sinks: Vec<Sink>,
    /// Where the books are written as JSON at the end.
    pub ledger_file: Option<PathBuf>,
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

/// One TCP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Unique among the sources; in logs and books.
    pub name: String,
    /// Where it listens.
    pub listen: HostPort,
    /// How its messages are told apart.
    pub framing: Framing,
    /// Longest message, in bytes of payload.
    pub max_message: usize,
    /// What happens to a longer one.
    pub oversize: Oversize,
    /// Connections held at once, over all reactors; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// Whether a drain sends FIN to a sender that is not quiet, so that it stops by itself.
    pub half_close: bool,
    /// How long a drain reads on from a sender that goes on sending; at most half of the drain's own time.
    pub linger: Duration,
    /// `SO_RCVBUF` of its connections in bytes; `None` leaves the system's automatic sizing.
    pub receive_buffer: Option<usize>,
}

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Unique among the sinks; in logs and books.
    pub name: String,
    /// Where the messages go.
    pub target: Target,
    /// How they are framed; `None` frames each as its source does.
    pub framing: Option<Framing>,
    /// What makes a message delivered.
    pub confirm: Confirm,
    /// Links per reactor; 1 unless the target is TCP.
    pub connections: usize,
}

/// Where a sink sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A TCP connection.
    Tcp(HostPort),
    /// This process's standard output.
    Stdout,
    /// A regular file, appended to; created if missing.
    File(PathBuf),
}

/// What makes a message delivered (README, "Delivered means confirmed").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// Our kernel took its last byte.
    Written,
    /// The receiving host's TCP acknowledged its last byte (`tcpi_bytes_acked`, tcp(7)).
    Acked,
}

impl fmt::Display for Target {
    /// As it is typed after `--to`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(to) => write!(f, "tcp://{to}"),
            Target::Stdout => f.write_str("stdout"),
            Target::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}
