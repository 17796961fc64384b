//! The process around the reactors: bring-up, signals, the coordinator, the report.
//!
//! Lives here: everything of which a process has one. Never here: anything that a message meets.

mod bring_up;
mod coordinator;
mod decision;
mod early_end;
mod opening;
mod orders;
mod placement;
mod report;
mod signals;
#[cfg(test)]
mod start_errors;

use std::process::ExitCode;

use tracing::{error, info};

pub use bring_up::{Relay, StartError};
pub use decision::{Cause, Decision};
pub use early_end::EarlyEnd;
pub use orders::{Commands, Orders, SignalOrders};
pub use report::Report;
pub use signals::Signals;

use crate::config::plan::Plan;

/// Exit code when the relay could not start, or broke while it ran.
pub const COULD_NOT_RUN: u8 = 1;
/// Exit code when messages were abandoned.
pub const ABANDONED: u8 = 3;

/// Relays as `plan` says until a signal ends it; until it listens, one ends it `early`. Returns the exit code: 0 nothing abandoned, 1 could not start or broke,
/// 3 messages abandoned.
pub fn run(plan: &Plan, early: EarlyEnd) -> ExitCode {
    match relay(plan, early) {
        Ok(report) => report.exit_code(),
        Err(error) => {
            error!("{error}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn relay(plan: &Plan, early: EarlyEnd) -> Result<Report, StartError> {
    let signals = SignalOrders::new(Signals::block().map_err(StartError::Signals)?);
    let relay = Relay::start(plan, || early.is_over())?;
    info!(from = relay.listening(), to = relay.sending_to(), reactors = relay.reactors(), "relaying");
    Ok(relay.run_to_end(signals).at_exit())
}
