//! The command line: what the user typed becomes what runs.
//!
//! Lives here: subcommands, their help and their dispatch to what runs them. Never here: anything that a message meets.

mod check;
mod demo;
mod file;
mod help;
mod log;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::demo::DemoArgs;
use self::demo::DemoError;
pub use self::log::{LogArgs, LogFormat, LogLevel};
pub use crate::config::RunArgs;
use crate::doctor::{Demand, Diagnosis, Facts};
use crate::process::{self, EarlyEnd, Signals, StartError};

/// Exit code for bad usage or configuration.
const BAD_USAGE: u8 = 2;

/// Everything that one call of `slackwater` was asked.
#[derive(Parser, Debug)]
#[command(name = "slackwater", version, about, long_about = help::ABOUT, after_long_help = help::AFTER)]
pub struct Cli {
    /// What is logged, and how; the same for every subcommand.
    #[command(flatten)]
    pub log: LogArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Relay messages until TERM or INT, then drain
    #[command(long_about = help::RUN, after_long_help = help::AFTER_RUN)]
    Run(RunArgs),
    /// Say what would run, or point at the mistake; opens nothing
    #[command(long_about = help::CHECK)]
    Check(RunArgs),
    /// Say what this machine has of what the relay needs, and what mends it
    #[command(long_about = help::DOCTOR)]
    Doctor(RunArgs),
    /// Watch the relay lose nothing: a generator, the real relay and a sink on loopback, stopped in full flow
    #[command(long_about = help::DEMO)]
    Demo(DemoArgs),
}

/// Parses this process's arguments. From here on signals wait until what is asked for takes them.
///
/// # Errors
///
/// The exit code to end with, when there is nothing to do: help and the version go to stdout (code 0), mistakes in usage
/// to stderr (code 2).
pub fn parse() -> Result<Cli, ExitCode> {
    Signals::hold();
    Cli::try_parse().map_err(|error| {
        Signals::release();
        // A reader that has gone must not change the exit code.
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD_USAGE))
    })
}

/// Does what was asked, to its end.
pub fn dispatch(cli: &Cli) -> ExitCode {
    if let Err(error) = log::init(&cli.log) {
        return refuse(&error);
    }
    if matches!(cli.command, Command::Check(_) | Command::Doctor(_)) {
        // Neither takes them, and what is read may be a pipe.
        Signals::release();
    }
    match &cli.command {
        Command::Run(args) => run(args),
        Command::Check(args) => check(args),
        Command::Doctor(args) => doctor(args),
        Command::Demo(args) => demo(args),
    }
}

fn run(args: &RunArgs) -> ExitCode {
    let early = match EarlyEnd::begin() {
        Ok(early) => early,
        Err(error) => {
            tracing::error!("{}", StartError::from(error));
            return ExitCode::from(process::COULD_NOT_RUN);
        }
    };
    match file::plan(args) {
        Ok(plan) => process::run(&plan, early),
        Err(error) => {
            early.is_over();
            refuse(&error)
        }
    }
}

fn check(args: &RunArgs) -> ExitCode {
    match file::plan(args) {
        Ok(plan) => {
            let _ = writeln!(io::stdout().lock(), "{}", check::Shown(&plan));
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error),
    }
}

fn doctor(args: &RunArgs) -> ExitCode {
    let plan = match file::plan(args) {
        Ok(plan) => plan,
        Err(error) => return refuse(&error),
    };
    let diagnosis = Diagnosis::of(&Facts::read(), &Demand::of(&plan));
    let _ = writeln!(io::stdout().lock(), "{diagnosis}");
    if diagnosis.is_healthy() { ExitCode::SUCCESS } else { ExitCode::from(process::COULD_NOT_RUN) }
}

fn demo(args: &DemoArgs) -> ExitCode {
    match demo::run(args) {
        Ok(outcome) => {
            let _ = writeln!(io::stdout().lock(), "{outcome}");
            if outcome.holds() { outcome.report().exit_code() } else { ExitCode::from(process::ABANDONED) }
        }
        Err(DemoError::Config(error)) => refuse(&error),
        Err(DemoError::Send(error)) if error.is_usage() => refuse(&error),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(process::COULD_NOT_RUN)
        }
    }
}

fn refuse(error: &dyn fmt::Display) -> ExitCode {
    Signals::release();
    let _ = writeln!(io::stderr().lock(), "error: {error}");
    ExitCode::from(BAD_USAGE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parsed(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).expect(line)
    }

    fn refused(line: &str) -> clap::Error {
        Cli::try_parse_from(line.split(' ')).expect_err(line)
    }

    fn help_of(subcommand: &str) -> String {
        let mut command = Cli::command();
        command.find_subcommand_mut(subcommand).expect(subcommand).render_long_help().to_string()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_needs_no_flag() {
        let Command::Run(args) = parsed("slackwater run").command else { panic!("not run") };
        assert!(args.from.is_empty() && args.to.is_empty() && args.cores.is_none() && args.ledger.is_none());
    }

    #[test]
    fn run_takes_every_flag() {
        let line = "slackwater run --from tcp://a:1 --from tcp://a:2 --to - --cores 0,3 --drain-timeout 5s \
                    --max-in-flight 8MiB --ledger books.json --log-format json --log-level debug";
        let cli = parsed(line);
        let Command::Run(args) = cli.command else { panic!("not run") };
        assert_eq!(args.from, ["tcp://a:1", "tcp://a:2"]);
        assert_eq!(args.to, ["-"]);
        assert_eq!(args.cores.as_deref(), Some("0,3"));
        assert_eq!(args.drain_timeout.as_deref(), Some("5s"));
        assert_eq!(args.max_in_flight.as_deref(), Some("8MiB"));
        assert_eq!(args.ledger.as_deref(), Some("books.json".as_ref()));
        assert_eq!((cli.log.log_format, cli.log.log_level), (LogFormat::Json, Some(LogLevel::Debug)));
    }

    #[test]
    fn without_a_subcommand_help_is_shown_as_a_mistake() {
        let error = refused("slackwater");
        assert_eq!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn help_and_version_are_no_mistakes() {
        assert_eq!(refused("slackwater --help").exit_code(), 0);
        assert_eq!(refused("slackwater run --help").exit_code(), 0);
        let version = refused("slackwater --version");
        assert_eq!(version.exit_code(), 0);
        assert_eq!(version.to_string(), concat!("slackwater ", env!("CARGO_PKG_VERSION"), "\n"));
    }

    #[test]
    fn an_unknown_flag_is_a_mistake() {
        assert_eq!(refused("slackwater run --form tcp://a:1").exit_code(), 2);
    }

    #[test]
    fn help_tells_exit_codes_and_signals() {
        let help = help_of("run");
        for word in ["Exit codes:", "abandoned", "TERM", "QUIT", "USR1", "HUP", "Examples:", "max_message"] {
            assert!(help.contains(word), "{word} is not in\n{help}");
        }
    }

    #[test]
    fn help_tells_the_defaults_that_hold() {
        let plan = RunArgs::default().plan().expect("the defaults are valid");
        let help = help_of("run");
        assert_eq!(plan.drain_timeout, Duration::from_secs(25));
        assert!(help.contains("[default: 25s]"));
        assert_eq!(plan.max_in_flight, 64 << 20);
        assert!(help.contains("[default: 64MiB]"));
        let source = &plan.sources[0];
        assert!(help.contains("[default: tcp and udp on 127.0.0.1:5140]"));
        assert_eq!(source.listen.to_string(), "tcp://127.0.0.1:5140");
        assert_eq!(plan.sources[1].listen.to_string(), "udp://127.0.0.1:5140");
        assert!(help.contains(&format!("connections held at once [{}]", source.max_connections)));
        assert_eq!((source.max_message, source.linger), (64 << 10, Duration::from_secs(5)));
        assert!(help.contains("[64KiB]") && help.contains("[5s]"));
    }

    /// What `check` shows behind `name`, if it shows it.
    fn shown(name: &str, line: &str) -> Option<String> {
        let Command::Check(args) = parsed(line).command else { panic!("not check") };
        let shown = check::Shown(&args.plan().expect(line)).to_string();
        let row = |line: &str| {
            Some(line.trim_start().strip_prefix(name)?.strip_prefix(' ')?.trim_start().to_owned())
        };
        shown.lines().find_map(row)
    }

    #[test]
    fn check_shows_who_reads_a_queue() {
        let of =
            |from: &str| shown("consumer", &format!("slackwater check --from {from} --to stdout")).unwrap();
        assert_eq!(of("redis://127.0.0.1/s"), "one of this process alone");
        assert_eq!(of("redis-list://127.0.0.1/l"), "the host's name");
        assert_eq!(of("redis-list://127.0.0.1/l?consumer=me"), "me");
    }

    #[test]
    fn check_shows_what_is_waited_for() {
        assert_eq!(shown("gather", "slackwater check").as_deref(), Some("150us for datagrams by UDP"));
        assert_eq!(shown("gather", "slackwater check --from tcp://127.0.0.1:0"), None);
        assert_eq!(shown("gather", "slackwater check --gather 2ms").as_deref(), Some("2ms"));
    }

    #[test]
    fn help_fits_a_terminal_of_eighty_columns() {
        let long = [help::ABOUT, help::AFTER, help::RUN, help::AFTER_RUN, help::DEMO];
        for line in long.iter().flat_map(|text| text.lines()) {
            assert!(line.chars().count() <= 80, "too long: {line}");
        }
    }
}
