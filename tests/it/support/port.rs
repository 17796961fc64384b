//! The address of a sink that is not there yet, or not any more, and what its kernel holds for it.
//!
//! Lives here: keeping others from it, and a look into the kernel's table. Never here: listening.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port that is ours though nobody listens: connections are refused, and whoever binds with SO_REUSEADDR may listen.
pub struct Reserved {
    socket: Socket,
}

impl Reserved {
    pub fn on_loopback() -> Reserved {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a socket option");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        Reserved { socket }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound")
    }
}

/// Bytes that the kernel has taken in on connections to a local IPv4 address and nobody has read (proc_net_tcp(5)).
pub fn unread_bytes(at: SocketAddr) -> u64 {
    let local = local(at);
    let queue = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (ours, queues) = (fields.next()? == local, fields.nth(2)?);
        let unread = u64::from_str_radix(queues.split_once(':')?.1, 16).ok()?;
        ours.then_some(unread)
    };
    table().lines().filter_map(queue).sum()
}

/// Whether anyone listens on a local IPv4 address.
pub fn is_listened(at: SocketAddr) -> bool {
    const LISTEN: &str = "0A";
    let listens = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1) == Some(&local(at).as_str()) && fields.get(3) == Some(&LISTEN)
    };
    table().lines().any(listens)
}

/// Whether anyone has a UDP socket at a local IPv4 address (proc_net_udp has the form of proc_net_tcp(5)).
pub fn is_bound_for_datagrams(at: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/udp").expect("the kernel's table of UDP sockets");
    table.lines().any(|line| line.split_whitespace().nth(1) == Some(local(at).as_str()))
}

fn table() -> String {
    fs::read_to_string("/proc/net/tcp").expect("the kernel's table of connections")
}

/// An address as the table shows it.
fn local(at: SocketAddr) -> String {
    let IpAddr::V4(ip) = at.ip() else { panic!("only IPv4 addresses are looked for") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), at.port())
}
