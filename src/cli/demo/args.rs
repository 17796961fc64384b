//! What the user may type after `slackwater demo`.
//!
//! Lives here: the flags and their help. Never here: the demonstration.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::Args;

use crate::config::plan::Cores;
use crate::config::{self, ConfigError};

/// The flags of `slackwater demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Messages after whose arrival SIGTERM is sent, in full flow
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub messages: NonZeroU64,
    /// Connections over which it sends
    #[arg(long, value_name = "N", default_value = "8")]
    pub connections: NonZeroUsize,
    /// Payload of each message, in bytes
    #[arg(long, value_name = "N", default_value = "256")]
    pub size: NonZeroUsize,
    /// Cores that get a reactor: a count (2), their numbers (0,3) or all
    #[arg(long, value_name = "CORES", default_value = "all")]
    pub cores: String,
    /// Write the relay's books to FILE at the end, as JSON
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

impl DemoArgs {
    /// Which cores get a reactor.
    ///
    /// # Errors
    ///
    /// As [`config::cores`].
    pub fn cores(&self) -> Result<Cores, ConfigError> {
        config::cores(&self.cores)
    }
}
