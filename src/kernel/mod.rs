//! What a reactor asks of the kernel, as two traits: [`Kernel`], the ring with its operations, and [`Socket`], the plain system
//! calls on one descriptor.
//!
//! The relay runs on `socket::linux`, the simulation on a kernel of its own with a seed and virtual time; nothing above this
//! layer can tell them apart. Lives here: the questions and the answers. Never here: an answer's making.

mod event;
mod gather;
mod token;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use event::{Accepted, Completion, Datagram, Event, Input};
pub use gather::Gather;
pub use token::Token;

use crate::limits::NEAR_ROUND_TRIP;

/// What messages travel over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// TCP connections.
    Tcp,
    /// UDP datagrams.
    Udp,
    /// Connections of unix sockets (`SOCK_STREAM`, unix(7)).
    Unix,
    /// Datagrams of unix sockets (`SOCK_DGRAM`).
    Unixgram,
}

impl Medium {
    /// Whether it carries datagrams, not a stream.
    pub fn is_datagrams(self) -> bool {
        matches!(self, Medium::Udp | Medium::Unixgram)
    }
}

/// Where a sink link connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP listener.
    Tcp(SocketAddr),
    /// A UDP socket.
    Udp(SocketAddr),
    /// A listening unix socket, by its path.
    Unix(PathBuf),
    /// A unix datagram socket, by its path.
    Unixgram(PathBuf),
}

impl Address {
    /// What messages to it travel over.
    pub fn medium(&self) -> Medium {
        match self {
            Address::Tcp(_) => Medium::Tcp,
            Address::Udp(_) => Medium::Udp,
            Address::Unix(_) => Medium::Unix,
            Address::Unixgram(_) => Medium::Unixgram,
        }
    }
}

/// Where a write waits that cannot be done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Where the kernel likes: it polls a pipe or a socket, and hands a file to a thread of its own.
    Anywhere,
    /// In a thread of the kernel (`IOSQE_ASYNC`). A terminal that was stopped would hold the submitting thread, since its write
    /// does not heed IOCB_NOWAIT (`file_tty_write` in drivers/tty/tty_io.c; tried on 6.18).
    InThread,
}

/// A ring with its buffers, and the clock. What is asked for becomes a [`Token`] at once and a [`Completion`] later; whatever an
/// operation refers to is kept until its last completion.
pub trait Kernel {
    /// The caller's name for whoever asked for an operation.
    type Owner: Copy;
    /// A descriptor, shared with the operations on it; closed when the last of them lets go.
    type Socket: Socket;
    /// Received bytes, whose buffer returns to its pool on drop.
    type Lease: AsRef<[u8]> + Send + 'static;

    /// The time.
    fn now(&self) -> Instant;

    /// Accepts connections until it fails or is cancelled.
    fn accept(&mut self, owner: Self::Owner, listener: &Self::Socket) -> Token;
    /// Receives bytes of a stream into buffers of the pool until it fails, the peer's FIN, or it is cancelled.
    fn receive(&mut self, owner: Self::Owner, socket: &Self::Socket) -> Token;
    /// Receives datagrams likewise.
    fn receive_datagrams(&mut self, owner: Self::Owner, socket: &Self::Socket) -> Token;
    /// Receives once and throws the bytes away: shows a sink's FIN or reset before the next send.
    fn watch(&mut self, owner: Self::Owner, socket: &Self::Socket) -> Token;
    /// Sends what `gather` holds, or its beginning.
    fn send(&mut self, owner: Self::Owner, socket: &Self::Socket, gather: Gather) -> Token;
    /// Sends each of `datagrams` whole, or all that it is made of, one after another; where one fails, those after it are cancelled. One for which there is no
    /// room fails with `EAGAIN`: [`Kernel::await_room`] tells when there is.
    fn send_datagrams(
        &mut self,
        owner: Self::Owner,
        socket: &Self::Socket,
        datagrams: Vec<Gather>,
    ) -> Vec<Token>;
    /// Waits until the socket takes one more datagram (`POLLOUT`), or is broken.
    fn await_room(&mut self, owner: Self::Owner, socket: &Self::Socket) -> Token;
    /// Writes what `gather` holds, or its beginning, at the file's position.
    fn write(&mut self, owner: Self::Owner, file: &Self::Socket, gather: Gather, waits: Waits) -> Token;
    /// Connects a socket.
    fn connect(&mut self, owner: Self::Owner, socket: &Self::Socket, to: &Address) -> Token;
    /// Waits for the next ring of a bell.
    fn wake(&mut self, owner: Self::Owner, bell: &Self::Socket) -> Token;
    /// Asks for the end of an operation. Its own completion still comes, before or after the cancel's, and may carry data.
    fn cancel(&mut self, owner: Self::Owner, target: Token);

    /// Submits what was asked for and sleeps until a completion is there, or for `timeout` at most (`None`: without end). Where
    /// `gather` is not zero it waits that long for more of them, beyond a shorter `timeout` too; if none came by then, the first one ends
    /// the wait. Else `beside` completions do not end it: those of as many sends that are done as they are submitted, and nobody waits for.
    ///
    /// # Errors
    /// What io_uring_enter(2) says, except what passes by itself.
    fn park(&mut self, timeout: Option<Duration>, gather: Duration, beside: usize) -> io::Result<()>;
    /// An eventfd(2) that the kernel rings for each completion, for whoever sleeps elsewhere than in [`Kernel::park`].
    ///
    /// # Errors
    /// As eventfd(2) and io_uring_register(2).
    fn completion_bell(&mut self) -> io::Result<OwnedFd>;
    /// Collects every completion that is there.
    fn reap(&mut self, completions: &mut Vec<CompletionOf<Self>>);

    /// Bytes of receive buffers that the kernel may fill.
    fn offered_bytes(&self) -> usize;
    /// Offers receive buffers until the kernel has `bytes` of them, as far as there are free ones.
    fn offer(&mut self, bytes: usize);
    /// Bytes of receive buffers that hold what was received: leased.
    fn leased_bytes(&self) -> usize;
    /// Gives the memory of free receive buffers back to the system, except that of `bytes`. They stay free.
    fn keep(&mut self, bytes: usize);
    /// Gives memory that was allocated and is free again back to the system.
    fn trim_heap(&mut self);
    /// Receives by a plain system call, without waiting.
    fn receive_now(&mut self, socket: &Self::Socket) -> Input<Self::Lease>;
    /// Receives one datagram likewise.
    fn receive_datagram_now(&mut self, socket: &Self::Socket) -> Input<Datagram<Self::Lease>>;

    /// A socket for one attempt to connect to `to`.
    ///
    /// # Errors
    /// As socket(2) and setsockopt(2).
    fn open(&mut self, to: &Address) -> io::Result<Self::Socket>;
}

/// A completion as one kernel hands it over.
pub type CompletionOf<K> = Completion<<K as Kernel>::Owner, <K as Kernel>::Socket, <K as Kernel>::Lease>;

/// What plain system calls tell of one descriptor, and do to it.
pub trait Socket: Clone {
    /// From here on our kernel takes nothing more in, and acknowledges nothing: neither bytes, nor connections. What it had taken
    /// is there to be read. On unix streams that shows as the end of the stream.
    ///
    /// # Errors
    /// As setsockopt(2) and shutdown(2).
    fn freeze(&self, medium: Medium) -> io::Result<()>;
    /// Sends FIN. A peer that is gone already shows in the next receive.
    fn half_close(&self);
    /// Makes the close a reset: unsent data is thrown away, and the peer learns at once that nothing more is taken in.
    ///
    /// # Errors
    /// As setsockopt(2).
    fn reset_on_close(&self) -> io::Result<()>;
    /// Ends a connection whose last byte is confirmed: FIN, and what the peer still said is read first, since closing a socket
    /// with unread input sends a reset that can destroy what we sent.
    fn say_goodbye(&self);
    /// Accepts one connection, without waiting.
    fn accept(&self) -> Accepted<Self>;
    /// Whether nothing can be read at this moment.
    fn is_empty(&self) -> bool;
    /// Whether the peer has sent FIN.
    fn peer_has_finished(&self) -> bool;
    /// The peer's address, where it has one.
    fn peer(&self) -> Option<IpAddr>;
    /// Smoothed round trip of a TCP connection; zero of anything else.
    fn round_trip(&self) -> Duration;
    /// Whether so few bytes fill the way to the peer of a TCP connection that more would only lie in a kernel.
    fn is_near(&self) -> bool {
        is_near(self.round_trip())
    }
    /// Lets our kernel hold so many bytes of what is sent, and as many of its own book-keeping, instead of as many as it likes
    /// (`SO_SNDBUF`, socket(7); `net.core.wmem_max` bounds it).
    ///
    /// # Errors
    /// As setsockopt(2).
    fn bound_send_buffer(&self, bytes: usize) -> io::Result<()>;
    /// The same of what is received (`SO_RCVBUF`, `net.core.rmem_max`).
    ///
    /// # Errors
    /// As setsockopt(2).
    fn bound_receive_buffer(&self, bytes: usize) -> io::Result<()>;
    /// Asks those that connect to a TCP listener from here on for segments of so many bytes at most, or, with zero, for what the network
    /// has (`TCP_MAXSEG`, tcp(7)).
    ///
    /// # Errors
    /// As setsockopt(2).
    fn bound_segments(&self, bytes: u32) -> io::Result<()>;
    /// Lets so many bytes be unread of a TCP connection from the start, and more as our kernel sees fit (`SO_RCVLOWAT`, socket(7);
    /// half of the last figure of `net.ipv4.tcp_rmem` bounds it).
    ///
    /// # Errors
    /// As setsockopt(2).
    fn open_window(&self, bytes: usize) -> io::Result<()>;
    /// Bytes that the peer's TCP acknowledged since the handshake began; zero of anything else. It stays readable after a reset.
    fn acknowledged(&self) -> u64;
    /// Bytes of a TCP connection that our kernel took and never sent so far; zero of anything else.
    fn unsent(&self) -> u64;
    /// Segments or datagrams that our kernel dropped for want of room, since the socket was made.
    fn dropped(&self) -> u32;
    /// Whether both ends of a connection are this very socket (TCP's simultaneous open with itself).
    fn is_connected_to_itself(&self) -> bool;
    /// Whether one more descriptor can be opened with some to spare.
    fn leaves_descriptors(&self) -> bool;
    /// Rings it, if it is a bell.
    fn ring(&self);
}

/// A round trip of zero was not measured.
fn is_near(round_trip: Duration) -> bool {
    !round_trip.is_zero() && round_trip <= NEAR_ROUND_TRIP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_that_was_measured_tells_whether_a_peer_is_near() {
        assert!(is_near(NEAR_ROUND_TRIP) && is_near(Duration::from_micros(1)));
        assert!(!is_near(NEAR_ROUND_TRIP + Duration::from_micros(1)));
        assert!(!is_near(Duration::ZERO), "it was not measured");
    }
}
