//! The freeze: from one moment on our kernel takes nothing more in on a socket, and acknowledges nothing.
//!
//! A classic BPF filter that keeps no byte of any packet is attached; the TCP stack drops a filtered segment before it looks
//! at it, so nothing is acknowledged that nobody will read, and no handshake completes on a listener. Sources: socket(7),
//! SO_ATTACH_FILTER; Documentation/networking/filter.rst; `tcp_filter` in net/ipv4/tcp_ipv4.c. Lives here: that, and the reset
//! that tells the sender at once. Never here: when to do it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::SockRef;

/// One instruction, `ret #0`: keep no byte.
const DROP_ALL: libc::sock_filter =
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };

/// Drops everything that arrives on `socket` from now on.
///
/// # Errors
/// As setsockopt(2); `ENOMEM` when the memory for socket options (`net.core.optmem_max`) is used up.
pub fn freeze(socket: &impl AsFd) -> io::Result<()> {
    let mut program = DROP_ALL;
    let filter = libc::sock_fprog { len: 1, filter: &raw mut program };
    let (value, length) = ((&raw const filter).cast(), size_of_val(&filter) as libc::socklen_t);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel copies the one instruction during the call; `program` and `filter` outlive it.
    let result = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
    fn a_reset_reaches_the_sender() {
        let (mut sender, receiver) = pair();
        reset_on_close(&receiver).unwrap();
        drop(receiver);
        assert_eq!(sender.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
