//! One reactor on a thread of its own, between plain sockets.

mod media;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::*;
use crate::config::RunArgs;
use crate::config::plan::{Confirm, HostPort, Listen, Overflow, Sink, Target};
use crate::kernel::{Address, Waits};
use crate::ledger::{Way, all_drained};
use crate::limits::{MAX_IN_FLIGHT_MIN, STALL, UNSENT_HIGH_WATER};
use crate::message::Framing;
use crate::ring::{Ring, Support};
use crate::socket::sink::Endpoint;

const HANG: Duration = Duration::from_secs(10);

struct Started {
    control: Arc<Control>,
    bell: Arc<EventFd>,
    thread: JoinHandle<(Books, Result<(), Broke>)>,
}

/// A plan of one source and one sink, as its values stand before a test changes some.
fn plan() -> (Source, Sink) {
    let mut plan = RunArgs::default().plan().unwrap();
    (plan.sources.remove(0), plan.sinks.remove(0))
}

fn start(support: Support, inlet: SourceSetup<OwnedFd>, sink: Sink, endpoints: Vec<Endpoint>) -> Started {
    let bell = Arc::new(EventFd::new().unwrap());
    let control = Arc::new(Control::new(Arc::clone(&bell)).unwrap());
    let setup = Setup {
        bell: control.bell().unwrap(),
        control: Arc::clone(&control),
        max_in_flight: MAX_IN_FLIGHT_MIN,
        gather: None,
        inlets: vec![inlet],
        outlets: vec![(sink, SinkSetup::Remote(endpoints))],
        number: 0,
    };
    let thread = std::thread::spawn(move || {
        let ring = Ring::new(support, MAX_IN_FLIGHT_MIN).expect("a ring");
        Reactor::new(setup, ring).expect("a reactor").run()
    });
    Started { control, bell, thread }
}

/// From a TCP listener to a TCP sink.
fn start_tcp(support: Support, to: &TcpListener) -> (SocketAddr, Started) {
    start_tcp_as(support, to, plan().1)
}

/// The same with what the sink is told beside its address.
fn start_tcp_as(support: Support, to: &TcpListener, sink: Sink) -> (SocketAddr, Started) {
    let (address, inlet, sink, endpoint) = tcp(to, sink);
    (address, start(support, inlet, sink, vec![endpoint]))
}

/// A TCP source with its address, and a TCP sink with its endpoint.
fn tcp(to: &TcpListener, sink: Sink) -> (SocketAddr, SourceSetup<OwnedFd>, Sink, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let inlet = SourceSetup {
        plan: plan().0,
        seats: Arc::new(Seats::new(100, None)),
        sockets: vec![OwnedFd::from(listener)],
        http: None,
    };
    let target = to.local_addr().unwrap();
    let sink = Sink { target: Target::Tcp(Vec::new()), confirm: Confirm::Acked, ..sink };
    let endpoint = Endpoint { name: "sink".to_owned(), addresses: vec![Address::Tcp(target)] };
    (address, inlet, sink, endpoint)
}

impl Started {
    fn drain(self) -> Books {
        self.await_drained();
        self.control.ask(Phase::Halt);
        let (books, ended) = self.thread.join().unwrap();
        assert!(ended.is_ok(), "{ended:?}");
        books
    }

    /// Until nothing is in flight; the sinks are not closed before the halt.
    fn await_drained(&self) {
        self.control.ask(Phase::Drain);
        while !all_drained([&self.control.published]) {
            let mut bell = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
            let woken = poll(&mut bell, PollTimeout::try_from(HANG).unwrap());
            assert_eq!(woken, Ok(1), "it hangs: {:?}", self.control.published.read());
            self.bell.read().unwrap();
        }
    }
}

fn lines(sink: &TcpListener, count: usize) -> Vec<String> {
    let (stream, _) = sink.accept().unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    BufReader::new(stream).lines().take(count).map(Result::unwrap).collect()
}

/// Also as an older kernel's io_uring makes it do.
#[test]
fn it_relays_and_drains_with_whatever_the_ring_can_do() {
    let bundles = Support::detect().unwrap().bundles;
    for (deferred, multishot, bundles) in [
        (true, true, bundles),
        (true, true, false),
        (true, false, false),
        (false, true, bundles),
        (false, true, false),
        (false, false, false),
    ] {
        let sink = TcpListener::bind("127.0.0.1:0").unwrap();
        let support = Support { deferred, multishot, bundles, gathers: false };
        let (address, started) = start_tcp(support, &sink);
        let mut senders: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        for round in 0..3 {
            senders.iter_mut().for_each(|sender| writeln!(sender, "message {round}").unwrap());
        }
        assert_eq!(lines(&sink, 9).len(), 9, "{support:?}");
        let books = started.drain().totals;
        assert_eq!((books.received, books.delivered, books.in_flight), (9, 9, 0));
    }
}

/// Linux puts off the acknowledgement of the second of two segments of one length, if longer ones came before, for 40 ms. That the sink
/// closes then is no reason to connect to it again. Where dead letters may still come, FIN waits for the halt.
#[test]
fn what_is_not_acknowledged_at_the_end_is_followed_by_fin() {
    let came_before_the_halt = |dead_letter| {
        let sink = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, started) =
            start_tcp_as(Support::detect().unwrap(), &sink, Sink { dead_letter, ..plan().1 });
        let mut sender = TcpStream::connect(address).unwrap();
        let (mut arrives, _) = sink.accept().unwrap();
        arrives.set_read_timeout(Some(HANG)).unwrap();
        for length in [30_000, 1_000, 1_000] {
            let line = [vec![b'x'; length - 1], vec![b'\n']].concat();
            sender.write_all(&line).unwrap();
            arrives.read_exact(&mut vec![0; length]).unwrap();
        }
        drop(sender);
        started.await_drained();
        arrives.set_nonblocking(true).unwrap();
        let came = arrives.read(&mut [0]).is_ok();
        if dead_letter.is_none() {
            drop(arrives);
            let mut again = [PollFd::new(sink.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut again, PollTimeout::from(50u8)), Ok(0), "it is connected to again");
        }
        let books = started.drain().totals;
        assert_eq!((books.received, books.delivered), (3, 3));
        came
    };
    // A machine that is busy for so long that the acknowledgement came first shows nothing.
    assert!((0..20).any(|_| came_before_the_halt(None)));
    assert!((0..20).all(|_| !came_before_the_halt(Some(0))));
}

/// A reactor that a test drives step by step: its source has no listener, and its sink is `/dev/null`.
fn reactor() -> (Reactor<Ring<Owner>>, Arc<Control>) {
    reactor_of(SourceSetup {
        plan: plan().0,
        seats: Arc::new(Seats::new(1, None)),
        sockets: vec![],
        http: None,
    })
}

/// The same with a source of its own.
fn reactor_of(inlet: SourceSetup<OwnedFd>) -> (Reactor<Ring<Owner>>, Arc<Control>) {
    let nowhere = std::fs::File::options().write(true).open("/dev/null").unwrap();
    let outlet = SinkSetup::File { file: OwnedFd::from(nowhere), waits: Waits::Anywhere, turns: None };
    reactor_between(inlet, plan().1, outlet)
}

/// The same with a sink of its own, too.
fn reactor_between(
    inlet: SourceSetup<OwnedFd>,
    sink: Sink,
    outlet: SinkSetup<OwnedFd>,
) -> (Reactor<Ring<Owner>>, Arc<Control>) {
    let control = Arc::new(Control::new(Arc::new(EventFd::new().unwrap())).unwrap());
    let plan = RunArgs::default().plan().unwrap();
    let setup = Setup {
        control: Arc::clone(&control),
        bell: control.bell().unwrap(),
        max_in_flight: plan.max_in_flight,
        gather: plan.gather,
        inlets: vec![inlet],
        outlets: vec![(sink, outlet)],
        number: 0,
    };
    let ring = Ring::new(Support::detect().unwrap(), plan.max_in_flight).unwrap();
    (Reactor::new(setup, ring).unwrap(), control)
}

#[test]
fn a_message_that_comes_alone_ends_one_sleep() {
    let to = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, inlet, sink, endpoint) = tcp(&to, plan().1);
    let (mut reactor, _control) = reactor_between(inlet, sink, SinkSetup::Remote(vec![endpoint]));
    reactor.replenish(Instant::now());
    let mut sender = TcpStream::connect(address).unwrap();
    sender.write_all(b"a\n").unwrap();
    while reactor.unhurried == 0 {
        assert_eq!(reactor.ledger.totals().delivered, 0, "it waited for its own send");
        reactor.turn().unwrap();
    }
    // Nothing else comes: it is the look for the acknowledgement that ends the sleep.
    let look = reactor.next_deadline(Instant::now()).unwrap();
    reactor.turn().unwrap();
    assert!(Instant::now() >= look);
    assert_eq!(lines(&to, 1), ["a"]);
    while reactor.ledger.totals().delivered == 0 {
        assert!(reactor.next_deadline(Instant::now()).is_some(), "it would hang");
        reactor.turn().unwrap();
    }
}

#[test]
fn the_books_of_a_reactor_that_panicked_are_whole() {
    let (mut reactor, control) = reactor();
    let (books, ended) = reactor.run_with(|reactor| {
        let ticket = reactor.ledger.admit(Way { source: 0, sink: 0 }, 2, 10);
        let run = Run { head: Bytes::new(), body: "a\nb\n".into(), messages: 2, framing: Framing::Line };
        reactor.lanes[0].exit.push(run, ticket, Instant::now());
        panic!("as a bug would");
    });
    assert!(matches!(ended, Err(Broke::Panicked)));
    let abandoned = Totals { received: 2, abandoned: 2, ..Totals::default() };
    assert_eq!((books.totals, books.sources, books.sinks), (abandoned, vec![abandoned], vec![abandoned]));
    assert!(control.is_broken() && control.published.read().is_drained());
}

#[test]
fn a_link_that_is_gone_is_closed_in_its_turn_or_after_the_end() {
    for (asked, in_its_turn) in [(Phase::Run, true), (Phase::Expire, true), (Phase::Halt, false)] {
        let (mut reactor, control) = reactor();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let mut is_closed = || peer.read(&mut [0]).is_ok_and(|bytes| bytes == 0);
        reactor.gone.push(OwnedFd::from(ours).into());
        control.ask(asked);
        reactor.close_gone();
        assert_eq!(is_closed(), in_its_turn, "{asked:?}");
        reactor.close_remaining();
        assert!(is_closed(), "{asked:?}");
    }
}

/// Lets the sink link have as much waiting as it is to have; it last took something `now`.
fn fill(reactor: &mut Reactor<Ring<Owner>>, now: Instant) {
    let body = Bytes::from([vec![b'x'; UNSENT_HIGH_WATER], vec![b'\n']].concat());
    let ticket = reactor.ledger.admit(Way { source: 0, sink: 0 }, 1, body.len());
    let run = Run { head: Bytes::new(), body, messages: 1, framing: Framing::Line };
    let Exit::Socket(link) = &mut reactor.lanes[0].exit else { unreachable!("a file is ours") };
    link.queue_mut().push(run, ticket, now);
    link.queue_mut().advance(1, now);
}

#[test]
fn links_that_wait_for_buffers_get_some_at_the_stall_of_the_sink_that_they_would_wait_for() {
    let ((mut reactor, _control), now) = (reactor(), Instant::now());
    fill(&mut reactor, now);
    assert_eq!(reactor.next_deadline(now), None, "nobody waits");
    reactor.unarmed.push(0, 0, false);
    reactor.replenish(now);
    assert_eq!(reactor.kernel.offered_bytes(), 0, "they would go round for nothing");
    assert_eq!(reactor.next_deadline(now), Some(now + STALL), "nothing else may wake it");
    reactor.replenish(now + STALL);
    assert!(reactor.kernel.offered_bytes() > 0);
}

#[test]
fn senders_that_cannot_wait_are_received_from_however_much_waits_for_the_sink() {
    let (plan, _) = plan();
    let address = HostPort { host: "127.0.0.1".to_owned(), port: 514 };
    let datagrams = Source { listen: Listen::Udp(address), ..plan.clone() };
    let drops = Source { overflow: Overflow::DropNewest, ..plan };
    for plan in [datagrams, drops] {
        let ((mut reactor, _control), now) = (reactor(), Instant::now());
        fill(&mut reactor, now);
        reactor.sources[0].plan = plan;
        reactor.replenish(now);
        assert!(reactor.kernel.offered_bytes() > 0, "{:?}", reactor.sources[0].plan);
    }
}
