//! `slackload sink`.
//!
//! Lives here: from its arguments to its summary and exit code, and when it ends. Never here: sockets, verification.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use slackwater::load::{self, Latency, Report, SinkHandle, Tally};

use crate::Failure;
use crate::arguments::Sink;
use crate::output::{self, REDRAW, say};
use crate::remedy;
use crate::signals::Ends;

/// Receives until its end has come; exit code 3 when something is missing or wrong.
pub(crate) fn run(arguments: &Sink) -> Result<ExitCode, Failure> {
    let ends = Ends::block()?;
    let framing = arguments.listen.framing(arguments.framing)?;
    let at = arguments.listen.resolve()?;
    let sink =
        load::listen(at.clone(), framing).map_err(|error| Failure::run(remedy::listening(&at, &error)))?;
    say(format_args!("listening on {}", sink.place()));
    let interrupter = sink.interrupter();
    ends.call(move || interrupter.interrupt())?;
    watch(&sink, arguments, &output::progress(arguments.expect));
    let report = sink.finish();
    summarise(&report.tally, arguments.expect);
    if let Some(latency) = &report.latency {
        tell(latency);
    }
    output::json(arguments.json, &report)?;
    Ok(verdict(&report, arguments.expect))
}

/// Returns when all that is expected has come, nothing came for too long, or a signal did.
fn watch(sink: &SinkHandle, arguments: &Sink, bar: &ProgressBar) {
    let interrupter = sink.interrupter();
    let mut quiet = Quiet::since(Instant::now(), arguments.idle_exit);
    let mut shortage = Shortage::default();
    let expected = arguments.expect.unwrap_or(u64::MAX);
    while !sink.wait_for_numbered(expected, REDRAW) && !interrupter.is_interrupted() {
        shortage.tell(sink, bar);
        let tally = sink.tally();
        bar.set_position(if arguments.expect.is_some() { tally.numbered() } else { tally.distinct() });
        if quiet.is_over(tally.bytes, Instant::now()) {
            break;
        }
    }
    bar.finish_and_clear();
    shortage.tell(sink, bar);
}

/// Whether it was said that connections wait for want of something.
#[derive(Debug, Default)]
struct Shortage {
    is_told: bool,
}

impl Shortage {
    /// Says it, once.
    fn tell(&mut self, sink: &SinkHandle, bar: &ProgressBar) {
        if let Some(error) = sink.shortage().filter(|_| !self.is_told) {
            bar.suspend(|| say(format_args!("slackload: {}", remedy::accepting(&error))));
            self.is_told = true;
        }
    }
}

/// How long nothing has come.
#[derive(Debug)]
struct Quiet {
    bytes: u64,
    since: Instant,
    limit: Option<Duration>,
}

impl Quiet {
    fn since(since: Instant, limit: Option<Duration>) -> Self {
        Self { bytes: 0, since, limit }
    }

    /// Takes the bytes so far; says whether they have been the same for too long.
    fn is_over(&mut self, bytes: u64, now: Instant) -> bool {
        if bytes != self.bytes {
            (self.bytes, self.since) = (bytes, now);
        }
        self.limit.is_some_and(|limit| now.duration_since(self.since) >= limit)
    }
}

fn summarise(tally: &Tally, expect: Option<u64>) {
    let Tally { connections, bytes, messages, duplicates, holes, out_of_order, .. } = tally;
    let Tally { foreign, torn, misframed, kernel_drops, .. } = tally;
    say(format_args!("received {messages} messages, {bytes} bytes, over {connections} connections"));
    say(format_args!(
        "holes {holes}, duplicates {duplicates}, out of order {out_of_order}, torn {torn}, misframed {misframed}, foreign {foreign}"
    ));
    if *kernel_drops > 0 {
        say(format_args!("dropped by the kernel for want of room: {kernel_drops} datagrams"));
    }
    if let Some((missing, expected)) = missing(tally, expect) {
        say(format_args!("missing: {missing} of the {expected} numbered messages that were expected"));
    }
}

/// How many numbered messages are missing of how many, if any is.
fn missing(tally: &Tally, expect: Option<u64>) -> Option<(u64, u64)> {
    let expected = expect?;
    let missing = expected.saturating_sub(tally.numbered());
    (missing > 0).then_some((missing, expected))
}

fn tell(latency: &Latency) {
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let Latency { p50_nanos, p90_nanos, p99_nanos, p999_nanos, max_nanos, .. } = *latency;
    say(format_args!(
        "came after they were due, in microseconds: p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, at most {:.1}",
        micros(p50_nanos),
        micros(p90_nanos),
        micros(p99_nanos),
        micros(p999_nanos),
        micros(max_nanos)
    ));
}

fn verdict(report: &Report, expect: Option<u64>) -> ExitCode {
    let enough = missing(&report.tally, expect).is_none();
    ExitCode::from(if enough && report.tally.is_whole() { 0 } else { 3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_messages_hide_none_that_is_missing() {
        let tally = Tally { messages: 100, foreign: 10, ..Tally::default() };
        assert_eq!(missing(&tally, Some(100)), Some((10, 100)));
        assert_eq!(missing(&tally, Some(90)), None);
        assert_eq!(missing(&tally, None), None);
    }

    #[test]
    fn quiet_counts_from_the_last_change() {
        let begun = Instant::now();
        let after = |ms| begun + Duration::from_millis(ms);
        let mut quiet = Quiet::since(begun, Some(Duration::from_millis(100)));
        assert!(!quiet.is_over(0, after(99)));
        assert!(!quiet.is_over(5, after(150)));
        assert!(!quiet.is_over(5, after(249)));
        assert!(quiet.is_over(5, after(250)));
        assert!(!Quiet::since(begun, None).is_over(0, after(1_000_000)));
    }
}
