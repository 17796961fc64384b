//! Why a step of a service failed.
//!
//! Lives here: the one error that drivers act on, be it that no answer came. Never here: a client's own errors, of which this keeps the text.

use std::fmt::Display;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

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

/// An answer that does not come is a failure, too.
pub(super) async fn in_time<T>(
    at_most: Duration,
    doing: &'static str,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(at_most, step).await.unwrap_or_else(|_| Err(Error::new(doing, "no answer in time")))
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
