//! What the user may write.
//!
//! Lives here: the command line and its help. Never here: resolving names, running.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::target::{FramingName, Target};

const EXIT_CODES: &str = "\
Exit codes:
  0  all well
  1  could not run (address in use, nobody listening, …)
  2  wrong usage
  3  losses, duplicates, disorder or torn messages; for `sink --expect` also too few numbered messages";

/// Generates numbered messages, or receives and verifies them.
#[derive(Debug, Parser)]
#[command(name = "slackload", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Connect and write numbered messages; count what is acknowledged
    #[command(after_help = EXIT_CODES)]
    Send(Send),
    /// Listen and verify numbered messages: none missing, none twice, all in order
    #[command(after_help = EXIT_CODES)]
    Sink(Sink),
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Where to send: HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or unixgram:PATH, with ?framing=… if need be
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Target,
    /// How messages are told apart [default: line; datagram on udp and unixgram]
    #[arg(long, value_enum)]
    pub(crate) framing: Option<FramingName>,
    /// Connections, over up to 64 threads that do not wait for each other: of a short run some may end before others open
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) connections: u32,
    /// Messages in all; a multiple of the connections [default: until --duration, or until a signal]
    #[arg(long, value_name = "N")]
    pub(crate) messages: Option<u64>,
    /// Time to send for, such as 5s
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Bytes of each message, without framing; at least 53, and 77 for the sink to tell the latency of --rate
    #[arg(long, default_value_t = 256, value_name = "BYTES")]
    pub(crate) size: usize,
    /// How messages are divided into writes
    #[arg(long, value_enum, default_value_t = StyleName::Bulk, conflicts_with = "rate")]
    pub(crate) style: StyleName,
    /// Messages a second over all connections, evenly spread [default: as fast as the peer reads; udp knows no peer and overruns it]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u64>,
    /// What each socket may hold in the kernel, of which it makes twice as much [default: up to the kernel, 4 MiB for TCP]
    #[arg(long, value_name = "BYTES")]
    pub(crate) send_buffer: Option<usize>,
    /// How long a connection waits for a peer that does not read or acknowledge
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) patience: Duration,
    /// Write the report as JSON to standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sink {
    /// Where to listen, in the same forms; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:5514", value_name = "ADDRESS")]
    pub(crate) listen: Target,
    /// How messages are told apart [default: line; datagram on udp and unixgram]
    #[arg(long, value_enum)]
    pub(crate) framing: Option<FramingName>,
    /// End once so many different numbered messages have come; foreign ones do not count
    #[arg(long, value_name = "N")]
    pub(crate) expect: Option<u64>,
    /// End once nothing has come for so long, from the start on
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) idle_exit: Option<Duration>,
    /// Write the report as JSON to standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StyleName {
    /// Many messages a write
    Bulk,
    /// One message a write
    Single,
    /// Messages split at random bytes
    Dribble,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use slackwater::load::Stamp;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_of_the_size_names_its_bounds() {
        let command = Arguments::command();
        let send = command.find_subcommand("send").unwrap();
        let size = send.get_arguments().find(|argument| argument.get_id() == "size").unwrap();
        let help = size.get_help().unwrap().to_string();
        let bounds = [Stamp::LEN, Stamp::LEN_WITH_DUE];
        assert!(bounds.iter().all(|bound| help.contains(&bound.to_string())), "{help}");
    }

    #[test]
    fn a_rate_excludes_a_style() {
        let line = ["slackload", "send", "--to", "h:1", "--rate", "5", "--style", "single"];
        assert!(Arguments::try_parse_from(line).is_err());
        assert!(Arguments::try_parse_from(&line[..6]).is_ok());
    }
}
