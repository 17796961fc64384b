//! Requests whose messages are in flight, and what their clients are told.
//!
//! ```text
//! handed in → each message has its verdict → the client is told → its answer has left → acted on
//!                                                └── or nobody is there any more ──────────┘
//! ```
//! Lives here: that bookkeeping. Never here: a request, a connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::endpoint::{Feed, Offer, Tag};
use crate::ledger::Outcome;

/// What a client is told about all messages of its request together, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    /// They are safe.
    Taken,
    /// Some were refused for good, and would be again.
    Refused,
    /// Some did not arrive: the client has them still.
    Again,
}

impl Answer {
    fn of(outcome: Outcome) -> Answer {
        match outcome {
            Outcome::Delivered | Outcome::Spilled => Answer::Taken,
            Outcome::Failed => Answer::Refused,
            Outcome::Returned | Outcome::Abandoned => Answer::Again,
        }
    }
}

/// Every message of a request has its verdict.
pub(super) struct Settled {
    pub(super) answer: Answer,
    pub(super) debt: Debt,
}

/// Verdicts that are acted on once this is dropped: by whoever sees the answer leave, or by whoever sees that it never will.
pub(super) struct Debt {
    pending: Rc<Pending>,
    verdicts: usize,
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.pending.feed.acted_on(self.verdicts);
        if self.pending.feed.outstanding() == 0 {
            self.pending.idle.notify_one();
        }
    }
}

/// All requests of a listener that wait.
pub(super) struct Pending {
    feed: Feed,
    next: Cell<Tag>,
    /// By the tag of the first of its messages; the others follow that.
    requests: RefCell<BTreeMap<Tag, Waiting>>,
    /// Nothing is owed any more.
    idle: Notify,
}

struct Waiting {
    messages: usize,
    /// Messages without a verdict.
    open: usize,
    answer: Answer,
    client: oneshot::Sender<Settled>,
}

impl Pending {
    /// Nothing waits yet.
    pub(super) fn new(feed: Feed) -> Pending {
        Pending { feed, next: Cell::new(0), requests: RefCell::default(), idle: Notify::new() }
    }

    /// Where messages go.
    pub(super) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Hands the messages of a request in, each with its name; at least one.
    pub(super) fn hand_in(&self, messages: Vec<(Bytes, String)>) -> oneshot::Receiver<Settled> {
        let (client, told) = oneshot::channel();
        let (first, count) = (self.next.get(), messages.len());
        let waiting = Waiting { messages: count, open: count, answer: Answer::Taken, client };
        self.requests.borrow_mut().insert(first, waiting);
        for (tag, (payload, id)) in (first..).zip(messages) {
            self.feed.offer(Offer { payload, tag, id, redelivered: false });
            self.next.set(tag + 1);
        }
        told
    }

    /// Tells those clients all of whose messages have their verdict now.
    pub(super) fn note(self: &Rc<Self>, verdicts: Vec<(Tag, Outcome)>) {
        for (tag, outcome) in verdicts {
            match self.settle(tag, outcome) {
                Noted::Waits => {}
                Noted::Whole(Waiting { messages, answer, client, .. }) => {
                    let debt = Debt { pending: Rc::clone(self), verdicts: messages };
                    // Of a client that is gone the debt comes back, and is dropped.
                    let _ = client.send(Settled { answer, debt });
                }
                Noted::Unknown => drop(Debt { pending: Rc::clone(self), verdicts: 1 }),
            }
        }
    }

    fn settle(&self, tag: Tag, outcome: Outcome) -> Noted {
        let mut requests = self.requests.borrow_mut();
        let Some((&first, request)) = requests.range_mut(..=tag).next_back() else { return Noted::Unknown };
        if tag - first >= request.messages as u64 {
            return Noted::Unknown;
        }
        request.open -= 1;
        request.answer = request.answer.max(Answer::of(outcome));
        if request.open > 0 {
            return Noted::Waits;
        }
        requests.remove(&first).map_or(Noted::Unknown, Noted::Whole)
    }

    /// Tells whoever still waits that there will be no verdict.
    pub(super) fn give_up(&self) {
        self.requests.borrow_mut().clear();
    }

    /// Waits until something may have been acted on, and nothing is owed.
    pub(super) async fn idle(&self) {
        self.idle.notified().await;
    }
}

/// What a verdict means to a request.
enum Noted {
    /// Others are to come.
    Waits,
    /// It was the last.
    Whole(Waiting),
    /// No request waits for it any more.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Bell, Inlet};

    fn pending() -> (Inlet, Rc<Pending>) {
        let (inlet, feed) = Inlet::new(Bell::default());
        (inlet, Rc::new(Pending::new(feed)))
    }

    fn hand_in(pending: &Pending, count: usize) -> oneshot::Receiver<Settled> {
        pending.hand_in((0..count).map(|n| (Bytes::from_static(b"x"), n.to_string())).collect())
    }

    #[test]
    fn a_client_is_told_when_the_last_of_its_messages_is_settled() {
        let (inlet, pending) = pending();
        let (mut one, mut other) = (hand_in(&pending, 1), hand_in(&pending, 2));
        pending.note(vec![(2, Outcome::Delivered), (0, Outcome::Spilled)]);
        let settled = one.try_recv().unwrap();
        assert_eq!(settled.answer, Answer::Taken);
        assert!(other.try_recv().is_err());
        pending.note(vec![(1, Outcome::Delivered)]);
        assert_eq!(other.try_recv().unwrap().answer, Answer::Taken);
        assert_eq!(pending.feed.outstanding(), 1, "the other answer is not on its way yet");
        drop(settled);
        assert!(inlet.is_settled());
    }

    #[test]
    fn the_worst_verdict_counts() {
        let told = |outcomes: &[Outcome]| {
            let (_inlet, pending) = pending();
            let mut client = hand_in(&pending, outcomes.len());
            pending.note((0..).zip(outcomes.iter().copied()).collect());
            client.try_recv().unwrap().answer
        };
        assert_eq!(told(&[Outcome::Failed, Outcome::Spilled]), Answer::Refused);
        assert_eq!(told(&[Outcome::Delivered, Outcome::Returned, Outcome::Failed]), Answer::Again);
        assert_eq!(told(&[Outcome::Abandoned]), Answer::Again);
    }

    #[test]
    fn what_a_client_that_is_gone_had_handed_in_is_acted_on() {
        let (inlet, pending) = pending();
        drop(hand_in(&pending, 2));
        let mut late = hand_in(&pending, 1);
        assert_eq!(pending.feed.outstanding(), 3);
        pending.note(vec![(0, Outcome::Delivered), (1, Outcome::Delivered)]);
        assert_eq!(pending.feed.outstanding(), 1);
        pending.give_up();
        assert!(matches!(late.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        pending.note(vec![(2, Outcome::Returned)]);
        assert!(inlet.is_settled());
    }
}
