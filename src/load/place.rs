//! Where load is sent to and received at.
//!
//! Lives here: the four kinds of place, and sockets for them. Never here: what goes through one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that may wait to be accepted; a burst of a thousand must not be slowed down.
const BACKLOG: i32 = 4096;
/// What a sink for datagrams holds until they are read, in bytes; as much of it as the system gives.
const DATAGRAM_BUFFER: usize = 8 * 1024 * 1024;

/// An address and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP connections.
    Tcp(SocketAddr),
    /// UDP datagrams.
    Udp(SocketAddr),
    /// Connections to a unix socket.
    Unix(PathBuf),
    /// Datagrams to a unix socket.
    Unixgram(PathBuf),
}

impl From<SocketAddr> for Place {
    /// TCP.
    fn from(address: SocketAddr) -> Place {
        Place::Tcp(address)
    }
}

impl fmt::Display for Place {
    /// As the relay takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) => write!(f, "tcp://{address}"),
            Place::Udp(address) => write!(f, "udp://{address}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Unixgram(path) => write!(f, "unixgram:{}", path.display()),
        }
    }
}

impl Place {
    /// TCP on this machine, on a port of the kernel's choice.
    pub fn loopback() -> Place {
        Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Whether what goes there goes in datagrams.
    pub fn is_datagrams(&self) -> bool {
        matches!(self, Place::Udp(_) | Place::Unixgram(_))
    }

    fn socket(&self) -> io::Result<Socket> {
        match self {
            Place::Tcp(address) => Socket::new(Domain::for_address(*address), Type::STREAM, None),
            Place::Udp(address) => Socket::new(Domain::for_address(*address), Type::DGRAM, None),
            Place::Unix(_) => Socket::new(Domain::UNIX, Type::STREAM, None),
            Place::Unixgram(_) => Socket::new(Domain::UNIX, Type::DGRAM, None),
        }
    }

    fn address(&self) -> io::Result<SockAddr> {
        match self {
            Place::Tcp(address) | Place::Udp(address) => Ok((*address).into()),
            Place::Unix(path) | Place::Unixgram(path) => SockAddr::unix(path),
        }
    }

    /// A socket connected there, that never blocks.
    ///
    /// # Errors
    /// As connect(2), and `TimedOut` once `patience` is over.
    pub(super) fn connect(&self, patience: Duration) -> io::Result<Socket> {
        let socket = self.socket()?;
        socket.connect_timeout(&self.address()?, patience)?;
        if let Place::Tcp(_) = self {
            socket.set_tcp_nodelay(true)?;
        }
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// A socket bound there, and listening if it takes connections, that never blocks. With the port that the kernel chose.
    ///
    /// # Errors
    /// As bind(2) and listen(2).
    pub(super) fn open(&self) -> io::Result<(Socket, Place)> {
        let socket = self.socket()?;
        if let Place::Tcp(_) = self {
            socket.set_reuse_address(true)?;
        }
        if self.is_datagrams() && setsockopt(&socket, RcvBufForce, &DATAGRAM_BUFFER).is_err() {
            socket.set_recv_buffer_size(DATAGRAM_BUFFER)?;
        }
        socket.bind(&self.address()?)?;
        if !self.is_datagrams() {
            socket.listen(BACKLOG)?;
        }
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?.as_socket();
        let place = match (self, local) {
            (Place::Tcp(_), Some(local)) => Place::Tcp(local),
            (Place::Udp(_), Some(local)) => Place::Udp(local),
            (place, _) => place.clone(),
        };
        Ok((socket, place))
    }
}
