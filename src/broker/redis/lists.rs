//! Lists, taken from by way of a list of what is being processed.
//!
//! ```text
//! LIST ── LMOVE ──→ LIST:processing:CONSUMER-REACTOR ── LREM ──→ gone
//!  ↑                        │ LREM and LPUSH in one transaction, LMOVE from its end
//!  └────────────────────────┘ returned, or left by an earlier connection or process
//! ```
//! The list of what is being processed is one relay's own: no two may have the same consumer. An element has no name but its
//! value. Equal ones are interchangeable, but not each of them for all: a removal that is repeated because its answer was lost would
//! remove another, which is lost if we are killed before that one arrived. So none is repeated. What was to be removed when a
//! connection broke counts as removed, and what of it is there when the next is made comes again, as does what an earlier process
//! left. Lives here: what is being processed, and how it is fetched and acknowledged. Never here: when that is due
//! (`broker::source`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use redis::{AsyncCommands, Direction, Pipeline, RedisResult, Value, from_redis_value, pipe};

use super::connection::Servers;
use super::link::{Link, Trace};
use super::pipeline::Sending;
use super::{host_name, step};
use crate::broker::error::{Doing, Error};
use crate::broker::sink::{PublishSession, Publisher, Verdict as Answer};
use crate::broker::source::{Fetched, PullSession, Puller, Verdict};
use crate::config::services::{Pull, Push};
use crate::endpoint::Delivery;

/// Elements that one request moves back.
const MOVED_AT_ONCE: usize = 1000;

/// A list that is taken from.
pub(in crate::broker) struct Source {
    servers: Rc<Servers>,
    queue: Rc<Queue>,
    earlier: RefCell<Option<Trace>>,
}

/// What outlasts a connection.
struct Queue {
    list: String,
    processing: String,
    batch: usize,
    timeout: Duration,
    /// Tells names of elements apart from those of other processes.
    random: u64,
    fetched: Cell<u64>,
    /// What is being processed, and was not to be removed yet, in the order in which it came.
    outstanding: RefCell<BTreeMap<u64, Bytes>>,
}

/// One connection to it.
pub(in crate::broker) struct SourceSession {
    link: Link,
    queue: Rc<Queue>,
    /// How many there were when we last looked.
    more: Cell<usize>,
}

impl Source {
    pub(in crate::broker) fn new(plan: Pull, reactor: usize) -> Source {
        let Pull { service, consumer, .. } = plan;
        let consumer = if consumer.is_empty() { host_name() } else { consumer };
        let queue = Queue {
            list: service.path.clone(),
            processing: format!("{}:processing:{consumer}-{reactor}", service.path),
            batch: service.batch,
            timeout: service.timeout,
            random: fastrand::u64(..),
            fetched: Cell::new(0),
            outstanding: RefCell::default(),
        };
        Source { servers: Servers::new(service), queue: Rc::new(queue), earlier: RefCell::default() }
    }
}

impl Puller for Source {
    type Session = SourceSession;

    fn timeout(&self) -> Duration {
        self.queue.timeout
    }

    async fn connect(&self) -> Result<SourceSession, Error> {
        let server = self.servers.choose()?;
        let link = Link::open(&server, self.queue.timeout, &self.earlier).await?;
        let session = SourceSession { link, queue: Rc::clone(&self.queue), more: Cell::new(0) };
        session.recover().await?;
        let there: RedisResult<usize> = session.link.beside().llen(&self.queue.list).await;
        session.more.set(step("looking at the list", there)?);
        server.found_good();
        Ok(session)
    }
}

impl PullSession for SourceSession {
    type Handle = u64;
    const HANDLES_LAST: bool = true;

    async fn pull(&self) -> Result<Vec<Fetched<u64>>, Error> {
        if self.link.is_cut() {
            return Ok(Vec::new());
        }
        let mut answers = self.link.read_until_cut(&self.requests()).await?;
        let more = answers.pop().unwrap_or(Value::Nil);
        self.more.set(from_redis_value(more).doing("reading how many there are")?);
        let mut fetched = Vec::new();
        for answer in answers {
            let element: Option<Vec<u8>> = from_redis_value(answer).doing("reading an element")?;
            fetched.extend(element.map(|element| self.queue.handed_out(element.into())));
        }
        Ok(fetched)
    }

    async fn cut(&self) -> Result<(), Error> {
        self.link.cut();
        Ok(())
    }

    /// What is not outstanding any more was to be removed on an earlier connection.
    async fn acknowledge(&self, verdicts: Vec<(u64, Verdict)>) -> Result<(), Error> {
        let (mut done, mut returned) = (Vec::new(), BTreeMap::new());
        for (number, verdict) in verdicts {
            let Some(element) = self.queue.outstanding.borrow_mut().remove(&number) else { continue };
            match verdict {
                Verdict::Done | Verdict::Refused => done.push(element),
                Verdict::Returned => drop(returned.insert(number, element)),
            }
        }
        // Not in one transaction: a server without memory takes nothing back, but removes.
        self.remove(&done).await?;
        step("returning", self.put_back(returned.values()).await)
    }

    async fn close(self) {}
}

impl Queue {
    fn handed_out(&self, payload: Bytes) -> Fetched<u64> {
        let number = self.fetched.get();
        self.fetched.set(number + 1);
        self.outstanding.borrow_mut().insert(number, payload.clone());
        let id = format!("redis-list:{}:{:016x}-{number}", self.list, self.random);
        Fetched { payload, id, redelivered: false, handle: number }
    }
}

impl SourceSession {
    /// Moves as many as there were, or waits for one; and asks how many there are then.
    fn requests(&self) -> Pipeline {
        let Queue { list, processing, batch, .. } = &*self.queue;
        let mut requests = pipe();
        let (head, tail) = (|| Direction::Left, || Direction::Right);
        match self.more.get().min(*batch) {
            0 => {
                let block = self.link.block().as_secs_f64();
                requests.blmove(list, processing, head(), tail(), block);
            }
            more => {
                for _ in 0..more {
                    requests.lmove(list, processing, head(), tail());
                }
            }
        }
        requests.llen(list);
        requests
    }

    async fn remove(&self, elements: &[Bytes]) -> Result<(), Error> {
        if elements.is_empty() {
            return Ok(());
        }
        let mut request = Pipeline::with_capacity(elements.len());
        for element in elements {
            // From the head: what came first is mostly done first.
            request.lrem(&self.queue.processing, 1, &element[..]).ignore();
        }
        step("acknowledging", request.exec_async(&mut self.link.beside()).await)
    }

    /// Puts elements back to where they came from, the first as the first.
    async fn put_back<'a>(&self, elements: impl DoubleEndedIterator<Item = &'a Bytes>) -> RedisResult<()> {
        let Queue { list, processing, .. } = &*self.queue;
        let mut request = pipe();
        request.atomic();
        for element in elements.rev() {
            request.lrem(processing, -1, &element[..]).ignore().lpush(list, &element[..]).ignore();
        }
        if request.is_empty() { Ok(()) } else { request.exec_async(&mut self.link.beside()).await }
    }

    /// Puts back what is being processed by nobody.
    async fn recover(&self) -> Result<(), Error> {
        let recovered = if self.queue.outstanding.borrow().is_empty() {
            self.recover_all().await
        } else {
            self.recover_strays().await
        };
        step("putting back what was left", recovered)
    }

    /// Without having it sent here.
    async fn recover_all(&self) -> RedisResult<()> {
        let Queue { list, processing, .. } = &*self.queue;
        loop {
            let left: usize = self.link.beside().llen(processing).await?;
            if left == 0 {
                // Says so if this server would take nothing.
                let _: Value =
                    self.link.beside().lmove(processing, list, Direction::Right, Direction::Left).await?;
                return Ok(());
            }
            let mut request = pipe();
            for _ in 0..left.min(MOVED_AT_ONCE) {
                request.lmove(processing, list, Direction::Right, Direction::Left).ignore();
            }
            request.exec_async(&mut self.link.beside()).await?;
        }
    }

    async fn recover_strays(&self) -> RedisResult<()> {
        let there: Vec<Vec<u8>> = self.link.beside().lrange(&self.queue.processing, 0, -1).await?;
        let strays = strays(there, self.queue.outstanding.borrow().values());
        self.put_back(strays.iter()).await
    }
}

/// What is there beyond what is outstanding, in order. Of equal ones the first are the outstanding ones.
fn strays<'a>(there: Vec<Vec<u8>>, outstanding: impl Iterator<Item = &'a Bytes>) -> Vec<Bytes> {
    let mut known: HashMap<&[u8], usize> = HashMap::new();
    for element in outstanding {
        *known.entry(element).or_default() += 1;
    }
    let mut is_known = |element: &Vec<u8>| match known.get_mut(&element[..]) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    there.into_iter().filter(|element| !is_known(element)).map(Bytes::from).collect()
}

/// A list that is added to.
pub(in crate::broker) struct Sink {
    servers: Rc<Servers>,
    list: Rc<str>,
}

/// One connection to it.
pub(in crate::broker) struct SinkSession {
    sending: Sending,
    list: Rc<str>,
}

impl Sink {
    pub(in crate::broker) fn new(plan: &Push) -> Sink {
        Sink { servers: Servers::new(plan.service.clone()), list: plan.service.path.as_str().into() }
    }
}

impl Publisher for Sink {
    type Session = SinkSession;

    async fn connect(&self) -> Result<SinkSession, Error> {
        let sending = Sending::open(self.servers.choose()?).await?;
        Ok(SinkSession { sending, list: Rc::clone(&self.list) })
    }
}

impl PublishSession for SinkSession {
    async fn send(&self, batch: &[Delivery]) -> Result<Vec<Answer>, Error> {
        let mut requests = Pipeline::with_capacity(batch.len());
        for delivery in batch {
            requests.rpush(&*self.list, &delivery.payload()[..]);
        }
        self.sending.send(&mut requests).await
    }

    async fn close(self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_beyond_the_outstanding_is_stray_in_its_order() {
        let bytes =
            |text: &str| text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let found = |there: &str, outstanding: &str| {
            let outstanding: Vec<Bytes> = bytes(outstanding).into_iter().map(Bytes::from).collect();
            strays(bytes(there), outstanding.iter())
        };
        assert_eq!(found("a b a c", "a b"), ["a", "c"]);
        assert_eq!(found("a a a", "a"), ["a", "a"]);
        // Removed without our having heard of it.
        assert!(found("a", "a b").is_empty() && found("", "a").is_empty());
    }
}
