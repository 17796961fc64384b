//! An address of a sink that is not there yet, or not any more.
//!
//! Lives here: keeping others from it. Never here: listening.

use std::net::SocketAddr;

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
