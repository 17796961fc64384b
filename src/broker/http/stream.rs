//! The bytes of a client's connection, and what is known of its answers.
//!
//! Lives here: when an answer has left, and how a connection ends whose client still sends. Never here: what the bytes mean.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::pending::Debt;

/// How long a client that was answered before it had sent everything may take to notice: what it sends meanwhile is thrown away. If
/// its connection were closed at once, the reset could destroy the answer on its way (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(5);
/// Bytes that are thrown away at once.
const SCRAP: usize = 4096;

/// What is known of a connection's answers, by whoever writes them and whoever sends them.
#[derive(Default)]
pub(super) struct Answers {
    /// What is told by answers that have not left.
    owed: RefCell<Vec<Debt>>,
    due: Cell<Due>,
    /// Whether the last was given before its request was here as a whole.
    is_early: Cell<bool>,
}

/// Whether a client waits for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    #[default]
    Nothing,
    /// It is not known yet.
    Unknown,
    /// It is given, and has not left.
    Given,
}

impl Answers {
    /// A client waits for one.
    pub(super) fn ask(&self) {
        self.due.set(Due::Unknown);
    }

    /// Here it is, as the next that is written: it tells of this debt, and is given before its request is here, or not.
    pub(super) fn give(&self, debt: Option<Debt>, is_early: bool) {
        self.owed.borrow_mut().extend(debt);
        self.due.set(Due::Given);
        self.is_early.set(is_early);
    }

    /// Whether a client waits for one, or may not have heard it.
    pub(super) fn are_due(&self) -> bool {
        self.due.get() != Due::Nothing || self.is_early.get()
    }

    /// Everything that was written is with the kernel.
    fn have_left(&self) {
        let told = std::mem::take(&mut *self.owed.borrow_mut());
        drop(told);
        if self.due.get() == Due::Given {
            self.due.set(Due::Nothing);
        }
    }
}

/// A connection that notes when its answers have left.
pub(super) struct Watched<S> {
    stream: S,
    answers: Rc<Answers>,
    is_shut: bool,
    /// Until when it is kept for a client that still sends.
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// Notes it in `answers`.
    pub(super) fn new(stream: S, answers: Rc<Answers>) -> Watched<S> {
        Watched { stream, answers, is_shut: false, linger: None }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Throws away what still comes until the client closes, or until it had long enough.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; SCRAP];
        loop {
            if self.answers.is_early.get() {
                let until = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
                if until.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
            }
            let mut buffer = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                // It sends though it should have nothing to say.
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.answers.is_early.set(true),
                Poll::Pending if self.answers.is_early.get() => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes its connection only when it has nothing left to write: this is when an answer has left as a whole.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.answers.have_left();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::pending::Pending;
    use super::*;
    use crate::endpoint::{Bell, Inlet};
    use crate::ledger::Outcome;

    /// A debt, and who sees it acted on.
    fn debt() -> (Inlet, Debt) {
        let (inlet, feed) = Inlet::new(Bell::default());
        let pending = Rc::new(Pending::new(feed));
        let mut told = pending.hand_in(vec![(Bytes::from_static(b"x"), "a-name".to_owned())]);
        pending.note(vec![(0, Outcome::Delivered)]);
        (inlet, told.try_recv().unwrap().debt)
    }

    #[tokio::test]
    async fn a_verdict_is_acted_on_when_its_answer_has_left() {
        let (inlet, debt) = debt();
        let answers = Rc::new(Answers::default());
        let (ours, _theirs) = duplex(64);
        let mut stream = Watched::new(ours, Rc::clone(&answers));
        answers.ask();
        answers.give(Some(debt), false);
        stream.write_all(b"202").await.unwrap();
        assert!(!inlet.is_settled() && answers.are_due(), "written is not sent");
        stream.flush().await.unwrap();
        assert!(inlet.is_settled() && !answers.are_due());
    }

    #[tokio::test]
    async fn or_when_its_connection_is_gone() {
        let (inlet, debt) = debt();
        let answers = Rc::new(Answers::default());
        answers.give(Some(debt), false);
        drop(answers);
        assert!(inlet.is_settled());
    }

    #[tokio::test]
    async fn a_client_that_still_sends_may_end_first() {
        let (ours, mut theirs) = duplex(8);
        let answers = Rc::new(Answers::default());
        answers.give(None, true);
        let mut stream = Watched::new(ours, answers);
        let mut end = Box::pin(stream.shutdown());
        assert!(end.as_mut().now_or_never().is_none(), "it may not have heard yet");
        assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0, "but it can");
        let sending = async {
            theirs.write_all(&[0; 100]).await.unwrap();
            drop(theirs);
        };
        let (ended, ()) = tokio::join!(end, sending);
        ended.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_was_heard_is_not_waited_for() {
        let (ours, _theirs) = duplex(8);
        let answers = Rc::new(Answers::default());
        answers.give(None, false);
        assert!(Watched::new(ours, answers).shutdown().now_or_never().is_some());
    }
}
