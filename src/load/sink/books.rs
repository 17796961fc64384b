//! What all messages so far amount to.
//!
//! Lives here: the figures and the streams behind them, kept up to date read by read. Never here: locks, sockets.

use std::collections::BTreeMap;

use super::haul::{Haul, Streak};
use super::latencies::Latencies;
use super::report::{Latency, Received, Report, Tally};
use super::sequence::Sequence;

/// The figures, and each stream by run and connection.
#[derive(Debug, Default)]
pub(super) struct Books {
    tally: Tally,
    streams: BTreeMap<(u32, u32), Stream>,
    latencies: Latencies,
}

#[derive(Debug)]
struct Stream {
    sequence: Sequence,
    /// The length of its first message from its mark on. All of a run have one length: another means a torn message.
    length: usize,
    duplicates: u64,
    out_of_order: u64,
}

impl Books {
    /// Counts an accepted connection.
    pub(super) fn opened(&mut self) {
        self.tally.connections += 1;
    }

    /// Takes what the kernel threw away in all.
    pub(super) fn dropped(&mut self, datagrams: u64) {
        self.tally.kernel_drops = datagrams;
    }

    /// Counts what one read brought.
    pub(super) fn record(&mut self, haul: &Haul) {
        self.tally.bytes += haul.bytes;
        self.tally.messages += haul.foreign;
        self.tally.foreign += haul.foreign;
        self.tally.torn += haul.torn;
        self.tally.misframed += haul.misframed;
        haul.streaks.iter().for_each(|streak| self.record_streak(streak));
        haul.latencies.iter().for_each(|&nanos| self.latencies.record(nanos));
    }

    fn record_streak(&mut self, streak: &Streak) {
        let stream =
            self.streams.entry((streak.run, streak.connection)).or_insert_with(|| Stream::of(streak));
        let messages = streak.numbers.end - streak.numbers.start;
        if stream.length != streak.length {
            self.tally.torn += messages;
            return;
        }
        let verdict = stream.sequence.record(streak.numbers.clone());
        stream.duplicates += verdict.repeated;
        stream.out_of_order += verdict.late;
        self.tally.messages += messages;
        self.tally.duplicates += verdict.repeated;
        self.tally.out_of_order += verdict.late;
        self.tally.holes = self.tally.holes + verdict.skipped - verdict.late;
    }

    /// The figures so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// How late messages came since the last call.
    pub(super) fn take_latency(&mut self) -> Option<Latency> {
        std::mem::take(&mut self.latencies).summary()
    }

    /// The figures so far, with each stream's.
    pub(super) fn report(&self) -> Report {
        let streams =
            self.streams.iter().map(|(&(run, connection), stream)| stream.received(run, connection));
        Report { tally: self.tally, streams: streams.collect(), latency: self.latencies.summary() }
    }
}

impl Stream {
    fn of(streak: &Streak) -> Self {
        Self { sequence: Sequence::default(), length: streak.length, duplicates: 0, out_of_order: 0 }
    }

    fn received(&self, run: u32, connection: u32) -> Received {
        let gaps: Vec<_> = self.sequence.gaps().collect();
        let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        Received {
            run,
            connection,
            messages: self.sequence.next() - missing,
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
            // A stream exists from its first message on.
            highest: self.sequence.next() - 1,
            gaps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::stamp::Stamp;

    fn message(connection: u32, sequence: u64, size: usize) -> Vec<u8> {
        let mut message = vec![b' '; size];
        Stamp { run: 1, connection, sequence }.write_into(&mut message);
        message
    }

    fn books(messages: &[Vec<u8>]) -> Books {
        let (mut books, mut haul) = (Books::default(), Haul::default());
        for message in messages {
            haul.begin(message.len());
            haul.add(message);
            books.record(&haul);
        }
        books
    }

    #[test]
    fn every_fault_is_told_from_the_others() {
        let numbers = [(1, 0), (1, 2), (1, 2), (1, 1), (1, 5), (2, 1)];
        let mut messages = numbers.map(|(connection, sequence)| message(connection, sequence, 60)).to_vec();
        messages.push(message(1, 6, 59));
        messages.push(b"something else".to_vec());
        let books = books(&messages);
        let expected = Tally {
            connections: 0,
            bytes: 6 * 60 + 59 + 14,
            messages: 7,
            duplicates: 1,
            holes: 3,
            out_of_order: 1,
            foreign: 1,
            torn: 1,
            misframed: 0,
            kernel_drops: 0,
        };
        assert_eq!(books.tally(), expected);
        let report = books.report();
        assert_eq!(report.stream(1, 1).unwrap().gaps, vec![3..5]);
        assert_eq!(report.stream(1, 2).unwrap().messages, 1);
        assert!(!report.tally.is_whole());
    }
}
