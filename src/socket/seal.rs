//! The freeze: from one moment on our kernel takes nothing more in on a socket, and acknowledges nothing.
//!
//! A filter that keeps no byte of any packet is attached (`filter`); the TCP stack drops a filtered segment before it looks
//! at it, so nothing is acknowledged that nobody will read, and no handshake completes on a listener. Source: `tcp_filter` in
//! net/ipv4/tcp_ipv4.c.
//!
//! Newer kernels let only CAP_NET_ADMIN attach a filter to a TCP socket (commit 5d39580f68e6, in 6.18.44 too). For everyone
//! else the socket is bound to a network interface that does not exist, which anyone may do once (`sock_bindtoindex_locked` in
//! net/core/sock.c, since 5.7): no packet is for this socket any more. Lives here: both, and the reset that tells the sender at
//! once. Never here: when to do it.

use std::io;
use std::net::Shutdown;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;

use super::filter;

/// The largest index that an interface could have; the kernel counts them from 1.
const NO_INTERFACE: NonZeroU32 = NonZeroU32::new(i32::MAX as u32).unwrap();

/// Takes nothing in on `socket` from now on.
///
/// # Errors
/// As setsockopt(2), when neither way is open.
pub fn freeze(socket: &impl AsFd) -> io::Result<()> {
    filter::drop_all(socket).or_else(|_| hide(socket))
}

/// Lets `socket` be found by no packet: whoever sends something is answered by a reset, as where nobody listens. Nothing leaves it
/// either, so a connected peer is told by FIN before.
fn hide(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    // A listener has no peer, and one that is gone needs no word.
    let _ = socket.shutdown(Shutdown::Write);
    // An option of the socket, whichever protocol it speaks.
    socket.bind_device_by_index_v4(Some(NO_INTERFACE))
}

/// Makes the close of `socket` a reset: unsent data is thrown away, and the peer learns at once that nothing more is taken in.
///
/// # Errors
/// As setsockopt(2).
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::socket::tcp_info::tcp_info;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn what_is_sent_to_a_frozen_socket_is_never_acknowledged() {
        assert_freezes(freeze);
    }

    #[test]
    fn nor_is_it_where_no_filter_may_be_attached() {
        assert_freezes(hide);
    }

    fn assert_freezes(freeze: fn(&TcpStream) -> io::Result<()>) {
        let (mut sender, mut receiver) = pair();
        sender.write_all(b"before").unwrap();
        receiver.read_exact(&mut [0; 6]).unwrap();
        let acknowledged = || tcp_info(sender.as_fd()).unwrap().bytes_acked;
        let before = acknowledged();
        freeze(&receiver).unwrap();
        (&sender).write_all(b"after").unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(matches!(receiver.read(&mut [0; 6]).unwrap_err().kind(), ErrorKind::WouldBlock));
        assert_eq!(acknowledged(), before);
    }

    #[test]
    fn a_hidden_listener_takes_in_nobody_and_keeps_those_that_it_had() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut early = TcpStream::connect(address).unwrap();
        hide(&listener).unwrap();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let (mut accepted, _) = listener.accept().unwrap();
        early.write_all(b"early").unwrap();
        accepted.read_exact(&mut [0; 5]).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn the_sender_to_a_hidden_socket_reads_its_end() {
        let (mut sender, receiver) = pair();
        hide(&receiver).unwrap();
        assert_eq!(sender.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_reset_reaches_the_sender() {
        let (mut sender, receiver) = pair();
        reset_on_close(&receiver).unwrap();
        drop(receiver);
        assert_eq!(sender.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
