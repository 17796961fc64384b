//! A reactor that hosts services: tokio-uring's runtime on its thread, with the raw ring awaited beside it.
//!
//! ```text
//! submit → sleep until { the ring's eventfd │ the bell of an endpoint │ the next deadline } → turn → …
//! ```
//! The services' clients run between two turns, on the same thread. With DEFER_TASKRUN a ring's own descriptor never becomes
//! readable in epoll; an eventfd that is registered on it does (io_uring_register(2), IORING_REGISTER_EVENTFD). A reactor without
//! services does not get here, and starts no tokio. tokio-uring is used in this file alone. Lives here: that loop, and the tasks of
//! services. Never here: what a turn does, or a protocol.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tracing::error;

use super::services::Service;
use super::{Books, Broke, Owner, Reactor};
use crate::broker;
use crate::kernel::Kernel;
use crate::lifecycle::Stage;
use crate::limits::RUNTIME_ENTRIES;

/// A runtime, and what runs on it beside the reactor.
pub(super) struct Host {
    runtime: tokio_uring::Runtime,
    services: Vec<Service>,
    completions: OwnedFd,
}

impl Host {
    /// # Errors
    /// As io_uring_setup(2), epoll_create(2) and io_uring_register(2).
    pub(super) fn new(kernel: &mut impl Kernel, services: Vec<Service>) -> io::Result<Host> {
        let completions = kernel.completion_bell()?;
        let mut builder = tokio_uring::builder();
        let runtime = tokio_uring::Runtime::new(builder.entries(RUNTIME_ENTRIES))?;
        Ok(Host { runtime, services, completions })
    }
}

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// As [`Reactor::run`], beside the services that it hosts.
    pub(super) fn run_hosted(&mut self, host: Host) -> (Books, Result<(), Broke>) {
        let Host { runtime, services, completions } = host;
        let ended = runtime.block_on(async {
            let tasks: Vec<JoinHandle<()>> = services.into_iter().map(start).collect();
            let ended = self.turns(&completions).await;
            self.abandon_all();
            // Their ends of all contracts are gone or will be: the runtime goes only after its last task.
            for task in tasks {
                if !task.is_finished() {
                    task.abort();
                }
                if let Err(panicked) = task.await
                    && panicked.is_panic()
                {
                    error!("a service panicked; the message is above");
                }
            }
            if ended.is_err() {
                // What they had in hand is abandoned by now as well.
                self.tell_end();
            }
            ended
        });
        (self.books(), ended)
    }

    async fn turns(&mut self, completions: &OwnedFd) -> Result<(), Broke> {
        #[allow(deprecated, reason = "a borrowed descriptor stays what it is; the successor asks for unsafe")]
        let completions = AsyncFd::with_interest(completions.as_fd(), Interest::READABLE)?;
        let now = self.kernel.now();
        self.replenish(now);
        while self.stage != Stage::Halted {
            self.kernel.park(Some(Duration::ZERO), Duration::ZERO, 0)?;
            self.sleep(&completions).await?;
            // What is left of it after a panic is counted and dropped, nothing else.
            let turn = AssertUnwindSafe(|| self.turn().map_err(Broke::from));
            catch_unwind(turn).unwrap_or(Err(Broke::Panicked))?;
        }
        Ok(())
    }

    /// Sleeps until something happens or is due, while services run.
    async fn sleep(&self, completions: &AsyncFd<impl AsFd + std::os::fd::AsRawFd>) -> io::Result<()> {
        // At least one round of everything else that runs here, however busy the ring is.
        tokio::task::yield_now().await;
        if self.has_more_to_arm() {
            return Ok(());
        }
        let due = self.next_deadline(self.kernel.now());
        let far = || Instant::now() + Duration::from_secs(3600);
        tokio::select! {
            ready = completions.readable() => {
                let mut ready = ready?;
                // Cleared before the ring is entered: what completes after that rings again.
                let _ = nix::unistd::read(completions.get_ref().as_fd(), &mut [0; 8]);
                ready.clear_ready();
            }
            () = self.rings.rung() => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(far).into()), if due.is_some() => {}
        }
        Ok(())
    }
}

fn start(service: Service) -> JoinHandle<()> {
    match service {
        Service::Pull { name, plan, reactor, feed } => {
            tokio_uring::spawn(broker::pull(name, *plan, reactor, feed))
        }
        #[cfg(feature = "http")]
        Service::Listen { name, plan, max_message, lines, listener, feed } => {
            tokio_uring::spawn(broker::serve(name, *plan, max_message, lines, listener, feed))
        }
        #[cfg(not(feature = "http"))]
        Service::Listen { .. } => unreachable!("the configuration knows what this build speaks"),
        Service::Push { plan, deliveries } => tokio_uring::spawn(broker::push(*plan, deliveries)),
    }
}
