//! Where things are on the network, and sockets as this project opens them.
//!
//! Lives here: resolving, binding, options. Never here: what then happens on a socket.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, RxqOvfl};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;
use tracing::warn;

use crate::config::plan::HostPort;
use crate::kernel::Address;
use crate::limits::{BACKLOG, BIND_PATIENCE, BIND_RETRY, KEEPALIVE_AFTER, KEEPALIVE_EVERY};

/// Why an address cannot be used.
#[derive(Debug, Error)]
pub enum AddressError {
    /// The name has no address.
    #[error("cannot resolve {host}: {error}\nremedy: check the name, or write the address as numbers")]
    Unresolved {
        /// The name as written.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// Another process has the port, or it is not ours to take.
    #[error("cannot listen on {address}: {error}\nremedy: {}", remedy(.error))]
    CannotListen {
        /// What was to be bound.
        address: SocketAddr,
        /// What bind(2) or listen(2) said.
        error: io::Error,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            "raise the limit of open files (`ulimit -n`, or LimitNOFILE= in the unit)"
        }
        io::ErrorKind::AddrInUse => {
            "stop the program that has the port (`ss -ltunp` names it), or choose another port with --from"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in the systemd unit), or choose a higher port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface has this address (`ip address` lists them); 0.0.0.0 takes all of IPv4, [::] all of IPv6"
        }
        _ => "see bind(2) and listen(2)",
    }
}

/// Every address of a host, in the resolver's order; at least one.
///
/// # Errors
/// [`AddressError::Unresolved`].
pub fn resolve(to: &HostPort) -> Result<Vec<SocketAddr>, AddressError> {
    let unresolved = |error| AddressError::Unresolved { host: to.host.clone(), error };
    let addresses: Vec<_> = (to.host.as_str(), to.port).to_socket_addrs().map_err(unresolved)?.collect();
    match addresses.is_empty() {
        false => Ok(addresses),
        true => Err(unresolved(io::Error::other("the name has no address"))),
    }
}

/// A socket for one attempt to connect to `to`.
///
/// # Errors
/// As socket(2) and setsockopt(2).
pub fn sink_socket(to: &Address) -> io::Result<OwnedFd> {
    let socket = match to {
        Address::Tcp(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_tcp_nodelay(true)?;
            keep_alive(&socket)?;
            socket
        }
        Address::Udp(address) => {
            Socket::new(Domain::for_address(*address), Type::DGRAM, Some(Protocol::UDP))?
        }
        Address::Unix(_) => Socket::new(Domain::UNIX, Type::STREAM, None)?,
        Address::Unixgram(_) => Socket::new(Domain::UNIX, Type::DGRAM, None)?,
    };
    Ok(socket.into())
}

/// Whether both ends of a connection are this very socket: TCP's simultaneous open with itself, when nobody listens on a
/// port of this host and the kernel chose the same port for our end. What is sent on it comes back and is acknowledged.
pub fn is_connected_to_itself(socket: &impl AsFd) -> bool {
    let socket = SockRef::from(socket);
    let ends = (socket.local_addr(), socket.peer_addr());
    matches!(ends, (Ok(ours), Ok(theirs)) if ours.as_socket() == theirs.as_socket())
}

/// Probes a silent peer, so that a dead one is noticed.
fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// `count` listeners on one address, among which the kernel spreads new connections (SO_REUSEPORT, socket(7)).
///
/// The first is bound without SO_REUSEPORT, so that a port which any other process has is an error, even one that would share
/// it; only then is it opened to the others.
///
/// # Errors
/// [`AddressError::CannotListen`].
pub fn listen(
    address: SocketAddr,
    count: usize,
    receive_buffer: Option<usize>,
) -> Result<Vec<OwnedFd>, AddressError> {
    share(address, Type::STREAM, count, receive_buffer)
}

/// `count` sockets for datagrams to one address, among which the kernel spreads senders; otherwise as [`listen`].
///
/// # Errors
/// [`AddressError::CannotListen`].
pub fn bind_datagrams(
    address: SocketAddr,
    count: usize,
    receive_buffer: Option<usize>,
) -> Result<Vec<OwnedFd>, AddressError> {
    share(address, Type::DGRAM, count, receive_buffer)
}

fn share(
    address: SocketAddr,
    kind: Type,
    count: usize,
    receive_buffer: Option<usize>,
) -> Result<Vec<OwnedFd>, AddressError> {
    let cannot = |error| AddressError::CannotListen { address, error };
    let first = bound_patiently(address, kind, receive_buffer).map_err(cannot)?;
    let address = first.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(address);
    first.set_reuse_port(true).map_err(cannot)?;
    let others = (1..count).map(|_| bound(address, kind, receive_buffer, true));
    let sockets = std::iter::once(Ok(first)).chain(others).collect::<io::Result<Vec<_>>>().map_err(cannot)?;
    if kind == Type::STREAM {
        sockets.iter().try_for_each(|socket| socket.listen(BACKLOG)).map_err(cannot)?;
    }
    Ok(sockets.into_iter().map(OwnedFd::from).collect())
}

/// Bound without SO_REUSEPORT, once what a killed relay left behind is gone. No event tells when that is.
fn bound_patiently(address: SocketAddr, kind: Type, receive_buffer: Option<usize>) -> io::Result<Socket> {
    let began = Instant::now();
    loop {
        match bound(address, kind, receive_buffer, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < BIND_PATIENCE => {
                // An interrupted wait only tries once more.
                let _ = poll(&mut [], PollTimeout::try_from(BIND_RETRY).unwrap_or(PollTimeout::ZERO));
            }
            done => return done,
        }
    }
}

fn bound(address: SocketAddr, kind: Type, receive_buffer: Option<usize>, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Lets a port be bound again at once after a crash; it does not share one that is listened on. UDP would share it.
        socket.set_reuse_address(true)?;
        // Connections take it over from their listener.
        keep_alive(&socket)?;
    } else {
        setsockopt(&socket, RxqOvfl, &1)?;
    }
    if let Some(bytes) = receive_buffer {
        set_receive_buffer(&socket, bytes)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// As large as asked, or as large as the unprivileged may have it, which is then said.
pub(super) fn set_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    if setsockopt(socket, RcvBufForce, &bytes).is_ok() {
        return Ok(());
    }
    socket.set_recv_buffer_size(bytes)?;
    // The kernel doubles what it is asked for, to have room for its own bookkeeping (socket(7)).
    let given = socket.recv_buffer_size()? / 2;
    if given < bytes {
        warn!(
            asked = bytes,
            given, "receive_buffer is smaller than asked; raise it: `sysctl -w net.core.rmem_max={bytes}`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn local(fd: &OwnedFd) -> SocketAddr {
        SockRef::from(fd).local_addr().unwrap().as_socket().unwrap()
    }

    #[test]
    fn several_listeners_share_one_port_that_nobody_else_can_have() {
        let ours = listen("127.0.0.1:0".parse().unwrap(), 3, None).unwrap();
        let address = local(&ours[0]);
        assert!(ours.iter().all(|listener| local(listener) == address));
        let text = listen(address, 2, None).unwrap_err().to_string();
        assert!(text.contains(&address.to_string()) && text.contains("ss -ltunp"), "{text}");
    }

    #[test]
    fn a_dead_sender_is_noticed_as_well_as_a_dead_sink() {
        let listener = TcpListener::from(listen("127.0.0.1:0".parse().unwrap(), 1, None).unwrap().remove(0));
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap().0;
        let probes = SockRef::from(&accepted);
        assert!(probes.keepalive().unwrap());
        assert_eq!(probes.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
    }

    #[test]
    fn a_port_that_another_socket_would_share_is_an_error_all_the_same() {
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        other.set_reuse_port(true).unwrap();
        other.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        other.listen(1).unwrap();
        let address = other.local_addr().unwrap().as_socket().unwrap();
        assert!(listen(address, 2, None).is_err());
    }

    #[test]
    fn a_closed_port_can_be_bound_again_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
        drop((listener, client));
        assert_eq!(listen(address, 2, None).unwrap().len(), 2);
    }

    #[test]
    fn a_connection_to_itself_is_told_from_one_to_a_listener() {
        let itself = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        itself.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        itself.connect(&itself.local_addr().unwrap()).unwrap();
        assert!(is_connected_to_itself(&itself));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!is_connected_to_itself(&client));
    }

    #[test]
    fn an_unknown_name_says_which() {
        let unknown = HostPort { host: "no-such-host.invalid".to_owned(), port: 1 };
        assert!(resolve(&unknown).unwrap_err().to_string().contains("no-such-host.invalid"));
    }
}
