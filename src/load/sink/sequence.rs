//! Which numbers of one stream have come.
//!
//! Lives here: telling new from late from repeated, exactly. Memory is bounded by the number of gaps, not of messages.
//! Never here: streams' names, locks.

use std::collections::BTreeMap;
use std::ops::Range;

/// All numbers below `next` have come, except those in the gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    next: u64,
    /// Begin to end of each, end exclusive; apart from each other, none empty, all below `next`.
    gaps: BTreeMap<u64, u64>,
}

/// What a range of numbers turned out to be; `fresh + late + repeated` is its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Higher than every one before.
    pub(super) fresh: u64,
    /// First seen, but lower than one before: they close holes.
    pub(super) late: u64,
    /// Seen before.
    pub(super) repeated: u64,
    /// Numbers that are missing since: they open holes.
    pub(super) skipped: u64,
}

impl Sequence {
    /// Notes that these numbers have come, in this order.
    pub(super) fn record(&mut self, numbers: Range<u64>) -> Verdict {
        let below = numbers.start..numbers.end.min(self.next);
        let above = numbers.start.max(self.next)..numbers.end;
        let late = self.fill(below.clone());
        let skipped = if above.is_empty() { 0 } else { self.extend(above.clone()) };
        Verdict { fresh: length(&above), late, repeated: length(&below) - late, skipped }
    }

    /// Takes `numbers` out of the gaps and returns how many were in one.
    fn fill(&mut self, numbers: Range<u64>) -> u64 {
        let mut filled = 0;
        while let Some((&begin, &end)) = self.gaps.range(..numbers.end).next_back() {
            if end <= numbers.start || numbers.is_empty() {
                break;
            }
            self.gaps.remove(&begin);
            let inside = begin.max(numbers.start)..end.min(numbers.end);
            self.keep(begin..inside.start);
            self.keep(inside.end..end);
            filled += length(&inside);
        }
        filled
    }

    fn keep(&mut self, gap: Range<u64>) {
        if !gap.is_empty() {
            self.gaps.insert(gap.start, gap.end);
        }
    }

    /// Goes on to `numbers`, which begin at `next` or above, and returns how many were skipped.
    fn extend(&mut self, numbers: Range<u64>) -> u64 {
        let gap = self.next..numbers.start;
        self.keep(gap.clone());
        self.next = numbers.end;
        length(&gap)
    }

    /// The number above all that have come.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The numbers below [`Sequence::next`] that have not come, ascending.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.gaps.iter().map(|(&begin, &end)| begin..end)
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn verdict(fresh: u64, late: u64, repeated: u64, skipped: u64) -> Verdict {
        Verdict { fresh, late, repeated, skipped }
    }

    #[test]
    fn a_late_number_closes_its_hole_once() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.record(0..3), verdict(3, 0, 0, 0));
        assert_eq!(sequence.record(7..9), verdict(2, 0, 0, 4));
        assert_eq!(sequence.record(4..5), verdict(0, 1, 0, 0));
        assert_eq!(sequence.record(4..5), verdict(0, 0, 1, 0));
        assert_eq!(sequence.gaps().collect::<Vec<_>>(), [3..4, 5..7]);
        assert_eq!(sequence.record(2..10), verdict(1, 3, 4, 0));
        assert_eq!((sequence.next(), sequence.gaps().count()), (10, 0));
    }

    #[test]
    fn a_stream_that_begins_late_has_a_hole_before_it() {
        assert_eq!(Sequence::default().record(5..6), verdict(1, 0, 0, 5));
    }

    /// One number after another, remembering every one.
    fn naive(seen: &mut BTreeSet<u64>, numbers: Range<u64>) -> Verdict {
        let mut verdict = Verdict::default();
        for number in numbers {
            let next = seen.last().map_or(0, |last| last + 1);
            match (seen.insert(number), number < next) {
                (true, true) => verdict.late += 1,
                (true, false) => {
                    verdict.fresh += 1;
                    verdict.skipped += number - next;
                }
                (false, _) => verdict.repeated += 1,
            }
        }
        verdict
    }

    proptest! {
        #[test]
        fn agrees_with_remembering_every_number(ranges in prop::collection::vec((0..60u64, 1..9u64), 0..40)) {
            let (mut sequence, mut seen) = (Sequence::default(), BTreeSet::new());
            for (start, length) in ranges {
                let expected = naive(&mut seen, start..start + length);
                prop_assert_eq!(sequence.record(start..start + length), expected);
                let missing: Vec<u64> = (0..sequence.next()).filter(|number| !seen.contains(number)).collect();
                prop_assert_eq!(sequence.gaps().flatten().collect::<Vec<_>>(), missing);
            }
        }
    }
}
