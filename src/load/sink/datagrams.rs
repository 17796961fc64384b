//! The sink's socket for datagrams, read by one thread.
//!
//! Lives here: reading until the end, and what the kernel dropped. Never here: what the bytes mean.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use socket2::Socket;

use super::Shared;
use super::haul::Haul;
use super::split::split;
use crate::limits::LOAD_READ;
use crate::load::stop::Stop;
use crate::message::Framing;
use crate::socket::seal::freeze;
use crate::socket::tcp_info::dropped_segments;

/// Reads until it is told to stop; then what has arrived, and nothing that comes later.
pub(super) fn receive_until_stopped(socket: &Socket, is_udp: bool, shared: &Arc<Shared>, stop: &Stop) {
    let mut buffer = vec![0; LOAD_READ];
    loop {
        let stopping = stop.is_asked();
        if stopping {
            shared.counter.dropped(u64::from(dropped_segments(socket.as_fd()).unwrap_or(0)));
            // Else a flood would never end. A sink that cannot freeze reads on for as long as it takes.
            let frozen = if is_udp { freeze(socket) } else { socket.shutdown(std::net::Shutdown::Read) };
            drop::<io::Result<()>>(frozen);
        }
        read_waiting(socket, shared, stop, &mut buffer);
        if stopping {
            return;
        }
        let mut wanted = [socket.as_fd(), stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // An interrupted wait only looks once more.
        let _ = poll(&mut wanted, PollTimeout::NONE);
    }
}

fn read_waiting(socket: &Socket, shared: &Arc<Shared>, stop: &Stop, buffer: &mut [u8]) {
    let mut haul = Haul::default();
    loop {
        // A sink that was stalled is read to its end all the same.
        let passage = shared.gate.enter(|| stop.is_asked());
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(bytes) => take(shared.framing, &buffer[..bytes], &mut haul),
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        }
        shared.counter.record(&haul);
        drop(passage);
    }
}

/// A datagram is a message, or whole messages.
fn take(framing: Framing, datagram: &[u8], haul: &mut Haul) {
    haul.begin(datagram.len());
    if framing == Framing::Datagram {
        return if datagram.is_empty() { haul.tear() } else { haul.add(datagram) };
    }
    match split(framing, datagram, |message| haul.add(message)) {
        Ok(used) if used == datagram.len() => {}
        Ok(_) => haul.tear(),
        Err(_) => haul.misframe(),
    }
}
