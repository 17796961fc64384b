//! The process around the reactors: bring-up, signals, the coordinator, the report.
//!
//! Lives here: everything of which a process has one. Never here: anything that a message meets.

mod bring_up;
mod coordinator;
mod decision;
#[cfg(test)]
mod messages;
mod opening;
mod orders;
mod placement;
mod report;
mod signals;

use std::process::ExitCode;

use tracing::{error, info};

pub use bring_up::{Relay, StartError};
pub use decision::{Cause, Decision};
pub use orders::{Commands, Orders, SignalOrders};
pub use report::{LedgerFile, Report};
pub use signals::Signals;

use crate::config::plan::Plan;

/// Exit code when the relay could not start, or broke while it ran.
pub const COULD_NOT_RUN: u8 = 1;
/// Exit code when messages were abandoned.
pub const ABANDONED: u8 = 3;

/// Relays as `plan` says until a signal ends it. Returns the exit code: 0 nothing abandoned, 1 could not start or broke,
/// 3 messages abandoned.
pub fn run(plan: &Plan) -> ExitCode {
    match relay(plan) {
        Ok(report) => report.exit_code(),
        Err(error) => {
            error!("{error}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn relay(plan: &Plan) -> Result<Report, StartError> {
    let signals = SignalOrders::new(Signals::block().map_err(StartError::Signals)?);
    let relay = Relay::start(plan)?;
    info!(from = relay.listening(), to = relay.sending_to(), reactors = relay.reactors(), "relaying");
    Ok(relay.run_to_end(signals).at_exit())
}
