//! `slackload send`.
//!
//! Lives here: from its arguments to its summary and exit code. Never here: sockets.

use std::process::ExitCode;

use indicatif::ProgressBar;
use slackwater::load::{self, End, Place, SendError, SendPlan, SendReport, Sending, Stamp, Style};

use crate::Failure;
use crate::arguments::{Send, StyleName};
use crate::output::{self, REDRAW, say};
use crate::remedy;
use crate::signals::Ends;

/// Sends what was asked for; exit code 3 when something was not acknowledged.
pub(crate) fn run(arguments: &Send) -> Result<ExitCode, Failure> {
    let ends = Ends::block()?;
    let plan = plan(arguments)?;
    let to = plan.to.clone();
    let mut sending = load::start(plan).map_err(|error| refused(&error))?;
    let stop = sending.stopper();
    ends.call(move || stop.stop())?;
    watch(&mut sending, &output::progress(arguments.messages));
    let refusal = sending.refusal().map(|error| remedy::connecting(&to, error));
    let report = sending.finish();
    let is_acknowledged = !matches!(to, Place::Udp(_));
    summarise(&report, is_acknowledged);
    if arguments.rate.is_some() && arguments.size < Stamp::LEN_WITH_DUE {
        say(format_args!(
            "the sink tells no latency: messages of less than {} bytes have no room for when they were due",
            Stamp::LEN_WITH_DUE
        ));
    }
    output::json(arguments.json, &report)?;
    verdict(&report, is_acknowledged, refusal)
}

fn plan(arguments: &Send) -> Result<SendPlan, Failure> {
    let framing = arguments.to.framing(arguments.framing)?;
    let messages_per_connection = share(arguments.messages, arguments.connections)?;
    Ok(SendPlan {
        connections: arguments.connections,
        messages_per_connection,
        duration: arguments.duration,
        size: arguments.size,
        framing,
        style: style(arguments),
        send_buffer: arguments.send_buffer,
        patience: arguments.patience,
        ..SendPlan::new(arguments.to.resolve()?)
    })
}

/// What each connection sends of `messages`. They must come out even: a count that is not exact would verify nothing.
fn share(messages: Option<u64>, connections: u32) -> Result<Option<u64>, Failure> {
    let connections = u64::from(connections).max(1);
    match messages {
        Some(messages) if messages % connections != 0 => {
            let (below, above) = (messages - messages % connections, messages.next_multiple_of(connections));
            let text =
                format!("{messages} messages over {connections} connections: choose {below} or {above}");
            Err(Failure::usage(text))
        }
        some => Ok(some.map(|messages| messages / connections)),
    }
}

fn style(arguments: &Send) -> Style {
    match (arguments.rate, arguments.style) {
        (Some(per_second), _) => Style::Paced { per_second },
        (None, StyleName::Bulk) => Style::Bulk,
        (None, StyleName::Single) => Style::Single,
        (None, StyleName::Dribble) => Style::Dribble,
    }
}

fn refused(error: &SendError) -> Failure {
    let text = error.to_string();
    match error {
        SendError::Io(cause) => Failure::run(remedy::starting(text, cause)),
        SendError::Size(_) | SendError::Connections(_) | SendError::Messages(_) => Failure::usage(text),
        SendError::Rate | SendError::Datagram(_) | SendError::Stream => Failure::usage(text),
    }
}

fn watch(sending: &mut Sending, bar: &ProgressBar) {
    while !sending.wait(REDRAW) {
        bar.set_position(sending.written_messages());
    }
    bar.finish_and_clear();
}

fn summarise(report: &SendReport, is_acknowledged: bool) {
    let seconds = report.micros as f64 / 1e6;
    say(format_args!("run {:08x}: wrote {}", report.run, output::rate(report.written_messages(), seconds)));
    if is_acknowledged {
        say(format_args!("acknowledged: {} messages", report.acked_messages()));
    }
    for (end, text) in [
        (End::Finished, "finished"),
        (End::Stopped, "stopped"),
        (End::PeerClosed, "closed by the peer"),
        (End::Reset, "reset"),
        (End::TimedOut, "timed out"),
        (End::Unconnected, "never connected"),
    ] {
        if report.count(end) > 0 {
            say(format_args!("connections {text}: {}", report.count(end)));
        }
    }
}

/// Over UDP nobody can tell what was lost.
fn verdict(report: &SendReport, is_acknowledged: bool, refusal: Option<String>) -> Result<ExitCode, Failure> {
    if report.count(End::Unconnected) > 0 {
        let stopped = || "stopped before every connection was made".to_owned();
        return Err(Failure::run(refusal.unwrap_or_else(stopped)));
    }
    let lossless = report.connections.iter().all(|one| one.acked_bytes == one.written_bytes);
    Ok(ExitCode::from(if lossless || !is_acknowledged { 0 } else { 3 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_shared_evenly_or_not_at_all() {
        assert_eq!(share(Some(64), 16).unwrap(), Some(4));
        assert_eq!(share(None, 16).unwrap(), None);
        let refusal = share(Some(65), 16).unwrap_err();
        assert_eq!(refusal.code, 2);
        assert!(refusal.message.ends_with("choose 64 or 80"), "{}", refusal.message);
    }
}
