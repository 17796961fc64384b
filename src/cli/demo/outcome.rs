//! What the demonstration showed.
//!
//! Lives here: the comparison of the relay's books with both ends, and its words. Never here: how the figures came about.

use std::fmt;

use crate::load::Tally;
use crate::process::Report;

/// The books of the relay, beside what was sent to it and what arrived behind it.
pub(in crate::cli) struct Outcome {
    pub(super) connections: usize,
    pub(super) written: u64,
    pub(super) acknowledged: u64,
    /// Messages that were acknowledged to the generator and did not arrive.
    pub(super) lost: u64,
    pub(super) tally: Tally,
    /// Messages a second until SIGTERM.
    pub(super) per_second: f64,
    pub(super) report: Report,
}

impl Outcome {
    /// Whether the sink got every message that was acknowledged, once and in order, and the books say the same.
    pub(in crate::cli) fn holds(&self) -> bool {
        let books = self.report.totals;
        let whole = self.lost == 0 && self.tally.is_whole();
        whole && books.received == self.tally.distinct() && books.delivered == books.received
    }

    /// The relay's own books.
    pub(in crate::cli) fn report(&self) -> &Report {
        &self.report
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (books, tally) = (&self.report.totals, &self.tally);
        let drain_millis = self.report.drain_micros as f64 / 1000.0;
        writeln!(
            f,
            "generator   wrote {} over {} connections, {} acknowledged",
            self.written, self.connections, self.acknowledged
        )?;
        writeln!(
            f,
            "sink        got {}: holes {}, duplicates {}, out of order {}",
            tally.messages, tally.holes, tally.duplicates, tally.out_of_order
        )?;
        writeln!(
            f,
            "books       received {} delivered {} failed {} torn {}",
            books.received, books.delivered, books.failed, books.torn
        )?;
        writeln!(f, "throughput  {:.2} million messages a second until SIGTERM", self.per_second / 1e6)?;
        writeln!(
            f,
            "drain       {drain_millis:.1} ms from SIGTERM, sent in full flow, to the end ({})",
            self.report.cause.as_str()
        )?;
        let verdict = if self.holds() {
            "every acknowledged message arrived, once, in order"
        } else {
            "THE BOOKS AND THE SINK DISAGREE"
        };
        writeln!(f, "lost        {} acknowledged messages: {verdict}", self.lost)?;
        write!(f, "abandoned   {}", books.abandoned)
    }
}
