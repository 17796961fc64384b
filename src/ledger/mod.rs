//! A reactor's books: what was received, what became of it, and what is still in flight.
//!
//! `received = delivered + failed + spilled + returned + abandoned + in_flight`, at every moment, for the reactor, for each of
//! its sources and for each of its sinks. The way in is [`Ledger::admit`], the way out is [`Ticket::settle`]; a ticket that is
//! dropped settles as abandoned, so that no error path can forget one; as returned where an [`Origin`] still has its message.
//! Lives here: plain core-local cells and the line that is published. Never here: I/O, clocks, messages.

mod joint;
mod published;

/// The atomics that [`published`] is built on. The model in `tests/model.rs` includes that file over loom's instead.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use joint::{Joint, Settled};
pub use published::{Published, Snapshot, Totals, all_drained};

/// Lines of cache of its own: no reactor's publication slows down another's.
const _: () = assert!(size_of::<Published>() == 128 && align_of::<Published>() == 64);

/// What became of a message, from best to worst: of one that went to several sinks the worst counts. Nothing is left to do about the
/// first; the second is known to its sink, and would be refused again; the next two are safe and will come again; the last is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Confirmed at the level that its sink asks for.
    Delivered,
    /// Refused for good.
    Failed,
    /// On disk, to be replayed at the next start.
    Spilled,
    /// Given back to the queue that it came from.
    Returned,
    /// Lost. The only bad one, and what the exit code is about.
    Abandoned,
}

/// One set of books: a reactor's, a source's or a sink's.
#[derive(Default)]
struct Account {
    received: Cell<u64>,
    delivered: Cell<u64>,
    failed: Cell<u64>,
    spilled: Cell<u64>,
    returned: Cell<u64>,
    abandoned: Cell<u64>,
    in_flight: Cell<u64>,
    torn: Cell<u64>,
    misframed: Cell<u64>,
    refused: Cell<u64>,
    kernel_drops: Cell<u64>,
    redelivered: Cell<u64>,
}

impl Account {
    fn admit(&self, messages: u64) {
        add(&self.received, messages);
        add(&self.in_flight, messages);
    }

    fn settle(&self, messages: u64, outcome: Outcome) {
        self.in_flight.set(self.in_flight.get() - messages);
        add(self.column(outcome), messages);
    }

    fn column(&self, outcome: Outcome) -> &Cell<u64> {
        match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Failed => &self.failed,
            Outcome::Spilled => &self.spilled,
            Outcome::Returned => &self.returned,
            Outcome::Abandoned => &self.abandoned,
        }
    }

    fn totals(&self) -> Totals {
        Totals {
            received: self.received.get(),
            delivered: self.delivered.get(),
            failed: self.failed.get(),
            spilled: self.spilled.get(),
            returned: self.returned.get(),
            abandoned: self.abandoned.get(),
            in_flight: self.in_flight.get(),
            torn: self.torn.get(),
            misframed: self.misframed.get(),
            refused: self.refused.get(),
            kernel_drops: self.kernel_drops.get(),
            redelivered: self.redelivered.get(),
        }
    }
}

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

struct Books {
    reactor: Account,
    sources: Box<[Account]>,
    sinks: Box<[Account]>,
    bytes_in_flight: Cell<usize>,
}

/// The way through the relay that a message takes: which source, which sink, by their places in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Index of the source.
    pub source: usize,
    /// Index of the sink.
    pub sink: usize,
}

/// Who handed a message in and still has it: a queue that waits for its acknowledgement, a client that waits for an answer.
pub trait Origin {
    /// All of the message's ways have come to an end, and this is the worst of them. Called once.
    fn settled(&self, outcome: Outcome);
    /// A name of the message that stays the same when it comes again, for sinks that tell what they already have.
    fn id(&self) -> &str;
}

/// One sink link's part of messages that go to several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index of its sink.
    pub sink: usize,
    /// Bytes of memory that it occupies until it is settled.
    pub bytes: usize,
}

/// The books of one reactor. Cloning shares them; they stay on their thread.
#[derive(Clone)]
pub struct Ledger(Rc<Books>);

impl Ledger {
    /// Empty books for a reactor with so many sources and sinks.
    pub fn new(sources: usize, sinks: usize) -> Ledger {
        let accounts = |count| std::iter::repeat_with(Account::default).take(count).collect();
        let (sources, sinks) = (accounts(sources), accounts(sinks));
        Ledger(Rc::new(Books { reactor: Account::default(), sources, sinks, bytes_in_flight: Cell::new(0) }))
    }

    /// Enters `messages` that occupy `bytes` of memory until they are settled.
    pub fn admit(&self, way: Way, messages: u32, bytes: usize) -> Ticket {
        self.0.accounts(way).for_each(|account| account.admit(u64::from(messages)));
        self.ticket(Entry::Alone(way), messages, bytes)
    }

    fn ticket(&self, entry: Entry, messages: u32, bytes: usize) -> Ticket {
        self.0.bytes_in_flight.set(self.0.bytes_in_flight.get() + bytes);
        Ticket { books: Rc::clone(&self.0), entry, messages, bytes }
    }

    /// Enters one message that `origin` is to be told about.
    pub fn admit_from(&self, origin: Rc<dyn Origin>, way: Way, bytes: usize) -> Ticket {
        let messages = 1;
        self.0.accounts(way).for_each(|account| account.admit(messages));
        self.ticket(Entry::Handed(Box::new(Handed { way, origin })), messages as u32, bytes)
    }

    /// Enters a message that its sink refused at the sink that takes its dead letters. `refused` stays in flight until that has it,
    /// and then counts as failed; in its own sink's account it does at once.
    pub fn admit_letter(&self, refused: Ticket, sink: usize, bytes: usize) -> Ticket {
        debug_assert_eq!(refused.messages, 1, "messages are refused one by one");
        self.0.sinks[sink].admit(1);
        self.ticket(Entry::Letter { sink, refused: Some(Box::new(refused)) }, 1, bytes)
    }

    /// Enters `messages` of which each goes along several `parts`, at least one. They are received once, and settled once, when all
    /// parts are, by the worst outcome; in a sink's own account when that sink's parts are. Each part settles from the front.
    pub fn admit_each(&self, source: usize, parts: &[Part], messages: u32) -> Vec<Ticket> {
        if let [part] = parts {
            return vec![self.admit(Way { source, sink: part.sink }, messages, part.bytes)];
        }
        self.admit_jointly(source, parts, messages, None)
    }

    /// The same with one message that `origin` is to be told about.
    pub fn admit_each_from(&self, origin: Rc<dyn Origin>, source: usize, parts: &[Part]) -> Vec<Ticket> {
        if let [part] = parts {
            return vec![self.admit_from(origin, Way { source, sink: part.sink }, part.bytes)];
        }
        self.admit_jointly(source, parts, 1, Some(origin))
    }

    fn admit_jointly(
        &self,
        source: usize,
        parts: &[Part],
        messages: u32,
        origin: Option<Rc<dyn Origin>>,
    ) -> Vec<Ticket> {
        let joint = Joint::new(&parts.iter().map(|part| part.sink).collect::<Vec<_>>());
        let count = u64::from(messages);
        [&self.0.reactor, &self.0.sources[source]].iter().for_each(|account| account.admit(count));
        joint.sinks().for_each(|sink| self.0.sinks[sink].admit(count));
        let joint = Rc::new(Shared { source, joint: RefCell::new(joint), origin });
        let ticket = |(number, part): (usize, &Part)| {
            let entry = Entry::Part { joint: Rc::clone(&joint), number };
            self.ticket(entry, messages, part.bytes)
        };
        parts.iter().enumerate().map(ticket).collect()
    }

    /// Counts the first part of a message whose rest never came. It was never a message.
    pub fn tear(&self, source: usize) {
        self.note(source, |account| &account.torn, 1);
    }

    /// Counts a connection or a datagram that ended for bytes that are no messages.
    pub fn misframe(&self, source: usize) {
        self.note(source, |account| &account.misframed, 1);
    }

    /// Counts connections or datagrams of clients that are not let in.
    pub fn refuse(&self, source: usize, count: u64) {
        self.note(source, |account| &account.refused, count);
    }

    /// Counts datagrams that the kernel threw away before they were received.
    pub fn note_kernel_drops(&self, source: usize, count: u64) {
        self.note(source, |account| &account.kernel_drops, count);
    }

    /// Counts a message, beside its admission, that its queue had handed out before.
    pub fn note_redelivery(&self, source: usize) {
        self.note(source, |account| &account.redelivered, 1);
    }

    fn note(&self, source: usize, column: fn(&Account) -> &Cell<u64>, count: u64) {
        add(column(&self.0.reactor), count);
        add(column(&self.0.sources[source]), count);
    }

    /// Bytes of memory that unsettled messages occupy.
    pub fn bytes_in_flight(&self) -> usize {
        self.0.bytes_in_flight.get()
    }

    /// The reactor's totals.
    pub fn totals(&self) -> Totals {
        self.0.reactor.totals()
    }

    /// The totals of each source, in the plan's order.
    pub fn sources(&self) -> Vec<Totals> {
        self.0.sources.iter().map(Account::totals).collect()
    }

    /// The totals of each sink, in the plan's order.
    pub fn sinks(&self) -> Vec<Totals> {
        self.0.sinks.iter().map(Account::totals).collect()
    }
}

impl Books {
    fn accounts(&self, way: Way) -> impl Iterator<Item = &Account> {
        [&self.reactor, &self.sources[way.source], &self.sinks[way.sink]].into_iter()
    }

    fn settle_jointly(&self, source: usize, settled: &Settled) {
        let Settled { sink, messages, outcome } = *settled;
        let messages = u64::from(messages);
        match sink {
            Some(sink) => self.sinks[sink].settle(messages, outcome),
            None => {
                self.reactor.settle(messages, outcome);
                self.sources[source].settle(messages, outcome);
            }
        }
    }
}

/// The proof that some messages are in flight. Dropping it settles them as abandoned, or as returned where an [`Origin`] has them.
#[must_use = "dropping a ticket abandons its messages"]
pub struct Ticket {
    books: Rc<Books>,
    entry: Entry,
    messages: u32,
    bytes: usize,
}

/// What a ticket settles.
enum Entry {
    /// Messages that go one way.
    Alone(Way),
    /// One part of messages that have several.
    Part { joint: Rc<Shared>, number: usize },
    /// One message that somebody else still has.
    Handed(Box<Handed>),
    /// One message that its own sink refused; `None` once it is settled.
    Letter { sink: usize, refused: Option<Box<Ticket>> },
}

struct Handed {
    way: Way,
    origin: Rc<dyn Origin>,
}

/// What the parts of the same messages share.
struct Shared {
    source: usize,
    joint: RefCell<Joint>,
    origin: Option<Rc<dyn Origin>>,
}

impl Entry {
    /// The entry of the first of several messages.
    fn share(&self) -> Entry {
        match self {
            Entry::Alone(way) => Entry::Alone(*way),
            Entry::Part { joint, number } => Entry::Part { joint: Rc::clone(joint), number: *number },
            Entry::Handed(_) | Entry::Letter { .. } => unreachable!("one message has no first of several"),
        }
    }
}

impl Ticket {
    /// How many messages it stands for.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// Bytes of memory that they occupy.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Closes the entry.
    pub fn settle(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    /// Splits off the first `messages`, to be settled before the rest; the memory stays with that.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn split_first(&mut self, messages: u32) -> Ticket {
        self.messages = self.messages.checked_sub(messages).expect("a ticket splits into what it has");
        Ticket { books: Rc::clone(&self.books), entry: self.entry.share(), messages, bytes: 0 }
    }

    /// Who handed its message in and still has it.
    pub fn origin(&self) -> Option<&dyn Origin> {
        match &self.entry {
            Entry::Alone(_) => None,
            Entry::Part { joint, .. } => joint.origin.as_deref(),
            Entry::Handed(handed) => Some(&*handed.origin),
            Entry::Letter { refused, .. } => refused.as_ref().and_then(|refused| refused.origin()),
        }
    }

    fn close(&mut self, outcome: Outcome) {
        let messages = std::mem::take(&mut self.messages);
        match &mut self.entry {
            // A settled ticket is dropped, too.
            _ if messages == 0 => {}
            Entry::Alone(way) => {
                self.books.accounts(*way).for_each(|account| account.settle(u64::from(messages), outcome));
            }
            Entry::Part { joint, number } => {
                let settled = joint.joint.borrow_mut().settle(*number, messages, outcome);
                settled.iter().for_each(|one| self.books.settle_jointly(joint.source, one));
                let whole = settled.iter().find(|one| one.sink.is_none());
                if let (Some(origin), Some(one)) = (&joint.origin, whole) {
                    origin.settled(one.outcome);
                }
            }
            Entry::Handed(handed) => {
                self.books.accounts(handed.way).for_each(|account| account.settle(1, outcome));
                handed.origin.settled(outcome);
            }
            Entry::Letter { sink, refused } => {
                self.books.sinks[*sink].settle(1, outcome);
                if let Some(refused) = refused.take() {
                    refused.settle(match outcome {
                        Outcome::Delivered | Outcome::Failed => Outcome::Failed,
                        undecided => undecided,
                    });
                }
            }
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.books.bytes_in_flight.set(self.books.bytes_in_flight.get() - bytes);
    }
}

impl Drop for Ticket {
    /// Without a verdict a message is lost, unless whoever handed it in still has it.
    fn drop(&mut self) {
        if self.messages == 0 && self.bytes == 0 {
            return;
        }
        let lost = if self.origin().is_some() { Outcome::Returned } else { Outcome::Abandoned };
        self.close(lost);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const WAY: Way = Way { source: 0, sink: 0 };

    fn assert_balanced(ledger: &Ledger) {
        let all = [vec![ledger.totals()], ledger.sources(), ledger.sinks()].concat();
        assert!(all.iter().all(Totals::balances), "{all:?}");
    }

    #[test]
    fn each_outcome_has_its_column_and_the_books_balance_throughout() {
        let ledger = Ledger::new(1, 1);
        let outcomes =
            [Outcome::Delivered, Outcome::Failed, Outcome::Spilled, Outcome::Returned, Outcome::Abandoned];
        for (n, outcome) in (1..).zip(outcomes) {
            let ticket = ledger.admit(WAY, n, 10);
            assert_eq!((ledger.totals().in_flight, ledger.bytes_in_flight()), (u64::from(n), 10));
            assert_balanced(&ledger);
            ticket.settle(outcome);
            assert_balanced(&ledger);
        }
        let totals = ledger.totals();
        let columns = [totals.delivered, totals.failed, totals.spilled, totals.returned, totals.abandoned];
        assert_eq!((totals.received, totals.in_flight, columns), (15, 0, [1, 2, 3, 4, 5]));
        assert_eq!(ledger.bytes_in_flight(), 0);
    }

    #[test]
    fn a_dropped_ticket_is_abandoned_also_by_a_panic() {
        let ledger = Ledger::new(1, 1);
        drop(ledger.admit(WAY, 2, 1));
        let in_a_panic = ledger.admit(WAY, 3, 1);
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _held = in_a_panic;
            panic!("as a bug would");
        }));
        assert!(panicked.is_err());
        assert_eq!(
            (ledger.totals().abandoned, ledger.totals().in_flight, ledger.bytes_in_flight()),
            (5, 0, 0)
        );
        assert_balanced(&ledger);
    }

    #[test]
    fn a_split_ticket_settles_each_part_once() {
        let ledger = Ledger::new(1, 1);
        let mut rest = ledger.admit(WAY, 10, 64);
        rest.split_first(4).settle(Outcome::Delivered);
        assert_eq!((rest.messages(), ledger.bytes_in_flight()), (6, 64));
        assert_balanced(&ledger);
        drop(rest);
        assert_eq!((ledger.totals().delivered, ledger.totals().abandoned), (4, 6));
    }

    #[test]
    fn what_goes_to_several_sinks_is_received_once_and_settled_once() {
        let ledger = Ledger::new(1, 2);
        let parts = [Part { sink: 0, bytes: 10 }, Part { sink: 0, bytes: 20 }, Part { sink: 1, bytes: 30 }];
        let mut tickets = ledger.admit_each(0, &parts, 4);
        assert_eq!((ledger.totals().received, ledger.bytes_in_flight()), (4, 60));
        let (third, mut second, first) =
            (tickets.pop().unwrap(), tickets.pop().unwrap(), tickets.pop().unwrap());
        first.settle(Outcome::Delivered);
        second.split_first(1).settle(Outcome::Delivered);
        assert_eq!((ledger.sinks()[0].delivered, ledger.totals().delivered), (1, 0));
        assert_balanced(&ledger);
        third.settle(Outcome::Delivered);
        assert_eq!((ledger.sinks()[1].delivered, ledger.totals().delivered), (4, 1));
        drop(second);
        let Totals { delivered, abandoned, in_flight, .. } = ledger.totals();
        assert_eq!((delivered, abandoned, in_flight, ledger.bytes_in_flight()), (1, 3, 0, 0));
        assert_eq!((ledger.sinks()[0].abandoned, ledger.sinks()[1].abandoned), (3, 0));
        assert_balanced(&ledger);
    }

    /// What an origin was told.
    #[derive(Default)]
    struct Told(RefCell<Vec<Outcome>>);

    impl Origin for Told {
        fn settled(&self, outcome: Outcome) {
            self.0.borrow_mut().push(outcome);
        }

        fn id(&self) -> &'static str {
            "an-id"
        }
    }

    #[test]
    fn an_origin_is_told_once_and_keeps_what_is_dropped() {
        let (ledger, told) = (Ledger::new(1, 2), Rc::new(Told::default()));
        let first = ledger.admit_from(told.clone(), WAY, 7);
        assert_eq!((first.origin().map(Origin::id), ledger.bytes_in_flight()), (Some("an-id"), 7));
        first.settle(Outcome::Delivered);
        drop(ledger.admit_from(told.clone(), WAY, 7));
        let parts = [Part { sink: 0, bytes: 1 }, Part { sink: 1, bytes: 2 }];
        let mut tickets = ledger.admit_each_from(told.clone(), 0, &parts);
        tickets.pop().unwrap().settle(Outcome::Failed);
        assert_eq!(*told.0.borrow(), [Outcome::Delivered, Outcome::Returned], "a part is not all of it");
        drop(tickets);
        assert_eq!(told.0.borrow()[2..], [Outcome::Returned], "who refused it will see it again");
        let Totals { received, delivered, returned, abandoned, .. } = ledger.totals();
        assert_eq!((received, delivered, returned, abandoned, ledger.bytes_in_flight()), (3, 1, 2, 0, 0));
        assert_balanced(&ledger);
    }

    #[test]
    fn a_refused_message_is_in_flight_until_its_dead_letter_is_settled() {
        let ledger = Ledger::new(1, 2);
        for (outcome, of_it) in [
            (Outcome::Delivered, Outcome::Failed),
            (Outcome::Failed, Outcome::Failed),
            (Outcome::Abandoned, Outcome::Abandoned),
        ] {
            let told = Rc::new(Told::default());
            let letter = ledger.admit_letter(ledger.admit_from(told.clone(), WAY, 5), 1, 9);
            assert_eq!((ledger.totals().in_flight, ledger.sinks()[1].in_flight), (1, 1));
            letter.settle(outcome);
            assert_eq!((&*told.0.borrow(), ledger.bytes_in_flight()), (&vec![of_it], 0));
            assert_balanced(&ledger);
        }
        drop(ledger.admit_letter(ledger.admit(WAY, 1, 5), 1, 9));
        let Totals { received, failed, abandoned, .. } = ledger.totals();
        assert_eq!((received, failed, abandoned), (4, 2, 2));
        assert_balanced(&ledger);
    }

    #[test]
    fn sources_and_sinks_have_books_of_their_own() {
        let ledger = Ledger::new(2, 2);
        ledger.admit(Way { source: 0, sink: 1 }, 3, 0).settle(Outcome::Delivered);
        let held = ledger.admit(Way { source: 1, sink: 1 }, 4, 0);
        ledger.tear(1);
        let received = |all: Vec<Totals>| all.iter().map(|one| one.received).collect::<Vec<_>>();
        assert_eq!((received(ledger.sources()), received(ledger.sinks())), (vec![3, 4], vec![0, 7]));
        assert_eq!((ledger.sources()[1].torn, ledger.totals().torn, ledger.sinks()[1].in_flight), (1, 1, 4));
        assert_balanced(&ledger);
        drop(held);
    }
}
