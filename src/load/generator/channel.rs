//! One socket of the generator, whatever it speaks.
//!
//! Lives here: writing, and what is known of what was written. Never here: when to write, or how a connection ends.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::Socket;

use super::plan::SendPlan;
use crate::load::place::Place;
use crate::message::Framing;
use crate::socket::seal;
use crate::socket::tcp_info::tcp_info;

/// Most bytes of a datagram that holds several messages: what fits into an Ethernet frame.
const PACKED: usize = 1400;

/// A connected socket that never blocks.
#[derive(Debug)]
pub(super) struct Channel {
    socket: Socket,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The peer's TCP acknowledges; the handshake counted as so many bytes.
    Tcp { baseline: u64 },
    /// What our kernel takes is in the receiver's queue.
    Unix,
    /// The same, in datagrams of so many messages of so many bytes at most.
    Unixgram { messages: usize, stride: usize },
    /// Nobody acknowledges.
    Udp { messages: usize, stride: usize },
}

impl Channel {
    /// Connects. Errors as connect(2), and `TimedOut` once the plan's patience is over.
    pub(super) fn connect(plan: &SendPlan, stride: u64) -> io::Result<Channel> {
        let socket = plan.to.connect(plan.patience)?;
        plan.send_buffer.map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))?;
        let stride = stride as usize;
        let messages = if plan.framing == Framing::Datagram { 1 } else { (PACKED / stride).max(1) };
        let kind = match plan.to {
            Place::Tcp(_) => Kind::Tcp { baseline: tcp_info(socket.as_fd())?.bytes_acked },
            Place::Unix(_) => Kind::Unix,
            Place::Udp(_) => Kind::Udp { messages, stride },
            Place::Unixgram(_) => Kind::Unixgram { messages, stride },
        };
        Ok(Channel { socket, kind })
    }

    /// Hands over `bytes`, or their beginning; in one datagram, as many whole messages as fit into that.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Tcp { .. } | Kind::Unix => self.socket.send(bytes),
            Kind::Udp { messages, stride } | Kind::Unixgram { messages, stride } => {
                let whole = (bytes.len() / stride).clamp(1, messages) * stride;
                self.socket.send(&bytes[..whole.min(bytes.len())])
            }
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }

    /// Whether the peer can say that it wants no more.
    pub(super) fn has_an_end(&self) -> bool {
        matches!(self.kind, Kind::Tcp { .. } | Kind::Unix)
    }

    /// Says that nothing more comes, if that can be said.
    pub(super) fn finish(&self) -> io::Result<()> {
        if self.has_an_end() { self.socket.shutdown(Shutdown::Write) } else { Ok(()) }
    }

    /// Lets its close be a reset, where there is such a thing: FIN in the midst of a message would end it as if it were whole.
    pub(super) fn reset_on_close(&self) {
        // It fails only where nothing is connected any more.
        let _ = seal::reset_on_close(&self.socket);
    }

    /// How much of `written` is acknowledged; `None` where nobody acknowledges.
    pub(super) fn acknowledged(&self, written: u64) -> Option<u64> {
        match self.kind {
            Kind::Tcp { baseline } => {
                let acked = tcp_info(self.socket.as_fd()).map_or(0, |info| info.bytes_acked - baseline);
                // Our FIN counts as one more.
                Some(acked.min(written))
            }
            Kind::Unix | Kind::Unixgram { .. } => Some(written),
            Kind::Udp { .. } => None,
        }
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.socket.take_error().ok().flatten()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
