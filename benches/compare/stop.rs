//! One relay, stopped under a load.
//!
//! Lives here: from its start to its end, and what was lost on the way. Never here: what a message costs.

use std::error::Error;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use slackwater::load::{self, Place, SendPlan, Style};
use slackwater::message::Framing;

use crate::cases::{Stop, Under};
use crate::process::{self, wait_until};
use crate::relays::Relay;
use crate::results::Sample;

const CONNECTIONS: u32 = 16;
/// In full flow, with buffers and windows as large as they get.
const FLOW: Duration = Duration::from_millis(700);
/// How long senders are silent before a stop counts as one of an idle relay: what has just connected is likely to send.
const SILENCE: Duration = Duration::from_millis(200);

/// Stops `relay` and sees how long that takes and what of what it had acknowledged does not arrive; with the sink on that
/// processor, if any.
pub fn run(stop: &Stop, relay: Relay, sink_on: Option<usize>) -> Result<Sample, Box<dyn Error>> {
    let at = Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let sink = process::begin_on(sink_on, || load::listen(at, Framing::Line))?;
    let (mut running, to) = relay.start(sink.place())?;
    let Place::Tcp(address) = to else { return Err("only TCP is stopped".into()) };
    if relay == Relay::Sleep || stop.under == Under::Idle {
        let silent = if relay == Relay::Sleep { 0 } else { CONNECTIONS };
        let silent: Result<Vec<TcpStream>, _> = (0..silent).map(|_| TcpStream::connect(address)).collect();
        let silent = silent?;
        wait_until("every connection is open", || running.descriptors() > silent.len())?;
        thread::sleep(SILENCE);
        let took = running.terminate()?;
        return Ok(Sample {
            exit_micros: took.map(|took| took.as_secs_f64() * 1e6),
            lost: Some(0),
            ..Sample::default()
        });
    }
    let style = match stop.under {
        Under::Paced => Style::Paced { per_second: 50_000 },
        Under::Flood | Under::Idle => Style::Bulk,
    };
    let heeds_fin = stop.under != Under::Flood;
    let sending = load::start(SendPlan { connections: CONNECTIONS, style, heeds_fin, ..SendPlan::new(to) })?;
    wait_until("messages arrive", || sink.tally().messages > 0)
        .map_err(|error| format!("{error}: {}", running.log()))?;
    thread::sleep(FLOW);
    let took = running.terminate()?;
    sending.stopper().stop();
    let sent = sending.finish();
    let report = sink.finish();
    Ok(Sample {
        exit_micros: took.map(|took| took.as_secs_f64() * 1e6),
        lost: Some(report.lost(&sent)),
        ..Sample::default()
    })
}
