//! What services hand in, and what sinks refuse.
//!
//! Lives here: the step from an inlet to the queues of sink links, and from a refusal to the dead letters. Never here: a service's
//! protocol (`broker`), or its tasks (`runtime`).

use std::net::TcpListener;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;

use super::routes::Route;
use super::{Owner, Reactor};
use crate::config::services::{HttpListen, Pull, Push};
use crate::endpoint::{Deliveries, Feed, Inlet, Letter, Pulled};
use crate::kernel::Kernel;
use crate::ledger::Outcome;
use crate::lifecycle::Stage;
use crate::message::{Framing, Run};

/// One source's inlet from its service.
pub(super) struct Fed {
    pub(super) source: usize,
    pub(super) inlet: Inlet,
    /// Where its messages go; kept, so that their order holds.
    pub(super) route: Rc<Route>,
}

/// A service whose tasks are to be started.
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "a build without some service does not start it")
)]
pub(super) enum Service {
    /// Pulls from a queue.
    Pull { name: String, plan: Box<Pull>, reactor: usize, feed: Feed },
    /// Listens for HTTP.
    Listen {
        name: String,
        plan: Box<HttpListen>,
        max_message: usize,
        lines: bool,
        listener: TcpListener,
        feed: Feed,
    },
    /// Sends.
    Push { plan: Box<Push>, deliveries: Deliveries },
}

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// Takes in what services have fetched, as far as there is room; once a drain has begun it goes back to where it came from.
    pub(super) fn take_in(&mut self, now: Instant) {
        for fed in 0..self.fed.len() {
            let Fed { source, route, .. } = &self.fed[fed];
            let (source, route) = (*source, Rc::clone(route));
            if self.stage != Stage::Running {
                while let Some(pulled) = self.next_pulled(fed) {
                    self.settle_unsent(source, &route, pulled, Outcome::Returned);
                }
                continue;
            }
            while !self.is_full(&route) {
                let Some(pulled) = self.next_pulled(fed) else { break };
                self.take_in_one(source, &route, pulled, now);
            }
            let Fed { inlet, .. } = &self.fed[fed];
            let has_enough = route.lanes().iter().any(|&lane| self.has_enough(lane, true, now));
            inlet.open(inlet.is_empty() && !has_enough && !self.is_full(&route));
        }
    }

    fn next_pulled(&self, fed: usize) -> Option<Pulled> {
        let Fed { source, inlet, .. } = &self.fed[fed];
        let pulled = inlet.take()?;
        if pulled.redelivered {
            self.ledger.note_redelivery(*source);
        }
        Some(pulled)
    }

    fn take_in_one(&mut self, source: usize, route: &Route, pulled: Pulled, now: Instant) {
        if pulled.payload.is_empty() {
            // No framing tells an empty message from none.
            return self.settle_unsent(source, route, pulled, Outcome::Failed);
        }
        let lanes = route.lanes_of(&pulled.payload);
        self.offer_each(source, &lanes, &run_of(pulled.payload), 0, Some(pulled.origin), now);
    }

    /// Enters a message that no sink will see, and its end.
    fn settle_unsent(&mut self, source: usize, route: &Route, pulled: Pulled, outcome: Outcome) {
        let parts = self.parts_without_bytes(route);
        for ticket in self.ledger.admit_each_from(pulled.origin, source, &parts) {
            ticket.settle(outcome);
        }
    }

    /// Sends what sinks refused for good to the sinks that take their dead letters.
    pub(super) fn post_letters(&mut self, now: Instant) {
        for lane in 0..self.lanes.len() {
            let Some(to) = self.lanes[lane].dead_letter else { continue };
            for Letter { payload, ticket } in self.lanes[lane].exit.letters() {
                let to = &mut self.lanes[self.pools[to].any(&payload)];
                // Not as a part of what it came in, which it would hold.
                let (run, bytes) = to.framed(run_of(Bytes::copy_from_slice(&payload)), 0);
                let ticket = self.ledger.admit_letter(ticket, to.sink, bytes);
                to.take(run, ticket, self.stage, now);
            }
        }
    }

    /// A service's end that nobody asked for.
    pub(super) fn lost_service(&self) -> bool {
        self.stage == Stage::Running && self.fed.iter().any(|fed| fed.inlet.is_sealed())
    }
}

fn run_of(payload: Bytes) -> Run {
    Run { head: Bytes::new(), body: payload, messages: 1, framing: Framing::Datagram }
}
