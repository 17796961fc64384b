//! The sink: takes messages, verifies their numbers, and misbehaves on request.
//!
//! Lives here: listening, and the handle by which a test or a user governs the sink. Never here: how a connection is read
//! (that is `link`), or what its messages mean (that is `books`).

mod books;
pub(super) mod counter;
mod datagrams;
mod gate;
mod haul;
mod intake;
mod latencies;
mod link;
mod registry;
pub(super) mod report;
mod sequence;
mod split;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;

use self::counter::{Counter, Interrupter};
use self::datagrams::receive_until_stopped;
use self::gate::Gate;
use self::link::{Link, Visit};
use self::registry::Registry;
use self::report::{Latency, Report, Tally};
use super::place::Place;
use super::stop::Stop;
use crate::limits::LOAD_STOP_PATIENCE;
use crate::message::Framing;

/// Stack of a sink thread, in bytes; its buffer is on the heap.
const STACK: usize = 256 * 1024;

/// What the threads of one sink share.
#[derive(Debug)]
struct Shared {
    framing: Framing,
    counter: Arc<Counter>,
    gate: Gate,
    registry: Registry,
}

/// Listens at `at` (port 0: the kernel's choice) and reads every connection in a thread of its own; datagrams in one.
///
/// Errors: as socket(2), bind(2), listen(2), or a thread that cannot be started.
pub fn listen(at: impl Into<Place>, framing: Framing) -> io::Result<SinkHandle> {
    let (socket, place) = at.into().open()?;
    let shared = Arc::new(Shared {
        framing,
        counter: Arc::new(Counter::default()),
        gate: Gate::default(),
        registry: Registry::default(),
    });
    let stop = Stop::new()?;
    let (theirs, asked, kind) = (Arc::clone(&shared), stop.clone(), place.clone());
    let acceptor = spawn("load-accept", move || match kind {
        Place::Tcp(_) => accept_until_stopped(&socket, true, &theirs, &asked),
        Place::Unix(_) => accept_until_stopped(&socket, false, &theirs, &asked),
        Place::Udp(_) => receive_until_stopped(&socket, true, &theirs, &asked),
        Place::Unixgram(_) => receive_until_stopped(&socket, false, &theirs, &asked),
    })?;
    Ok(SinkHandle { place, shared, stop, acceptor: Some(acceptor) })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work)
}

/// What was accepted by our kernel before the stop is still taken: its bytes may have been acknowledged.
fn accept_until_stopped(listener: &Socket, is_tcp: bool, shared: &Arc<Shared>, stop: &Stop) {
    loop {
        let stopping = stop.is_asked();
        accept_waiting(listener, is_tcp, shared);
        if stopping {
            return;
        }
        let mut wanted = [listener.as_fd(), stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // An interrupted wait only looks once more.
        let _ = poll(&mut wanted, PollTimeout::NONE);
    }
}

fn accept_waiting(listener: &Socket, is_tcp: bool, shared: &Arc<Shared>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let visit = Visit::begin(shared, stream, is_tcp);
                // Without a thread the visit ends at once, which its peer sees.
                let _ = spawn("load-sink", move || visit.run());
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // None waits, or descriptors ran out, which the next try finds out.
            Err(_) => return,
        }
    }
}

/// A running sink. Dropping it resets what is open.
#[derive(Debug)]
pub struct SinkHandle {
    place: Place,
    shared: Arc<Shared>,
    stop: Stop,
    acceptor: Option<JoinHandle<()>>,
}

impl SinkHandle {
    /// Where it listens, with the port that the kernel chose.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The same on a network.
    ///
    /// # Panics
    /// When it is a socket file.
    pub fn address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) | Place::Udp(address) => *address,
            Place::Unix(path) | Place::Unixgram(path) => panic!("{} has no port", path.display()),
        }
    }

    /// The figures so far.
    pub fn tally(&self) -> Tally {
        self.shared.counter.tally()
    }

    /// How late messages came since this was last asked, if they said when they were due; the final report tells of what comes after.
    pub fn take_latency(&self) -> Option<Latency> {
        self.shared.counter.take_latency()
    }

    /// Waits until so many distinct messages have come, at most for `timeout`; says whether they have.
    pub fn wait_for(&self, messages: u64, timeout: Duration) -> bool {
        self.shared.counter.wait_for(messages, timeout)
    }

    /// Waits until so many connections have been accepted in all, at most for `timeout`; says whether they have.
    pub fn wait_for_connections(&self, connections: u64, timeout: Duration) -> bool {
        self.shared.counter.wait_for_connections(connections, timeout)
    }

    /// A handle that ends every wait of this sink from another thread, now and later.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::of(&self.shared.counter)
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.registry.len()
    }

    /// Stops reading; once this returns, no byte is read any more until [`SinkHandle::resume`]. Goes on accepting.
    pub fn stall(&self) {
        self.shared.gate.stall();
    }

    /// Reads on.
    pub fn resume(&self) {
        self.shared.gate.resume();
    }

    /// Closes what is open gracefully: sends FIN, and reads on until the peer's FIN. Returns at once; goes on accepting.
    pub fn close_all(&self) {
        self.shared.registry.for_each(Link::close);
    }

    /// Resets what is open, stalled or not; what was not read is lost. Returns when it is done; goes on accepting.
    pub fn reset_all(&self) {
        let shared = &self.shared;
        shared.registry.for_each(Link::reset);
        shared.gate.look_again();
        shared.registry.wait_until_severed();
    }

    /// Resets what is open in the midst of what comes, but loses nothing that was acknowledged: that is read first, also by
    /// a sink that was stalled. Returns when it is done; goes on accepting.
    pub fn cut_all(&self) {
        self.resume();
        self.shared.registry.for_each(Link::cut);
        self.shared.registry.wait_until_severed();
    }

    /// Stops accepting, closes what is open gracefully (after two seconds by a reset) and reports.
    pub fn finish(mut self) -> Report {
        self.stop_accepting();
        self.resume();
        self.close_all();
        if !self.shared.registry.wait_until_empty(LOAD_STOP_PATIENCE) {
            self.reset_all();
        }
        self.shared.counter.report()
    }

    /// Stops accepting, cuts what is open (see [`SinkHandle::cut_all`]) and reports: a sink that is gone from one moment on.
    pub fn abort(mut self) -> Report {
        self.stop_accepting();
        self.cut_all();
        self.shared.counter.report()
    }

    fn stop_accepting(&mut self) {
        self.stop.stop();
        self.shared.gate.look_again();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().expect("the accepting thread panicked");
        }
    }
}

impl Drop for SinkHandle {
    fn drop(&mut self) {
        self.stop.stop();
        self.shared.gate.look_again();
        if let Place::Unix(path) | Place::Unixgram(path) = &self.place {
            // It is gone already only if somebody else removed it.
            let _ = fs::remove_file(path);
        }
        // A panic in the thread was printed where it happened; a second one here would abort.
        let _ = self.acceptor.take().map(JoinHandle::join);
        self.reset_all();
    }
}
