//! The whole relay as a part of another program.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::time::Duration;
//!
//! // Where the messages go: a server of ours, on loopback.
//! let server = TcpListener::bind("127.0.0.1:0")?;
//! let to = format!("tcp://{}", server.local_addr()?);
//! let received = std::thread::spawn(move || -> std::io::Result<String> {
//!     let mut text = String::new();
//!     server.accept()?.0.read_to_string(&mut text)?;
//!     Ok(text)
//! });
//!
//! let relay = slackwater::Relay::builder().from("tcp://127.0.0.1:0").to(to).cores("1").start()?;
//! let mut sender = TcpStream::connect(relay.tcp_addresses()[0])?;
//! sender.write_all(b"hello\nworld\n")?;
//! drop(sender);
//!
//! // Nothing that was accepted is lost, also when the drain begins in mid-work.
//! let report = relay.drain(Duration::from_secs(10));
//! assert_eq!((report.totals.received, report.totals.delivered, report.totals.abandoned), (2, 2, 0));
//! assert_eq!(received.join().expect("the server ends")?, "hello\nworld\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! Lives here: starting one, asking for its books, and ending it. Never here: signals, which are the program's own.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::SigSet;
use thiserror::Error;

use crate::config::{ConfigError, ConfigFile, RunArgs};
use crate::process::{Commands, Decision, Relay as Reactors, Report, StartError};

/// What became of everything: the books, for the whole and by the names of sources and sinks.
pub type DrainReport = Report;

/// A relay that runs, on threads of its own. Dropped, it drains without time: what is in flight is abandoned, or returned to its queue.
#[derive(Debug)]
pub struct Relay {
    commands: Arc<Commands>,
    /// `None` of it is the report of one that did not start.
    coordinator: Option<JoinHandle<Option<Report>>>,
    addresses: Vec<SocketAddr>,
    listening: String,
}

/// A relay that does not run yet. What is not said is as after `slackwater run`.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    arguments: RunArgs,
    file: Option<ConfigFile>,
}

/// Why a relay does not run.
#[derive(Debug, Error)]
pub enum BuildError {
    /// What was said of it is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It could not start.
    #[error(transparent)]
    Start(#[from] Box<StartError>),
}

impl Relay {
    /// A relay to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens for TCP connections, with the ports that the kernel chose.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Everywhere that messages come in, as it is typed after `--from`.
    pub fn listening(&self) -> &str {
        &self.listening
    }

    /// Seals the intake, delivers what is in flight, and ends; what is left after `deadline` is abandoned, or returned to its queue.
    pub fn drain(mut self, deadline: Duration) -> DrainReport {
        self.end(deadline).expect("one that has started, and ends once")
    }

    fn end(&mut self, deadline: Duration) -> Option<Report> {
        let coordinator = self.coordinator.take()?;
        self.commands.give(Decision::DrainWithin(deadline));
        match coordinator.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = self.end(Duration::ZERO);
        }
    }
}

impl Builder {
    /// One more source, as it is typed after `--from`.
    #[must_use]
    pub fn from(mut self, url: impl Into<String>) -> Builder {
        self.arguments.from.push(url.into());
        self
    }

    /// One more sink, as it is typed after `--to`.
    #[must_use]
    pub fn to(mut self, url: impl Into<String>) -> Builder {
        self.arguments.to.push(url.into());
        self
    }

    /// Sources, sinks and all else as in a configuration file with this text; `name` stands in the messages about mistakes.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, text: impl Into<String>) -> Builder {
        self.file = Some(ConfigFile::new(name, text));
        self
    }

    /// Cores that get a reactor: a count, a list of numbers, or `all`.
    #[must_use]
    pub fn cores(mut self, cores: impl Into<String>) -> Builder {
        self.arguments.cores = Some(cores.into());
        self
    }

    /// Bound on what is received and not yet delivered, per core, as `64MiB`.
    #[must_use]
    pub fn max_in_flight(mut self, size: impl Into<String>) -> Builder {
        self.arguments.max_in_flight = Some(size.into());
        self
    }

    /// Opens, binds and resolves everything, and relays from then on.
    ///
    /// # Errors
    /// What of it is wrong, or what is missing here; nothing is left open or running.
    pub fn start(self) -> Result<Relay, BuildError> {
        let plan = match &self.file {
            None => self.arguments.plan()?,
            Some(file) => self.arguments.plan_of(file)?,
        };
        let commands = Arc::new(Commands::new().map_err(|errno| system(errno.into()))?);
        let (line, (started, is_started)) = (Arc::clone(&commands), mpsc::channel());
        let coordinator = thread::Builder::new().name("slackwater".to_owned()).spawn(move || {
            // Threads inherit this: signals are for the threads of the program.
            let _ = SigSet::all().thread_block();
            let relay = match Reactors::start(&plan, || {}) {
                Ok(relay) => relay,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return None;
                }
            };
            let _ = started.send(Ok((relay.tcp_addresses(), relay.listening())));
            Some(relay.run_to_end(&*line).clear_away())
        });
        let coordinator = coordinator.map_err(system)?;
        let (addresses, listening) = is_started
            .recv()
            .unwrap_or_else(|_| Err(StartError::System(std::io::Error::other("it ended while it started"))))
            .map_err(Box::new)?;
        Ok(Relay { commands, coordinator: Some(coordinator), addresses, listening })
    }
}

fn system(error: std::io::Error) -> BuildError {
    BuildError::Start(Box::new(StartError::System(error)))
}
