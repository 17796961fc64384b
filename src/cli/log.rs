//! Logs: to stderr, for a human or as JSON.
//!
//! Lives here: the flags, their set-up, and a writer that neither fails nor blocks a reactor. Never here: what is logged.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, StderrLock, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{Subscriber, set_global_default};
use tracing_subscriber::EnvFilter;

/// Takes what `--log-level` takes, and levels by module.
const VARIABLE: &str = "SLACKWATER_LOG";
const LEVELS: &str = "off, error, warn, info, debug, trace";
const BY_MODULE: &str = "info,slackwater::socket=debug";
/// Where the client of NATS shows the password that it sends; it says nothing there but at the level trace.
const INDISCREET: &str = "async_nats::connection=off";
/// Bytes that a pipe takes without blocking once it polls writable (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;
/// How long the first line waits for a reader that has fallen behind, in milliseconds; the next ones do not.
const PATIENCE_MS: u8 = 10;
/// Whether the last line found stderr full.
static STUCK: AtomicBool = AtomicBool::new(false);

/// The flags about logs.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Logs on stderr: for a human, or one JSON object a line
    #[arg(long, global = true, help_heading = "Logs", value_name = "FORMAT", default_value = "human")]
    pub log_format: LogFormat,
    /// The least level that is logged [default: $SLACKWATER_LOG, else info]
    #[arg(long, global = true, help_heading = "Logs", value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

/// What a log line looks like.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Level, message, fields; in colour on a terminal.
    #[value(help = None::<&str>)]
    Human,
    /// One JSON object a line, the fields beside the message.
    #[value(help = None::<&str>)]
    Json,
}

/// How much is logged.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// Why there are no logs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum LogError {
    /// The environment variable holds something else than levels.
    #[error("`{0}` in {VARIABLE} is no level\na level is one of: {LEVELS}; by module: {BY_MODULE}")]
    Filter(String),
}

/// Sends this process's logs to stderr from here on. A second call changes nothing.
pub(super) fn init(args: &LogArgs) -> Result<(), LogError> {
    let filter = filter(args.log_level, env::var(VARIABLE).ok().as_deref())?;
    let filter = filter.add_directive(INDISCREET.parse().expect("a module and a level"));
    // Some other subscriber is in place already only when the library is embedded: its choice holds.
    let _ = match args.log_format {
        LogFormat::Human => set_global_default(human(filter)),
        LogFormat::Json => set_global_default(json(filter)),
    };
    Ok(())
}

/// `asked` goes before the variable, which goes before `info`.
fn filter(asked: Option<LogLevel>, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    if let Some(level) = asked {
        return Ok(EnvFilter::default().add_directive(LevelFilter::from(level).into()));
    }
    let Some(text) = variable.filter(|text| !text.is_empty()) else {
        return Ok(EnvFilter::default().add_directive(LevelFilter::INFO.into()));
    };
    // A filter takes a mistyped level for the name of a module, and would then log nothing at all.
    if let Some(word) =
        text.split(',').find(|word| !word.contains('=') && word.parse::<LevelFilter>().is_err())
    {
        return Err(LogError::Filter(word.to_owned()));
    }
    EnvFilter::try_new(text).map_err(|_| LogError::Filter(text.to_owned()))
}

fn human(filter: EnvFilter) -> impl Subscriber + Send + Sync {
    let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .compact()
        .without_time()
        .with_target(false)
        .with_ansi(colours)
        .with_env_filter(filter)
        // What cannot be written would be reported with `eprintln!`, which panics when stderr is closed.
        .log_internal_errors(false)
        .with_writer(Line::begin)
        .finish()
}

fn json(filter: EnvFilter) -> impl Subscriber + Send + Sync {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        // As above.
        .log_internal_errors(false)
        .with_writer(Line::begin)
        .finish()
}

/// One log line on its way to stderr, which no other thread interrupts.
///
/// A reader that does not read fills its pipe; a line that does not fit is then lost, because a reactor that waited for
/// the reader would stop relaying, and a drain would never end.
struct Line(StderrLock<'static>);

impl Line {
    fn begin() -> Self {
        Line(io::stderr().lock())
    }
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if takes_more(&self.0) {
            self.0.write(&text[..text.len().min(PIECE)])
        } else {
            Err(ErrorKind::WouldBlock.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a write of [`PIECE`] bytes returns at once, be it with an error.
fn takes_more(stderr: &impl AsFd) -> bool {
    let patience = if STUCK.load(Ordering::Relaxed) { 0 } else { PATIENCE_MS };
    let mut watched = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let ready = poll(&mut watched, PollTimeout::from(patience)).is_ok_and(|count| count > 0);
    STUCK.store(!ready, Ordering::Relaxed);
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(asked: Option<LogLevel>, variable: Option<&str>) -> String {
        filter(asked, variable).map_or_else(|error| error.to_string(), |filter| filter.to_string())
    }

    #[test]
    fn the_flag_goes_before_the_variable_and_the_variable_before_info() {
        assert_eq!(shown(None, None), "info");
        assert_eq!(shown(None, Some("")), "info");
        assert_eq!(shown(None, Some("warn")), "warn");
        assert_eq!(shown(None, Some("slackwater::socket=debug,warn")), "slackwater::socket=debug,warn");
        assert_eq!(shown(Some(LogLevel::Trace), Some("warn")), "trace");
        assert_eq!(shown(Some(LogLevel::Off), None), "off");
    }

    #[test]
    fn a_mistyped_level_is_refused() {
        let refusal = "\
`infoo` in SLACKWATER_LOG is no level
a level is one of: off, error, warn, info, debug, trace; by module: info,slackwater::socket=debug";
        assert_eq!(shown(None, Some("slackwater=debug,infoo")), refusal);
        assert!(filter(None, Some("slackwater=loud")).is_err());
    }

    #[test]
    fn a_reader_that_does_not_read_is_not_waited_for_and_one_that_has_gone_is_no_reader() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        while takes_more(&writer) {
            writer.write_all(&[0; PIECE]).expect("the pipe said that it takes this much");
        }
        assert!(!takes_more(&writer));
        drop(reader);
        assert!(takes_more(&writer), "the write is left to fail");
    }
}
