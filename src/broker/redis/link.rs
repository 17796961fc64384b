//! The two connections of a source: one blocks until there is something, one says all else meanwhile.
//!
//! Blocking is cut by a word on the other connection. It may overtake the request that it is to cut, and is said again until that
//! has ended. Lives here: that, and that no request of an earlier connection is carried out after this one was made. Never here:
//! what is asked.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::try_join;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, InfoDict, Pipeline, Value, cmd};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::connection::Server;
use super::step;
use crate::broker::error::Error;

/// How long a request blocks: as long as it may, for a connection that died without a word is noticed by it.
const BLOCK: Duration = Duration::from_secs(5);
/// The same where we may not cut it, and a drain waits for it. Servers look at their clock ten times a second.
const BLOCK_UNCUTTABLE: Duration = Duration::from_millis(20);
/// How long after a word that came too early it is said again.
const CUT_AGAIN: Duration = Duration::from_millis(1);

/// Both connections.
pub(super) struct Link {
    blocking: MultiplexedConnection,
    beside: MultiplexedConnection,
    /// The number of the blocking one at its server, if we may cut it.
    number: Option<i64>,
    patience: Duration,
    /// Whether a request was made on the blocking one, and not answered.
    is_reading: Cell<bool>,
    is_cut: Cell<bool>,
    cut: Notify,
}

/// What is known of the connections of a link, once it is gone.
pub(super) struct Trace {
    /// Numbers mean something in one run of a server only.
    run: String,
    numbers: Vec<i64>,
}

impl Link {
    /// Connects. What `earlier` traces is ended: it may live on at its server, with requests that nobody waits for.
    pub(super) async fn open(
        server: &Server,
        patience: Duration,
        earlier: &RefCell<Option<Trace>>,
    ) -> Result<Link, Error> {
        let (mut blocking, mut beside) =
            try_join(server.connect(None), server.connect(Some(patience))).await?;
        // Not every server lets us: what we may not ask we do without.
        let number: Option<i64> = ask(&mut blocking, &numbers()).await;
        let own: Option<i64> = ask(&mut beside, &numbers()).await;
        let run = ask(&mut beside, cmd("INFO").arg("server")).await;
        let run = run.and_then(|info: InfoDict| info.get::<String>("run_id"));
        let before = earlier.take();
        if let (Some(run), Some(before)) = (&run, before)
            && before.run == *run
        {
            end(&mut beside, &before.numbers).await;
        }
        let all = number.into_iter().chain(own).collect();
        earlier.replace(run.map(|run| Trace { run, numbers: all }));
        let may_cut = match number {
            Some(number) => ask::<i64>(&mut beside, &unblock(number)).await.is_some(),
            None => false,
        };
        Ok(Link {
            blocking,
            beside,
            number: number.filter(|_| may_cut),
            patience,
            is_reading: Cell::new(false),
            is_cut: Cell::new(false),
            cut: Notify::new(),
        })
    }

    /// The connection that never blocks.
    pub(super) fn beside(&self) -> MultiplexedConnection {
        self.beside.clone()
    }

    /// How long a request may block.
    pub(super) fn block(&self) -> Duration {
        if self.number.is_some() { BLOCK } else { BLOCK_UNCUTTABLE }
    }

    /// Asks on the connection that blocks: an answer for each request.
    pub(super) async fn read(&self, requests: &Pipeline) -> Result<Vec<Value>, Error> {
        self.is_reading.set(true);
        let mut blocking = self.blocking.clone();
        let answers = timeout(self.block() + self.patience, requests.query_async(&mut blocking)).await;
        let answers = step("reading", answers.map_err(|_| Error::new("reading", "no answer in time"))?)?;
        self.is_reading.set(false);
        Ok(answers)
    }

    /// Whether the server may still be at a request that blocks.
    pub(super) fn is_reading(&self) -> bool {
        self.is_reading.get()
    }

    /// What is read, or will be, is to come to its end.
    pub(super) fn cut(&self) {
        self.is_cut.set(true);
        self.cut.notify_waiters();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// Waits until it is cut.
    pub(super) async fn cutting(&self) {
        let next = self.cut.notified();
        if !self.is_cut() {
            next.await;
        }
    }

    /// Ends a read that is under way, and waits for what it has.
    pub(super) async fn ended<T>(
        &self,
        mut reading: Pin<&mut impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            read = &mut reading => read,
            Err(error) = self.unblock() => Err(error),
        }
    }

    /// Reads until there is something, or until it is cut.
    pub(super) async fn read_until_cut(&self, requests: &Pipeline) -> Result<Vec<Value>, Error> {
        let mut reading = std::pin::pin!(self.read(requests));
        tokio::select! {
            biased;
            read = &mut reading => return read,
            () = self.cutting() => {}
        }
        self.ended(reading).await
    }

    /// Tells the server to stop blocking, again and again; ends with an error only.
    async fn unblock(&self) -> Result<(), Error> {
        let Some(number) = self.number else { return pending().await };
        loop {
            let told = unblock(number).query_async::<Value>(&mut self.beside()).await;
            step("cutting a read", told)?;
            sleep(CUT_AGAIN).await;
        }
    }
}

/// The answer, if there is one that means something. A broken connection shows at the next request that matters.
async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, request: &Cmd) -> Option<T> {
    request.query_async(connection).await.ok()
}

async fn end(connection: &mut MultiplexedConnection, numbers: &[i64]) {
    for number in numbers {
        let _: Option<i64> = ask(connection, cmd("CLIENT").arg("KILL").arg("ID").arg(number)).await;
    }
}

fn numbers() -> Cmd {
    let mut request = cmd("CLIENT");
    request.arg("ID");
    request
}

fn unblock(number: i64) -> Cmd {
    let mut request = cmd("CLIENT");
    request.arg("UNBLOCK").arg(number);
    request
}
