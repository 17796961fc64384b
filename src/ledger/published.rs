//! The cache lines in which a reactor shows its books to the other threads.
//!
//! Lives here: [`Published`], what is read from it, and the coordinator's rule [`all_drained`]. Never here: the books
//! themselves, which are plain cells of one thread. `tests/model.rs` runs this very file in every interleaving.
//!
//! # Why the cores may be read one after another
//!
//! There is no moment at which all cores are seen together, and none is needed. A reactor publishes `sealed` only after its
//! last admission, in the same word as the count of what is in flight. From that store on the count can only fall, and a zero
//! stays a zero for ever. So once each reactor has been read as *sealed and zero*, each at its own moment, all of them are
//! zero at the moment of the last reading, and after it. An unsealed zero proves nothing: it also occurs between two messages,
//! and the reactor that showed it may admit the next one while the others are being read.

use std::ops::Add;

use super::atomic::{AtomicU64, Ordering};

/// The bit of the word that says that nothing new can enter; the count is above it.
const SEALED: u64 = 1;

/// One set of books since the start, in messages; serialized under the names that the ledger file documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Admitted from a source.
    pub received: u64,
    /// Confirmed, at the level that the sink is configured for.
    pub delivered: u64,
    /// Refused by the sink for good.
    pub failed: u64,
    /// Safe on disk, to be sent at the next start.
    pub spilled: u64,
    /// Given back to the queue that they came from.
    pub returned: u64,
    /// Lost.
    pub abandoned: u64,
    /// Admitted and not settled yet; below 2^63.
    pub in_flight: u64,
    /// First parts whose rest never came. They were never messages, so the identity leaves them out, as it does what follows.
    pub torn: u64,
    /// Connections and datagrams that ended for bytes that are no messages.
    pub misframed: u64,
    /// Connections and datagrams of clients that are not let in.
    pub refused: u64,
    /// Datagrams that the kernel threw away for want of room, as it counts them (`SO_RXQ_OVFL`, socket(7)).
    pub kernel_drops: u64,
    /// Of what was received, what its queue says that it had handed out before, to us or to somebody else.
    pub redelivered: u64,
}

impl Totals {
    /// Whether every received message is in exactly one place (the ledger's identity).
    pub fn balances(&self) -> bool {
        let settled = self.delivered + self.failed + self.spilled + self.returned + self.abandoned;
        self.received == settled + self.in_flight
    }
}

/// The sum over reactors, field by field.
impl Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            delivered: self.delivered + other.delivered,
            failed: self.failed + other.failed,
            spilled: self.spilled + other.spilled,
            returned: self.returned + other.returned,
            abandoned: self.abandoned + other.abandoned,
            in_flight: self.in_flight + other.in_flight,
            torn: self.torn + other.torn,
            misframed: self.misframed + other.misframed,
            refused: self.refused + other.refused,
            kernel_drops: self.kernel_drops + other.kernel_drops,
            redelivered: self.redelivered + other.redelivered,
        }
    }
}

/// What one [`Published::read`] saw.
///
/// `totals.in_flight` and `sealed` come from one word and belong together. The other fields are each *at least as new* as
/// that word, but a reactor that goes on publishing may change them between two loads, so that **a snapshot of a running
/// reactor need not balance**: show it, do not check it. It is exact, and balances, when it [is drained](Self::is_drained)
/// (nothing can change any more) and when it is read after the reactor's thread was joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The figures.
    pub totals: Totals,
    /// Whether nothing new can enter this reactor's ledger.
    pub sealed: bool,
}

impl Snapshot {
    /// Sealed, and nothing in flight: the reactor has no more work and will never have any.
    pub fn is_drained(&self) -> bool {
        self.sealed && self.totals.in_flight == 0
    }
}

/// One reactor's figures: written by that reactor once a turn, read by anyone. What the coordinator decides by is in one cache
/// line; what stands beside them is in the next.
#[derive(Debug, Default)]
pub struct Published {
    line: Line,
    beside: Beside,
}

/// The books.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    /// `in_flight << 1 | sealed`.
    word: AtomicU64,
    received: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    spilled: AtomicU64,
    returned: AtomicU64,
    abandoned: AtomicU64,
    torn: AtomicU64,
}

/// What the identity leaves out.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Beside {
    misframed: AtomicU64,
    refused: AtomicU64,
    kernel_drops: AtomicU64,
    redelivered: AtomicU64,
}

impl Published {
    /// All zero, and not sealed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows these figures. For the one reactor that owns the line: two writers would mix theirs.
    ///
    /// The word comes last and releases the totals, so that whoever sees it sees them too. `sealed` may be passed only when
    /// `totals` contain the last admission, and must be passed for ever after.
    pub fn publish(&self, totals: &Totals, sealed: bool) {
        self.beside.misframed.store(totals.misframed, Ordering::Relaxed);
        self.beside.refused.store(totals.refused, Ordering::Relaxed);
        self.beside.kernel_drops.store(totals.kernel_drops, Ordering::Relaxed);
        self.beside.redelivered.store(totals.redelivered, Ordering::Relaxed);
        self.line.received.store(totals.received, Ordering::Relaxed);
        self.line.delivered.store(totals.delivered, Ordering::Relaxed);
        self.line.failed.store(totals.failed, Ordering::Relaxed);
        self.line.spilled.store(totals.spilled, Ordering::Relaxed);
        self.line.returned.store(totals.returned, Ordering::Relaxed);
        self.line.abandoned.store(totals.abandoned, Ordering::Relaxed);
        self.line.torn.store(totals.torn, Ordering::Relaxed);
        self.line.word.store(totals.in_flight << 1 | u64::from(sealed), Ordering::Release);
    }

    /// The figures as last shown; see [`Snapshot`] for what they are worth while the reactor runs.
    pub fn read(&self) -> Snapshot {
        let word = self.line.word.load(Ordering::Acquire);
        let totals = Totals {
            received: self.line.received.load(Ordering::Relaxed),
            delivered: self.line.delivered.load(Ordering::Relaxed),
            failed: self.line.failed.load(Ordering::Relaxed),
            spilled: self.line.spilled.load(Ordering::Relaxed),
            returned: self.line.returned.load(Ordering::Relaxed),
            abandoned: self.line.abandoned.load(Ordering::Relaxed),
            in_flight: word >> 1,
            torn: self.line.torn.load(Ordering::Relaxed),
            misframed: self.beside.misframed.load(Ordering::Relaxed),
            refused: self.beside.refused.load(Ordering::Relaxed),
            kernel_drops: self.beside.kernel_drops.load(Ordering::Relaxed),
            redelivered: self.beside.redelivered.load(Ordering::Relaxed),
        };
        Snapshot { totals, sealed: word & SEALED != 0 }
    }

    /// Whether the word says *sealed and zero*, without a look at the totals. Acquires them, as [`Published::read`] does.
    fn is_drained(&self) -> bool {
        self.line.word.load(Ordering::Acquire) == SEALED
    }
}

/// The coordinator's rule: whether every reactor is drained, read one after another (why that is sound: this module's head).
///
/// Once true it stays true. Of no reactors at all it is true.
pub fn all_drained<'a>(published: impl IntoIterator<Item = &'a Published>) -> bool {
    published.into_iter().all(Published::is_drained)
}
