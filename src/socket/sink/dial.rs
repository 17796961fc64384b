//! Which endpoint a link connects to: the first in its own order that is healthy.
//!
//! An endpoint that failed is left alone for a while that grows; the next in the order is used meanwhile, and the better one is
//! tried again. Lives here: that order, and what each endpoint is given time for. Never here: sockets, clocks, what is sent.

use std::rc::Rc;
use std::time::Instant;

use crate::backoff::{Backoff, Pace};
use crate::kernel::Address;
use crate::limits::{RECONNECT_MIN, RETURN_AFTER};

/// One endpoint of a sink: its name as the user wrote it, and the addresses that it has; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// For logs.
    pub name: String,
    /// The first is tried first.
    pub addresses: Vec<Address>,
}

/// The endpoints of one link, best first.
pub(super) struct Dialer {
    candidates: Vec<Candidate>,
}

struct Candidate {
    endpoint: Rc<Endpoint>,
    backoff: Backoff,
    /// When it may be tried again.
    not_before: Instant,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Connect to this one.
    Dial(usize),
    /// None may be tried before.
    Wait(Instant),
}

impl Dialer {
    pub(super) fn new(endpoints: Vec<Rc<Endpoint>>, now: Instant) -> Dialer {
        let candidate =
            |endpoint| Candidate { endpoint, backoff: Backoff::new(RECONNECT_MIN), not_before: now };
        Dialer { candidates: endpoints.into_iter().map(candidate).collect() }
    }

    pub(super) fn choose(&self, now: Instant) -> Choice {
        let ready = self.candidates.iter().position(|candidate| candidate.not_before <= now);
        let soonest = || self.candidates.iter().map(|candidate| candidate.not_before).min();
        ready.map_or_else(|| Choice::Wait(soonest().unwrap_or(now)), Choice::Dial)
    }

    /// The one that [`Dialer::choose`] will name, unless others become ready meanwhile.
    pub(super) fn likely(&self) -> usize {
        let soonest = self.candidates.iter().enumerate().min_by_key(|(_, candidate)| candidate.not_before);
        soonest.map_or(0, |(place, _)| place)
    }

    pub(super) fn name(&self, endpoint: usize) -> &str {
        &self.candidates[endpoint].endpoint.name
    }

    /// Where to connect to; another of its addresses after each failure.
    pub(super) fn address(&self, endpoint: usize) -> &Address {
        let Candidate { endpoint, backoff, .. } = &self.candidates[endpoint];
        &endpoint.addresses[backoff.failures() as usize % endpoint.addresses.len()]
    }

    /// Failed attempts since it last worked.
    pub(super) fn failures(&self, endpoint: usize) -> u32 {
        self.candidates[endpoint].backoff.failures()
    }

    /// It could not be connected to, or its connection broke. One that had done its work is tried again at once.
    pub(super) fn failed(&mut self, endpoint: usize, proven: bool, pace: Pace, now: Instant) {
        let candidate = &mut self.candidates[endpoint];
        if proven {
            candidate.backoff.reset();
        }
        candidate.not_before = now + candidate.backoff.next(pace);
    }

    /// The best endpoint before `used`, and from when on it may be tried while that works.
    pub(super) fn better(&self, used: usize, since: Instant) -> Option<(usize, Instant)> {
        let better = self.candidates[..used].iter().enumerate();
        let at = |candidate: &Candidate| candidate.not_before.max(since + RETURN_AFTER);
        better.map(|(place, candidate)| (place, at(candidate))).min_by_key(|&(place, at)| (at, place))
    }

    /// None waits any longer.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.candidates.iter_mut().for_each(|candidate| candidate.not_before = candidate.not_before.min(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECONNECT_MAX;

    fn dialer(now: Instant) -> Dialer {
        let endpoint = |port: u16| {
            let addresses = vec![
                Address::Tcp(([127, 0, 0, 1], port).into()),
                Address::Tcp(([127, 0, 0, 2], port).into()),
            ];
            Rc::new(Endpoint { name: format!("{port}"), addresses })
        };
        Dialer::new([1, 2, 3].map(endpoint).to_vec(), now)
    }

    #[test]
    fn the_first_that_has_not_failed_is_dialled() {
        let now = Instant::now();
        let mut dialer = dialer(now);
        assert_eq!(dialer.choose(now), Choice::Dial(0));
        dialer.failed(0, false, Pace::Steady, now + RECONNECT_MAX);
        assert_eq!(dialer.choose(now), Choice::Dial(1));
        dialer.failed(1, false, Pace::Steady, now + RECONNECT_MAX);
        dialer.failed(2, false, Pace::Steady, now + RECONNECT_MAX);
        assert!(matches!(dialer.choose(now), Choice::Wait(at) if at >= now + RECONNECT_MAX));
        dialer.hurry(now);
        assert_eq!(dialer.choose(now), Choice::Dial(0));
    }

    #[test]
    fn each_failure_tries_another_address_of_the_endpoint() {
        let now = Instant::now();
        let mut dialer = dialer(now);
        let first = dialer.address(0).clone();
        dialer.failed(0, false, Pace::Steady, now);
        assert_ne!(*dialer.address(0), first);
        dialer.failed(0, false, Pace::Steady, now);
        assert_eq!(*dialer.address(0), first);
    }

    #[test]
    fn a_better_endpoint_is_tried_again_while_another_is_used_but_not_at_once() {
        let now = Instant::now();
        let mut dialer = dialer(now);
        assert_eq!(dialer.better(0, now), None);
        assert_eq!(dialer.better(2, now), Some((0, now + RETURN_AFTER)));
        dialer.failed(0, false, Pace::Steady, now + 2 * RETURN_AFTER);
        assert_eq!(dialer.better(2, now), Some((1, now + RETURN_AFTER)));
    }
}
