//! What the user sees.
//!
//! Lives here: the progress bar, and the report as JSON. Never here: what is reported.

use std::io::{self, Write};
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
    Ok(writeln!(io::stdout(), "{text}")?)
}

/// `count` messages in `seconds`, as text.
pub(crate) fn rate(count: u64, seconds: f64) -> String {
    format!("{count} messages in {seconds:.3} s, {:.0} a second", count as f64 / seconds.max(1e-6))
}
