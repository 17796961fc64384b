//! Why a step of a service failed.
//!
//! Lives here: the one error that drivers act on. Never here: a client's own errors, of which this keeps the text.

use std::fmt::Display;

use thiserror::Error;

/// A step failed; its connection is of no use any more, and everything that it was about is done again on the next.
#[derive(Debug, Error)]
#[error("{doing}: {why}")]
pub struct Error {
    doing: &'static str,
    why: String,
}

impl Error {
    /// `doing` reads on with a colon: "reading the stream".
    pub fn new(doing: &'static str, why: impl Display) -> Error {
        Error { doing, why: why.to_string() }
    }
}

/// Says what was being done.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|why| Error::new(doing, why))
    }
}
