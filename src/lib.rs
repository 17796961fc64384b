//! slackwater: a message relay for Linux that can be stopped at any moment without losing a message that it had accepted.
//!
//! A message's way, and the modules in the order of their layers; each imports only from those below it:
//! `cli` (what the user typed), [`config`] (what the program uses), `process` (bring-up, signals, coordinator, report),
//! `reactor` (one turn), `socket` (links), `route`, [`ledger`], [`framing`], [`ring`], [`message`], [`limits`].

pub mod cli;
pub mod config;
pub mod framing;
pub mod ledger;
pub mod limits;
pub mod lifecycle;
pub mod load;
pub mod message;
pub mod process;
pub mod reactor;
#[allow(unsafe_code, reason = "the kernel reads and writes our memory; the layer that keeps the promise is this one")]
pub mod ring;
pub mod route;
pub mod socket;
