//! A consumer of a stream's group.
//!
//! Servers cannot be told that somebody else may have an entry. It is moved to a consumer that nobody is, as if it had been idle
//! since 1970, so that other programs that claim what is idle find it too; whoever of us reads looks there every so often. It keeps
//! its id, its place and its group, and is pending with somebody at every moment. Lives here: each request about entries, as a
//! function. Never here: when one is made (`streams`).

use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection as Connection;
use redis::streams::{
    StreamAutoClaimOptions, StreamClaimOptions, StreamPendingCountReply, StreamReadOptions,
};
use redis::{AsyncCommands, Pipeline, RedisResult, Value, pipe};

use super::entry::{Entry, claimed, entries};
use super::step;
use crate::broker::error::Error;

/// The consumer that is nobody, of whatever group.
const RETURNED: &str = "slackwater-returned";
/// How long one of its entries has been idle at least, in milliseconds: some 34 years. An entry of anybody else has not.
const RETURNED_IDLE: u64 = 1 << 40;
/// Entries that one request names.
const NAMED_AT_ONCE: usize = 1000;
/// Where a search begins, and what the server says when there is no more.
pub(super) const START: &str = "0-0";

/// An entry's name within its stream.
pub(super) type Id = Rc<str>;

/// A consumer within a group of a stream.
pub(super) struct Group {
    pub(super) stream: String,
    pub(super) name: String,
    pub(super) consumer: String,
    /// Entries that one request asks for at most.
    pub(super) batch: usize,
}

impl Group {
    /// Makes the group and the stream, if they are not there.
    pub(super) async fn make(&self, on: &mut Connection) -> Result<(), Error> {
        let made: RedisResult<Value> = on.xgroup_create_mkstream(&self.stream, &self.name, "0").await;
        match made {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            made => step("making the group", made).map(drop),
        }
    }

    /// Asks for our own entries after one, or, if it is `>`, for new ones.
    pub(super) fn read(&self, after: &str, block: Option<Duration>) -> Pipeline {
        let mut options = StreamReadOptions::default().group(&self.name, &self.consumer).count(self.batch);
        if let Some(block) = block {
            options = options.block(usize::try_from(block.as_millis()).unwrap_or(usize::MAX));
        }
        let mut request = pipe();
        request.xread_options(&[&self.stream], &[after], &options);
        request
    }

    /// What is pending with us after an entry, by name and in order, without what is in it.
    pub(super) async fn own(&self, on: &mut Connection, after: &str) -> Result<Vec<Id>, Error> {
        self.pending(on, &self.consumer, &format!("({after}"), NAMED_AT_ONCE).await
    }

    async fn pending(
        &self,
        on: &mut Connection,
        consumer: &str,
        from: &str,
        at_most: usize,
    ) -> Result<Vec<Id>, Error> {
        let answer: RedisResult<StreamPendingCountReply> =
            on.xpending_consumer_count(&self.stream, &self.name, from, "+", at_most, consumer).await;
        let answer = step("looking at what is pending", answer)?;
        Ok(answer.ids.into_iter().map(|entry| entry.id.into()).collect())
    }

    /// Claims what was returned.
    pub(super) async fn claim_returned(&self, on: &mut Connection) -> Result<Vec<Entry>, Error> {
        let ids = self.pending(on, RETURNED, "-", self.batch).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // Of several that see the same entry one gets it: it is idle no more.
        let answer: RedisResult<Value> =
            on.xclaim(&self.stream, &self.name, &self.consumer, RETURNED_IDLE, &texts(&ids)).await;
        entries(step("claiming what was returned", answer)?)
    }

    /// Claims what has been idle for so long; also says where to go on.
    pub(super) async fn claim_idle(
        &self,
        on: &mut Connection,
        idle: Duration,
        from: &str,
    ) -> Result<(String, Vec<Entry>), Error> {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let options = StreamAutoClaimOptions::default().count(self.batch);
        let answer: RedisResult<Value> =
            on.xautoclaim_options(&self.stream, &self.name, &self.consumer, idle, from, options).await;
        claimed(step("claiming what was abandoned", answer)?)
    }

    /// Claims what is ours, so that nobody else does.
    pub(super) async fn keep(&self, on: &mut Connection, ids: &[Id]) -> Result<(), Error> {
        let mut request = pipe();
        for some in ids.chunks(NAMED_AT_ONCE) {
            let options = StreamClaimOptions::default().with_justid();
            let Group { stream, name, consumer, .. } = self;
            request.xclaim_options(stream, name, consumer, 0, &texts(some), options).ignore();
        }
        step("keeping what waits", request.exec_async(on).await)
    }

    /// Says which are done, and which somebody else may have.
    pub(super) async fn tell(&self, on: &mut Connection, done: &[Id], returned: &[Id]) -> Result<(), Error> {
        let mut request = pipe();
        for some in done.chunks(NAMED_AT_ONCE) {
            request.xack(&self.stream, &self.name, &texts(some)).ignore();
        }
        for some in returned.chunks(NAMED_AT_ONCE) {
            let options = StreamClaimOptions::default().time(0).with_justid();
            request.xclaim_options(&self.stream, &self.name, RETURNED, 0, &texts(some), options).ignore();
        }
        if request.is_empty() {
            return Ok(());
        }
        step("acknowledging", request.exec_async(on).await)
    }

    /// Takes our consumer out of the group. What is pending with one that is taken out is never handed out again: nothing may be, and
    /// nothing may be on its way to us.
    pub(super) async fn leave(&self, on: &mut Connection) -> Result<(), Error> {
        if !self.pending(on, &self.consumer, "-", 1).await?.is_empty() {
            return Ok(());
        }
        let left: RedisResult<Value> = on.xgroup_delconsumer(&self.stream, &self.name, &self.consumer).await;
        step("leaving the group", left).map(drop)
    }
}

fn texts(ids: &[Id]) -> Vec<&str> {
    ids.iter().map(|id| &**id).collect()
}
