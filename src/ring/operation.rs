//! The closed set of operations: what each needs, how it is asked for, and what its completion means.
//!
//! Lives here: the only place that builds submission entries, and the only one that reads completions. Never here: queues,
//! slots, decisions. Sources: io_uring_enter(2), io_uring_multishot(7), io_uring_cancelation(7).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use io_uring::{cqueue, opcode, squeue, types};
use nix::errno::Errno;
use socket2::SockAddr;

use super::Event;
use super::buffers::{GROUP, Pool};
use super::datagram;
use super::support::Support;
use super::vectors::Vectors;
use crate::kernel::{Gather, Token, Waits};
use crate::limits::ANSWER_BUFFER;

/// An operation with everything that the kernel reads or writes while it lasts. What the kernel holds by address is boxed:
/// the operation may move, its memory may not.
pub(super) enum Operation {
    Accept { listener: Rc<OwnedFd> },
    Receive { socket: Rc<OwnedFd> },
    Watch { socket: Rc<OwnedFd>, answer: Box<[u8; ANSWER_BUFFER]> },
    ReceiveDatagrams { socket: Rc<OwnedFd>, ask: Box<libc::msghdr> },
    Send { socket: Rc<OwnedFd>, gather: Gather, vectors: Box<Vectors>, then: Then, room: Room },
    AwaitRoom { socket: Rc<OwnedFd> },
    Write { file: Rc<OwnedFd>, gather: Gather, vectors: Box<Vectors>, waits: Waits },
    Connect { socket: Rc<OwnedFd>, address: Box<SockAddr> },
    Wake { bell: Rc<OwnedFd>, count: Box<u64> },
    Cancel { target: Token },
}

/// What follows an operation in the submission queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Something that has nothing to do with it.
    Any,
    /// An operation that begins when this one has succeeded, and is cancelled if it fails (`IOSQE_IO_LINK`).
    Linked,
}

/// What a send does for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It waits.
    Awaited,
    /// It fails with `EAGAIN` (`MSG_DONTWAIT`). A datagram must: one that had to wait is sent empty, since the first attempt had
    /// read its bytes and the second goes on behind them (`unix_dgram_sendmsg` in net/unix/af_unix.c copies before it looks for
    /// room, `io_sendmsg` in io_uring/net.c does not rewind; tried on 6.18).
    Required,
}

impl Operation {
    pub(super) fn send(socket: &Rc<OwnedFd>, gather: Gather, then: Then, room: Room) -> Operation {
        Operation::Send { socket: Rc::clone(socket), gather, vectors: Box::default(), then, room }
    }

    /// The submission entry. Every address in it points into a box of `self`, which its slot keeps until the last completion.
    pub(super) fn entry(&mut self, support: Support) -> squeue::Entry {
        match self {
            Operation::Accept { listener } => accept_entry(listener, support),
            Operation::Receive { socket } => receive_entry(socket, support),
            Operation::Watch { socket, answer } => {
                opcode::Recv::new(fd(socket), answer.as_mut_ptr(), ANSWER_BUFFER as u32).build()
            }
            Operation::ReceiveDatagrams { socket, ask } => {
                opcode::RecvMsgMulti::new(fd(socket), std::ptr::from_ref(&**ask), GROUP).build()
            }
            Operation::Send { socket, gather, vectors, then, room } => {
                send_entry(socket, vectors.header(gather), *then, *room)
            }
            Operation::AwaitRoom { socket } => opcode::PollAdd::new(fd(socket), libc::POLLOUT as u32).build(),
            Operation::Write { file, gather, vectors, waits } => {
                write_entry(file, vectors.fill(gather), *waits)
            }
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

    /// Tells `emit` what a completion of this operation means that is not its last one.
    pub(super) fn progress(&self, completion: &cqueue::Entry, pool: &mut Pool, emit: &mut impl FnMut(Event)) {
        match self {
            Operation::Accept { .. } => emit(accepted(completion)),
            Operation::Receive { .. } => received(completion, pool, emit),
            Operation::ReceiveDatagrams { ask, .. } => emit(datagram_received(completion, pool, ask)),
            Operation::Watch { .. }
            | Operation::Send { .. }
            | Operation::AwaitRoom { .. }
            | Operation::Write { .. }
            | Operation::Connect { .. }
            | Operation::Wake { .. }
            | Operation::Cancel { .. } => unreachable!("only accept and receives are multishot"),
        }
    }

    /// Tells `emit` what the last completion means, at least one event; the operation is over and gives back what it owned.
    pub(super) fn complete(self, completion: &cqueue::Entry, pool: &mut Pool, emit: &mut impl FnMut(Event)) {
        emit(match self {
            Operation::Accept { .. } => accepted(completion),
            Operation::Receive { .. } => return received(completion, pool, emit),
            Operation::ReceiveDatagrams { ask, .. } => datagram_received(completion, pool, &ask),
            Operation::Watch { .. } => Event::Watched(outcome(completion)),
            Operation::Send { gather, .. } | Operation::Write { gather, .. } => {
                Event::Sent(outcome(completion), gather)
            }
            Operation::AwaitRoom { .. } => Event::HasRoom(outcome(completion).map(drop)),
            Operation::Connect { .. } => Event::Connected(outcome(completion).map(drop)),
            Operation::Wake { .. } => Event::Woken(outcome(completion).map(drop)),
            Operation::Cancel { .. } => Event::Canceled,
        });
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
    if support.bundles {
        return opcode::RecvMultiBundle::new(fd(socket), GROUP).build();
    }
    if support.multishot {
        return opcode::RecvMulti::new(fd(socket), GROUP).build();
    }
    let receive = opcode::Recv::new(fd(socket), std::ptr::null_mut(), crate::limits::BUFFER_SIZE as u32);
    receive.buf_group(GROUP).build().flags(squeue::Flags::BUFFER_SELECT)
}

fn send_entry(socket: &Rc<OwnedFd>, header: *const libc::msghdr, then: Then, room: Room) -> squeue::Entry {
    let flags = match room {
        Room::Awaited => libc::MSG_NOSIGNAL,
        Room::Required => libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
    };
    let entry = opcode::SendMsg::new(fd(socket), header).flags(flags as u32).build();
    match then {
        Then::Any => entry,
        Then::Linked => entry.flags(squeue::Flags::IO_LINK),
    }
}

/// At offset -1: the file's position, as write(2) does; a file opened with `O_APPEND` is appended to.
fn write_entry(file: &Rc<OwnedFd>, vectors: &[libc::iovec], waits: Waits) -> squeue::Entry {
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
        let connection = unsafe { OwnedFd::from_raw_fd(completion.result()) };
        Rc::new(connection)
    }))
}

/// One event for each buffer. One that comes with no data goes straight back to its pool: the lease is dropped here.
fn received(completion: &cqueue::Entry, pool: &mut Pool, emit: &mut impl FnMut(Event)) {
    let (result, flags) = (outcome(completion), completion.flags());
    match result {
        Ok(0) => {
            drop(pool.lease(flags, 0));
            emit(Event::EndOfStream);
        }
        Ok(len) => pool.lease_each(flags, len, |lease| emit(Event::Received(lease))),
        Err(errno) => {
            drop(pool.lease(flags, 0));
            emit(Event::ReceiveFailed(errno));
        }
    }
}

/// The same of a datagram, which may be empty itself.
fn datagram_received(completion: &cqueue::Entry, pool: &mut Pool, ask: &libc::msghdr) -> Event {
    let result = outcome(completion);
    let lease = pool.lease(completion.flags(), result.unwrap_or(0));
    match (result, lease) {
        (Ok(_), Some(lease)) => match datagram::read(lease, ask) {
            Some(datagram) => Event::Datagram(datagram),
            None => Event::ReceiveFailed(Errno::EPROTO),
        },
        // A socket that was shut down gives nothing, and no buffer.
        (Ok(_), None) => Event::EndOfStream,
        (Err(errno), _) => Event::ReceiveFailed(errno),
    }
}
