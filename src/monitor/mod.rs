//! The ledger for anyone's futures: what was registered, how it ended, what is still at work, and when all is done.
//!
//! A [`ProgressMonitor`] counts pieces of work from their registration to their end, of which there are four: success, error,
//! panic and drop. `total = succeeded + failed + panicked + dropped + current`, at every moment. It starts nothing, stops nothing
//! and needs no runtime: futures are wrapped, and go where they would have gone, to tokio, to tokio-uring, to any executor.
//! Lives here: the monitor, and when those who wait for it are woken. Never here: timers, tasks.
//!
//! ```
//! use slackwater::ProgressMonitor;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let monitor = ProgressMonitor::new();
//! let answer = monitor.register(async { "42".parse::<u32>() })?.named("the question");
//! assert_eq!((monitor.current(), monitor.total()), (1, 1));
//!
//! let answer = tokio::spawn(answer);
//! monitor.close();
//! let outcomes = monitor.drained().await;
//! assert_eq!((outcomes.succeeded, outcomes.settled()), (1, 1));
//! assert_eq!(answer.await?, Ok(42));
//! # Ok(())
//! # }
//! ```
//!
//! # A worker that is told to stop
//!
//! It pulls orders from a list in Redis, posts each to a service over HTTP, and is sent SIGTERM while posts are on their way. No
//! order that has left Redis gets lost. Both are played here by some hidden lines, which send the signal in the middle of a post.
//!
//! ```standalone_crate
//! use std::error::Error;
//! use std::io;
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use slackwater::ProgressMonitor;
//! use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
//! use tokio::net::TcpStream;
//! use tokio::signal::unix::{SignalKind, signal};
//! use tokio::sync::Semaphore;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     let mut terminate = signal(SignalKind::terminate())?;
//! #   let (redis, http, pulled, posted) = stand_in::start()?;
//!     let monitor = ProgressMonitor::new();
//!     let pull = pull_all(monitor.clone(), TcpStream::connect(redis).await?, http);
//!     let pull = tokio::spawn(monitor.register(pull)?.named("pull"));
//!
//!     tokio::select! {
//!         _ = terminate.recv() => {}
//!         _ = pull => eprintln!("Redis is gone; what it gave is finished"),
//!     }
//! #   assert_eq!(monitor.outcomes().failed, 0, "it was not Redis that went");
//!     monitor.close();
//!     let deadline = tokio::time::sleep(Duration::from_secs(25));
//!     match monitor.drained_by(deadline).await {
//!         Ok(outcomes) => println!("stopped: {outcomes}"),
//!         Err(overdue) => return Err(overdue.to_string().into()),
//!     }
//! #   let outcomes = monitor.outcomes();
//! #   assert!(outcomes.is_clean(), "{outcomes}");
//! #   assert_eq!(stand_in::count(&posted), stand_in::count(&pulled), "what was pulled has been posted");
//! #   assert_eq!(outcomes.settled(), monitor.total());
//! #   assert!(stand_in::count(&posted) >= stand_in::LAST_BEFORE_SIGTERM);
//!     Ok(())
//! }
//!
//! /// Is a piece of work itself: while it may have an order in its hands, nothing is drained.
//! async fn pull_all(monitor: ProgressMonitor, redis: TcpStream, http: SocketAddr) -> io::Result<()> {
//!     let mut redis = BufReader::new(redis);
//!     // Posts at a time; the rest stays in Redis.
//!     let turns = Arc::new(Semaphore::new(8));
//!     loop {
//!         let turn = Arc::clone(&turns).acquire_owned().await.expect("turns are never closed");
//!         if monitor.is_closed() {
//!             return Ok(());
//!         }
//!         // The signal does not cancel a pull: Redis may have handed out an order already.
//!         let Some(order) = pull(&mut redis).await? else { continue };
//!         let name = format!("post {order}");
//!         let post = async move {
//!             let _turn = turn;
//!             post(http, order).await
//!         };
//!         match monitor.register(post) {
//!             Ok(work) => {
//!                 tokio::spawn(work.named(name));
//!             }
//!             // The intake was closed while Redis answered. The order is still ours.
//!             Err(refused) => refused.0.await?,
//!         }
//!     }
//! }
//!
//! /// The next order, or none within a second, in Redis' own words.
//! async fn pull(redis: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
//!     redis.write_all(b"BLPOP orders 1\r\n").await?;
//!     if line(redis).await? == "*-1" {
//!         return Ok(None);
//!     }
//!     let (_length_of_key, _key) = (line(redis).await?, line(redis).await?);
//!     let (_length, order) = (line(redis).await?, line(redis).await?);
//!     Ok(Some(order))
//! }
//!
//! async fn line(redis: &mut BufReader<TcpStream>) -> io::Result<String> {
//!     let mut line = String::new();
//!     match redis.read_line(&mut line).await? {
//!         0 => Err(io::ErrorKind::UnexpectedEof.into()),
//!         _ => Ok(line.trim_end().to_owned()),
//!     }
//! }
//!
//! /// Hands one order in.
//! async fn post(http: SocketAddr, order: String) -> io::Result<()> {
//!     let mut connection = TcpStream::connect(http).await?;
//!     let head = format!("POST /orders HTTP/1.0\r\nContent-Length: {}\r\n\r\n", order.len());
//!     connection.write_all((head + &order).as_bytes()).await?;
//!     let mut answer = String::new();
//!     connection.read_to_string(&mut answer).await?;
//!     if answer.contains(" 200 ") { Ok(()) } else { Err(io::Error::other(answer)) }
//! }
//! # mod stand_in {
//! #     use std::io::{self, BufRead, BufReader, Read, Write};
//! #     use std::net::{SocketAddr, TcpListener, TcpStream};
//! #     use std::sync::Arc;
//! #     use std::sync::atomic::{AtomicU64, Ordering};
//! #     use std::thread;
//! #
//! #     use nix::sys::signal::{Signal, raise};
//! #
//! #     /// Orders that are posted before the signal; it comes in the middle of the next.
//! #     pub const LAST_BEFORE_SIGTERM: u64 = 6;
//! #
//! #     type Counter = Arc<AtomicU64>;
//! #
//! #     pub fn count(counter: &Counter) -> u64 {
//! #         counter.load(Ordering::SeqCst)
//! #     }
//! #
//! #     pub fn start() -> io::Result<(SocketAddr, SocketAddr, Counter, Counter)> {
//! #         let (redis, http) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
//! #         let addresses = (redis.local_addr()?, http.local_addr()?);
//! #         let (pulled, posted) = (Counter::default(), Counter::default());
//! #         let (pulls, posts) = (Arc::clone(&pulled), Arc::clone(&posted));
//! #         thread::spawn(move || give_orders(&redis, &pulls));
//! #         thread::spawn(move || http.incoming().try_for_each(|client| take_order(client?, &posts)));
//! #         Ok((addresses.0, addresses.1, pulled, posted))
//! #     }
//! #
//! #     /// Has an order for whoever asks, for ever.
//! #     fn give_orders(redis: &TcpListener, pulls: &Counter) -> io::Result<()> {
//! #         let (mut client, _) = redis.accept()?;
//! #         for command in BufReader::new(client.try_clone()?).lines() {
//! #             assert_eq!(command?, "BLPOP orders 1");
//! #             let order = (pulls.fetch_add(1, Ordering::SeqCst) + 1).to_string();
//! #             let reply = format!("*2\r\n$6\r\norders\r\n${}\r\n{order}\r\n", order.len());
//! #             client.write_all(reply.as_bytes())?;
//! #         }
//! #         Ok(())
//! #     }
//! #
//! #     fn take_order(mut client: TcpStream, posts: &Counter) -> io::Result<()> {
//! #         let mut request = BufReader::new(client.try_clone()?);
//! #         let mut length = 0;
//! #         let mut line = String::new();
//! #         while request.read_line(&mut line)? > 0 && line != "\r\n" {
//! #             length = line.strip_prefix("Content-Length: ").map_or(length, |n| n.trim().parse().unwrap());
//! #             line.clear();
//! #         }
//! #         request.read_exact(&mut vec![0; length])?;
//! #         if count(posts) == LAST_BEFORE_SIGTERM {
//! #             raise(Signal::SIGTERM)?;
//! #         }
//! #         posts.fetch_add(1, Ordering::SeqCst);
//! #         client.write_all(b"HTTP/1.0 200 OK\r\n\r\n")
//! #     }
//! # }
//! ```
//!
//! # Why no end is missed
//!
//! Books change under one lock, and whoever makes them say *closed and nothing left* sees that under the same lock: it is the last
//! to settle, or the one that closes. It wakes after it has let go of the lock. Who waits is among those to be woken *before* it
//! looks at the books. So either the look finds the end, or the end comes after it, and the wake after the end, when the waiter
//! is among them. No wake comes before the end, and the end is for ever: a closed intake stays closed.

mod books;
mod progress;
#[cfg(test)]
mod tests;
mod work;

use std::fmt;
use std::future::poll_fn;
use std::ops::Range;
use std::panic::Location;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Instant;

use tokio::sync::Notify;

use books::{Books, Name, Outcome};
pub use progress::{Left, Outcomes, Overdue, Progress};
use work::Entry;
pub use work::{Conclusion, Refused, Work};

/// Counts work in progress; see the [module](self). Cloning shares it, between threads too.
#[derive(Clone, Default)]
pub struct ProgressMonitor(Arc<Shared>);

/// What the monitor, its clones and each piece of work hold on to.
#[derive(Default)]
struct Shared {
    books: Mutex<Books>,
    /// Rung once the books are drained, for all who wait.
    drained: Notify,
}

impl ProgressMonitor {
    /// Nothing registered yet, and open.
    pub fn new() -> ProgressMonitor {
        ProgressMonitor::default()
    }

    /// Registers a future, whose output says whether it succeeded: a [`Result`], nothing, or a [`Conclusion`] of your own.
    ///
    /// It counts from here on, and is named by the caller's place in the source until it is [named](Work::named). Register the
    /// future itself and not a `JoinHandle`, of which `Ok` says no more than that the task came to an end.
    ///
    /// # Errors
    ///
    /// Once the intake is closed; the error has the future.
    #[track_caller]
    pub fn register<F>(&self, future: F) -> Result<Work<F>, Refused<F>>
    where
        F: Future<Output: Conclusion>,
    {
        self.register_judged(future, F::Output::is_success)
    }

    /// Registers a future of which `is_success` tells whether its output is a good end.
    ///
    /// ```
    /// # use slackwater::ProgressMonitor;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let monitor = ProgressMonitor::new();
    /// let status = async { 503 };
    /// monitor.register_judged(status, |status| *status < 400)?.await;
    /// assert_eq!(monitor.outcomes().failed, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Once the intake is closed; the error has the future.
    #[track_caller]
    pub fn register_judged<F>(
        &self,
        future: F,
        is_success: fn(&F::Output) -> bool,
    ) -> Result<Work<F>, Refused<F>>
    where
        F: Future,
    {
        match self.0.enter(1, Location::caller()) {
            Some(numbers) => {
                Ok(Work::new(future, is_success, Entry::new(Arc::clone(&self.0), numbers.start)))
            }
            None => Err(Refused(future)),
        }
    }

    /// Registers several futures at one moment: all of them, or none.
    ///
    /// ```
    /// # use slackwater::ProgressMonitor;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let monitor = ProgressMonitor::new();
    /// for work in monitor.extend(["1", "2", "many"].map(|text| async { text.parse::<u8>() }))? {
    ///     tokio::spawn(work);
    /// }
    /// assert_eq!(monitor.current(), 3);
    /// monitor.close();
    /// assert_eq!(monitor.drained().await.failed, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Once the intake is closed; the error has the futures.
    #[track_caller]
    pub fn extend<I, F>(&self, futures: I) -> Result<Vec<Work<F>>, Refused<Vec<F>>>
    where
        I: IntoIterator<Item = F>,
        F: Future<Output: Conclusion>,
    {
        // The iterator is foreign, and may come back here: it runs before the books are locked.
        let futures: Vec<F> = futures.into_iter().collect();
        let Some(numbers) = self.0.enter(futures.len(), Location::caller()) else {
            return Err(Refused(futures));
        };
        let work = |(future, number)| {
            Work::new(future, F::Output::is_success, Entry::new(Arc::clone(&self.0), number))
        };
        Ok(futures.into_iter().zip(numbers).map(work).collect())
    }

    /// Closes the intake, for good: what is registered from now on is refused. What was registered goes on.
    pub fn close(&self) {
        self.0.change(Books::close);
    }

    /// Whether the intake is closed.
    pub fn is_closed(&self) -> bool {
        self.0.books().is_closed()
    }

    /// Work that is registered and has not ended.
    pub fn current(&self) -> u64 {
        self.0.books().current()
    }

    /// Work that was ever registered.
    pub fn total(&self) -> u64 {
        self.0.books().total()
    }

    /// How what has ended did.
    pub fn outcomes(&self) -> Outcomes {
        self.0.books().outcomes()
    }

    /// Whether somebody waits for this monitor to be drained, and there is work left to wait for.
    pub fn is_waiting(&self) -> bool {
        self.0.books().is_waiting()
    }

    /// All figures of this moment, and the name and age of all that is left.
    pub fn progress(&self) -> Progress {
        // Two steps: the lock is free before names become text.
        let snapshot = self.0.books().snapshot();
        snapshot.into_progress(Instant::now())
    }

    /// Waits until the intake is closed and all work has ended, and says how. Any number of callers may wait, and stop waiting.
    ///
    /// That nothing is left is not enough: it is also so between two pieces of work. While the intake is open this waits on.
    ///
    /// ```
    /// # use slackwater::ProgressMonitor;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let monitor = ProgressMonitor::new();
    /// drop(monitor.register(async {})?);
    /// monitor.close();
    /// let refused = monitor.register(async {}).expect_err("a closed intake");
    /// refused.0.await;
    /// assert_eq!(monitor.drained().await.dropped, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drained(&self) -> Outcomes {
        let _waiting = Waiting::new(&self.0);
        wait_for(&self.0.drained, || {
            let books = self.0.books();
            books.is_drained().then(|| books.outcomes())
        })
        .await
    }

    /// Waits until drained, or until `deadline` is over, whatever that is: a timer of your runtime, a second signal.
    ///
    /// ```
    /// # use slackwater::ProgressMonitor;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let monitor = ProgressMonitor::new();
    /// let stuck = monitor.register(std::future::pending::<()>())?.named("post 17");
    /// tokio::spawn(stuck);
    /// monitor.close();
    /// let overdue = monitor.drained_by(tokio::time::sleep(Duration::from_millis(25))).await.unwrap_err();
    /// assert_eq!(overdue.0.left[0].name, "post 17");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If it is not drained when the deadline is over. The error has the outcomes until then, and names what is left.
    pub async fn drained_by(&self, deadline: impl Future) -> Result<Outcomes, Overdue> {
        let (mut drained, mut deadline) = (pin!(self.drained()), pin!(deadline));
        poll_fn(|context| {
            if let Poll::Ready(outcomes) = drained.as_mut().poll(context) {
                return Poll::Ready(Ok(outcomes));
            }
            ready!(deadline.as_mut().poll(context));
            Poll::Ready(self.verdict())
        })
        .await
    }

    /// At the deadline the books decide: the last piece of work may have ended since they were looked at.
    fn verdict(&self) -> Result<Outcomes, Overdue> {
        let progress = self.progress();
        if progress.is_drained() { Ok(progress.outcomes) } else { Err(Overdue(progress)) }
    }
}

impl fmt::Debug for ProgressMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgressMonitor({})", self.progress())
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing foreign runs under the lock, so nothing half done can be behind a poisoned one.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, count: usize, caller: &'static Location<'static>) -> Option<Range<u64>> {
        let now = Instant::now();
        self.books().enter(count, &Name::At(caller), now)
    }

    fn rename(&self, number: u64, name: Arc<str>) {
        self.books().rename(number, name);
    }

    fn settle(&self, number: u64, outcome: Outcome) {
        self.change(|books| books.settle(number, outcome));
    }

    /// Does what may be the last that happens; if it is, wakes all who wait for that.
    fn change(&self, change: impl FnOnce(&mut Books)) {
        let mut books = self.books();
        change(&mut books);
        let drained = books.is_drained();
        // Those who are woken look at the books at once.
        drop(books);
        if drained {
            self.drained.notify_waiters();
        }
    }
}

/// Counts one who waits, from the first poll until it is dropped.
struct Waiting<'a>(&'a Shared);

impl Waiting<'_> {
    fn new(shared: &Shared) -> Waiting<'_> {
        shared.books().wait();
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.books().stop_waiting();
    }
}

/// Waits until `look` finds something; whoever changes what it looks at calls `notify_waiters` afterwards.
async fn wait_for<T>(changed: &Notify, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        // Before the look, or what changes between the look and the wait would wake nobody. `notify_waiters` wakes what exists,
        // polled or not.
        let next = changed.notified();
        if let Some(found) = look() {
            return found;
        }
        next.await;
    }
}
