//! What a plan names, opened: listeners, socket files, datagram sockets, files, and the addresses of peers.
//!
//! Lives here: one function a kind. Never here: threads, or what happens on what is open.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::SockRef;

use super::bring_up::StartError;
use crate::config::plan::{HostPort, Listen, Sink, Source, Target};
use crate::kernel::{Address, Waits};
use crate::reactor::{Inlet, Outlet};
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
    pub(super) inlets: Vec<Vec<Inlet<OwnedFd>>>,
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
                of_reactor.push(Inlet { plan: source.clone(), seats: Arc::clone(&seats), sockets, http });
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

pub(super) fn open_outlet(sink: &Sink, reactors: usize) -> Result<Outlet<OwnedFd>, StartError> {
    let file = match &sink.target {
        Target::Tcp(hosts) => return resolved("tcp", hosts, Address::Tcp),
        Target::Udp(hosts) => return resolved("udp", hosts, Address::Udp),
        Target::Unix(paths) => return Ok(at_paths("unix", paths, Address::Unix)),
        Target::Unixgram(paths) => return Ok(at_paths("unixgram", paths, Address::Unixgram)),
        Target::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
        Target::File(path) => open_file(path)?.into(),
        Target::Service(push) => return Ok(Outlet::Service(push.clone())),
    };
    let waits = if file.is_terminal() { Waits::InThread } else { Waits::Anywhere };
    let turns = (reactors > 1).then(shared_turn).transpose().map_err(io::Error::from)?;
    Ok(Outlet::File { file, waits, turns: turns.map(|turn| (turn.heard, turn.rung)) })
}

fn resolved(
    scheme: &str,
    hosts: &[HostPort],
    address: fn(SocketAddr) -> Address,
) -> Result<Outlet<OwnedFd>, StartError> {
    let endpoint = |host: &HostPort| -> Result<Endpoint, StartError> {
        let addresses = address::resolve(host)?.into_iter().map(address).collect();
        Ok(Endpoint { name: format!("{scheme}://{host}"), addresses })
    };
    Ok(Outlet::Remote(hosts.iter().map(endpoint).collect::<Result<_, _>>()?))
}

/// Nothing is looked at: a receiver may come later.
fn at_paths(scheme: &str, paths: &[PathBuf], address: fn(PathBuf) -> Address) -> Outlet<OwnedFd> {
    let endpoint = |path: &PathBuf| Endpoint {
        name: format!("{scheme}:{}", path.display()),
        addresses: vec![address(path.clone())],
    };
    Outlet::Remote(paths.iter().map(endpoint).collect())
}

/// Only a regular file has an end to append to, which is where each reactor finds what the others wrote (open(2), O_APPEND).
fn open_file(path: &Path) -> Result<File, StartError> {
    let refused = |error, remedy| StartError::File { path: path.to_owned(), error, remedy };
    if path.metadata().is_ok_and(|known| !known.is_file()) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(refused(error, "for a pipe or a terminal, use --to stdout and redirect it"));
    }
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| refused(error, "name a file in a folder that exists and may be written to"))
}
