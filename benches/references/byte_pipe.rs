//! A byte pipe on our own ring: many connections onto one, without framing, books or confirmation.
//!
//! It asks the kernel for what the relay asks (multishot receive into the same buffers, one gathered send at a time) and looks
//! at no byte: the difference between the two is what the relay's own work costs, if it receives in the relay's order
//! ([`Order::InTurn`]).

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;
use slackwater::kernel::{Event, Gather, Socket};
use slackwater::limits::{
    BUFFER_SIZE, BUFFERS_OFFERED_MAX, GATHER_BYTES, GATHER_PIECES, NEIGHBOURS, SEGMENT_OF_NEIGHBOUR,
    SEND_BUFFER_NEAR, UNSENT_HIGH_WATER,
};
use slackwater::ring::{Completion, Ring, Support};
use slackwater::socket::window;
use socket2::SockRef;

/// Memory of all buffers.
const MEMORY: usize = 64 * 1024 * 1024;

#[derive(Clone, Copy)]
enum Owner {
    Listener,
    Source(usize),
    Sink,
}

/// Whose turn it is to receive, of sources that have no receive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// That whose receive ended first. It found the buffers, so one that always has more is read again and again, while what it sends is
    /// in the processor's caches, and the others when it has no more.
    AsEnded,
    /// One that found no buffers comes before all that found some, as in the relay.
    InTurn,
}

/// Relays from `from` to `to` until the process is stopped.
///
/// Errors: as bind(2), connect(2), io_uring_setup(2) and io_uring_enter(2).
pub fn run(from: SocketAddr, to: SocketAddr, order: Order) -> io::Result<()> {
    let listener = TcpListener::bind(from)?;
    let sink = TcpStream::connect(to)?;
    sink.set_nodelay(true)?;
    SockRef::from(&sink).set_send_buffer_size(SEND_BUFFER_NEAR)?;
    let support = Support::detect().map_err(io::Error::other)?;
    let ring = Ring::new(support, MEMORY).map_err(io::Error::other)?;
    let mut pipe = Pipe {
        ring,
        listener: Rc::new(listener.into()),
        sink: Rc::new(sink.into()),
        order,
        sources: Vec::new(),
        idle: VecDeque::new(),
        served: VecDeque::new(),
        queue: VecDeque::new(),
        queued: 0,
        sending: false,
    };
    pipe.ring.accept(Owner::Listener, &pipe.listener);
    let mut completions = Vec::new();
    loop {
        pipe.ring.park(None, Duration::ZERO, 0)?;
        pipe.ring.reap(&mut completions);
        for completion in completions.drain(..) {
            pipe.handle(completion)?;
        }
        pipe.send();
        pipe.receive();
    }
}

struct Source {
    connection: Rc<OwnedFd>,
    /// Whether its receive found a buffer.
    served: bool,
}

struct Pipe {
    ring: Ring<Owner>,
    listener: Rc<OwnedFd>,
    sink: Rc<OwnedFd>,
    order: Order,
    sources: Vec<Source>,
    /// Sources that nothing is received from, for want of buffers.
    idle: VecDeque<usize>,
    /// The same that come after them.
    served: VecDeque<usize>,
    queue: VecDeque<Bytes>,
    queued: usize,
    sending: bool,
}

impl Pipe {
    fn handle(&mut self, completion: Completion<Owner>) -> io::Result<()> {
        match (completion.owner, completion.event) {
            (Owner::Listener, Event::Accepted(connection)) => {
                self.idle.push_back(self.sources.len());
                let connection = connection?;
                if self.sources.len() == NEIGHBOURS {
                    self.listener.bound_segments(SEGMENT_OF_NEIGHBOUR)?;
                }
                window::grant(&connection, self.sources.len())?;
                self.sources.push(Source { connection, served: false });
            }
            (Owner::Source(key), event) => {
                let ended = matches!(event, Event::EndOfStream);
                if let Event::Received(lease) = event {
                    let bytes = Bytes::from_owner(lease);
                    self.sources[key].served = true;
                    self.queued += bytes.len();
                    self.queue.push_back(bytes);
                }
                if completion.last && !ended {
                    let served = std::mem::take(&mut self.sources[key].served);
                    let waiting =
                        if served && self.order == Order::InTurn { &mut self.served } else { &mut self.idle };
                    waiting.push_back(key);
                }
            }
            // Who measures stops us for a moment, to count system calls; the relay goes on then as well.
            (Owner::Sink, Event::Sent(Err(Errno::EINTR), _)) => self.sent(0),
            (Owner::Sink, Event::Sent(sent, _)) => self.sent(sent?),
            (Owner::Listener | Owner::Sink, _) => {}
        }
        Ok(())
    }

    fn sent(&mut self, mut bytes: usize) {
        self.sending = false;
        self.queued -= bytes;
        while let Some(front) = self.queue.front_mut() {
            if bytes < front.len() {
                *front = front.slice(bytes..);
                break;
            }
            bytes -= front.len();
            self.queue.pop_front();
        }
    }

    fn send(&mut self) {
        if self.sending || self.queue.is_empty() {
            return;
        }
        let mut gather = Gather::default();
        let mut bytes = 0;
        for piece in self.queue.iter().take(GATHER_PIECES) {
            bytes += piece.len();
            gather.push(piece.clone());
            if bytes >= GATHER_BYTES {
                break;
            }
        }
        self.ring.send(Owner::Sink, &self.sink, gather);
        self.sending = true;
    }

    fn receive(&mut self) {
        if self.queued >= UNSENT_HIGH_WATER {
            return;
        }
        self.ring.offer(BUFFERS_OFFERED_MAX * BUFFER_SIZE);
        let mut buffers = self.ring.offered_bytes() / BUFFER_SIZE;
        while buffers > 0 {
            let Some(key) = self.idle.pop_front().or_else(|| self.served.pop_front()) else { break };
            self.ring.receive(Owner::Source(key), &self.sources[key].connection);
            buffers -= 1;
        }
    }
}
