//! What the user wrote, turned into what the program uses.
//!
//! Lives here: [`RunArgs`], what was typed; [`ConfigFile`], what stands in a file; [`plan`], the values that the relay runs on; and the parsing that leads from
//! the one to the other, or to a [`ConfigError`] that points at the mistake. Never here: I/O; nothing is resolved, opened
//! or bound.

mod address;
mod build;
mod cores;
mod endpoint;
mod error;
mod file;
mod flags;
mod names;
mod nearest;
mod paths;
pub mod plan;
mod service;
pub mod services;
mod settings;
mod sink;
mod source;
mod values;
mod word;

#[cfg(test)]
mod tests;

pub use cores::cores;
pub use error::ConfigError;
pub use file::ConfigFile;
pub use flags::RunArgs;
