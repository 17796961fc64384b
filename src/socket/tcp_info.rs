//! What the kernel knows about one TCP connection (`TCP_INFO`, tcp(7); `SO_MEMINFO`, include/uapi/linux/sock_diag.h).
//!
//! Lives here: the question and the part of the answer that the project reads. Never here: what follows from it.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::socket::getsockopt;

/// The part of the kernel's `struct tcp_info` that the project reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Bytes that the peer acknowledged. SYN and FIN count one each: it is 1 on a fresh connection of the connecting side.
    pub bytes_acked: u64,
    /// Bytes taken by our kernel and never sent so far.
    pub notsent_bytes: u32,
    /// Smoothed round trip, in microseconds.
    pub rtt_micros: u32,
}

/// Asks the kernel about the connection `fd`. The answer stays readable after a reset, until the descriptor is closed.
///
/// # Errors
/// As getsockopt(2); `EOPNOTSUPP` or `ENOPROTOOPT` when `fd` is no TCP socket.
pub fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let raw = getsockopt(&fd, Info)?;
    Ok(TcpInfo {
        bytes_acked: raw.tcpi_bytes_acked,
        notsent_bytes: raw.tcpi_notsent_bytes,
        rtt_micros: raw.tcpi_rtt,
    })
}

/// The option's name for [`getsockopt`]; nix has none, but its macro makes one that is safe to use.
#[derive(Clone, Copy, Debug)]
struct Info;

// libc's structure is a prefix of the kernel's since Linux 4.9, and the kernel fills exactly as much as it is asked for.
nix::getsockopt_impl!(
    Info,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info,
    nix::sys::socket::sockopt::GetStruct<libc::tcp_info>
);

/// How many of its segments our kernel dropped so far: those that it had no room for, and what was no use to it.
///
/// # Errors
/// As getsockopt(2).
pub fn dropped_segments(fd: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(getsockopt(&fd, MemoryInfo)?[DROPS])
}

/// `SK_MEMINFO_VARS` figures, the last of which is `SK_MEMINFO_DROPS`; kernel 4.6.
type MemoryFigures = [u32; 9];
const DROPS: usize = 8;

/// The option's name for [`getsockopt`], as above.
#[derive(Clone, Copy, Debug)]
struct MemoryInfo;

nix::getsockopt_impl!(
    MemoryInfo,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    MemoryFigures,
    nix::sys::socket::sockopt::GetStruct<MemoryFigures>
);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn counts_what_the_peer_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        let before = tcp_info(near.as_fd()).unwrap();
        near.write_all(b"twelve bytes").unwrap();
        far.read_exact(&mut [0; 12]).unwrap();
        far.write_all(b"!").unwrap();
        near.read_exact(&mut [0; 1]).unwrap();
        let after = tcp_info(near.as_fd()).unwrap();
        assert_eq!(after.bytes_acked - before.bytes_acked, 12);
    }

    #[test]
    fn counts_what_the_kernel_had_no_room_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        assert_eq!(dropped_segments(far.as_fd()).unwrap(), 0);
        near.set_nonblocking(true).unwrap();
        near.set_nodelay(true).unwrap();
        // Many small segments take more of the receiver's memory than the window that it had announced.
        while near.write(b"!").is_ok() && dropped_segments(far.as_fd()).unwrap() == 0 {}
        assert!(dropped_segments(far.as_fd()).unwrap() > 0);
    }

    #[test]
    fn refuses_what_is_not_tcp() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(tcp_info(socket.as_fd()).is_err());
    }
}
