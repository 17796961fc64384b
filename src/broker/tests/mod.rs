//! The two drivers against made-up services that do everything wrong that a service can, on a clock that stands still.
//!
//! ```text
//! Queue ── source::run ──→ Inlet ──→ Relay (a real ledger) ──→ Outlet ──→ sink::run ── Recipient
//! ```
//! A seed chooses the faults, the loads and the moments; what must hold for one must hold for all. Lives here: what a seed is, and
//! how one is run. Never here: a protocol.

#[cfg(any(feature = "redis", feature = "nats", feature = "amqp"))]
mod both;
mod dice;
#[cfg(any(feature = "redis", feature = "nats", feature = "amqp"))]
mod queue;
mod recipient;
mod relay;
mod sink;
#[cfg(any(feature = "redis", feature = "nats", feature = "amqp"))]
mod source;

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{sleep, timeout};

use dice::Dice;

/// How long a made-up service's request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(100);
/// What timers and turns may add to a bound.
const SLACK: Duration = Duration::from_millis(30);

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Nothing does.
    Fair,
    /// It does until the drain begins; what hangs then fails.
    Clearing,
    /// It does until the drain begins; from then on every call fails at once.
    Severed,
    /// It does to the end.
    Foul,
    /// As before, and the task panics in a call, or is dropped while it waits.
    Doom,
}

/// Runs `test` once for each seed in its own time, and names the seed that fails.
fn each_seed(weather: Weather, seeds: u64, test: impl AsyncFn(Rc<Dice>)) {
    for seed in 0..seeds {
        let named = Named(weather, seed);
        // The jitter of a back-off is drawn from the thread's.
        fastrand::seed(seed);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let all = timeout(Duration::from_secs(3600), test(Dice::new(weather, seed)));
            all.await.expect("it ends");
        });
        drop(named);
    }
}

struct Named(Weather, u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed in {:?} weather with seed {}", self.0, self.1);
        }
    }
}

/// Starts a driver, and ends it before its time where that is its fate.
fn start(dice: &Rc<Dice>, driver: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let task = tokio::task::spawn_local(driver);
    if let Some(after) = dice.aborts_after() {
        let victim = task.abort_handle();
        tokio::task::spawn_local(async move {
            sleep(after).await;
            victim.abort();
        });
    }
    task
}

/// A driver ends by itself; what else happens to it was meant to, or is passed on.
async fn join(dice: &Dice, task: JoinHandle<()>) {
    if let Err(ended) = task.await {
        assert!(dice.is_doomed(), "nobody ended it");
        if let Ok(panicked) = ended.try_into_panic() {
            assert!(panicked.is::<dice::Meant>(), "{:?}", panicked.downcast_ref::<String>());
        }
    }
}
