//! Random sequences of all that can be done to a monitor, beside a model that is too simple to be wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Register,
    Extend(usize),
    /// The index picks one of those that are left, here and below.
    Name(prop::sample::Index),
    Poll(prop::sample::Index),
    Finish(prop::sample::Index, End),
    Drop(prop::sample::Index),
    Wait,
    StopWaiting,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let end = prop_oneof![Just(End::Success), Just(End::Error), Just(End::Panic)];
    prop_oneof![
        4 => Just(Step::Register),
        2 => (0_usize..4).prop_map(Step::Extend),
        1 => index().prop_map(Step::Name),
        2 => index().prop_map(Step::Poll),
        6 => (index(), end).prop_map(|(index, end)| Step::Finish(index, end)),
        3 => index().prop_map(Step::Drop),
        1 => Just(Step::Wait),
        1 => Just(Step::StopWaiting),
        1 => Just(Step::Close),
    ]
}

/// The future of a piece of work: boxed, so that all are of one type.
type Told = Pin<Box<dyn Future<Output = Result<u8, u8>>>>;

/// A piece of work that is left, as the model knows it.
struct Open {
    number: u64,
    name: Option<String>,
    tell: oneshot::Sender<End>,
    work: Work<Told>,
}

/// The monitor, and beside it plain figures of what it should say.
struct Model {
    monitor: ProgressMonitor,
    open: Vec<Open>,
    total: u64,
    ended: Outcomes,
    closed: bool,
    waiting: Option<Pin<Box<dyn Future<Output = Outcomes>>>>,
    hand: Hand,
}

fn future() -> (oneshot::Sender<End>, Told) {
    let (tell, ear) = oneshot::channel();
    let future = async move {
        match ear.await.expect("told before it is polled for the last time") {
            End::Success => Ok(1),
            End::Error => Err(2),
            End::Panic => std::panic::resume_unwind(Box::new(PAYLOAD)),
        }
    };
    (tell, Box::pin(future))
}

impl Model {
    fn new() -> Model {
        Model {
            monitor: ProgressMonitor::new(),
            open: Vec::new(),
            total: 0,
            ended: Outcomes::default(),
            closed: false,
            waiting: None,
            hand: Hand::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Register => {
                let (tell, future) = future();
                let work = self.monitor.register(future);
                assert_eq!(work.is_err(), self.closed);
                self.enter(work.ok().map(|work| (tell, work)));
            }
            Step::Extend(count) => {
                let (tell, futures): (Vec<_>, Vec<_>) = (0..count).map(|_| future()).unzip();
                let work = self.monitor.extend(futures);
                assert_eq!(work.is_err(), self.closed);
                self.enter(tell.into_iter().zip(work.unwrap_or_default()));
            }
            Step::Name(index) => {
                let Some(mut open) = self.pick(index) else { return };
                let name = format!("work {}", open.number);
                open.work = open.work.named(name.as_str());
                open.name = Some(name);
                self.open.push(open);
                self.open.sort_by_key(|open| open.number);
            }
            Step::Poll(index) => {
                if !self.open.is_empty() {
                    let at = index.index(self.open.len());
                    assert!(Hand::new().poll(&mut self.open[at].work).is_pending());
                }
            }
            Step::Finish(index, end) => self.finish(index, end),
            Step::Drop(index) => self.ended.dropped += u64::from(self.pick(index).is_some()),
            Step::Wait => self.wait(),
            Step::StopWaiting => self.waiting = None,
            Step::Close => {
                self.monitor.close();
                self.closed = true;
            }
        }
    }

    fn enter(&mut self, all: impl IntoIterator<Item = (oneshot::Sender<End>, Work<Told>)>) {
        for (tell, work) in all {
            self.total += 1;
            self.open.push(Open { number: self.total, name: None, tell, work });
        }
    }

    fn pick(&mut self, index: prop::sample::Index) -> Option<Open> {
        (!self.open.is_empty()).then(|| self.open.remove(index.index(self.open.len())))
    }

    fn finish(&mut self, index: prop::sample::Index, end: End) {
        let Some(Open { tell, mut work, .. }) = self.pick(index) else { return };
        tell.send(end).expect("a listener");
        let output = catch_unwind(AssertUnwindSafe(|| Hand::new().poll(&mut work)));
        let column = match end {
            End::Success => &mut self.ended.succeeded,
            End::Error => &mut self.ended.failed,
            End::Panic => &mut self.ended.panicked,
        };
        *column += 1;
        match end {
            End::Success => assert_eq!(output.ok(), Some(Poll::Ready(Ok(1)))),
            End::Error => assert_eq!(output.ok(), Some(Poll::Ready(Err(2)))),
            End::Panic => assert!(output.is_err()),
        }
    }

    fn is_drained(&self) -> bool {
        self.closed && self.open.is_empty()
    }

    /// Begins to wait; it must not end before its time.
    fn wait(&mut self) {
        let monitor = self.monitor.clone();
        let mut waiting: Pin<Box<dyn Future<Output = Outcomes>>> =
            Box::pin(async move { monitor.drained().await });
        self.hand = Hand::new();
        match self.hand.poll(&mut waiting) {
            Poll::Pending => assert!(!self.is_drained()),
            Poll::Ready(outcomes) => assert_eq!((self.is_drained(), outcomes), (true, self.ended)),
        }
        self.waiting = (!self.is_drained()).then_some(waiting);
    }

    fn check(&mut self) {
        let progress = self.monitor.progress();
        assert_eq!(progress.total, progress.outcomes.settled() + progress.left.len() as u64);
        assert_eq!(
            (progress.total, progress.outcomes, progress.closed),
            (self.total, self.ended, self.closed)
        );
        assert_eq!(progress.is_drained(), self.is_drained());
        let figures =
            (self.monitor.total(), self.monitor.current(), self.monitor.outcomes(), self.monitor.is_closed());
        assert_eq!(figures, (self.total, self.open.len() as u64, self.ended, self.closed));
        assert_eq!(self.monitor.is_waiting(), self.waiting.is_some() && !self.open.is_empty());
        assert_eq!(progress.left.len(), self.open.len());
        for (left, open) in progress.left.iter().zip(&self.open) {
            assert_eq!(left.number, open.number);
            match &open.name {
                Some(name) => assert_eq!(&left.name, name),
                None => assert!(left.name.contains(file!()), "{}", left.name),
            }
        }
        self.check_the_wait();
    }

    /// Who waits is woken by the end, once, and by nothing else.
    fn check_the_wait(&mut self) {
        let drained = self.is_drained();
        let Some(waiting) = &mut self.waiting else { return };
        assert_eq!(self.hand.wakes(), usize::from(drained));
        if drained {
            assert_eq!(self.hand.poll(waiting), Poll::Ready(self.ended));
            self.waiting = None;
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_done_the_books_say_what_the_model_says(steps in vec(step(), 0..60)) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
            model.check();
        }
        model.take(Step::Close);
        model.check();
        while let Some(open) = model.open.pop() {
            drop(open);
            model.ended.dropped += 1;
            model.check();
        }
        assert!(model.monitor.progress().is_drained());
    }
}
