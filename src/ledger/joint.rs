//! Messages that go to several sink links at once: received once, settled once.
//!
//! Each link has a ticket for its part of every message, and settles from the front; parts may be at different places of the same
//! run. A message is settled in the joint accounts when its last part is, by the worst of their outcomes. Lives here: where each
//! part is. Never here: accounts (the books are told what follows).

use super::Outcome;

/// The parts of a run of messages, and what of it is settled: for each sink among its own parts, and for all of them.
pub(super) struct Joint {
    parts: Vec<Progress>,
    /// The first is of all parts; the others are each of one sink.
    groups: Vec<Group>,
}

/// Outcomes of one part's messages, from the first on, as stretches of the same one: where each ends, and which it is.
#[derive(Default)]
struct Progress(Vec<(u32, Outcome)>);

/// Parts that are settled together.
struct Group {
    /// The sink; `None` of all parts.
    sink: Option<usize>,
    parts: Vec<usize>,
    /// Messages that are settled: no part has fewer.
    settled: u32,
}

/// Something that follows for the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// In the account of this sink; `None`: in the reactor's and the source's.
    pub(super) sink: Option<usize>,
    pub(super) messages: u32,
    pub(super) outcome: Outcome,
}

impl Joint {
    /// One part for each of `sinks`, of which some may be the same.
    pub(super) fn new(sinks: &[usize]) -> Joint {
        let of = |sink| (0..sinks.len()).filter(|&part| sinks[part] == sink).collect();
        let mut groups = vec![Group { sink: None, parts: (0..sinks.len()).collect(), settled: 0 }];
        for (part, &sink) in sinks.iter().enumerate() {
            if !sinks[..part].contains(&sink) {
                groups.push(Group { sink: Some(sink), parts: of(sink), settled: 0 });
            }
        }
        Joint { parts: sinks.iter().map(|_| Progress::default()).collect(), groups }
    }

    /// The sinks that have a part, each once.
    pub(super) fn sinks(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().filter_map(|group| group.sink)
    }

    /// The next `messages` of a part came to an end; returns what is settled by that.
    pub(super) fn settle(&mut self, part: usize, messages: u32, outcome: Outcome) -> Vec<Settled> {
        self.parts[part].extend(messages, outcome);
        let mut settled = Vec::new();
        for group in self.groups.iter_mut().filter(|group| group.parts.contains(&part)) {
            group.advance(&self.parts, &mut settled);
        }
        settled
    }
}

impl Group {
    fn advance(&mut self, parts: &[Progress], settled: &mut Vec<Settled>) {
        let slowest = self.parts.iter().map(|&part| parts[part].end()).min().unwrap_or(0);
        while self.settled < slowest {
            let stretches = self.parts.iter().map(|&part| parts[part].stretch_at(self.settled));
            let (end, outcome) = stretches
                .reduce(|(end, worst), (other, outcome)| (end.min(other), worst.max(outcome)))
                .expect("a group has a part");
            let messages = end - self.settled;
            settled.push(Settled { sink: self.sink, messages, outcome });
            self.settled = end;
        }
    }
}

impl Progress {
    fn end(&self) -> u32 {
        self.0.last().map_or(0, |(end, _)| *end)
    }

    fn extend(&mut self, messages: u32, outcome: Outcome) {
        let end = self.end() + messages;
        match self.0.last_mut() {
            Some((last, same)) if *same == outcome => *last = end,
            _ => self.0.push((end, outcome)),
        }
    }

    /// The end and the outcome of the stretch that message `at` is in.
    fn stretch_at(&self, at: u32) -> (u32, Outcome) {
        let stretch = self.0.partition_point(|(end, _)| *end <= at);
        self.0[stretch]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use Outcome::{Abandoned, Delivered, Failed, Returned, Spilled};

    fn settled(sink: Option<usize>, messages: u32, outcome: Outcome) -> Settled {
        Settled { sink, messages, outcome }
    }

    #[test]
    fn a_message_is_settled_when_its_slowest_part_is_by_the_worst_outcome() {
        let mut joint = Joint::new(&[7, 8]);
        assert_eq!(joint.settle(0, 3, Delivered), [settled(Some(7), 3, Delivered)]);
        assert_eq!(joint.settle(1, 2, Failed), [settled(None, 2, Failed), settled(Some(8), 2, Failed)]);
        assert_eq!(
            joint.settle(1, 2, Delivered),
            [settled(None, 1, Delivered), settled(Some(8), 2, Delivered)]
        );
        assert_eq!(
            joint.settle(0, 1, Abandoned),
            [settled(None, 1, Abandoned), settled(Some(7), 1, Abandoned)]
        );
    }

    #[test]
    fn a_sink_with_several_parts_settles_a_message_once() {
        let mut joint = Joint::new(&[7, 8, 7]);
        assert_eq!(joint.sinks().collect::<Vec<_>>(), [7, 8]);
        assert_eq!(joint.settle(0, 1, Delivered), []);
        assert_eq!(joint.settle(2, 1, Abandoned), [settled(Some(7), 1, Abandoned)]);
        assert_eq!(
            joint.settle(1, 1, Delivered),
            [settled(None, 1, Abandoned), settled(Some(8), 1, Delivered)]
        );
    }

    /// What every message came to, from the outcome of each of its parts; `None` is all sinks together.
    fn naive(sinks: &[usize], outcomes: &[Vec<Outcome>]) -> BTreeMap<(Option<usize>, Outcome), u32> {
        let mut settled = BTreeMap::new();
        let groups = sinks.iter().map(|sink| Some(*sink)).chain([None]);
        for group in groups.collect::<std::collections::BTreeSet<_>>() {
            let parts = (0..sinks.len()).filter(|&part| group.is_none_or(|sink| sink == sinks[part]));
            let parts: Vec<_> = parts.map(|part| &outcomes[part]).collect();
            let done = parts.iter().map(|part| part.len()).min().unwrap_or(0);
            for message in 0..done {
                let worst = parts.iter().map(|part| part[message]).max().unwrap();
                *settled.entry((group, worst)).or_default() += 1;
            }
        }
        settled
    }

    proptest! {
        #[test]
        fn agrees_with_a_look_at_every_message(
            sinks in prop::collection::vec(0..3usize, 2..5),
            steps in prop::collection::vec((0..5usize, 1..4u32, 0..5usize), 0..40),
        ) {
            let outcomes = [Delivered, Spilled, Returned, Failed, Abandoned];
            let mut joint = Joint::new(&sinks);
            let mut seen: Vec<Vec<Outcome>> = vec![Vec::new(); sinks.len()];
            let mut settled = BTreeMap::new();
            for (part, messages, outcome) in steps {
                let (part, outcome) = (part % sinks.len(), outcomes[outcome]);
                seen[part].extend(std::iter::repeat_n(outcome, messages as usize));
                for one in joint.settle(part, messages, outcome) {
                    *settled.entry((one.sink, one.outcome)).or_default() += one.messages;
                }
                prop_assert_eq!(&settled, &naive(&sinks, &seen));
            }
        }
    }
}
