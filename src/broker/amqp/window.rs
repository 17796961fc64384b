//! How much a server hands out before it waits for an acknowledgement.
//!
//! `max_in_flight` counts bytes, and a server counts messages: RabbitMQ refuses a prefetch size in octets (its documentation,
//! "AMQP 0-9-1 compatibility and conformance", `basic.qos`). So the count comes from `max_in_flight` and the longest message that came
//! lately. It begins with what would fit if all were as long as any that we take elsewhere, and grows while it is what holds the flow.
//! Lives here: that count. Never here: how a server is told.

use crate::config::services::Prefetch;
use crate::limits::{MAX_MESSAGE_MAX, RUN_OVERHEAD};

/// A larger window is at most so many times as large.
const STEP: usize = 4;
/// Once a message was longer than those before it, so many windows of shorter ones go by before there is a larger one.
const STEADY: usize = 16;

/// The messages of one consumer, and of those before it on the same channel.
pub(super) struct Window {
    prefetch: Prefetch,
    /// The most that may be unacknowledged, of this consumer and of those before it.
    limit: usize,
    /// The part of it that this consumer was granted.
    size: u16,
    /// Windows of messages that make a round.
    steady: usize,
    /// The longest of so many messages of this round.
    longest: usize,
    seen: usize,
    /// The longest of the round before this one, if there was one.
    proved: Option<usize>,
}

impl Window {
    pub(super) fn new(prefetch: Prefetch) -> Window {
        let longest = MAX_MESSAGE_MAX;
        let nothing = Window { prefetch, limit: 0, size: 0, steady: 1, longest, seen: 0, proved: None };
        nothing.begin(nothing.fits(), 0)
    }

    /// How many messages the server may hand out to a consumer that begins now; at least 1.
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// A message of so many bytes came.
    pub(super) fn note(&mut self, length: usize) {
        self.longest = self.longest.max(length);
        self.seen += 1;
        if self.seen >= usize::from(self.size) * self.steady {
            self.proved = Some(self.longest);
            (self.longest, self.seen) = (0, 0);
        }
    }

    /// Whether another window is due, with so many messages unacknowledged: what came is longer than this one is made for, or it is
    /// exhausted and there is room for a larger one.
    pub(super) fn is_due(&self, unacknowledged: usize) -> bool {
        let size = usize::from(self.size);
        let has_room = self.next().saturating_sub(unacknowledged) > size;
        self.is_too_large() || (self.proved.is_some() && unacknowledged >= size && has_room)
    }

    /// The one that is due. What is unacknowledged already counts.
    pub(super) fn renewed(&self, unacknowledged: usize) -> Window {
        let steady = if self.is_too_large() { STEADY } else { self.steady };
        Window { steady, ..self.begin(self.next(), unacknowledged) }
    }

    fn begin(&self, limit: usize, unacknowledged: usize) -> Window {
        let free = limit.saturating_sub(unacknowledged).max(1);
        let size = u16::try_from(free).unwrap_or(u16::MAX);
        Window { limit, size, longest: 0, seen: 0, proved: None, ..*self }
    }

    fn is_too_large(&self) -> bool {
        self.fits() < self.limit
    }

    fn next(&self) -> usize {
        self.fits().min(self.limit.saturating_mul(STEP))
    }

    /// Each counts as it will in the ledger. Lengths that differ by less than an eighth are the same.
    fn fits(&self) -> usize {
        let max_in_flight = match self.prefetch {
            Prefetch::Messages(messages) => return messages.into(),
            Prefetch::Bytes(bytes) => bytes,
        };
        let longest = self.longest.max(self.proved.unwrap_or(0)) + RUN_OVERHEAD;
        let about = longest.next_multiple_of(longest.next_power_of_two() / 8);
        (max_in_flight / about).clamp(1, usize::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Lets so many messages of this length come, which are acknowledged whenever the window is exhausted; returns what it became.
    fn flood(window: &mut Window, messages: usize, length: usize) -> Vec<usize> {
        let (mut limits, mut unacknowledged) = (Vec::new(), 0);
        for _ in 0..messages {
            window.note(length);
            unacknowledged += 1;
            if window.is_due(unacknowledged) {
                *window = window.renewed(unacknowledged);
                limits.push(window.limit);
            }
            if unacknowledged >= window.limit {
                unacknowledged = 0;
            }
        }
        limits
    }

    fn of(max_in_flight: usize) -> Window {
        Window::new(Prefetch::Bytes(max_in_flight))
    }

    #[test]
    fn it_begins_with_what_fits_for_certain() {
        assert_eq!(of(64 * MIB).size(), 3);
        assert_eq!(of(MIB).size(), 1, "less than one message is none at all");
    }

    #[test]
    fn it_grows_to_what_max_in_flight_holds_of_the_messages_that_come() {
        assert_eq!(flood(&mut of(64 * MIB), 1 << 20, 4096), [12, 48, 192, 768, 3072, 12_288]);
        let largest = flood(&mut of(64 * MIB), 1 << 20, 100).last().copied();
        assert!(
            largest.is_some_and(|limit| limit >= usize::from(u16::MAX) / 2),
            "no more than a u16 can be said"
        );
        assert_eq!(flood(&mut of(2 * MIB), 1 << 20, 4000), [4, 16, 64, 256, 409]);
    }

    /// Nothing is acknowledged, and yet there is about as much as is allowed, and not more.
    #[test]
    fn it_grows_while_its_sink_stands_still() {
        let (mut window, mut unacknowledged) = (of(64 * MIB), 0);
        loop {
            let size = usize::from(window.size());
            (0..size).for_each(|_| window.note(4096));
            unacknowledged += size;
            if !window.is_due(unacknowledged) {
                break;
            }
            window = window.renewed(unacknowledged);
        }
        let fits = 64 * MIB / (4096 + RUN_OVERHEAD);
        assert!((fits / 2..=fits).contains(&unacknowledged), "{unacknowledged} of {fits}");
    }

    /// A sink that is quick enough leaves the queue's messages to others.
    #[test]
    fn it_does_not_grow_while_it_is_not_exhausted() {
        let mut window = of(64 * MIB);
        (0..1000).for_each(|_| window.note(100));
        assert!(!window.is_due(2));
        assert!(window.is_due(3));
    }

    #[test]
    fn a_longer_message_shrinks_it_at_once_and_it_grows_again_when_there_are_no_more() {
        let mut window = of(64 * MIB);
        flood(&mut window, 2_000, 4096);
        assert_eq!(window.limit, 3072);
        window.note(MIB);
        assert!(window.is_due(0), "whatever is unacknowledged");
        window = window.renewed(0);
        assert_eq!((window.limit, window.size()), (51, 51));
        window.note(MIB);
        window.note(MIB - 1);
        assert!(!window.is_due(51), "they are as long as it is made for");
        assert!(flood(&mut window, 51 * STEADY, 100).is_empty(), "two of these were long");
        assert_eq!(flood(&mut window, 51 * STEADY, 100), [204], "none of these was");
    }

    #[test]
    fn what_is_unacknowledged_counts_until_it_is_not() {
        let mut window = of(64 * MIB);
        flood(&mut window, 2_000, 4096);
        window.note(MIB);
        window = window.renewed(48);
        assert_eq!((window.limit, window.size()), (51, 3));
        (0..3 * STEADY).for_each(|_| window.note(MIB));
        assert!(!window.is_due(49), "those are there still");
        assert!(window.is_due(3), "they are not");
        window = window.renewed(3);
        assert_eq!((window.limit, window.size()), (51, 48));
        (0..48 * STEADY).for_each(|_| window.note(MIB));
        assert!(!window.is_due(48), "that is large enough");
    }

    #[test]
    fn whatever_is_unacknowledged_something_is_granted() {
        let mut window = of(MIB);
        window.note(20 * MIB);
        assert!(!window.is_due(1), "it cannot be smaller");
        assert_eq!(window.renewed(10).size(), 1);
    }

    /// A queue with one active consumer keeps it.
    #[test]
    fn what_is_given_stays() {
        let mut window = Window::new(Prefetch::Messages(100));
        assert_eq!(window.size(), 100);
        assert!(flood(&mut window, 10_000, 100).is_empty());
        window.note(20 * MIB);
        assert!(!window.is_due(100));
    }
}
