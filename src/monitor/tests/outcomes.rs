//! How work ends, when that counts, and what is refused.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::*;

#[test]
fn work_counts_from_its_registration_until_its_end() {
    let monitor = ProgressMonitor::new();
    let (tell, mut work) = told(&monitor);
    let hand = Hand::new();
    assert_eq!((monitor.current(), monitor.total()), (1, 1));
    assert!(hand.poll(&mut work).is_pending());
    assert_eq!((monitor.current(), monitor.total()), (1, 1));
    tell.send(End::Success).expect("a listener");
    assert_eq!((hand.wakes(), monitor.current()), (1, 1), "told, and not polled yet");
    assert_eq!(hand.poll(&mut work), Poll::Ready(Ok(1)));
    assert_eq!((monitor.current(), monitor.total(), monitor.outcomes()), (0, 1, outcomes(1, 0, 0, 0)));
    drop(work);
    assert_eq!((monitor.total(), monitor.outcomes()), (1, outcomes(1, 0, 0, 0)), "what has ended ends once");
}

#[test]
fn an_error_counts_as_failed_and_is_passed_on() {
    let monitor = ProgressMonitor::new();
    let (tell, mut work) = told(&monitor);
    tell.send(End::Error).expect("a listener");
    assert_eq!(Hand::new().poll(&mut work), Poll::Ready(Err(2)));
    assert_eq!((monitor.current(), monitor.outcomes()), (0, outcomes(0, 1, 0, 0)));
}

#[test]
fn a_panic_counts_as_panicked_and_is_passed_on() {
    let monitor = ProgressMonitor::new();
    let (tell, mut work) = told(&monitor);
    tell.send(End::Panic).expect("a listener");
    let panic = catch_unwind(AssertUnwindSafe(|| Hand::new().poll(&mut work))).expect_err("the panic");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&PAYLOAD));
    assert_eq!((monitor.current(), monitor.outcomes()), (0, outcomes(0, 0, 1, 0)), "though it is still held");
}

#[test]
fn what_is_thrown_away_counts_as_dropped_polled_or_not() {
    let monitor = ProgressMonitor::new();
    drop(told(&monitor).1);
    assert_eq!((monitor.current(), monitor.outcomes()), (0, outcomes(0, 0, 0, 1)));
    let (_tell, mut work) = told(&monitor);
    assert!(Hand::new().poll(&mut work).is_pending());
    drop(work);
    assert_eq!((monitor.current(), monitor.outcomes()), (0, outcomes(0, 0, 0, 2)));
}

#[test]
fn what_is_thrown_away_by_the_panic_of_another_counts_as_dropped() {
    let monitor = ProgressMonitor::new();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _work = told(&monitor);
        resume_unwind(Box::new(PAYLOAD));
    }));
    assert!(unwound.is_err());
    assert_eq!(monitor.outcomes(), outcomes(0, 0, 0, 1));
}

#[test]
#[should_panic(expected = "not polled again")]
fn work_is_not_polled_after_its_end() {
    let mut work = ProgressMonitor::new().register(async {}).expect("an open intake");
    assert!(Hand::new().poll(&mut work).is_ready());
    let _ = Hand::new().poll(&mut work);
}

/// A future that writes down, when it is destroyed, how much the monitor counts; its destructor panics if told to.
struct Destroyed {
    monitor: ProgressMonitor,
    seen: Arc<AtomicUsize>,
    end: Option<End>,
    panics: bool,
}

impl Future for Destroyed {
    type Output = Result<(), ()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.end {
            None => Poll::Pending,
            Some(End::Success) => Poll::Ready(Ok(())),
            Some(End::Error) => Poll::Ready(Err(())),
            Some(End::Panic) => resume_unwind(Box::new(PAYLOAD)),
        }
    }
}

impl Drop for Destroyed {
    fn drop(&mut self) {
        self.seen.store(self.monitor.current() as usize, Ordering::SeqCst);
        if self.panics {
            resume_unwind(Box::new(PAYLOAD));
        }
    }
}

/// Runs one to its end, which for `None` is to be dropped; gives what its destructor saw.
fn destroy(monitor: &ProgressMonitor, end: Option<End>, panics: bool) -> usize {
    let seen = Arc::new(AtomicUsize::new(usize::MAX));
    let future = Destroyed { monitor: monitor.clone(), seen: Arc::clone(&seen), end, panics };
    let mut work = monitor.register(future).expect("an open intake");
    let unwound = catch_unwind(AssertUnwindSafe(move || Hand::new().poll(&mut work).is_ready()));
    assert_eq!(unwound.is_err(), panics || matches!(end, Some(End::Panic)));
    seen.load(Ordering::SeqCst)
}

#[test]
fn the_end_counts_after_the_destructor_has_run() {
    for end in [None, Some(End::Success), Some(End::Error), Some(End::Panic)] {
        let monitor = ProgressMonitor::new();
        assert_eq!(destroy(&monitor, end, false), 1, "{end:?}");
        assert_eq!(monitor.current(), 0, "{end:?}");
    }
}

#[test]
fn a_destructor_that_panics_settles_all_the_same() {
    let ends = [Some(End::Success), Some(End::Error), Some(End::Panic)];
    for end in ends {
        let monitor = ProgressMonitor::new();
        assert_eq!(destroy(&monitor, end, true), 1, "{end:?}");
        assert_eq!((monitor.current(), monitor.outcomes()), (0, outcomes(0, 0, 1, 0)), "{end:?}");
    }
    let monitor = ProgressMonitor::new();
    destroy(&monitor, None, true);
    assert_eq!((monitor.current(), monitor.outcomes()), (0, outcomes(0, 0, 0, 1)));
}

#[test]
fn the_judge_decides_and_its_panic_counts() {
    let monitor = ProgressMonitor::new();
    let judged = |status: u16| {
        let work = monitor.register_judged(async move { status }, |status| match status {
            0 => resume_unwind(Box::new(PAYLOAD)),
            _ => *status < 400,
        });
        let mut work = work.expect("an open intake");
        catch_unwind(AssertUnwindSafe(|| Hand::new().poll(&mut work))).ok()
    };
    assert_eq!(judged(200), Some(Poll::Ready(200)));
    assert_eq!(judged(503), Some(Poll::Ready(503)));
    assert_eq!(judged(0), None);
    assert_eq!((monitor.current(), monitor.outcomes()), (0, outcomes(1, 1, 1, 0)));
}

#[test]
fn outputs_that_are_no_result_have_their_own_conclusion() {
    assert!(().is_success());
    assert!((Ok::<_, ()>(3), vec![0_u8]).is_success());
    assert!(!(Err::<(), _>(3), vec![0_u8]).is_success());
}

#[test]
fn a_closed_intake_gives_the_futures_back() {
    let monitor = ProgressMonitor::new();
    let (tell, work) = told(&monitor);
    assert!(!monitor.is_closed());
    monitor.close();
    monitor.close();
    assert!(monitor.is_closed());
    let refused = monitor.register(async { Ok::<_, ()>(5) }).expect_err("a closed intake");
    assert!(refused.to_string().contains("closed"), "{refused}");
    assert_eq!(Hand::new().poll(&mut Box::pin(refused.0)), Poll::Ready(Ok(5)));
    let refused = monitor.extend([async { Ok::<_, ()>(6) }]).expect_err("a closed intake");
    assert_eq!(refused.0.len(), 1);
    assert!(monitor.register_judged(async {}, |()| true).is_err());
    assert_eq!((monitor.current(), monitor.total()), (1, 1), "what was refused does not count");
    drop((tell, work));
    assert_eq!((monitor.current(), monitor.total()), (0, 1));
}

#[test]
fn many_are_registered_at_one_moment_even_by_an_iterator_that_comes_back() {
    let monitor = ProgressMonitor::new();
    let seen = std::cell::RefCell::new(Vec::new());
    let futures = (0..3).map(|n| {
        seen.borrow_mut().push(monitor.current());
        async move { if n == 1 { Err(n) } else { Ok(n) } }
    });
    let mut work = monitor.extend(futures).expect("an open intake");
    assert_eq!((seen.take(), monitor.current(), monitor.total()), (vec![0, 0, 0], 3, 3));
    assert!(work.iter_mut().all(|work| Hand::new().poll(work).is_ready()));
    assert_eq!((monitor.current(), monitor.outcomes()), (0, outcomes(2, 1, 0, 0)));
    let none: [std::future::Ready<()>; 0] = [];
    assert!(monitor.extend(none).expect("an open intake").is_empty());
}
