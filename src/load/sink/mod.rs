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
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
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
use crate::limits::{ACCEPT_RETRY, LOAD_STOP_PATIENCE};
use crate::message::Framing;
use crate::socket::descriptors::is_shortage;

/// Stack of a sink thread, in bytes; its buffer is on the heap.
const STACK: usize = 256 * 1024;

/// What the threads of one sink share.
#[derive(Debug)]
struct Shared {
    framing: Framing,
    counter: Arc<Counter>,
    gate: Gate,
    registry: Registry,
    /// Why a connection could not be accepted yet, the first time.
    shortage: OnceLock<Errno>,
}

/// Listens at `at` (port 0: the kernel's choice) and reads every connection in a thread of its own; datagrams in one.
///
/// # Errors
/// As socket(2), bind(2), listen(2), or a thread that cannot be started.
pub fn listen(at: impl Into<Place>, framing: Framing) -> io::Result<SinkHandle> {
    let (socket, place) = at.into().open()?;
    let shared = Arc::new(Shared {
        framing,
        counter: Arc::new(Counter::default()),
        gate: Gate::default(),
        registry: Registry::default(),
        shortage: OnceLock::new(),
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
        let backlog = accept_waiting(listener, is_tcp, shared);
        if stopping {
            return;
        }
        let mut wanted = [stop.as_fd(), listener.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // An interrupted wait only looks once more.
        let _ = match backlog {
            Backlog::Empty => poll(&mut wanted, PollTimeout::NONE),
            // The listener stays readable, and no event tells that there is a descriptor again.
            Backlog::Waiting => {
                poll(&mut wanted[..1], PollTimeout::try_from(ACCEPT_RETRY).unwrap_or(PollTimeout::ZERO))
            }
        };
    }
}

/// What our kernel has of connections that nobody accepted yet.
enum Backlog {
    Empty,
    /// There is something missing that accepting takes.
    Waiting,
}

fn accept_waiting(listener: &Socket, is_tcp: bool, shared: &Arc<Shared>) -> Backlog {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let visit = Visit::begin(shared, stream, is_tcp);
                // Without a thread the visit ends at once, which its peer sees.
                let _ = spawn("load-sink", move || visit.run());
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return backlog_at(&error, listener, shared),
        }
    }
}

fn backlog_at(error: &io::Error, listener: &Socket, shared: &Shared) -> Backlog {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    // Without a descriptor accept(2) fails also where nobody waits.
    let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    if !is_shortage(errno) || poll(&mut wanted, PollTimeout::ZERO) == Ok(0) {
        return Backlog::Empty;
    }
    shared.shortage.get_or_init(|| errno);
    Backlog::Waiting
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

    /// Waits until so many distinct messages have come, numbered or foreign, at most for `timeout`; says whether they have.
    pub fn wait_for(&self, messages: u64, timeout: Duration) -> bool {
        self.shared.counter.wait_for(messages, timeout)
    }

    /// As [`SinkHandle::wait_for`], but for numbered messages: foreign ones stand in for none.
    pub fn wait_for_numbered(&self, messages: u64, timeout: Duration) -> bool {
        self.shared.counter.wait_for_numbered(messages, timeout)
    }

    /// Waits until so many connections have been accepted in all, at most for `timeout`; says whether they have.
    pub fn wait_for_connections(&self, connections: u64, timeout: Duration) -> bool {
        self.shared.counter.wait_for_connections(connections, timeout)
    }

    /// A handle that ends every wait of this sink from another thread, now and later.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::of(&self.shared.counter)
    }

    /// Why connections had to wait to be accepted, if any had to: descriptors or memory ran out. What they sent meanwhile comes late.
    pub fn shortage(&self) -> Option<io::Error> {
        self.shared.shortage.get().map(|&errno| errno.into())
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
