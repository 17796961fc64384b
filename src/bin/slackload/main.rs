//! `slackload`: the load generator and the counting sink of the library, on the command line.
//!
//! Lives here: arguments → run → exit code. Never here: how load is made or verified (that is `slackwater::load`).

mod arguments;
mod output;
mod receive;
mod remedy;
mod signals;
mod target;
mod transmit;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Task};

/// Why there is nothing to report: the text for the user, and the code to exit with.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// It could not run.
    fn run(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// What was asked for makes no sense.
    fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::run(error.to_string())
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            output::usage(&error);
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let done = match arguments.task {
        Task::Send(arguments) => transmit::run(&arguments),
        Task::Sink(arguments) => receive::run(&arguments),
    };
    done.unwrap_or_else(|failure| {
        output::say(format_args!("slackload: {}", failure.message));
        ExitCode::from(failure.code)
    })
}
