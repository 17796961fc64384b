//! What comes back from the kernel.
//!
//! Lives here: the closed set of answers. Never here: how they are read from a completion queue.

use std::net::IpAddr;
use std::ops::Range;

use nix::errno::Errno;

use super::{Gather, Token};

/// One completion: who asked, for which operation, and what came.
pub struct Completion<O, S, L> {
    /// Who asked for the operation.
    pub owner: O,
    /// The operation.
    pub token: Token,
    /// What came of it.
    pub event: Event<S, L>,
    /// Whether the operation is over (`IORING_CQE_F_MORE` is not set).
    pub last: bool,
}

/// What a completion says.
pub enum Event<S, L> {
    /// A connection, or why there is none.
    Accepted(Result<S, Errno>),
    /// Bytes of a stream; an empty lease never occurs.
    Received(L),
    /// A datagram.
    Datagram(Datagram<L>),
    /// The peer's FIN: nothing more will come.
    EndOfStream,
    /// A receive ended: `ENOBUFS` when no buffer was on offer, `ECANCELED`, or the link's error.
    ReceiveFailed(Errno),
    /// What a watched sink link said: bytes that were thrown away, 0 at its FIN, or the link's error.
    Watched(Result<usize, Errno>),
    /// How many bytes our kernel took; fewer than offered is normal on streams.
    Sent(Result<usize, Errno>, Gather),
    /// There is room for a datagram, or the wait for it failed or was cancelled.
    HasRoom(Result<(), Errno>),
    /// The handshake's end.
    Connected(Result<(), Errno>),
    /// Somebody rang the bell that was waited for, unless the wait failed or was cancelled.
    Woken(Result<(), Errno>),
    /// A cancel request was handled; what became of its target is in the target's own completion.
    Canceled,
}

/// A received datagram.
pub struct Datagram<L> {
    /// The buffer that it is in.
    pub lease: L,
    /// Where in the buffer; may be empty.
    pub payload: Range<usize>,
    /// Whether it was longer, and the kernel cut it off (`MSG_TRUNC`, recvmsg(2)).
    pub cut: bool,
    /// Whom it came from; `None` of a unix socket.
    pub from: Option<IpAddr>,
    /// How many datagrams the kernel had dropped before it since the socket was made, if it says so (`SO_RXQ_OVFL`, socket(7)).
    pub dropped: Option<u32>,
}

/// What a plain receive gave.
pub enum Input<T> {
    /// Something.
    Data(T),
    /// The sender's FIN, or the end that a freeze made.
    End,
    /// Nothing is left: on a frozen link, for ever.
    Empty,
    /// No buffer is free; try again when messages are settled.
    NoBuffer,
    /// The link is broken.
    Failed(Errno),
}

/// What accepting by a plain system call gave.
pub enum Accepted<S> {
    /// A connection.
    Connection(S),
    /// The queue is empty: after a freeze, for ever.
    Nothing,
    /// There may be more, but not now: no descriptor is free.
    NotNow,
}
