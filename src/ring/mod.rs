//! A small safe layer over io_uring.
//!
//! The caller asks for one of a closed set of operations and gets a [`Token`]; completions come back as [`Event`]s with the
//! caller's own name for the asker. Whatever the kernel holds (descriptor, buffer, address) belongs to a slot until the last
//! completion. Reaping and acting are two steps: [`Ring::reap`] only collects. Lives here: all of that, and nearly all unsafe
//! code. Never here: protocols, links, counting.

mod buffers;
mod datagram;
mod doorbell;
mod features;
mod heap;
mod operation;
mod slots;
mod support;
mod vectors;

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, types};
use nix::sys::eventfd::{EfdFlags, EventFd};
use socket2::SockAddr;

pub use buffers::{Blank, Lease};
pub use doorbell::{Doorbell, ring};
pub use features::Feature;
pub use heap::trim_heap;
use operation::{Operation, Room, Then};
use slots::Slots;
pub use support::{SetupError, Support};

use crate::kernel::{self, Gather, Token, Waits};
use crate::limits::{
    ANSWER_BUFFER, BUFFER_SIZE, BUFFERS_MAX, GATHER_COMPLETIONS, LONGEST_PARK, RING_CLOSE_TIMEOUT,
    SUBMISSION_ENTRIES,
};

/// What a completion says.
pub type Event = kernel::Event<Rc<OwnedFd>, Lease>;
/// One completion.
pub type Completion<O> = kernel::Completion<O, Rc<OwnedFd>, Lease>;

/// One io_uring with its buffers. `O` is the caller's name for whoever asked for an operation.
///
/// Belongs to the thread that made it (`IORING_SETUP_SINGLE_ISSUER`).
pub struct Ring<O> {
    uring: IoUring,
    slots: Slots<InFlight<O>>,
    pool: mem::ManuallyDrop<buffers::Pool>,
    support: Support,
}

struct InFlight<O> {
    owner: O,
    operation: Operation,
}

impl<O: Copy> Ring<O> {
    /// A ring whose receive buffers take `buffer_memory` bytes at most.
    ///
    /// # Errors
    /// [`SetupError`], which names what the kernel refused and the remedy.
    pub fn new(support: Support, buffer_memory: usize) -> Result<Ring<O>, SetupError> {
        let uring = support.build()?;
        let buffers = (buffer_memory / BUFFER_SIZE).min(BUFFERS_MAX);
        let pool = buffers::Pool::new(&uring.submitter(), buffers).map_err(SetupError::from_buffers)?;
        Ok(Ring { uring, slots: Slots::new(), pool: mem::ManuallyDrop::new(pool), support })
    }

    /// Accepts connections until it fails or is cancelled.
    pub fn accept(&mut self, owner: O, listener: &Rc<OwnedFd>) -> Token {
        self.submit(owner, Operation::Accept { listener: Rc::clone(listener) })
    }

    /// Receives into buffers of the pool until it fails, the peer's FIN, or it is cancelled.
    pub fn receive(&mut self, owner: O, socket: &Rc<OwnedFd>) -> Token {
        self.submit(owner, Operation::Receive { socket: Rc::clone(socket) })
    }

    /// Receives datagrams into buffers of the pool until it fails or is cancelled. The socket has `SO_RXQ_OVFL` set.
    pub fn receive_datagrams(&mut self, owner: O, socket: &Rc<OwnedFd>) -> Token {
        let ask = Box::new(datagram::ask());
        self.submit(owner, Operation::ReceiveDatagrams { socket: Rc::clone(socket), ask })
    }

    /// Receives once and throws the bytes away: shows a sink's FIN or reset before the next send.
    pub fn watch(&mut self, owner: O, socket: &Rc<OwnedFd>) -> Token {
        let answer = Box::new([0; ANSWER_BUFFER]);
        self.submit(owner, Operation::Watch { socket: Rc::clone(socket), answer })
    }

    /// Sends what `gather` holds, or its beginning.
    pub fn send(&mut self, owner: O, socket: &Rc<OwnedFd>, gather: Gather) -> Token {
        self.submit(owner, Operation::send(socket, gather, Then::Any, Room::Awaited))
    }

    /// Sends each of `datagrams` whole, one after another; where one fails, those after it are cancelled.
    pub fn send_datagrams(&mut self, owner: O, socket: &Rc<OwnedFd>, datagrams: Vec<Gather>) -> Vec<Token> {
        // A chain ends where its entries are submitted: all of it has to fit into the queue at once.
        self.make_room(datagrams.len());
        let last = datagrams.len().saturating_sub(1);
        let chain = datagrams.into_iter().enumerate().map(|(n, gather)| {
            let then = if n == last { Then::Any } else { Then::Linked };
            self.submit(owner, Operation::send(socket, gather, then, Room::Required))
        });
        chain.collect()
    }

    /// Waits until the socket takes one more datagram, or is broken.
    pub fn await_room(&mut self, owner: O, socket: &Rc<OwnedFd>) -> Token {
        self.submit(owner, Operation::AwaitRoom { socket: Rc::clone(socket) })
    }

    /// Writes what `gather` holds, or its beginning, at the file's position.
    pub fn write(&mut self, owner: O, file: &Rc<OwnedFd>, gather: Gather, waits: Waits) -> Token {
        let vectors = Box::default();
        self.submit(owner, Operation::Write { file: Rc::clone(file), gather, vectors, waits })
    }

    /// Connects a socket.
    pub fn connect(&mut self, owner: O, socket: &Rc<OwnedFd>, address: SockAddr) -> Token {
        let address = Box::new(address);
        self.submit(owner, Operation::Connect { socket: Rc::clone(socket), address })
    }

    /// Waits for the next ring of a [`Doorbell`].
    pub fn wake(&mut self, owner: O, bell: &Rc<OwnedFd>) -> Token {
        self.submit(owner, Operation::Wake { bell: Rc::clone(bell), count: Box::new(0) })
    }

    /// Asks for the end of an operation. Its own completion still comes, before or after the cancel's, and may carry data.
    pub fn cancel(&mut self, owner: O, target: Token) {
        self.submit(owner, Operation::Cancel { target });
    }

    /// Operations that the kernel has not finished.
    #[cfg(test)]
    fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of receive buffers that the kernel may fill.
    pub fn offered_bytes(&self) -> usize {
        self.pool.offered() * BUFFER_SIZE
    }

    /// Offers receive buffers until the kernel has `bytes` of them, as far as there are free ones.
    pub fn offer(&mut self, bytes: usize) {
        self.pool.offer(bytes / BUFFER_SIZE);
    }

    /// Bytes of receive buffers that are leased.
    pub fn leased_bytes(&self) -> usize {
        self.pool.leased() * BUFFER_SIZE
    }

    /// Gives the memory of free receive buffers back to the system, except that of `bytes`. They stay free.
    pub fn keep(&mut self, bytes: usize) {
        self.pool.keep(bytes / BUFFER_SIZE);
    }

    /// A receive buffer for a plain system call; `None` when all are in use.
    pub fn take_buffer(&mut self) -> Option<Blank> {
        self.pool.take()
    }

    fn submit(&mut self, owner: O, operation: Operation) -> Token {
        let token = self.slots.insert(InFlight { owner, operation });
        let in_flight = self.slots.get_mut(token).expect("inserted above");
        let entry = in_flight.operation.entry(self.support).user_data(token.user_data());
        while self.push(&entry).is_err() {
            self.submit_queued();
        }
        token
    }

    fn make_room(&mut self, entries: usize) {
        debug_assert!(entries <= SUBMISSION_ENTRIES as usize);
        loop {
            let queue = self.uring.submission();
            if queue.capacity() - queue.len() >= entries {
                return;
            }
            drop(queue);
            self.submit_queued();
        }
    }

    fn push(&mut self, entry: &io_uring::squeue::Entry) -> Result<(), io_uring::squeue::PushError> {
        // SAFETY: every address in the entry points into the operation's boxes, which its slot keeps until the last completion.
        unsafe { self.uring.submission().push(entry) }
    }

    /// Makes room in a full submission queue. What may go wrong passes by itself (`EAGAIN`, `EBUSY`, `EINTR`; io_uring_enter(2)).
    fn submit_queued(&mut self) {
        if let Err(error) = self.uring.submit() {
            debug_assert!(is_passing(&error), "submitting: {error}");
        }
    }

    /// Submits what was asked for and sleeps until a completion is there, or for `timeout` at most (`None`: without end). Where
    /// `gather` is not zero it waits that long for more of them, beyond a shorter `timeout` too; if none came by then, the first one ends
    /// the wait (`min_wait_usec`, io_uring_enter(2); `io_cqring_schedule_timeout`). Else it sleeps until there are more than `beside`:
    /// those of operations that are done as they are submitted count (`min_complete`; `io_cqring_wait` counts from what was reaped last).
    ///
    /// # Errors
    /// What io_uring_enter(2) says, except what passes by itself.
    pub fn park(&mut self, timeout: Option<Duration>, gather: Duration, beside: usize) -> io::Result<()> {
        let gathers = self.support.gathers && !gather.is_zero();
        // Without any end to the wait, that for more would be the end of it, also when nothing came
        // (`io_cqring_min_timer_wakeup` in io_uring/io_uring.c): an idle relay would wake up again and again.
        let timeout = timeout.or(gathers.then_some(LONGEST_PARK));
        let timespec = timeout.map(types::Timespec::from);
        let mut arguments = types::SubmitArgs::new();
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        if gathers {
            arguments = arguments.min_wait_usec(gather.as_micros() as u32);
        }
        let completions = if gathers { GATHER_COMPLETIONS } else { beside + 1 };
        let entered = self.uring.submitter().submit_with_args(completions, &arguments);
        match entered {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// An eventfd(2) that the kernel rings for each completion (IORING_REGISTER_EVENTFD, io_uring_register(2)). With DEFER_TASKRUN it
    /// rings once there is work whose completion the next [`Ring::park`] brings.
    ///
    /// # Errors
    /// As eventfd(2) and io_uring_register(2).
    pub fn completion_bell(&mut self) -> io::Result<OwnedFd> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = OwnedFd::from(EventFd::from_flags(flags)?);
        self.uring.submitter().register_eventfd(bell.as_raw_fd())?;
        Ok(bell)
    }

    /// Collects every completion that is there.
    pub fn reap(&mut self, completions: &mut Vec<Completion<O>>) {
        let mut queue = self.uring.completion();
        for entry in &mut queue {
            settle(&mut self.slots, &mut self.pool, &entry, completions);
        }
    }
}

/// Turns a completion into events: one, or one for each buffer of a bundle. The last completion ends the operation and frees its slot.
fn settle<O: Copy>(
    slots: &mut Slots<InFlight<O>>,
    pool: &mut buffers::Pool,
    entry: &cqueue::Entry,
    completions: &mut Vec<Completion<O>>,
) {
    let token = Token::from_user_data(entry.user_data());
    if cqueue::more(entry.flags()) {
        let Some(InFlight { owner, operation }) = slots.get_mut(token) else { return };
        let mut emit = |event| completions.push(Completion { owner: *owner, token, event, last: false });
        operation.progress(entry, pool, &mut emit);
    } else {
        let Some(InFlight { owner, operation }) = slots.remove(token) else { return };
        let mut emit = |event| completions.push(Completion { owner, token, event, last: false });
        operation.complete(entry, pool, &mut emit);
        completions.last_mut().expect("the last completion is an event").last = true;
    }
}

/// `ETIME`: the timeout came first. `EINTR`: the process was stopped and continued. `EAGAIN`, `EBUSY`: the kernel wants its
/// completions reaped first. All end by going on.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

impl<O> Ring<O> {
    /// Cancels everything and reaps until the kernel holds nothing. False when it did not let go in time.
    fn empty(&mut self) -> bool {
        let deadline = Instant::now() + RING_CLOSE_TIMEOUT;
        for target in self.slots.tokens() {
            let entry = io_uring::opcode::AsyncCancel::new(target.user_data()).build().user_data(u64::MAX);
            // SAFETY: a cancel refers to no memory.
            while unsafe { self.uring.submission().push(&entry) }.is_err() {
                drop(self.uring.submit());
            }
        }
        while !self.slots.is_empty() && Instant::now() < deadline {
            self.reap_into_nothing();
        }
        self.slots.is_empty()
    }

    fn reap_into_nothing(&mut self) {
        let timespec = types::Timespec::from(Duration::from_millis(20));
        drop(self.uring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&timespec)));
        for entry in self.uring.completion() {
            let token = Token::from_user_data(entry.user_data());
            if cqueue::more(entry.flags()) {
                let Some(in_flight) = self.slots.get_mut(token) else { continue };
                in_flight.operation.progress(&entry, &mut self.pool, &mut drop);
            } else {
                let Some(over) = self.slots.remove(token) else { continue };
                over.operation.complete(&entry, &mut self.pool, &mut drop);
            }
        }
    }
}

impl<O> Drop for Ring<O> {
    /// A ring is given up only empty: memory that the kernel may still write to is leaked rather than freed.
    fn drop(&mut self) {
        if self.empty() {
            // SAFETY: the kernel holds no operation, so it will touch neither buffers nor entries; `pool` is not used again.
            unsafe { mem::ManuallyDrop::drop(&mut self.pool) };
        } else {
            mem::forget(mem::replace(&mut self.slots, Slots::new()));
        }
    }
}

#[cfg(test)]
mod tests;
