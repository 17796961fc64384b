//! Reactors in this process, between connections that the benchmark holds: no signal, no exit, no second process.
//!
//! Lives here: starting them, and asking them to drain. Never here: what is measured.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use slackwater::config::RunArgs;
use slackwater::config::plan::{Confirm, Target};
use slackwater::kernel::Address;
use slackwater::ledger::all_drained;
use slackwater::limits::MAX_IN_FLIGHT_DEFAULT;
use slackwater::reactor::{Books, Broke, Control, Phase, Reactor, Setup, SinkSetup, SourceSetup, stay_awake};
use slackwater::ring::{Ring, Support};
use slackwater::socket::listener::Seats;
use slackwater::socket::sink::Endpoint;

/// How long anything may take before the benchmark fails.
const HANG: Duration = Duration::from_secs(30);

/// Reactors, each with a listener, a connection to it, and a connection to a sink.
pub struct Relay {
    bell: Arc<EventFd>,
    reactors: Vec<Arc<Control>>,
    threads: Vec<JoinHandle<(Books, Result<(), Broke>)>>,
    /// To the source of each.
    pub senders: Vec<TcpStream>,
    /// From the sink link of each.
    pub receivers: Vec<TcpStream>,
}

impl Relay {
    /// So many reactors, connected on both sides, with nothing in flight.
    pub fn start(reactors: usize) -> Relay {
        let mut relay = Relay {
            bell: Arc::new(EventFd::new().expect("a descriptor")),
            reactors: Vec::new(),
            threads: Vec::new(),
            senders: Vec::new(),
            receivers: Vec::new(),
        };
        (0..reactors).for_each(|_| relay.add().expect("loopback"));
        relay
    }

    fn add(&mut self) -> io::Result<()> {
        let (source, sink) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let (from, to) = (source.local_addr()?, sink.local_addr()?);
        let control = Arc::new(Control::new(Arc::clone(&self.bell))?);
        let setup = setup(&control, source, to)?;
        // By its name a profile can be cut to it, as that of the relay.
        let named = thread::Builder::new().name(format!("reactor-{}", self.reactors.len()));
        self.threads.push(named.spawn(move || {
            let support = Support::detect().expect("io_uring");
            let ring = Ring::new(support, MAX_IN_FLIGHT_DEFAULT).expect("a ring");
            Reactor::new(setup, ring).expect("a reactor").run()
        })?);
        self.reactors.push(control);
        self.senders.push(TcpStream::connect(from)?);
        self.receivers.push(sink.accept()?.0);
        Ok(())
    }

    /// Messages that were received and are not delivered yet, over all reactors, as they last said.
    pub fn in_flight(&self) -> u64 {
        self.reactors.iter().map(|control| control.published.read().totals.in_flight).sum()
    }

    /// Asks for the drain.
    pub fn ask(&self) {
        self.reactors.iter().for_each(|control| control.ask(Phase::Drain));
    }

    /// Waits for its end.
    pub fn wait(&self) {
        let is_drained = || all_drained(self.reactors.iter().map(|control| &control.published));
        // As the coordinator does.
        stay_awake(is_drained);
        while !is_drained() {
            let mut bell = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(HANG).expect("half a minute");
            assert_eq!(poll(&mut bell, timeout), Ok(1), "the drain hangs");
            self.bell.read().expect("it rang");
        }
    }

    /// Ends it; `delivered` messages must have been delivered, and none lost.
    pub fn end(self, delivered: u64) {
        self.reactors.iter().for_each(|control| control.ask(Phase::Halt));
        let books = self.threads.into_iter().map(|thread| thread.join().expect("no panic").0.totals);
        let totals = books.fold(slackwater::ledger::Totals::default(), |sum, one| sum + one);
        assert_eq!((totals.delivered, totals.abandoned, totals.in_flight), (delivered, 0, 0));
    }
}

fn setup(control: &Arc<Control>, source: TcpListener, to: SocketAddr) -> io::Result<Setup<OwnedFd>> {
    let mut plan = RunArgs::default().plan().expect("the defaults are a plan");
    let (inlet, outlet) = (plan.sources.remove(0), plan.sinks.remove(0));
    let sink =
        slackwater::config::plan::Sink { target: Target::Tcp(Vec::new()), confirm: Confirm::Acked, ..outlet };
    let endpoint = Endpoint { name: "sink".to_owned(), addresses: vec![Address::Tcp(to)] };
    Ok(Setup {
        bell: control.bell()?,
        control: Arc::clone(control),
        max_in_flight: MAX_IN_FLIGHT_DEFAULT,
        gather: None,
        inlets: vec![SourceSetup {
            plan: inlet,
            seats: Arc::new(Seats::new(64, None)),
            sockets: vec![source.into()],
            http: None,
        }],
        outlets: vec![(sink, SinkSetup::Remote(vec![endpoint]))],
        number: 0,
    })
}

/// Reads until the end of the stream, in a thread of its own.
pub fn read_to_end(mut stream: TcpStream) -> JoinHandle<u64> {
    thread::spawn(move || {
        let (mut buffer, mut bytes) = (vec![0; 256 * 1024], 0);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return bytes,
                Ok(read) => bytes += read as u64,
            }
        }
    })
}
