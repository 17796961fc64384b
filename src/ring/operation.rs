//! The closed set of operations: what each needs, how it is asked for, and what its completion means.
//!
//! Lives here: the only place that builds submission entries, and the only one that reads completions. Never here: queues,
//! slots, decisions. Sources: io_uring_enter(2), io_uring_multishot(7), io_uring_cancelation(7).

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use io_uring::{cqueue, opcode, squeue, types};
use nix::errno::Errno;
use socket2::SockAddr;

use super::buffers::{GROUP, Lease, Pool};
use super::gather::Gather;
use super::support::Support;
use super::token::Token;
use crate::limits::ANSWER_BUFFER;

/// An operation with everything that the kernel reads or writes while it lasts. What the kernel holds by address is boxed:
/// the operation may move, its memory may not.
pub(super) enum Operation {
    Accept { listener: Rc<OwnedFd> },
    Receive { socket: Rc<OwnedFd> },
    Watch { socket: Rc<OwnedFd>, answer: Box<[u8; ANSWER_BUFFER]> },
    Send { socket: Rc<OwnedFd>, gather: Box<Gather> },
    Write { file: Rc<OwnedFd>, gather: Box<Gather>, waits: Waits },
    Connect { socket: Rc<OwnedFd>, address: Box<SockAddr> },
    Wake { bell: Rc<OwnedFd>, count: Box<u64> },
    Cancel { target: Token },
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

/// What a completion says.
pub enum Event {
    /// A connection, or why there is none.
    Accepted(Result<OwnedFd, Errno>),
    /// Bytes of a stream; an empty lease never occurs.
    Received(Lease),
    /// The peer's FIN: nothing more will come.
    EndOfStream,
    /// A receive ended: `ENOBUFS` when no buffer was on offer, `ECANCELED`, or the link's error.
    ReceiveFailed(Errno),
    /// What a watched sink link said: bytes that were thrown away, 0 at its FIN, or the link's error.
    Watched(Result<usize, Errno>),
    /// How many bytes our kernel took; fewer than offered is normal.
    Sent(Result<usize, Errno>, Box<Gather>),
    /// The handshake's end.
    Connected(Result<(), Errno>),
    /// Somebody rang the bell that was waited for, unless the wait failed or was cancelled.
    Woken(Result<(), Errno>),
    /// A cancel request was handled; what became of its target is in the target's own completion.
    Canceled,
}

impl Operation {
    pub(super) fn accept(listener: &Rc<OwnedFd>) -> Operation {
        Operation::Accept { listener: Rc::clone(listener) }
    }

    pub(super) fn connect(socket: &Rc<OwnedFd>, address: SocketAddr) -> Operation {
        Operation::Connect { socket: Rc::clone(socket), address: Box::new(address.into()) }
    }

    /// The submission entry. Every address in it points into a box of `self`, which its slot keeps until the last completion.
    pub(super) fn entry(&mut self, support: Support) -> squeue::Entry {
        match self {
            Operation::Accept { listener } => accept_entry(listener, support),
            Operation::Receive { socket } => receive_entry(socket, support),
            Operation::Watch { socket, answer } => {
                opcode::Recv::new(fd(socket), answer.as_mut_ptr(), ANSWER_BUFFER as u32).build()
            }
            Operation::Send { socket, gather } => {
                opcode::SendMsg::new(fd(socket), gather.header()).flags(libc::MSG_NOSIGNAL as u32).build()
            }
            Operation::Write { file, gather, waits } => write_entry(file, gather, *waits),
            Operation::Connect { socket, address } => {
                opcode::Connect::new(fd(socket), address.as_ptr().cast(), address.len()).build()
            }
            Operation::Wake { bell, count } => {
                opcode::Read::new(fd(bell), std::ptr::from_mut(&mut **count).cast(), size_of::<u64>() as u32)
                    .build()
            }
            Operation::Cancel { target } => opcode::AsyncCancel::new(target.user_data()).build(),
        }
    }

    /// What a completion of this operation means that is not its last one.
    pub(super) fn progress(&self, completion: &cqueue::Entry, pool: &mut Pool) -> Event {
        match self {
            Operation::Accept { .. } => accepted(completion),
            Operation::Receive { .. } => received(completion, pool),
            Operation::Watch { .. }
            | Operation::Send { .. }
            | Operation::Write { .. }
            | Operation::Connect { .. }
            | Operation::Wake { .. }
            | Operation::Cancel { .. } => unreachable!("only accept and receive are multishot"),
        }
    }

    /// What the last completion means; the operation is over and gives back what it owned.
    pub(super) fn complete(self, completion: &cqueue::Entry, pool: &mut Pool) -> Event {
        match self {
            Operation::Accept { .. } => accepted(completion),
            Operation::Receive { .. } => received(completion, pool),
            Operation::Watch { .. } => Event::Watched(outcome(completion)),
            Operation::Send { gather, .. } | Operation::Write { gather, .. } => {
                Event::Sent(outcome(completion), gather)
            }
            Operation::Connect { .. } => Event::Connected(outcome(completion).map(drop)),
            Operation::Wake { .. } => Event::Woken(outcome(completion).map(drop)),
            Operation::Cancel { .. } => Event::Canceled,
        }
    }
}

fn fd(owner: &Rc<OwnedFd>) -> types::Fd {
    types::Fd(owner.as_raw_fd())
}

fn accept_entry(listener: &Rc<OwnedFd>, support: Support) -> squeue::Entry {
    if support.multishot {
        return opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC).build();
    }
    let nowhere = std::ptr::null_mut();
    opcode::Accept::new(fd(listener), nowhere, nowhere.cast()).flags(libc::SOCK_CLOEXEC).build()
}

fn receive_entry(socket: &Rc<OwnedFd>, support: Support) -> squeue::Entry {
    if support.multishot {
        return opcode::RecvMulti::new(fd(socket), GROUP).build();
    }
    let receive = opcode::Recv::new(fd(socket), std::ptr::null_mut(), crate::limits::BUFFER_SIZE as u32);
    receive.buf_group(GROUP).build().flags(squeue::Flags::BUFFER_SELECT)
}

/// At offset -1: the file's position, as write(2) does; a file opened with `O_APPEND` is appended to.
fn write_entry(file: &Rc<OwnedFd>, gather: &mut Gather, waits: Waits) -> squeue::Entry {
    let vectors = gather.vectors();
    let entry =
        opcode::Writev::new(fd(file), vectors.as_ptr(), vectors.len() as u32).offset(u64::MAX).build();
    match waits {
        Waits::Anywhere => entry,
        Waits::InThread => entry.flags(squeue::Flags::ASYNC),
    }
}

fn outcome(completion: &cqueue::Entry) -> Result<usize, Errno> {
    let result = completion.result();
    usize::try_from(result).map_err(|_| Errno::from_raw(-result))
}

fn accepted(completion: &cqueue::Entry) -> Event {
    Event::Accepted(outcome(completion).map(|_| {
        // SAFETY: a completed accept hands over a new descriptor that nothing else knows of.
        unsafe { OwnedFd::from_raw_fd(completion.result()) }
    }))
}

/// A buffer that comes with no data goes straight back to its pool: the lease is dropped here.
fn received(completion: &cqueue::Entry, pool: &mut Pool) -> Event {
    let result = outcome(completion);
    let lease = pool.lease(completion.flags(), result.unwrap_or(0));
    match (result, lease) {
        (Ok(0), _) => Event::EndOfStream,
        (Ok(_), Some(lease)) => Event::Received(lease),
        (Ok(_), None) => unreachable!("data of a buffer-select receive is in a buffer"),
        (Err(errno), _) => Event::ReceiveFailed(errno),
    }
}
