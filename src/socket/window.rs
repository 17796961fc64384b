//! How much a sender over TCP may have under way.
//!
//! Lives here: how much of how many, and the option that opens a window. Never here: `receive_buffer`, which fixes it instead (`address`).

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetUsize;

use crate::kernel::Socket;
use crate::limits::{
    CROWD, NEIGHBOURS, RECEIVE_BUFFER_IN_CROWD, RECEIVE_BUFFER_OF_NEIGHBOUR, RECEIVE_BUFFERS_OF_NEIGHBOURS,
    RECEIVE_WINDOW,
};

/// The option's name for [`setsockopt`]; nix has none, but its macro makes one that is safe to use.
#[derive(Clone, Copy, Debug)]
struct LowWater;

nix::setsockopt_impl!(LowWater, libc::SOL_SOCKET, libc::SO_RCVLOWAT, usize, SetUsize);

/// Settles how much a connection may leave unread that comes after `others` of its reactor: as much as a turn takes, so that those which
/// flood have equal shares, or less if they are many, and less still if they are near.
///
/// # Errors
/// As setsockopt(2).
pub fn grant(connection: &impl Socket, others: usize) -> io::Result<()> {
    if others >= NEIGHBOURS && connection.is_near() {
        let share = RECEIVE_BUFFERS_OF_NEIGHBOURS / others;
        return connection.bound_receive_buffer(share.max(RECEIVE_BUFFER_OF_NEIGHBOUR));
    }
    match others < CROWD {
        true => connection.open_window(RECEIVE_WINDOW),
        false => connection.bound_receive_buffer(RECEIVE_BUFFER_IN_CROWD),
    }
}

/// Lets the window of a connection grow to so many bytes whether or not it is read from in time.
///
/// The kernel begins with 64 KiB and gives more to a connection from which more is read in a round trip than before
/// (`tcp_rcv_space_adjust` in net/ipv4/tcp_input.c). One that has its turn with others is read from less often than that, so it would
/// stay as it began, beside others that got all they ask for: a twentieth of their share was seen. Whoever sets `SO_RCVLOWAT`
/// is given the window that this takes, up to half of the last figure of `net.ipv4.tcp_rmem`, without the end of what the kernel does by
/// itself that `SO_RCVBUF` would be (`tcp_set_rcvlowat` in net/ipv4/tcp.c, kernel 4.18), and keeps it when the option is taken back.
///
/// # Errors
/// As setsockopt(2).
pub fn open(connection: &impl AsFd, bytes: usize) -> io::Result<()> {
    setsockopt(connection, LowWater, &bytes)?;
    Ok(setsockopt(connection, LowWater, &1)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::limits::{BUFFER_SIZE, BUFFERS_OFFERED_MAX};

    /// Long enough for what takes milliseconds; without the window it is never taken.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn what_one_turn_takes_may_be_unread() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let unread = listener.accept().unwrap().0;
        open(&unread, RECEIVE_WINDOW).unwrap();
        // Nearly all of it has to be with the receiver.
        socket2::SockRef::from(&sender).set_send_buffer_size(4096).unwrap();
        sender.set_write_timeout(Some(PATIENCE)).unwrap();
        sender.write_all(&vec![0; BUFFERS_OFFERED_MAX * BUFFER_SIZE]).unwrap();
        drop(unread);
    }
}
