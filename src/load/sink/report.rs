//! What a sink has seen.
//!
//! Lives here: plain figures, and the comparison with what a generator was promised. Never here: how they came about.

use std::ops::Range;

use serde::Serialize;

use crate::load::generator::sent::SendReport;

/// The figures of a sink, over all its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Connections accepted.
    pub connections: u64,
    /// Bytes read, as they were on the wire.
    pub bytes: u64,
    /// Whole messages, whether numbered, repeated or foreign.
    pub messages: u64,
    /// Messages whose number had come before.
    pub duplicates: u64,
    /// Numbers that are missing below the highest of their stream. What comes late closes its hole.
    pub holes: u64,
    /// Messages that came first after a higher number of their stream.
    pub out_of_order: u64,
    /// Messages without a stamp; about them nothing can be verified.
    pub foreign: u64,
    /// Messages cut short at a connection's end, and stamped ones whose length is not what they had when stamped. In no other figure.
    pub torn: u64,
    /// Connections that broke the framing; what followed was not read.
    pub misframed: u64,
    /// Datagrams that the kernel threw away for want of room; known once the sink has ended.
    pub kernel_drops: u64,
}

impl Tally {
    /// Messages that were not there before, as far as that can be told: foreign ones all count, so this does not show that no numbered one
    /// is missing ([`Tally::numbered`]).
    pub fn distinct(&self) -> u64 {
        self.messages - self.duplicates
    }

    /// Numbered messages that were not there before.
    pub fn numbered(&self) -> u64 {
        self.distinct() - self.foreign
    }

    /// Whether nothing that could be verified was missing, repeated, late or broken.
    pub fn is_whole(&self) -> bool {
        self.duplicates + self.holes + self.out_of_order + self.torn + self.misframed == 0
    }
}

/// What came of one generator's connection, over whichever of the sink's connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// The generator's run.
    pub run: u32,
    /// The generator's connection.
    pub connection: u32,
    /// Distinct messages.
    pub messages: u64,
    /// Messages whose number had come before.
    pub duplicates: u64,
    /// Messages that came first after a higher number.
    pub out_of_order: u64,
    /// The highest number.
    pub highest: u64,
    /// The numbers below it that did not come, ascending.
    pub gaps: Vec<Range<u64>>,
}

impl Received {
    /// How many of the stream's first `messages` did not come.
    pub fn missing_of(&self, messages: u64) -> u64 {
        let in_gaps: u64 = self.gaps.iter().map(|gap| gap.end.min(messages).saturating_sub(gap.start)).sum();
        in_gaps + messages.saturating_sub(self.highest + 1)
    }
}

/// How long after they were due the messages of a paced load came, in nanoseconds; within 0.1 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Messages that said when they were due.
    pub messages: u64,
    /// Half of them came within this time.
    pub p50_nanos: u64,
    /// Nine in ten did.
    pub p90_nanos: u64,
    /// 99 in a hundred did.
    pub p99_nanos: u64,
    /// 999 in a thousand did.
    pub p999_nanos: u64,
    /// All did.
    pub max_nanos: u64,
}

/// What a sink has seen in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The sums.
    pub tally: Tally,
    /// One entry a generator's connection, by run and connection.
    pub streams: Vec<Received>,
    /// Where messages said when they were due: how late they came, since that was last taken.
    pub latency: Option<Latency>,
}

impl Report {
    /// What came of that connection; `None` when nothing did.
    pub fn stream(&self, run: u32, connection: u32) -> Option<&Received> {
        let found = self.streams.binary_search_by_key(&(run, connection), |one| (one.run, one.connection));
        found.ok().map(|at| &self.streams[at])
    }

    /// How many messages were acknowledged to the generator in whole and did not come here: what a relay must keep at 0.
    pub fn lost(&self, sent: &SendReport) -> u64 {
        let missing = sent.connections.iter().map(|one| match self.stream(sent.run, one.connection) {
            Some(stream) => stream.missing_of(one.acked_messages),
            None => one.acked_messages,
        });
        missing.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::generator::sent::{End, Sent};

    fn stream() -> Received {
        let gaps = vec![3..5, 7..8];
        Received { run: 1, connection: 2, messages: 7, duplicates: 0, out_of_order: 0, highest: 9, gaps }
    }

    #[test]
    fn missing_counts_gaps_and_what_follows_the_highest() {
        let missing = [0, 3, 4, 5, 8, 10, 12].map(|messages| stream().missing_of(messages));
        assert_eq!(missing, [0, 0, 1, 2, 3, 3, 5]);
    }

    #[test]
    fn lost_is_what_was_acknowledged_and_did_not_come() {
        let sent = |connection, acked_messages| Sent {
            connection,
            written_messages: 20,
            written_bytes: 5000,
            acked_messages,
            acked_bytes: 5000,
            end: End::Reset,
        };
        let report = Report { tally: Tally::default(), streams: vec![stream()], latency: None };
        let sent = SendReport { run: 1, micros: 1, connections: vec![sent(2, 11), sent(3, 6)] };
        assert_eq!(report.lost(&sent), 4 + 6);
    }
}
