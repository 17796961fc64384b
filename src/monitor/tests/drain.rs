//! Waiting for the end: what it takes, who is woken, and what a missed deadline tells.

use std::cell::Cell;
use std::future::{poll_fn, ready};
use std::time::{Duration, Instant};

use super::*;

#[test]
fn nothing_left_is_no_verdict_while_the_intake_is_open() {
    let monitor = ProgressMonitor::new();
    let (hand, mut drained) = (Hand::new(), Box::pin(monitor.drained()));
    assert!(hand.poll(&mut drained).is_pending());
    one_of_each(&monitor);
    assert_eq!((monitor.current(), hand.wakes()), (0, 0));
    assert!(hand.poll(&mut drained).is_pending());
    monitor.close();
    assert_eq!(hand.wakes(), 1, "to close what has nothing left is the end");
    assert_eq!(hand.poll(&mut drained), Poll::Ready(outcomes(1, 1, 1, 1)));
}

#[test]
fn a_closed_intake_is_no_verdict_while_work_is_left() {
    let monitor = ProgressMonitor::new();
    let all: Vec<_> = (0..100).map(|_| told(&monitor)).collect();
    let (hand, mut drained) = (Hand::new(), Box::pin(monitor.drained()));
    assert!(hand.poll(&mut drained).is_pending());
    monitor.close();
    for (index, work) in all.into_iter().enumerate() {
        assert_eq!(hand.wakes(), 0, "woken for nothing after {index}");
        assert!(hand.poll(&mut drained).is_pending());
        drop(work);
    }
    assert_eq!(hand.wakes(), 1);
    assert_eq!(hand.poll(&mut drained), Poll::Ready(outcomes(0, 0, 0, 100)));
}

#[test]
fn each_way_to_end_wakes_if_it_is_the_last() {
    for end in [None, Some(End::Success), Some(End::Error), Some(End::Panic)] {
        let monitor = ProgressMonitor::new();
        let (tell, mut work) = told(&monitor);
        let (hand, mut drained) = (Hand::new(), Box::pin(monitor.drained()));
        assert!(hand.poll(&mut drained).is_pending());
        monitor.close();
        if let Some(end) = end {
            tell.send(end).expect("a listener");
        }
        let polled =
            std::panic::AssertUnwindSafe(move || end.is_some() && Hand::new().poll(&mut work).is_ready());
        assert_eq!(std::panic::catch_unwind(polled).is_err(), matches!(end, Some(End::Panic)));
        assert_eq!(hand.wakes(), 1, "{end:?}");
        assert!(hand.poll(&mut drained).is_ready(), "{end:?}");
    }
}

#[test]
fn all_who_wait_are_woken_and_who_comes_later_need_not_wait() {
    let monitor = ProgressMonitor::new();
    let (hands, mut drained): (Vec<_>, Vec<_>) =
        (0..3).map(|_| (Hand::new(), Box::pin(monitor.drained()))).unzip();
    let early = hands.iter().zip(&mut drained).all(|(hand, drained)| hand.poll(drained).is_pending());
    assert!(early);
    monitor.close();
    for (hand, drained) in hands.iter().zip(&mut drained) {
        assert_eq!(hand.wakes(), 1);
        assert!(hand.poll(drained).is_ready());
    }
    assert!(Hand::new().poll(&mut Box::pin(monitor.drained())).is_ready());
}

#[test]
fn an_end_between_the_look_and_the_wait_is_not_missed() {
    let changed = Notify::new();
    let done = Cell::new(false);
    let looks = Cell::new(0);
    let mut waiting = Box::pin(wait_for(&changed, || {
        looks.set(looks.get() + 1);
        let found = done.get().then_some(());
        // The look has its answer; now the end comes, and rings.
        if !done.replace(true) {
            changed.notify_waiters();
        }
        found
    }));
    let hand = Hand::new();
    // Within the same poll, or by a wake: never not at all.
    let first = hand.poll(&mut waiting);
    assert!(first.is_ready() || hand.wakes() > 0, "the wake is lost");
    assert!(first.is_ready() || hand.poll(&mut waiting).is_ready());
    assert_eq!(looks.get(), 2);
}

#[test]
fn an_end_between_the_look_and_the_deadline_is_not_missed() {
    let monitor = ProgressMonitor::new();
    let held = Cell::new(Some(told(&monitor)));
    monitor.close();
    let hand = Hand::new();
    // The deadline is polled after the look: it ends the work, and goes on.
    let deadline = poll_fn(|_| {
        drop(held.take());
        Poll::<()>::Pending
    });
    let mut drained = Box::pin(monitor.drained_by(deadline));
    assert!(hand.poll(&mut drained).is_pending());
    assert_eq!(hand.wakes(), 1);
    assert_eq!(hand.poll(&mut drained), Poll::Ready(Ok(outcomes(0, 0, 0, 1))));
}

#[test]
fn what_ends_at_the_deadline_itself_is_in_time() {
    let monitor = ProgressMonitor::new();
    let held = Cell::new(Some(told(&monitor)));
    monitor.close();
    let deadline = poll_fn(|_| {
        drop(held.take());
        Poll::Ready(())
    });
    assert_eq!(
        Hand::new().poll(&mut Box::pin(monitor.drained_by(deadline))),
        Poll::Ready(Ok(outcomes(0, 0, 0, 1)))
    );
    let late = monitor.drained_by(ready(()));
    assert_eq!(Hand::new().poll(&mut Box::pin(late)), Poll::Ready(Ok(outcomes(0, 0, 0, 1))));
}

#[test]
fn a_missed_deadline_names_what_is_stuck_oldest_first() {
    let monitor = ProgressMonitor::new();
    let before = Instant::now();
    let (_first, first) = told(&monitor);
    let _first = first.named("post 7");
    one_of_each(&monitor);
    let _second = monitor.register(async {}).expect("an open intake");
    let line = line!() - 1;
    monitor.close();
    let overdue = Hand::new().poll(&mut Box::pin(monitor.drained_by(ready(()))));
    let Poll::Ready(Err(Overdue(progress))) = overdue else { panic!("{overdue:?}") };
    let longest = before.elapsed();
    assert_eq!((progress.closed, progress.total), (true, 6));
    assert_eq!(progress.outcomes, outcomes(1, 1, 1, 1));
    let [first, second] = &progress.left[..] else { panic!("{progress}") };
    assert_eq!((first.number, first.name.as_str(), second.number), (1, "post 7", 6));
    assert!(second.name.starts_with(&format!("{}:{line}:", file!())), "{}", second.name);
    assert!(longest >= first.age && first.age >= second.age);
}

#[test]
fn ages_grow_with_the_clock() {
    let (mut books, start) = (Books::default(), Instant::now());
    let name = Name::At(Location::caller());
    books.enter(1, &name, start).expect("an open intake");
    books.enter(2, &name, start + Duration::from_secs(2)).expect("an open intake");
    let progress = books.snapshot().into_progress(start + Duration::from_secs(5));
    let ages: Vec<_> = progress.left.iter().map(|left| (left.number, left.age.as_secs())).collect();
    assert_eq!(ages, [(1, 5), (2, 3), (3, 3)]);
}

#[test]
fn a_deadline_with_the_intake_open_says_so() {
    let monitor = ProgressMonitor::new();
    let overdue = Hand::new().poll(&mut Box::pin(monitor.drained_by(ready(()))));
    let Poll::Ready(Err(overdue)) = overdue else { panic!("{overdue:?}") };
    assert_eq!(
        overdue.to_string(),
        "the intake was still open at the deadline: \
         0 registered: 0 succeeded, 0 failed, 0 panicked, 0 dropped, 0 left"
    );
}

#[test]
fn the_text_names_the_oldest_and_counts_the_rest() {
    let left = |number| Left { number, name: format!("post {number}"), age: Duration::from_millis(2500) };
    let progress = |count| Progress {
        closed: true,
        total: count + 4,
        outcomes: outcomes(1, 1, 1, 1),
        left: (1..=count).map(left).collect(),
    };
    assert_eq!(
        Overdue(progress(2)).to_string(),
        "not drained at the deadline: 6 registered: 1 succeeded, 1 failed, 1 panicked, 1 dropped, \
         2 left: #1 `post 1` for 2.5s, #2 `post 2` for 2.5s"
    );
    assert!(progress(8).to_string().ends_with("#8 `post 8` for 2.5s"));
    assert!(progress(11).to_string().ends_with("#8 `post 8` for 2.5s, and 3 more"));
}

#[test]
fn somebody_waits_while_he_is_there_and_work_is_left() {
    let monitor = ProgressMonitor::new();
    let hand = Hand::new();
    let mut first = Box::pin(monitor.drained());
    assert!(hand.poll(&mut first).is_pending());
    assert!(!monitor.is_waiting(), "nothing to wait for");
    let (_tell, work) = told(&monitor);
    assert!(monitor.is_waiting());
    let mut second = Box::pin(monitor.drained_by(std::future::pending::<()>()));
    assert!(hand.poll(&mut second).is_pending());
    drop(first);
    assert!(monitor.is_waiting(), "the second is there");
    drop(second);
    assert!(!monitor.is_waiting(), "nobody is there");
    let third = monitor.drained();
    assert!(!monitor.is_waiting(), "who was never polled does not wait");
    let mut third = Box::pin(third);
    assert!(hand.poll(&mut third).is_pending());
    monitor.close();
    assert!(monitor.is_waiting());
    drop(work);
    assert!(!monitor.is_waiting(), "nothing is left");
    assert!(hand.poll(&mut third).is_ready());
}
