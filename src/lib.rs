//! A message relay for Linux that can be stopped at any moment without losing a message that it had accepted.
//!
//! The modules, in layer order; each imports only from those below it (`tests/tidy.rs` holds the arrows):
//!
//! - [`cli`]: what the user typed becomes what runs
//! - [`embedded`]: the whole relay as a part of another program, [`Relay`]
//! - [`doctor`]: what this machine has of what the relay needs
//! - [`process`]: bring-up, signals, the coordinator, the report
//! - [`reactor`]: one thread on one core: the turn, the way in, the drain
//! - [`load`]: generator and counting sink, for the demo, `slackload` and the tests
//! - [`broker`]: queues and services, spoken to by their own clients
//! - [`socket`]: listeners, source links, sink links
//! - [`route`]: which sink link a source link's messages go to
//! - [`config`]: what the user wrote, turned into what the program uses
//! - [`ring`]: a small safe layer over io_uring
//! - [`kernel`]: what a reactor asks of the kernel, real or simulated
//! - [`endpoint`]: the two contracts between a reactor and a service
//! - [`ledger`]: a reactor's books, and the figures that the other threads see
//! - [`framing`]: bytes in, runs of whole messages out
//! - [`monitor`]: the ledger for anyone's futures
//! - [`lifecycle`]: a reactor's stages, as a table
//! - [`backoff`]: how long to wait before the next attempt
//! - [`message`]: the one value that crosses all layers
//! - [`limits`]: every bound, with its reason

pub mod backoff;
#[cfg(feature = "services")]
pub mod broker;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod embedded;
pub mod endpoint;
pub mod framing;
pub mod kernel;
pub mod ledger;
pub mod lifecycle;
pub mod limits;
pub mod load;
pub mod message;
pub mod monitor;
pub mod process;
pub mod reactor;
#[allow(unsafe_code, reason = "the kernel reads and writes our memory; this layer keeps what that asks for")]
pub mod ring;
pub mod route;
pub mod socket;

pub use embedded::Relay;
pub use monitor::ProgressMonitor;
