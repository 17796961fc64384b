//! The reactor's own code under a seeded scheduler in virtual time: its kernel, its peers and its coordinator are made up.
//!
//! A failing seed is printed; `SLACKWATER_SIM_SEED` replays it exactly, `SLACKWATER_SIM_SEEDS` says how many are run. Lives here:
//! one run, and many. Never here: what the kernel does (`simulation/kernel.rs`), what peers do (`simulation/world/`), what is right
//! (`simulation/verdict.rs`).

#![expect(clippy::print_stdout, reason = "how many seeds were run is for the reader")]

#[path = "simulation/brought.rs"]
mod brought;
#[path = "simulation/kernel.rs"]
mod kernel;
#[path = "simulation/lease.rs"]
mod lease;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/verdict.rs"]
mod verdict;
#[path = "simulation/world/mod.rs"]
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use nix::sys::eventfd::EventFd;
use slackwater::reactor::{Control, Reactor};

use kernel::SimKernel;
use plan::Relay;
use world::World;

/// How many seeds a test run takes.
const SEEDS: u64 = 10_000;

/// What there was to see of one seed, or of many.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    trace: u64,
    messages: u64,
    /// Waits for more datagrams.
    gathered: u64,
}

/// One seed: a relay, its world, its end, and the verdict.
fn run(seed: u64) -> Seen {
    fastrand::seed(seed);
    let relay = Relay::any(&mut Rng::with_seed(seed));
    let world = Rc::new(RefCell::new(World::new(seed)));
    let bell = Arc::new(EventFd::new().expect("an eventfd"));
    let control = Arc::new(Control::new(bell).expect("an eventfd"));
    let setup = relay.setup(&world, &control);
    let kernel = SimKernel::new(&world, relay.buffers);
    let leased = kernel.leased();
    let (books, ended) = Reactor::new(setup, kernel).expect("a reactor").run();
    assert!(ended.is_ok(), "{ended:?}");
    verdict::check(&relay, &world.borrow(), &books, leased.load(Ordering::Relaxed));
    let world = world.borrow();
    Seen { trace: world.trace(), messages: books.totals.received, gathered: world.gathered }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Seeds from `first` on in steps; the first that fails, if one does.
fn first_failure(first: u64, step: usize, seeds: u64, failed: &AtomicBool) -> Result<Seen, u64> {
    let mut all = Seen::default();
    for seed in (first..seeds).step_by(step).take_while(|_| !failed.load(Ordering::Relaxed)) {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(seen) => {
                all.messages += seen.messages;
                all.gathered += seen.gathered;
            }
            Err(_) => {
                failed.store(true, Ordering::Relaxed);
                return Err(seed);
            }
        }
    }
    Ok(all)
}

#[test]
fn whatever_happens_the_books_balance_and_nothing_confirmed_is_lost() {
    if let Some(seed) = setting("SLACKWATER_SIM_SEED") {
        run(seed);
        return;
    }
    let seeds = setting("SLACKWATER_SIM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = Arc::new(AtomicBool::new(false));
    let parts: Vec<_> = (0..threads)
        .map(|part| {
            let failed = Arc::clone(&failed);
            std::thread::spawn(move || first_failure(part as u64, threads, seeds, &failed))
        })
        .collect();
    let outcomes: Vec<_> =
        parts.into_iter().map(|part| part.join().expect("a panic is an outcome")).collect();
    let failed: Vec<u64> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).copied().collect();
    assert!(failed.is_empty(), "replay with SLACKWATER_SIM_SEED={}; failed: {failed:?}", failed[0]);
    let of_all = |part: fn(&Seen) -> u64| outcomes.iter().flatten().map(part).sum::<u64>();
    let (messages, gathered) = (of_all(|seen| seen.messages), of_all(|seen| seen.gathered));
    println!("{seeds} seeds, {messages} messages, {gathered} waits for more datagrams");
    assert!(messages > seeds * 10, "hardly anything was relayed: {messages}");
    assert!(gathered > seeds, "datagrams are hardly waited for: {gathered}");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..300 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
