//! The ledger's publication in every interleaving of two reactors and a coordinator, under the memory model of C11 (loom).
//!
//! The source under test is the product's own file, compiled here below another `atomic` module. The mutants show that each
//! part of the rule is needed: without it, loom finds the interleaving in which a message is lost.

#![expect(clippy::duplicate_mod, reason = "the same source over different atomics is the point")]

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// `src/ledger/published.rs` over loom's atomics.
#[path = "../src/ledger"]
mod faithful {
    #[expect(dead_code, unreachable_pub, reason = "the product's file, of which the model uses a part")]
    pub(super) mod published;
    mod atomic {
        pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    }
}

/// The same file, with every store relaxed.
#[path = "../src/ledger"]
mod unreleased {
    #[expect(dead_code, unreachable_pub, reason = "the product's file, of which the model uses a part")]
    pub(super) mod published;
    mod atomic {
        pub(super) use loom::sync::atomic::Ordering;
        #[derive(Debug, Default)]
        pub(super) struct AtomicU64(loom::sync::atomic::AtomicU64);
        impl AtomicU64 {
            pub(super) fn load(&self, order: Ordering) -> u64 {
                self.0.load(order)
            }
            pub(super) fn store(&self, value: u64, _: Ordering) {
                self.0.store(value, Ordering::Relaxed);
            }
        }
    }
}

/// The same file, with every load relaxed.
#[path = "../src/ledger"]
mod unacquired {
    #[expect(dead_code, unreachable_pub, reason = "the product's file, of which the model uses a part")]
    pub(super) mod published;
    mod atomic {
        pub(super) use loom::sync::atomic::Ordering;
        #[derive(Debug, Default)]
        pub(super) struct AtomicU64(loom::sync::atomic::AtomicU64);
        impl AtomicU64 {
            pub(super) fn load(&self, _: Ordering) -> u64 {
                self.0.load(Ordering::Relaxed)
            }
            pub(super) fn store(&self, value: u64, order: Ordering) {
                self.0.store(value, order);
            }
        }
    }
}

/// What the model asks of a published line, whichever atomics are below it.
trait Line: Default + Send + Sync + 'static {
    fn show(&self, received: u64, delivered: u64, sealed: bool);
    fn in_flight(&self) -> u64;
    /// What was received, and whether the books balance.
    fn books(&self) -> (u64, bool);
    fn all_drained(lines: &[Self; REACTORS]) -> bool;
}

macro_rules! line {
    ($module:ident) => {
        impl Line for $module::published::Published {
            fn show(&self, received: u64, delivered: u64, sealed: bool) {
                let in_flight = received - delivered;
                let rest = $module::published::Totals::default();
                self.publish(&$module::published::Totals { received, delivered, in_flight, ..rest }, sealed);
            }
            fn in_flight(&self) -> u64 {
                self.read().totals.in_flight
            }
            fn books(&self) -> (u64, bool) {
                let totals = self.read().totals;
                (totals.received, totals.balances())
            }
            fn all_drained(lines: &[Self; REACTORS]) -> bool {
                $module::published::all_drained(lines)
            }
        }
    };
}
line!(faithful);
line!(unreleased);
line!(unacquired);

type Faithful = faithful::published::Published;
type Unreleased = unreleased::published::Published;
type Unacquired = unacquired::published::Published;

const REACTORS: usize = 2;
/// Messages that each reactor receives.
const MESSAGES: u64 = 2;
/// Set in [`Truth`] once the coordinator has halted the reactors.
const HALTED: u64 = 1 << 32;

/// What is really in flight on one reactor. A read-modify-write always meets the latest value, and a relaxed one orders
/// nothing else: the truth does not help the code under test.
#[derive(Default)]
struct Truth(AtomicU64);

impl Truth {
    fn admit(&self) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(before & HALTED == 0, "admitted after the halt");
    }
    fn settle(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
    fn halt(&self) {
        let before = self.0.fetch_or(HALTED, Ordering::Relaxed);
        assert!(before & !HALTED == 0, "halted with messages in flight");
    }
}

/// When a reactor shows that it is sealed.
#[derive(Clone, Copy)]
enum Seal {
    /// With its last admission, or after it.
    WithLastAdmission,
    /// Before that is counted.
    BeforeLastAdmission,
}

/// One reactor's life: a message comes and goes, the count is zero for a moment, the last one comes, the seal, it goes.
fn reactor<L: Line>(line: &L, truth: &Truth, seal: Seal) {
    truth.admit();
    line.show(1, 0, false);
    truth.settle();
    line.show(1, 1, matches!(seal, Seal::BeforeLastAdmission));
    truth.admit();
    line.show(2, 1, true);
    truth.settle();
    line.show(2, 2, true);
}

/// How the coordinator decides that all is done.
type Rule<L> = fn(&[L; REACTORS]) -> bool;

/// The mutant of the rule that takes a bare zero for a verdict.
fn nothing_in_flight<L: Line>(lines: &[L; REACTORS]) -> bool {
    lines.iter().map(Line::in_flight).sum::<u64>() == 0
}

/// What must hold when the coordinator halts the reactors.
type Check<L> = fn(&[L; REACTORS], &[Truth; REACTORS]);

/// Nothing is in flight, and nothing will be: [`Truth`] watches from here on.
fn nothing_is_lost<L: Line>(_: &[L; REACTORS], truth: &[Truth; REACTORS]) {
    truth.iter().for_each(Truth::halt);
}

/// What is read now are the last figures.
fn books_are_final<L: Line>(lines: &[L; REACTORS], _: &[Truth; REACTORS]) {
    let last = (MESSAGES, true);
    assert!(lines.iter().all(|line| line.books() == last), "drained books are not final");
}

/// Two reactors live while the coordinator looks; once both have told it, it must find them drained.
///
/// It looks once, at any moment: a look that does not halt changes nothing, so a second one could find nothing else. The
/// threads share a plain `Arc`: loom's own cannot be dropped while a mutant's panic unwinds.
fn model<L: Line>(rule: Rule<L>, seal: Seal, check: Check<L>) {
    loom::model(move || {
        let shared = Arc::new(<([L; REACTORS], [Truth; REACTORS])>::default());
        let reactors = [0, 1].map(|index| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || reactor(&shared.0[index], &shared.1[index], seal))
        });
        let (lines, truth) = &*shared;
        let halted = rule(lines);
        if halted {
            check(lines, truth);
        }
        for reactor in reactors {
            reactor.join().unwrap();
        }
        assert!(rule(lines), "told by both, and still not drained");
        if !halted {
            check(lines, truth);
        }
    });
}

#[test]
fn a_halt_loses_nothing() {
    model::<Faithful>(Line::all_drained, Seal::WithLastAdmission, nothing_is_lost);
}

#[test]
fn a_halt_finds_the_final_books() {
    model::<Faithful>(Line::all_drained, Seal::WithLastAdmission, books_are_final);
}

#[test]
#[should_panic(expected = "halt")]
fn a_bare_zero_is_no_verdict() {
    model::<Faithful>(nothing_in_flight, Seal::WithLastAdmission, nothing_is_lost);
}

#[test]
#[should_panic(expected = "halt")]
fn sealing_before_the_last_admission_is_counted_loses_it() {
    model::<Faithful>(Line::all_drained, Seal::BeforeLastAdmission, nothing_is_lost);
}

#[test]
#[should_panic(expected = "drained books are not final")]
fn a_word_that_does_not_release_the_totals_shows_old_books() {
    model::<Unreleased>(Line::all_drained, Seal::WithLastAdmission, books_are_final);
}

#[test]
#[should_panic(expected = "drained books are not final")]
fn a_word_that_is_not_acquired_shows_old_books() {
    model::<Unacquired>(Line::all_drained, Seal::WithLastAdmission, books_are_final);
}

/// The same line over the product's own atomics, on one thread.
mod plain {
    use slackwater::ledger::{Published, Snapshot, Totals, all_drained};

    const BOOKS: Totals = Totals {
        received: 28,
        delivered: 1,
        failed: 2,
        spilled: 3,
        returned: 4,
        abandoned: 5,
        in_flight: 13,
        torn: 7,
        misframed: 8,
        refused: 9,
        kernel_drops: 10,
        redelivered: 11,
    };

    #[test]
    fn it_has_cache_lines_of_its_own() {
        assert_eq!((size_of::<Published>(), align_of::<Published>()), (128, 64));
    }

    #[test]
    fn what_is_published_is_read() {
        let line = Published::new();
        assert_eq!(line.read(), Snapshot::default());
        for sealed in [false, true] {
            line.publish(&BOOKS, sealed);
            assert_eq!(line.read(), Snapshot { totals: BOOKS, sealed });
        }
    }

    #[test]
    fn books_balance_without_what_was_no_message() {
        assert!(BOOKS.balances());
        assert!((BOOKS + BOOKS).balances());
        assert!(
            Totals { torn: 99, misframed: 99, refused: 99, kernel_drops: 99, redelivered: 99, ..BOOKS }
                .balances()
        );
        assert!(!Totals { received: 29, ..BOOKS }.balances());
        assert!(!Totals { in_flight: 12, ..BOOKS }.balances());
    }

    #[test]
    fn a_sum_adds_every_field() {
        let twice = BOOKS + BOOKS;
        let fields = [twice.received, twice.delivered, twice.failed, twice.spilled, twice.returned];
        assert_eq!(fields, [56, 2, 4, 6, 8]);
        assert_eq!([twice.abandoned, twice.in_flight, twice.torn], [10, 26, 14]);
        let beside = [twice.misframed, twice.refused, twice.kernel_drops, twice.redelivered];
        assert_eq!(beside, [16, 18, 20, 22]);
    }

    #[test]
    fn drained_needs_the_seal_and_the_zero_on_every_line() {
        let lines = [Published::new(), Published::new()];
        let empty = Totals { received: 15, in_flight: 0, ..BOOKS };
        for (first, second, drained) in [
            ((BOOKS, true), (empty, true), false),
            ((empty, false), (empty, true), false),
            ((empty, true), (empty, true), true),
        ] {
            lines[0].publish(&first.0, first.1);
            lines[1].publish(&second.0, second.1);
            assert_eq!(all_drained(&lines), drained);
        }
        assert!(lines[0].read().is_drained());
    }
}
