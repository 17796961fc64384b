//! On the runtimes that it is for: what goes between threads, and what stays on one.

use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn, spawn_local};
use tokio::time::timeout;

use super::*;

/// Long enough for all that happens here; what is not over then never ends.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(test: impl Future) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, test).await.expect("an end") });
}

#[test]
fn the_monitor_goes_anywhere_and_work_where_its_future_goes() {
    fn goes_anywhere<T: Send + Sync + 'static>(_: &T) {}
    fn goes_to_a_thread<T: Send>(_: &T) {}
    fn is_unpin<T: Unpin>(_: &T) {}
    let monitor = ProgressMonitor::new();
    goes_anywhere(&monitor);
    let (_tell, work) = told(&monitor);
    goes_to_a_thread(&work);
    goes_to_a_thread(&monitor.drained());
    goes_to_a_thread(&monitor.drained_by(async {}));
    is_unpin(&work);
}

#[test]
fn an_aborted_task_counts_as_dropped_and_a_panicked_one_as_panicked() {
    run(async {
        let monitor = ProgressMonitor::new();
        let (_tell, work) = told(&monitor);
        spawn(work).abort();
        let (tell, work) = told(&monitor);
        tell.send(End::Panic).expect("a listener");
        let panicked = spawn(work);
        monitor.close();
        assert_eq!(monitor.drained().await, outcomes(0, 0, 1, 1));
        assert!(panicked.await.expect_err("the panic").is_panic());
    });
}

#[test]
fn futures_that_stay_on_their_thread_are_counted_too() {
    run(LocalSet::new().run_until(async {
        let monitor = ProgressMonitor::new();
        let local = Rc::new(7);
        let work = monitor.register(async move { if *local == 7 { Ok(()) } else { Err(()) } });
        spawn_local(work.expect("an open intake"));
        monitor.close();
        assert_eq!(monitor.drained().await, outcomes(1, 0, 0, 0));
    }));
}

#[cfg(feature = "services")]
#[test]
fn operations_of_tokio_uring_are_counted_by_their_result() {
    tokio_uring::start(async {
        let monitor = ProgressMonitor::new();
        let read = async {
            let file = tokio_uring::fs::File::open("/dev/zero").await.expect("a file that is always there");
            file.read_at(vec![1; 16], 0).await
        };
        let read = tokio_uring::spawn(monitor.register(read).expect("an open intake"));
        monitor.close();
        assert_eq!(monitor.drained().await, outcomes(1, 0, 0, 0));
        let (result, buffer) = read.await.expect("a task that has ended");
        assert_eq!((result.expect("a read"), buffer), (16, vec![0; 16]));
    });
}
