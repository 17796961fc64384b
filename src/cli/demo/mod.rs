//! The demonstration: the real relay between a generator and a counting sink on loopback, stopped by SIGTERM in full flow.
//!
//! Lives here: the staging and what is said of it. Never here: relaying, generating, counting; those are the ones that
//! everything else uses too.

mod args;
mod outcome;

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;

pub use self::args::DemoArgs;
pub(super) use self::outcome::Outcome;
use crate::config::{ConfigError, RunArgs};
use crate::load::{self, SendError, SendPlan, SinkHandle, Style};
use crate::message::Framing;
use crate::process::{Relay, Report, SignalOrders, Signals, StartError};

/// How often the progress bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// The demonstration ends after this long even if the messages asked for have not arrived.
const LONGEST: Duration = Duration::from_secs(300);

/// Why the demonstration cannot be given.
#[derive(Debug, Error)]
pub(super) enum DemoError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot open the demonstration's sink: {0}")]
    Sink(io::Error),
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What the conductor saw when it ended the flow.
struct Flow {
    arrived: u64,
    lasted: Duration,
}

/// Starts a sink, the relay and a generator, sends SIGTERM to this process once the messages asked for have arrived, and
/// compares the books with what the sink got.
pub(super) fn run(args: &DemoArgs) -> Result<Outcome, DemoError> {
    let signals = SignalOrders::new(Signals::block().map_err(StartError::Signals)?);
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    send_plan(args, loopback).check()?;
    let sink = load::listen(loopback, Framing::Line).map_err(DemoError::Sink)?;
    let relay = Relay::start(&relay_args(args, sink.address()).plan()?, || {})?;
    let began = Instant::now();
    let sending = load::start(send_plan(args, relay.tcp_addresses()[0]))?;
    let (report, flow) = thread::scope(|scope| {
        let conductor = scope.spawn(|| conduct(&sink, args.messages.get(), began));
        let report = relay.run_to_end(signals).clear_away();
        sink.interrupter().interrupt();
        (report, conductor.join().expect("the conductor only waits"))
    });
    Ok(conclude(report, &sending.finish(), sink, &flow))
}

fn relay_args(args: &DemoArgs, sink: SocketAddr) -> RunArgs {
    RunArgs {
        // Whatever size was asked for travels whole.
        from: vec![format!("tcp://127.0.0.1:0?name=demo&max_message={}B", args.size)],
        to: vec![format!("tcp://{sink}?name=sink")],
        cores: Some(args.cores.clone()),
        ledger: args.ledger.clone(),
        ..RunArgs::default()
    }
}

fn send_plan(args: &DemoArgs, to: SocketAddr) -> SendPlan {
    let connections = u32::try_from(args.connections.get()).unwrap_or(u32::MAX);
    SendPlan { connections, size: args.size.get(), style: Style::Bulk, ..SendPlan::new(to) }
}

/// Waits until `messages` have arrived, and ends the flow as an operator would. An interrupt from outside ends the wait.
fn conduct(sink: &SinkHandle, messages: u64, began: Instant) -> Flow {
    let bar = progress_bar(messages);
    while !sink.wait_for(messages, BAR_EVERY)
        && !sink.interrupter().is_interrupted()
        && began.elapsed() < LONGEST
    {
        bar.set_position(sink.tally().distinct().min(messages));
    }
    let flow = Flow { arrived: sink.tally().distinct(), lasted: began.elapsed() };
    bar.finish_and_clear();
    if !sink.interrupter().is_interrupted() {
        kill(Pid::this(), Signal::SIGTERM).expect("a process may signal itself");
    }
    flow
}

fn progress_bar(messages: u64) -> ProgressBar {
    // Indicatif draws nothing where stderr is no terminal.
    let bar = ProgressBar::with_draw_target(Some(messages), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} messages, {per_sec}");
    bar.with_style(style.expect("the template is valid"))
}

fn conclude(report: Report, sent: &load::SendReport, sink: SinkHandle, flow: &Flow) -> Outcome {
    let received = sink.finish();
    Outcome {
        connections: sent.connections.len(),
        written: sent.written_messages(),
        acknowledged: sent.acked_messages(),
        lost: received.lost(sent),
        tally: received.tally,
        per_second: flow.arrived as f64 / flow.lasted.as_secs_f64(),
        report,
    }
}
