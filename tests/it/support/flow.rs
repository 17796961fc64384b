//! Four connections in full flow into a relay.
//!
//! Lives here: starting the flow, and finding out that it has stopped. Never here: where it goes.

use std::time::{Duration, Instant};

use slackwater::load::{self, SendPlan, Sending};

use super::eventually;
use super::relay::Relay;

/// Four connections with messages of 200 bytes, so many each.
pub fn flow(relay: &Relay, messages: u64) -> Sending {
    let plan = SendPlan { messages_per_connection: Some(messages), ..plan(relay) };
    load::start(plan).expect("a plan that can be sent")
}

/// The same with an end in time only.
pub fn flow_for(relay: &Relay, duration: Duration) -> Sending {
    load::start(SendPlan { duration: Some(duration), ..plan(relay) }).expect("a plan that can be sent")
}

fn plan(relay: &Relay) -> SendPlan {
    SendPlan { connections: 4, size: 200, ..SendPlan::new(relay.address()) }
}

/// Waits until the flow has stopped: nothing was written for a fifth of a second, which on an open way is 100,000 messages.
#[track_caller]
pub fn wait_until_blocked(sending: &Sending) {
    let (mut written, mut since) = (u64::MAX, Instant::now());
    eventually("the intake stops", || {
        let now = sending.written_messages();
        if now != written {
            (written, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(200)
    });
}
