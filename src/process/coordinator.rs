//! The coordinator: sleeps until an order, a reactor or the deadline wakes it; asks; sums; halts.
//!
//! Lives here: the process's one loop. Never here: whose orders they are (`orders`), what a signal means (`decision`), what a reactor does when it is asked.

use std::os::fd::AsFd;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{error, info, warn};

use super::bring_up::{ReactorThread, Relay, Remains};
use super::decision::{Cause, Decision};
use super::orders::Orders;
use super::report::Report;
use crate::ledger::{Totals, all_drained};
use crate::limits::EXPIRE_GRACE;
use crate::reactor::{Books, Phase, stay_awake};

/// A drain that is under way.
#[derive(Clone, Copy, Debug)]
struct Drain {
    began: Instant,
    cause: Cause,
    /// When what is left is abandoned; once that was asked for, when the reactors are left behind.
    deadline: Instant,
    expiring: bool,
}

impl Relay {
    /// Relays until it is told to end, or a reactor breaks, and gives the books.
    pub fn run_to_end(self, mut orders: impl Orders) -> Ended {
        let mut drain = None;
        while !self.is_over(drain) {
            self.sleep(&orders, drain);
            self.hear(&mut orders, &mut drain);
            self.notice_broken(&mut drain);
            self.notice_deadline(&mut drain);
        }
        self.ask(Phase::Halt);
        let (began, cause) = drain.map_or((Instant::now(), Cause::Error), |drain| (drain.began, drain.cause));
        self.close_the_books(began, cause)
    }

    /// Every reactor is drained, or those that are not have had their time.
    fn is_over(&self, drain: Option<Drain>) -> bool {
        let Some(drain) = drain else { return false };
        let left_behind = drain.expiring && Instant::now() >= drain.deadline;
        left_behind || all_drained(self.threads.iter().map(|thread| &thread.control.published))
    }

    /// Until an order, a word from a reactor, or the deadline. Nothing polls; `begin_drain` has waited awake for what comes at once.
    fn sleep(&self, orders: &impl Orders, drain: Option<Drain>) {
        let mut awaited = [
            PollFd::new(orders.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.bell.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = drain.map_or(PollTimeout::NONE, |drain| timeout_until(drain.deadline));
        match poll(&mut awaited, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => error!(%errno, "poll(2) failed"),
        }
        // Only the wake-up counts; what it was for is read from the reactors' published words.
        let _ = self.bell.read();
    }

    fn hear(&self, orders: &mut impl Orders, drain: &mut Option<Drain>) {
        while let Some(order) = orders.next() {
            match order {
                Decision::Drain(cause) => self.begin_drain(drain, cause, self.plan.drain_timeout),
                Decision::DrainWithin(time) => self.begin_drain(drain, Cause::Asked, time),
                Decision::Force => self.expire(drain, Cause::Forced),
                Decision::GoOn => info!("a drain is under way already"),
                Decision::LogBooks => self.log_books(),
                Decision::Note(note) => info!("{note}"),
            }
        }
    }

    /// Unless one is under way: its deadline stands.
    fn begin_drain(&self, drain: &mut Option<Drain>, cause: Cause, within: Duration) {
        if drain.is_some() {
            return;
        }
        let began = Instant::now();
        *drain = Some(Drain { began, cause, deadline: began + within, expiring: false });
        // A log takes its time, above all on a terminal: what is over at once does not wait for it.
        self.ask(Phase::Drain);
        stay_awake(|| self.is_over(*drain));
        if self.is_over(*drain) {
            self.ask(Phase::Halt);
        }
        info!(cause = cause.as_str(), "draining");
    }

    fn expire(&self, drain: &mut Option<Drain>, cause: Cause) {
        let now = Instant::now();
        let began = drain.map_or(now, |drain| drain.began);
        let broken = drain.is_some_and(|drain| drain.cause == Cause::Error);
        let cause = if broken { Cause::Error } else { cause };
        if !drain.is_some_and(|drain| drain.expiring) {
            *drain = Some(Drain { began, cause, deadline: now + EXPIRE_GRACE, expiring: true });
            self.ask(Phase::Expire);
        }
    }

    /// A reactor that can never do its work again abandons what it has left. The others deliver what they have.
    fn notice_broken(&self, drain: &mut Option<Drain>) {
        for thread in self.threads.iter().filter(|thread| thread.control.is_broken()) {
            self.begin_drain(drain, Cause::Error, self.plan.drain_timeout);
            drain.iter_mut().for_each(|drain| drain.cause = Cause::Error);
            thread.control.ask(Phase::Expire);
        }
    }

    fn notice_deadline(&self, drain: &mut Option<Drain>) {
        if let Some(running) = *drain
            && !running.expiring
            && Instant::now() >= running.deadline
            && !self.is_over(*drain)
        {
            let after = running.began.elapsed();
            warn!(?after, "the drain's time is up; what is left is returned to its queue, or abandoned");
            self.expire(drain, Cause::Deadline);
        }
    }

    fn ask(&self, phase: Phase) {
        self.threads.iter().for_each(|thread| thread.control.ask(phase));
    }

    fn log_books(&self) {
        let snapshots = self.threads.iter().map(|thread| thread.control.published.read().totals);
        let totals = snapshots.fold(Totals::default(), |sum, one| sum + one);
        let Totals { received, delivered, failed, returned, abandoned, in_flight, torn, .. } = totals;
        let Totals { misframed, refused, kernel_drops, redelivered, .. } = totals;
        info!(
            received,
            delivered,
            failed,
            returned,
            abandoned,
            in_flight,
            torn,
            misframed,
            refused,
            kernel_drops,
            redelivered,
            "books"
        );
    }

    /// Hears the reactors out, and writes the report.
    fn close_the_books(self, began: Instant, cause: Cause) -> Ended {
        let (books, remains): (Vec<Books>, Vec<_>) = self.threads.into_iter().map(final_books).unzip();
        let mut report = Report::new(&self.plan, &books, cause, began.elapsed());
        report.log();
        if let Some(ledger) = self.ledger_file
            && let Err(error) = ledger.write(&report)
        {
            let file = ledger.path().display();
            error!(%error, %file, "the ledger cannot be written; the books are in the line above, make room or name another file");
            report.is_unwritten = true;
        }
        Ended { report, remains: remains.into_iter().flatten().collect() }
    }
}

/// A relay that has ended, with the memory and the rings of its reactors.
#[must_use]
pub struct Ended {
    report: Report,
    remains: Vec<Remains>,
}

impl Ended {
    /// The report of a relay whose process ends now: the kernel takes everything back at once, quicker than the reactors could give it.
    pub fn at_exit(self) -> Report {
        std::mem::forget(self.remains);
        self.report
    }

    /// The report of one whose process goes on, with nothing left of the reactors.
    pub fn clear_away(self) -> Report {
        self.remains.into_iter().for_each(Remains::clear_away);
        self.report
    }
}

/// A reactor's own books, and what is left of it; where it was left behind, what it had published.
fn final_books(thread: ReactorThread) -> (Books, Option<Remains>) {
    // Of one that has nothing in flight only the goodbyes are waited for, which are bounded each.
    let patience = if thread.control.published.read().is_drained() { EXPIRE_GRACE } else { Duration::ZERO };
    let mut last_word = None;
    if !patience.is_zero() {
        stay_awake(|| {
            last_word = thread.last_word.try_recv().ok();
            last_word.is_some()
        });
    }
    match last_word.map_or_else(|| thread.last_word.recv_timeout(patience), Ok) {
        Ok((books, ended)) => {
            if let Err(error) = ended {
                error!("{error}");
            }
            (books, Some(thread.remains))
        }
        Err(why) => {
            let (said, remains) = match why {
                RecvTimeoutError::Timeout => ("did not end in time; it is left behind", None),
                RecvTimeoutError::Disconnected => ("ended without a word", Some(thread.remains)),
            };
            error!("a reactor {said}, and its books are the last that it published");
            (Books { totals: thread.control.published.read().totals, ..Books::default() }, remains)
        }
    }
}

/// Rounded up to whole milliseconds, so that the deadline has passed when poll(2) returns.
fn timeout_until(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::config::RunArgs;
    use crate::process::bring_up::Parting;
    use crate::process::orders::SignalOrders;
    use crate::process::signals::Signals;
    use crate::reactor::Control;

    /// A reactor that has nothing in flight as soon as `until` is asked of it. What was asked of it until it was halted.
    fn reactor(line: &Control, until: Phase) -> Vec<Phase> {
        let (mut bell, mut asked) = (std::fs::File::from(line.bell().unwrap()), Vec::new());
        while asked.last() != Some(&Phase::Halt) {
            bell.read_exact(&mut [0; 8]).unwrap();
            asked.push(line.asked());
            line.published.publish(&Totals::default(), line.asked() >= until);
            line.report();
        }
        asked
    }

    fn add_reactor(relay: &mut Relay, until: Phase) -> mpsc::Receiver<Vec<Phase>> {
        let control = Arc::new(Control::new(Arc::clone(&relay.bell)).unwrap());
        let (line, (told, asked)) = (Arc::clone(&control), mpsc::channel());
        let thread = ReactorThread::spawn("reactor".to_owned(), control, move |parting| {
            told.send(reactor(&line, until)).unwrap();
            parting.say((Books::default(), Ok(())), || ());
        });
        relay.threads.push(thread.unwrap());
        asked
    }

    #[test]
    fn the_last_word_is_heard_before_what_nobody_waits_for() {
        let relay = Relay::idle(&RunArgs::default().plan().unwrap()).unwrap();
        let control = Arc::new(Control::new(Arc::clone(&relay.bell)).unwrap());
        let (go, may_go) = mpsc::channel();
        let then = move || may_go.recv().unwrap();
        let run = move |parting: Parting| parting.say((Books::default(), Ok(())), then);
        let thread = ReactorThread::spawn("reactor".to_owned(), control, run).unwrap();
        assert!(thread.last_word.recv_timeout(Duration::from_secs(10)).is_ok(), "it hangs");
        go.send(()).unwrap();
        thread.remains.clear_away();
    }

    #[test]
    fn a_drain_that_is_over_at_once_is_halted_before_it_is_logged() {
        let mut relay = Relay::idle(&RunArgs::default().plan().unwrap()).unwrap();
        let asked = add_reactor(&mut relay, Phase::Drain);
        let control = Arc::clone(&relay.threads[0].control);
        control.published.publish(&Totals::default(), true);
        let (told, when_logged) = mpsc::channel();
        let log = tracing_subscriber::fmt().with_writer(move || {
            told.send(control.asked()).unwrap();
            io::sink()
        });
        let mut drain = None;
        tracing::subscriber::with_default(log.finish(), || {
            relay.begin_drain(&mut drain, Cause::Asked, Duration::from_secs(10));
        });
        assert_eq!(when_logged.try_iter().collect::<Vec<_>>(), [Phase::Halt]);
        assert_eq!(asked.recv().unwrap().last(), Some(&Phase::Halt));
    }

    #[test]
    fn when_one_reactor_breaks_the_others_drain() {
        let signals = SignalOrders::new(Signals::block().unwrap());
        let mut relay = Relay::idle(&RunArgs::default().plan().unwrap()).unwrap();
        let _broken = add_reactor(&mut relay, Phase::Expire);
        relay.threads[0].control.report_broken();
        let healthy = add_reactor(&mut relay, Phase::Drain);
        assert_eq!(relay.run_to_end(signals).clear_away().cause, Cause::Error);
        let asked = healthy.recv().unwrap();
        assert!(asked.contains(&Phase::Drain) && !asked.contains(&Phase::Expire), "{asked:?}");
    }
}
