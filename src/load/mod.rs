//! Load: a generator of numbered messages, and a sink that verifies their numbers.
//!
//! Lives here: what the demo, `slackload` and the tests send through a relay, and how they find out what became of it. The
//! generator knows what was acknowledged to it, the sink what arrived; [`Report::lost`] compares the two.
//! Never here: the relay's own code (only its framing names, its bounds, and plain calls on a socket: TCP's figures, resetting, freezing), or arguments.

mod clock;
mod generator;
mod place;
mod sink;
mod stamp;
mod stop;

pub use generator::plan::{SendError, SendPlan, Style};
pub use generator::sent::{End, SendReport, Sent};
pub use generator::{Sending, send, start};
pub use place::Place;
pub use sink::counter::Interrupter;
pub use sink::report::{Latency, Received, Report, Tally};
pub use sink::{SinkHandle, listen};
pub use stamp::Stamp;
pub use stop::Stop;

#[cfg(test)]
mod tests;
