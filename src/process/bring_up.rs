//! From a plan to running reactors: everything that can fail at the start fails here, before a message is taken in.
//!
//! Lives here: opening, binding, resolving, starting threads. Never here: what happens once they run.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::fstat;
use thiserror::Error;

use super::opening::{Listening, Sources, open_outlet};
use super::placement::{self, PlacementError};
use super::report::LedgerFile;
use crate::config::plan::Plan;
use crate::reactor::{Books, Broke, Control, Reactor, Setup, SinkSetup, SourceSetup};
use crate::ring::{Ring, SetupError, Support};
use crate::socket::address::AddressError;
use crate::socket::descriptors::{descriptor_limit, has_descriptors, make_room, shortage_remedy};
use crate::socket::filter;
use crate::socket::socket_file::{Owned, SocketFileError};

/// Why the relay cannot start. Each says what to do about it.
#[derive(Debug, Error)]
pub enum StartError {
    /// Signals cannot be taken.
    #[error("cannot take signals: {0}{remedy}", remedy = shortage_remedy(&io::Error::from(*.0)))]
    Signals(nix::Error),
    /// io_uring cannot be used.
    #[error(transparent)]
    Ring(#[from] SetupError),
    /// An address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A socket file cannot be made.
    #[error(transparent)]
    SocketFile(#[from] SocketFileError),
    /// The cores are not there.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A sink's file cannot be opened.
    #[error("cannot open {path} for appending: {error}\nremedy: {remedy}", path = .path.display())]
    File {
        /// The sink's file.
        path: PathBuf,
        /// What open(2) said.
        error: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The books could not be written at the end.
    #[error("cannot write the ledger {path}: {error}\nremedy: name a file in a folder that exists and may be written to", path = .path.display())]
    Ledger {
        /// The ledger file.
        path: PathBuf,
        /// What the file system said.
        error: io::Error,
    },
    /// A descriptor or a thread could not be had.
    #[error("cannot set the relay up: {0}{remedy}", remedy = shortage_remedy(.0))]
    System(#[from] io::Error),
    /// It would come up, and could not accept a connection.
    #[error(
        "the limit of open files is {0}, which leaves none for connections\n\
         remedy: raise it (`ulimit -n`, or LimitNOFILE= in the unit)"
    )]
    Descriptors(u64),
}

/// A relay whose reactors run.
pub struct Relay {
    pub(super) plan: Plan,
    pub(super) ledger_file: Option<LedgerFile>,
    pub(super) bell: Arc<EventFd>,
    pub(super) threads: Vec<ReactorThread>,
    listening: Vec<Listening>,
    /// Removed when the relay is gone.
    _files: Vec<Owned>,
}

/// A reactor's thread, and the line to it.
pub(super) struct ReactorThread {
    pub(super) control: Arc<Control>,
    /// Its books and why it ended, once.
    pub(super) last_word: Receiver<LastWord>,
    pub(super) remains: Remains,
}

pub(super) type LastWord = (Books, Result<(), Broke>);

/// What a reactor does last.
pub(super) struct Parting {
    last_word: Sender<LastWord>,
    let_go: Receiver<()>,
}

impl Parting {
    /// Says it, does what nobody waits for, and waits until it is let go.
    pub(super) fn say(self, last_word: LastWord, then: impl FnOnce()) {
        // Nobody hears a reactor that was left behind, and nobody holds it.
        let _ = self.last_word.send(last_word);
        then();
        let _ = self.let_go.recv();
    }
}

/// A thread that has said its last word, and has a ring and memory until it is let go.
pub(super) struct Remains {
    let_go: Sender<()>,
    handle: JoinHandle<()>,
}

impl ReactorThread {
    /// A thread that does `run`.
    pub(super) fn spawn(
        name: String,
        control: Arc<Control>,
        run: impl FnOnce(Parting) + Send + 'static,
    ) -> io::Result<ReactorThread> {
        let ((say, last_word), (let_go, may_leave)) = (mpsc::channel(), mpsc::channel());
        let parting = Parting { last_word: say, let_go: may_leave };
        let handle = thread::Builder::new().name(name).spawn(move || run(parting))?;
        Ok(ReactorThread { control, last_word, remains: Remains { let_go, handle } })
    }
}

impl Remains {
    /// Waits until nothing is left of it.
    pub(super) fn clear_away(self) {
        drop(self.let_go);
        // Whatever it panicked with was said then.
        let _ = self.handle.join();
    }
}

impl Relay {
    /// Opens, binds and resolves everything in the plan, and starts a reactor on each core. Call [`super::Signals::block`]
    /// first: threads inherit the mask. `listens` is called once nothing is waited for any more, before it listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left open or running.
    pub fn start(plan: &Plan, listens: impl FnOnce()) -> Result<Relay, StartError> {
        raise_descriptor_limit();
        filter::prepare();
        let support = Support::detect()?;
        let cores = placement::place(&plan.cores)?;
        let ledger_file = plan.ledger_file.as_deref().map(open_ledger).transpose()?;
        let outlets = (0..plan.sinks.len()).map(|number| open_outlet(plan, number, cores.len()));
        let outlets = outlets.collect::<Result<Vec<_>, _>>()?;
        if let Some(ledger) = &ledger_file {
            refuse_shared_file(ledger, &outlets)?;
        }
        listens();
        let Sources { inlets, listening, files } = Sources::open(&plan.sources, cores.len())?;
        let mut relay = Relay { ledger_file, listening, _files: files, ..Relay::idle(plan)? };
        make_room_for_connections(&relay);
        let mut go_ahead = Vec::new();
        for (core, inlets) in cores.into_iter().zip(inlets) {
            let setup = relay.setup(inlets, &outlets, relay.threads.len())?;
            let (thread, go) = start_reactor(core, support, setup)?;
            relay.threads.push(thread);
            go_ahead.push(go);
        }
        if !has_descriptors(&relay.bell) {
            return Err(StartError::Descriptors(descriptor_limit()));
        }
        // Only now may one accept: nobody is to be taken in by a relay that does not come up.
        for go in go_ahead {
            // A reactor that is gone already shows in its published books.
            let _ = go.send(());
        }
        Ok(relay)
    }

    /// A relay without a reactor.
    pub(super) fn idle(plan: &Plan) -> io::Result<Relay> {
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let plan = plan.clone();
        let (threads, listening) = (Vec::new(), Vec::new());
        Ok(Relay { plan, ledger_file: None, bell, threads, listening, _files: Vec::new() })
    }

    fn setup(
        &self,
        inlets: Vec<SourceSetup<OwnedFd>>,
        outlets: &[SinkSetup<OwnedFd>],
        number: usize,
    ) -> Result<Setup<OwnedFd>, StartError> {
        let control = Arc::new(Control::new(Arc::clone(&self.bell)).map_err(io::Error::from)?);
        let outlets = outlets.iter().map(SinkSetup::try_clone).collect::<io::Result<Vec<_>>>()?;
        let outlets = self.plan.sinks.iter().cloned().zip(outlets).collect();
        let bell = control.bell()?;
        Ok(Setup {
            control,
            bell,
            max_in_flight: self.plan.max_in_flight,
            gather: self.plan.gather,
            inlets,
            outlets,
            number,
        })
    }

    /// Where it listens for TCP connections, with the ports that the kernel chose.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        let tcp = self.listening.iter().filter_map(|at| match at {
            Listening::Tcp(address) => Some(*address),
            Listening::Udp(_)
            | Listening::Unix(_)
            | Listening::Unixgram(_)
            | Listening::Http(_)
            | Listening::Pull(_) => None,
        });
        tcp.collect()
    }

    /// Everywhere that it listens, for a log line.
    pub fn listening(&self) -> String {
        let addresses: Vec<String> = self.listening.iter().map(Listening::to_string).collect();
        addresses.join(" ")
    }

    /// Where it sends, for a log line.
    pub fn sending_to(&self) -> String {
        let targets: Vec<String> = self.plan.sinks.iter().map(|sink| sink.target.to_string()).collect();
        targets.join(" ")
    }

    /// How many reactors run.
    pub fn reactors(&self) -> usize {
        self.threads.len()
    }
}

/// The soft limit is 1024 for the sake of select(2), which is not used here; the hard limit is what the operator meant.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!(%error, soft, hard, "the limit of open files stays as it is");
    }
}

/// Before there is a reactor that would wait for it.
fn make_room_for_connections(relay: &Relay) {
    if let Err(error) = make_room(&relay.bell, relay.plan.max_connections()) {
        tracing::debug!(%error, "no room is made for the connections to come");
    }
}

fn open_ledger(path: &Path) -> Result<LedgerFile, StartError> {
    LedgerFile::open(path).map_err(|error| StartError::Ledger { path: path.to_owned(), error })
}

/// The books would replace the messages, by whatever name.
fn refuse_shared_file(ledger: &LedgerFile, outlets: &[SinkSetup<OwnedFd>]) -> Result<(), StartError> {
    let same = |outlet: &SinkSetup<OwnedFd>| match (outlet, ledger.path().metadata()) {
        (SinkSetup::File { file, .. }, Ok(known)) if known.is_file() => {
            fstat(file).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (known.dev(), known.ino()))
        }
        _ => false,
    };
    if !outlets.iter().any(same) {
        return Ok(());
    }
    let error = io::Error::new(
        io::ErrorKind::InvalidInput,
        "a sink writes to it, and the books would replace the messages",
    );
    Err(StartError::Ledger { path: ledger.path().to_owned(), error })
}

/// Starts a reactor and waits until it is set up. It turns once it gets the go-ahead, and ends if that never comes.
fn start_reactor(
    core: usize,
    support: Support,
    setup: Setup<OwnedFd>,
) -> Result<(ReactorThread, Sender<()>), StartError> {
    let control = Arc::clone(&setup.control);
    let ((ready, is_ready), (go, may_go)) = (mpsc::channel(), mpsc::channel());
    let run = move |parting| run_reactor(core, support, setup, (&ready, &may_go), parting);
    let thread = ReactorThread::spawn(format!("reactor-{core}"), control, run)?;
    is_ready
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("a reactor ended while it was set up").into()))?;
    Ok((thread, go))
}

fn run_reactor(
    core: usize,
    support: Support,
    setup: Setup<OwnedFd>,
    (ready, may_go): (&Sender<Result<(), StartError>>, &Receiver<()>),
    parting: Parting,
) {
    if let Err(errno) = placement::pin(core) {
        tracing::warn!(core, %errno, "a reactor is not pinned");
    }
    let made = Ring::new(support, setup.max_in_flight).map_err(StartError::from);
    let made = made.and_then(|ring| Ok(Reactor::new(setup, ring)?));
    let (reactor, said) = match made {
        Ok(reactor) => (Some(reactor), ready.send(Ok(()))),
        Err(error) => (None, ready.send(Err(error))),
    };
    if let Some(mut reactor) = reactor
        && said.is_ok()
        && may_go.recv().is_ok()
    {
        let last_word = reactor.run();
        parting.say(last_word, || reactor.close_remaining());
    }
}
