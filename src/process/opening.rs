//! What a plan names, opened: listeners, socket files, datagram sockets, files, and the addresses of peers.
//!
//! Lives here: one function a kind. Never here: threads, or what happens on what is open.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::SockRef;
use tracing::warn;

use super::bring_up::StartError;
use crate::config::plan::{HostPort, Listen, Plan, Source, Target};
use crate::framing::SourceFraming;
use crate::kernel::{Address, Waits};
use crate::message::Framing;
use crate::reactor::{SinkSetup, SourceSetup};
use crate::socket::address;
use crate::socket::listener::Seats;
use crate::socket::sink::{Endpoint, shared_turn};
use crate::socket::socket_file::{self, Owned};

/// Where the relay listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listening {
    /// TCP, with the port that the kernel chose.
    Tcp(SocketAddr),
    /// UDP, with the port that the kernel chose.
    Udp(SocketAddr),
    /// Connections to a socket file.
    Unix(PathBuf),
    /// Datagrams to a socket file.
    Unixgram(PathBuf),
    /// Requests of HTTP clients, with the port that the kernel chose.
    Http(SocketAddr),
    /// A queue that is pulled from, as it is typed.
    Pull(String),
}

impl fmt::Display for Listening {
    /// As it is typed after `--from`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listening::Tcp(address) => write!(f, "tcp://{address}"),
            Listening::Udp(address) => write!(f, "udp://{address}"),
            Listening::Unix(path) => write!(f, "unix:{}", path.display()),
            Listening::Unixgram(path) => write!(f, "unixgram:{}", path.display()),
            Listening::Http(address) => write!(f, "http://{address}"),
            Listening::Pull(queue) => f.write_str(queue),
        }
    }
}

/// All sources of a plan, opened.
pub(super) struct Sources {
    /// For each reactor, its part of each source.
    pub(super) inlets: Vec<Vec<SourceSetup<OwnedFd>>>,
    pub(super) listening: Vec<Listening>,
    /// Ours as long as the relay lives.
    pub(super) files: Vec<Owned>,
}

/// One source's sockets for each reactor.
type ByReactor = Vec<Vec<OwnedFd>>;

impl Sources {
    pub(super) fn open(plan: &[Source], reactors: usize) -> Result<Sources, StartError> {
        let inlets = std::iter::repeat_with(Vec::new).take(reactors).collect();
        let mut sources = Sources { inlets, listening: Vec::new(), files: Vec::new() };
        for source in plan {
            let seats = Arc::new(Seats::new(source.max_connections, source.max_connections_per_client));
            let by_reactor = sources.sockets(source, reactors)?;
            for (of_reactor, mut sockets) in sources.inlets.iter_mut().zip(by_reactor) {
                let is_http = matches!(source.listen, Listen::Http(_));
                let http = if is_http { sockets.pop().map(TcpListener::from) } else { None };
                of_reactor.push(SourceSetup {
                    plan: source.clone(),
                    seats: Arc::clone(&seats),
                    sockets,
                    http,
                });
            }
        }
        Ok(sources)
    }

    fn sockets(&mut self, source: &Source, reactors: usize) -> Result<ByReactor, StartError> {
        let buffer = source.receive_buffer;
        match &source.listen {
            Listen::Tcp(at) => {
                self.on_each_address(at, reactors, Listening::Tcp, |at| address::listen(at, reactors, buffer))
            }
            // The first address: a reactor has one listener for HTTP.
            Listen::Http(listen) => {
                let addresses = address::resolve(&listen.at)?;
                self.on_each_of(&addresses[..1], reactors, Listening::Http, |at| {
                    address::listen(at, reactors, None)
                })
            }
            Listen::Pull(pull) => {
                self.listening.push(Listening::Pull(pull.service.to_string()));
                Ok(std::iter::repeat_with(Vec::new).take(reactors).collect())
            }
            Listen::Udp(at) => self.on_each_address(at, reactors, Listening::Udp, |at| {
                address::bind_datagrams(at, reactors, buffer)
            }),
            Listen::Unix(file) => {
                let (socket, owned) = socket_file::listen(file)?;
                self.listening.push(Listening::Unix(file.path.clone()));
                self.files.push(owned);
                // One queue of connections, from which each reactor takes.
                (0..reactors).map(|_| Ok(vec![socket.try_clone()?])).collect()
            }
            Listen::Unixgram(file) => {
                let (socket, owned) = socket_file::bind_datagrams(file, buffer)?;
                self.listening.push(Listening::Unixgram(file.path.clone()));
                // Several readers would mix up one sender's order; sources take turns with the reactors.
                let reader = self.files.len() % reactors;
                self.files.push(owned);
                let mut socket = Some(socket);
                let of = |reactor| if reactor == reader { socket.take() } else { None };
                Ok((0..reactors).map(of).map(|socket| socket.into_iter().collect()).collect())
            }
        }
    }

    /// Each reactor has a socket of its own for every address that the host has.
    fn on_each_address<E>(
        &mut self,
        at: &HostPort,
        reactors: usize,
        listening: fn(SocketAddr) -> Listening,
        open: impl Fn(SocketAddr) -> Result<Vec<OwnedFd>, E>,
    ) -> Result<ByReactor, StartError>
    where
        StartError: From<E>,
    {
        self.on_each_of(&address::resolve(at)?, reactors, listening, open)
    }

    fn on_each_of<E>(
        &mut self,
        addresses: &[SocketAddr],
        reactors: usize,
        listening: fn(SocketAddr) -> Listening,
        open: impl Fn(SocketAddr) -> Result<Vec<OwnedFd>, E>,
    ) -> Result<ByReactor, StartError>
    where
        StartError: From<E>,
    {
        let mut by_reactor: ByReactor = std::iter::repeat_with(Vec::new).take(reactors).collect();
        for &address in addresses {
            let sockets = open(address)?;
            let bound = SockRef::from(&sockets[0]).local_addr()?.as_socket();
            self.listening.push(listening(bound.unwrap_or(address)));
            by_reactor.iter_mut().zip(sockets).for_each(|(of_reactor, socket)| of_reactor.push(socket));
        }
        Ok(by_reactor)
    }
}

/// The sink of this number, for as many reactors.
pub(super) fn open_outlet(
    plan: &Plan,
    number: usize,
    reactors: usize,
) -> Result<SinkSetup<OwnedFd>, StartError> {
    let sink = &plan.sinks[number];
    let file = match &sink.target {
        Target::Tcp(hosts) => return resolved("tcp", hosts, Address::Tcp),
        Target::Udp(hosts) => return resolved("udp", hosts, Address::Udp),
        Target::Unix(paths) => return Ok(at_paths("unix", paths, Address::Unix)),
        Target::Unixgram(paths) => return Ok(at_paths("unixgram", paths, Address::Unixgram)),
        Target::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
        Target::File(path) => open_file(path, delimiter(plan, number))?.into(),
        Target::Service(push) => return Ok(SinkSetup::Service(push.clone())),
    };
    let waits = if file.is_terminal() { Waits::InThread } else { Waits::Anywhere };
    let turns = (reactors > 1).then(shared_turn).transpose().map_err(io::Error::from)?;
    Ok(SinkSetup::File { file, waits, turns: turns.map(|turn| (turn.heard, turn.rung)) })
}

fn resolved(
    scheme: &str,
    hosts: &[HostPort],
    address: fn(SocketAddr) -> Address,
) -> Result<SinkSetup<OwnedFd>, StartError> {
    let endpoint = |host: &HostPort| -> Result<Endpoint, StartError> {
        let addresses = address::resolve(host)?.into_iter().map(address).collect();
        Ok(Endpoint { name: format!("{scheme}://{host}"), addresses })
    };
    Ok(SinkSetup::Remote(hosts.iter().map(endpoint).collect::<Result<_, _>>()?))
}

/// Nothing is looked at: a receiver may come later.
fn at_paths(scheme: &str, paths: &[PathBuf], address: fn(PathBuf) -> Address) -> SinkSetup<OwnedFd> {
    let endpoint = |path: &PathBuf| Endpoint {
        name: format!("{scheme}:{}", path.display()),
        addresses: vec![address(path.clone())],
    };
    SinkSetup::Remote(paths.iter().map(endpoint).collect())
}

/// What every message in a sink ends with, if that is one byte.
fn delimiter(plan: &Plan, sink: usize) -> Option<u8> {
    let own = plan.sinks[sink].framing.map(SourceFraming::Always);
    let sources = plan.sources.iter().filter(|source| source.to.contains(&sink));
    let ends = |framing| match framing {
        // What has no end by itself is written as a line.
        SourceFraming::Always(Framing::Line | Framing::Datagram) => Some(b'\n'),
        SourceFraming::Always(Framing::Nul) => Some(0),
        SourceFraming::Always(Framing::Octet | Framing::U32) | SourceFraming::Auto => None,
    };
    let mut all = sources.map(|source| ends(own.unwrap_or(source.framing)));
    // Dead letters have no source.
    let first = all.next().unwrap_or_else(|| ends(own.unwrap_or(Framing::Line.into())));
    first.filter(|_| all.all(|end| end == first))
}

/// Only a regular file has an end to append to, which is where each reactor finds what the others wrote (open(2), O_APPEND).
fn open_file(path: &Path, delimiter: Option<u8>) -> Result<File, StartError> {
    let refused = |error, remedy| StartError::File { path: path.to_owned(), error, remedy };
    if path.metadata().is_ok_and(|known| !known.is_file()) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(refused(error, "for a pipe or a terminal, use --to stdout and redirect it"));
    }
    let opened = OpenOptions::new().append(true).create(true).open(path);
    let file = opened
        .map_err(|error| refused(error, "name a file in a folder that exists and may be written to"))?;
    if let Some(delimiter) = delimiter.filter(|end| last_byte(path).is_some_and(|last| last != *end)) {
        warn!(file = %path.display(), "it ends in the middle of a message, which ends here");
        (&file).write_all(&[delimiter]).map_err(|error| refused(error, "make room, or name another file"))?;
    }
    Ok(file)
}

/// What a file ends with: a relay that was killed, or gave up at a full disk, may have left half a message. `None` if it is empty, or may
/// not be read.
fn last_byte(path: &Path) -> Option<u8> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::End(-1)).ok()?;
    let mut last = [0];
    file.read_exact(&mut last).ok()?;
    Some(last[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunArgs;

    #[test]
    fn half_a_message_at_the_end_of_a_file_is_ended_before_the_next_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let after = |content: &[u8], from: &str, options: &str| {
            std::fs::write(&path, content).unwrap();
            let to = vec![format!("file:{}{options}", path.display())];
            let from = from.split(' ').map(str::to_owned).collect();
            let plan = RunArgs { from, to, ..RunArgs::default() }.plan().unwrap();
            drop(open_outlet(&plan, 0, 1).unwrap());
            std::fs::read(&path).unwrap()
        };
        let line = "tcp://127.0.0.1:0?framing=line";
        assert_eq!(after(b"one\ntw", line, ""), b"one\ntw\n");
        assert_eq!(after(b"one\ntw", "udp://127.0.0.1:0", ""), b"one\ntw\n");
        assert_eq!(after(b"one\0tw", line, "?framing=nul"), b"one\0tw\0");
        assert_eq!(after(b"one\n", line, ""), b"one\n");
        assert_eq!(after(b"", line, ""), b"");
        for counted in ["tcp://127.0.0.1:0?framing=octet", "tcp://127.0.0.1:0?framing=auto"] {
            assert_eq!(after(b"3 one3 t", counted, ""), b"3 one3 t", "where it is torn cannot be told");
            assert_eq!(after(b"one\ntw", &format!("{line}&name=a {counted}"), ""), b"one\ntw");
        }
    }
}
