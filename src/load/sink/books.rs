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

#[derive(Debug, Default)]
struct Stream {
    sequence: Sequence,
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
        let messages = streak.numbers.end - streak.numbers.start;
        if !streak.is_whole() {
            self.tally.torn += messages;
            return;
        }
        let stream = self.streams.entry((streak.run, streak.connection)).or_default();
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
    fn received(&self, run: u32, connection: u32) -> Received {
        let gaps: Vec<_> = self.sequence.gaps().collect();
        let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
        Received {
            run,
            connection,
            messages: self.sequence.next() - missing,
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
            // A stream exists from its first whole message on.
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
        messages.push(message(1, 6, 60)[..59].to_vec());
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

    #[test]
    fn messages_that_were_all_cut_alike_are_torn_and_did_not_come() {
        let cut: Vec<_> = (0..5).map(|sequence| message(1, sequence, 256)[..100].to_vec()).collect();
        let books = books(&cut);
        assert_eq!((books.tally().messages, books.tally().torn), (0, 5));
        assert_eq!(books.report().streams, []);
    }

    #[test]
    fn a_first_message_that_was_cut_spoils_no_other() {
        let mut messages: Vec<_> = (0..5).map(|sequence| message(1, sequence, 256)).collect();
        messages[0].truncate(100);
        let tally = books(&messages).tally();
        assert_eq!((tally.messages, tally.torn, tally.holes), (4, 1, 1));
    }

    #[test]
    fn foreign_messages_stand_in_for_no_numbered_one() {
        let tally = books(&[message(1, 0, 60), message(1, 0, 60), b"something else".to_vec()]).tally();
        assert_eq!((tally.distinct(), tally.numbered()), (2, 1));
    }
}
