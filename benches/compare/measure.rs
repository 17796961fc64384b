//! One relay under one load.
//!
//! Lives here: from its start to its sample. Never here: signals under load (`stop`), medians.

use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use slackwater::load::{self, Place, SendPlan, SendReport, SinkHandle, Style};
use slackwater::message::Framing;

use crate::cases::Case;
use crate::process::{self, Running, wait_until};
use crate::relays::{BYTE_PIPE, BYTE_PIPE_IN_TURN, Relay};
use crate::results::Sample;

/// What starting, and looking, takes beside.
const MARGIN: Duration = Duration::from_millis(1500);
/// How long system calls are counted.
const CALLS_FOR: Duration = Duration::from_millis(500);
/// How long it must not be short of memory for TCP to count as settled.
const IN_SUPPLY: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the kernel may take to have memory for TCP again: where it had it at all, it mostly did by then, and no case may take longer
/// than all others together.
const SETTLED_WITHIN: Duration = Duration::from_secs(45);

/// Measures `relay` for about `duration`, with the sink on that processor, if any.
pub fn run(
    case: &Case,
    relay: Relay,
    duration: Duration,
    sink_on: Option<usize>,
) -> Result<Sample, Box<dyn Error>> {
    let is_udp = matches!(relay.name(), name if name.contains("udp"));
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let (at, framing) = match is_udp {
        true => (Place::Udp(nowhere), Framing::Datagram),
        false => (Place::Tcp(nowhere), Framing::Line),
    };
    let framing_out = if is_udp { framing } else { case.framing_out(relay) };
    let sink = process::begin_on(sink_on, || load::listen(at, framing_out))?;
    let (mut running, to) = relay.start(sink.place())?;
    let plan = SendPlan {
        connections: case.connections,
        size: case.size,
        style: case.style,
        framing,
        send_buffer: case.send_buffer,
        // Not by a stop, if that can be foreseen: what a thousand connections have in the kernel takes longer than that is patient.
        duration: (!case.settles).then_some(case.warm_up + duration + CALLS_FOR + MARGIN),
        ..SendPlan::new(to)
    };
    let sending = load::start(plan)?;
    wait_until("messages arrive", || sink.tally().messages > 0)
        .map_err(|error| format!("{error}: {}", running.log()))?;
    wait_until("every connection is open", || is_udp || running.descriptors() > case.connections as usize)?;
    thread::sleep(case.warm_up);
    let settled_after = case.settles.then(await_memory).transpose()?;

    let counter = Counter { sink: &sink, case, relay };
    let mut sample = window(&running, &counter, duration);
    sample.system_calls_per_message = calls(&running, &counter);
    sample.peak_rss_kib = Some(running.peak_rss_kib());
    if let Some(status) = running.ended()? {
        return Err(format!("it ended while it was measured, by {status}: {}", running.log()).into());
    }
    sample.settled_seconds = settled_after.map(|after| after.as_secs_f64());

    if case.settles {
        sending.stopper().stop();
    }
    let sent = sending.finish();
    // What is paced is even wherever it is relayed, and what goes by UDP is taken by nobody.
    sample.evenness = evenness(&sent).filter(|_| !is_udp && !matches!(case.style, Style::Paced { .. }));
    let is_verified = !is_udp && !mixes_messages(relay);
    if is_verified {
        let all = sent.acked_messages();
        wait_until("everything arrives", || sink.tally().distinct() >= all)
            .map_err(|error| format!("{error}: {} of {all} messages did", sink.tally().distinct()))?;
    }
    running.terminate()?;
    let report = sink.finish();
    if is_verified && (report.lost(&sent) > 0 || !report.tally.is_whole()) {
        return Err(format!(
            "{}: {}: messages are lost or broken: {:?}",
            case.name,
            relay.name(),
            report.tally
        )
        .into());
    }
    Ok(sample)
}

/// Waits until the kernel has not been short of memory for TCP for a while, and says for how long it was. Shortage begins above the
/// second figure of `tcp_mem` and ends below the first (tcp(7)).
fn await_memory() -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    let mut ended = begun;
    while ended.elapsed() < IN_SUPPLY {
        if process::is_short_of_tcp_memory()? {
            ended = Instant::now();
        }
        if begun.elapsed() > SETTLED_WITHIN {
            return Err(format!("the kernel is short of memory for TCP for {SETTLED_WITHIN:?}").into());
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(ended - begun)
}

/// Whether its sink gets the pieces of its senders' messages, each when it came.
fn mixes_messages(relay: Relay) -> bool {
    relay == BYTE_PIPE || relay == BYTE_PIPE_IN_TURN
}

/// What was taken of the connection of which least was, by what was taken of that of which most was.
fn evenness(sent: &SendReport) -> Option<f64> {
    let each = sent.connections.iter().map(|one| one.written_bytes as f64);
    Some(each.clone().min_by(f64::total_cmp)? / each.max_by(f64::total_cmp)?)
}

/// How many messages have arrived.
struct Counter<'a> {
    sink: &'a SinkHandle,
    case: &'a Case,
    relay: Relay,
}

impl Counter<'_> {
    fn messages(&self) -> u64 {
        let tally = self.sink.tally();
        match mixes_messages(self.relay) {
            // Only their bytes can be counted.
            true => tally.bytes / (self.case.size as u64 + 1),
            false => tally.messages,
        }
    }
}

/// What the relay took for what arrived meanwhile.
fn window(running: &Running, counter: &Counter<'_>, duration: Duration) -> Sample {
    counter.sink.take_latency();
    let (begun, cpu, user) = (Instant::now(), running.cpu_nanos(), running.user_nanos());
    let before = counter.messages();
    thread::sleep(duration);
    let (took, cpu, user) = (begun.elapsed(), running.cpu_nanos() - cpu, running.user_nanos() - user);
    let messages = counter.messages() - before;
    let each = |nanos: u64| Some(nanos as f64 / messages.max(1) as f64);
    let bytes = counter.case.size as f64;
    Sample {
        cpu_nanos_per_message: each(cpu),
        cpu_nanos_per_byte: each(cpu).map(|nanos| nanos / bytes),
        user_nanos_per_message: each(user),
        latency: counter.sink.take_latency(),
        messages_per_second: Some(messages as f64 / took.as_secs_f64()),
        tcp_memory_bytes: process::tcp_memory_bytes(),
        ..Sample::default()
    }
}

fn calls(running: &Running, counter: &Counter<'_>) -> Option<f64> {
    let before = counter.messages();
    let calls = running.system_calls(CALLS_FOR)?;
    Some(calls as f64 / (counter.messages() - before).max(1) as f64)
}
