//! What the user may type after `slackwater run`, as typed.
//!
//! Lives here: the flags and their help. Never here: what the texts mean.

use std::path::PathBuf;

use clap::Args;

/// The flags of `slackwater run`, unparsed; [`RunArgs::plan`] and [`RunArgs::plan_of`] give them their meaning.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Take sources, sinks and all else from FILE; flags for the whole relay go before it
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where messages come from; may be repeated [default: tcp and udp on 127.0.0.1:5140]
    #[arg(long, value_name = "URL")]
    pub from: Vec<String>,
    /// Where they go; may be repeated, then each message goes to each [default: stdout]
    #[arg(long, value_name = "URL")]
    pub to: Vec<String>,
    /// Cores that get a reactor: a count (2), their numbers (0,3) or all [default: all; 1 if to stdout]
    #[arg(long, value_name = "CORES")]
    pub cores: Option<String>,
    /// From the signal to the moment at which what is left is abandoned [default: 25s]
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// Bound on what is received and not yet delivered, per core [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub max_in_flight: Option<String>,
    /// Wait for more messages to come together: costs each up to DURATION, saves processor time [default: 150us for
    /// datagrams by UDP that come one upon another, 0s for all else]
    #[arg(long, value_name = "DURATION")]
    pub gather: Option<String>,
    /// Write the books to FILE at the end, as JSON
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}
