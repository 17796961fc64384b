//! What a signal means, given what came before. Pure.
//!
//! Lives here: that table. Never here: descriptors, clocks, reactors.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Serialize;

/// Why the relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Cause {
    /// SIGTERM.
    #[serde(rename = "TERM")]
    Term,
    /// SIGINT.
    #[serde(rename = "INT")]
    Int,
    /// A second SIGINT, or SIGQUIT: at once.
    #[serde(rename = "forced")]
    Forced,
    /// The program that it is a part of.
    #[serde(rename = "asked")]
    Asked,
    /// `drain_timeout` passed.
    #[serde(rename = "deadline")]
    Deadline,
    /// It could not go on.
    #[serde(rename = "error")]
    Error,
}

impl Cause {
    /// As it stands in the books.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Term => "TERM",
            Cause::Int => "INT",
            Cause::Forced => "forced",
            Cause::Asked => "asked",
            Cause::Deadline => "deadline",
            Cause::Error => "error",
        }
    }
}

/// What is to be done about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Begin to drain.
    Drain(Cause),
    /// Begin to drain, and abandon what is left after so long.
    DrainWithin(Duration),
    /// End now.
    Force,
    /// Nothing: a drain is under way. Supervisors repeat TERM.
    GoOn,
    /// Log the books.
    LogBooks,
    /// Log that this signal changes nothing.
    Note(&'static str),
}

/// Whether a drain is under way, and how often INT came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    draining: bool,
    interrupts: u8,
}

impl Heard {
    /// What `signal` means now.
    pub fn decide(&mut self, signal: Signal) -> Decision {
        let first = !self.draining;
        match signal {
            Signal::SIGQUIT => self.begin(Decision::Force),
            Signal::SIGINT => self.interrupted(first),
            Signal::SIGTERM if first => self.begin(Decision::Drain(Cause::Term)),
            Signal::SIGTERM => Decision::GoOn,
            Signal::SIGUSR1 => Decision::LogBooks,
            Signal::SIGHUP => {
                Decision::Note("HUP changes nothing: this version does not reload its configuration")
            }
            Signal::SIGUSR2 => {
                Decision::Note("USR2 changes nothing: this version cannot be upgraded while it runs")
            }
            _ => Decision::Note("an unexpected signal changes nothing"),
        }
    }

    fn begin(&mut self, decision: Decision) -> Decision {
        self.draining = true;
        decision
    }

    fn interrupted(&mut self, first: bool) -> Decision {
        self.interrupts = self.interrupts.saturating_add(1);
        match (first, self.interrupts) {
            (true, _) => self.begin(Decision::Drain(Cause::Int)),
            (false, 1) => Decision::GoOn,
            (false, _) => self.begin(Decision::Force),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

    fn decisions(signals: &[Signal]) -> Vec<Decision> {
        let mut heard = Heard::default();
        signals.iter().map(|&signal| heard.decide(signal)).collect()
    }

    #[test]
    fn term_again_changes_nothing() {
        let drain = Decision::Drain(Cause::Term);
        assert_eq!(decisions(&[SIGTERM; 4]), [drain, Decision::GoOn, Decision::GoOn, Decision::GoOn]);
    }

    #[test]
    fn a_second_int_ends_it_and_so_does_quit() {
        assert_eq!(decisions(&[SIGINT, SIGINT]), [Decision::Drain(Cause::Int), Decision::Force]);
        let (term, go_on) = (Decision::Drain(Cause::Term), Decision::GoOn);
        assert_eq!(decisions(&[SIGTERM, SIGINT, SIGINT]), [term, go_on, Decision::Force]);
        assert_eq!(decisions(&[SIGINT, SIGTERM, SIGINT])[2], Decision::Force);
        assert_eq!(decisions(&[SIGQUIT]), [Decision::Force]);
        assert_eq!(decisions(&[SIGTERM, SIGQUIT])[1], Decision::Force);
    }

    #[test]
    fn books_and_notes_begin_no_drain() {
        let heard = decisions(&[SIGUSR1, SIGHUP, SIGTERM]);
        assert_eq!(heard[0], Decision::LogBooks);
        assert!(matches!(heard[1], Decision::Note(_)));
        assert_eq!(heard[2], Decision::Drain(Cause::Term));
    }
}
