//! A message relay for Linux that can be stopped at any moment without losing a message that it had accepted.
//!
//! The modules, in layer order; each imports only from those below it (`tests/tidy.rs` holds the arrows):
//!
//! - [`config`]: what the user wrote, turned into what the program uses
//! - [`ledger`]: a reactor's books, and the figures that the other threads see
//! - [`framing`]: bytes in, runs of whole messages out
//! - [`message`]: the one value that crosses all layers
//! - [`limits`]: every bound, with its reason

pub mod config;
pub mod framing;
pub mod ledger;
pub mod limits;
pub mod message;
