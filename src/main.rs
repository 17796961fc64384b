//! `slackwater`: arguments → run → exit code, nothing else.

use std::process::ExitCode;

use slackwater::cli;

fn main() -> ExitCode {
    cli::parse().map_or_else(|code| code, |asked| cli::dispatch(&asked))
}
