//! What the user sees.
//!
//! Lives here: the progress bar, whole lines, and the report as JSON. Never here: what is reported.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::Failure;

/// How often the progress is drawn.
pub(crate) const REDRAW: Duration = Duration::from_millis(100);

/// A bar up to `total` messages, or a count without one. Draws nothing unless standard error is a terminal.
pub(crate) fn progress(total: Option<u64>) -> ProgressBar {
    let (bar, shape) = match total {
        Some(total) => (ProgressBar::new(total), "{wide_bar} {human_pos}/{human_len} {per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} messages {per_sec} {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(shape).expect("the template is well formed"))
}

/// Writes `report` as one JSON value to standard output, if that is wanted.
pub(crate) fn json(wanted: bool, report: &impl Serialize) -> Result<(), Failure> {
    if !wanted {
        return Ok(());
    }
    let text = serde_json::to_string_pretty(report).map_err(io::Error::from)?;
    // In one write, as every line.
    Ok(io::stdout().write_all(format!("{text}\n").as_bytes())?)
}

/// Writes `line` to standard error in one write: whoever waits for it never reads half of it.
pub(crate) fn say(line: impl Display) {
    // Where nobody reads, nobody is to be told.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Tells what is wrong in the command line, or the help that was asked for: to a terminal in colours, else in one write.
pub(crate) fn usage(told: &clap::Error) {
    let text = told.render().to_string();
    // As for every line.
    let _ = match told.use_stderr() {
        true if !io::stderr().is_terminal() => io::stderr().write_all(text.as_bytes()),
        false if !io::stdout().is_terminal() => io::stdout().write_all(text.as_bytes()),
        true | false => told.print(),
    };
}

/// `count` messages in `seconds`, as text.
pub(crate) fn rate(count: u64, seconds: f64) -> String {
    format!("{count} messages in {seconds:.3} s, {:.0} a second", count as f64 / seconds.max(1e-6))
}
