//! Many threads at once: figures that balance at every moment, and an end that nobody misses.

use std::sync::Barrier;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Scope};
use std::time::Duration;

use super::*;

/// Threads that register and end work.
const WORKERS: u64 = 4;
/// Looks at the books while they do, before the intake is closed.
const LOOKS: u32 = 3_000;
/// Work that one of them registers at most, however late the looks come.
const REGISTERED_MAX: u32 = 200_000;
/// Ends that are played.
const ROUNDS: u32 = 2_000;
/// How long a thread that waits for the end may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the end on a thread of its own, from the common start on.
fn wait<'scope>(
    scope: &'scope Scope<'scope, '_>,
    start: &'scope Barrier,
    monitor: &'scope ProgressMonitor,
) -> Receiver<Outcomes> {
    let (done, end) = mpsc::channel();
    scope.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        start.wait();
        done.send(runtime.block_on(monitor.drained())).expect("a listener");
    });
    end
}

/// What came; a thread that is stuck would keep the scope from ending, so the program ends instead.
fn within_patience(end: &Receiver<Outcomes>) -> Outcomes {
    end.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        eprintln!("somebody still waits for an end that has come");
        std::process::abort()
    })
}

/// Registers and ends work until it is refused; some of it ends on another thread.
fn work_until_refused(monitor: &ProgressMonitor, seed: u64, elsewhere: &Sender<Box<dyn Send>>) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..REGISTERED_MAX {
        let fails = random.bool();
        let future = async move { if fails { Err(()) } else { Ok(()) } };
        let Ok(mut work) = monitor.register(future) else { return };
        match random.u8(..8) {
            0 => elsewhere.send(Box::new(work)).expect("the other thread"),
            1 | 2 => drop(work),
            3.. => assert!(Hand::new().poll(&mut work).is_ready()),
        }
    }
    monitor.close();
}

#[test]
fn figures_balance_at_every_moment_and_all_who_wait_see_the_end() {
    let monitor = &ProgressMonitor::new();
    let start = &Barrier::new(WORKERS as usize + 3);
    let (elsewhere, dropped) = mpsc::channel();
    thread::scope(|scope| {
        let ends = [wait(scope, start, monitor), wait(scope, start, monitor)];
        for seed in 0..WORKERS {
            let elsewhere = elsewhere.clone();
            scope.spawn(move || {
                start.wait();
                work_until_refused(monitor, seed, &elsewhere);
            });
        }
        drop(elsewhere);
        scope.spawn(move || dropped.into_iter().for_each(drop));
        start.wait();
        for look in 0.. {
            let progress = monitor.progress();
            assert_eq!(progress.total, progress.outcomes.settled() + progress.left.len() as u64);
            assert!(progress.left.is_sorted_by_key(|left| left.number));
            if progress.is_drained() {
                break;
            }
            if look == LOOKS {
                monitor.close();
            }
        }
        for end in &ends {
            let outcomes = within_patience(end);
            assert_eq!(outcomes, monitor.outcomes());
            assert_eq!((outcomes.settled(), monitor.current()), (monitor.total(), 0));
        }
    });
}

/// The last to settle, the one that closes and the one that begins to wait meet at the end, over and over.
#[test]
fn the_last_to_settle_and_the_one_that_closes_meet_without_loss() {
    for round in 0..ROUNDS {
        let monitor = &ProgressMonitor::new();
        let start = &Barrier::new(3);
        let (_tell, work) = told(monitor);
        thread::scope(|scope| {
            let end = wait(scope, start, monitor);
            scope.spawn(move || {
                start.wait();
                drop(work);
            });
            start.wait();
            monitor.close();
            assert_eq!(within_patience(&end), outcomes(0, 0, 0, 1), "round {round}");
        });
    }
}
