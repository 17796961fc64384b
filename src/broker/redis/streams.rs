//! Streams, read as a consumer of a group.
//!
//! ```text
//! new ──→ pending with us ── acknowledged ──→ gone
//!            ↑        │ returned
//!    claimed │        ↓
//!         pending with nobody                     (group.rs says how)
//! ```
//! A message is the field `data` of an entry, or its first field where there is none of that name. An entry that was deleted while
//! it was pending is acknowledged and skipped. A consumer that the configuration names is one relay's own: what is pending with it
//! at the start is an earlier process's, and comes first. Lives here: what is outstanding, and how it is fetched and acknowledged.
//! Never here: when that is due (`broker::source`).

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::process;
use std::rc::Rc;
use std::time::Duration;

use redis::streams::{StreamAddOptions, StreamTrimStrategy, StreamTrimmingMode};
use redis::{Pipeline, Value};
use tokio::time::{Instant, sleep_until};

use super::connection::Servers;
use super::entry::{Entry, FIELD, of_stream};
use super::group::{Group, Id, START};
use super::host_name;
use super::link::{Link, Trace};
use super::pipeline::Sending;
use crate::broker::error::Error;
use crate::broker::sink::{PublishSession, Publisher, Verdict as Answer};
use crate::broker::source::{Fetched, PullSession, Puller, Verdict};
use crate::config::services::{Pull, Push};
use crate::endpoint::Delivery;

/// How often we look for what was returned: what one relay returns another has so soon.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Into how many looks for what is abandoned the time is divided after which it is.
const CLAIMS: u32 = 2;
/// Into how many renewals of what is pending with us.
const RENEWALS: u32 = 3;

/// A stream as a group's consumer sees it.
pub(in crate::broker) struct Source {
    servers: Rc<Servers>,
    stream: Rc<Stream>,
    earlier: RefCell<Option<Trace>>,
}

/// What outlasts a connection.
struct Stream {
    group: Group,
    /// Whether the consumer ends with us: nobody will ever come by this name again.
    is_passing: bool,
    claim_idle: Duration,
    timeout: Duration,
    /// What was handed in, and is not acknowledged.
    outstanding: RefCell<HashSet<Id>>,
}

/// One connection to it.
pub(in crate::broker) struct SourceSession {
    link: Link,
    stream: Rc<Stream>,
    /// What was outstanding when it was made.
    known: HashSet<Id>,
    /// Up to which of our own entries we have looked for what an earlier connection left; `None` once that is done.
    own_after: RefCell<Option<String>>,
    /// Where the search for what is abandoned goes on.
    claim_from: RefCell<String>,
    /// While such a search is under way: what was done meanwhile. Its answer may still name that.
    acknowledged: RefCell<Option<HashSet<Id>>>,
    next_claim: Cell<Instant>,
    next_look: Cell<Instant>,
}

impl Source {
    pub(in crate::broker) fn new(plan: Pull, reactor: usize) -> Source {
        let Pull { service, group, consumer, claim_idle, .. } = plan;
        let is_passing = consumer.is_empty();
        let consumer = if is_passing {
            format!("{}-{}-{reactor}-{:06x}", host_name(), process::id(), fastrand::u32(..1 << 24))
        } else {
            format!("{consumer}-{reactor}")
        };
        let group = Group { stream: service.path.clone(), name: group, consumer, batch: service.batch };
        let (timeout, outstanding) = (service.timeout, RefCell::default());
        let stream = Rc::new(Stream { group, is_passing, claim_idle, timeout, outstanding });
        Source { servers: Servers::new(service), stream, earlier: RefCell::default() }
    }
}

impl Puller for Source {
    type Session = SourceSession;

    fn timeout(&self) -> Duration {
        self.stream.timeout
    }

    async fn connect(&self) -> Result<SourceSession, Error> {
        let server = self.servers.choose()?;
        let link = Link::open(&server, self.stream.timeout, &self.earlier).await?;
        self.stream.group.make(&mut link.beside()).await?;
        server.found_good();
        let now = Instant::now();
        Ok(SourceSession {
            link,
            stream: Rc::clone(&self.stream),
            known: self.stream.outstanding.borrow().clone(),
            own_after: RefCell::new(Some(START.to_owned())),
            claim_from: RefCell::new(START.to_owned()),
            acknowledged: RefCell::default(),
            next_claim: Cell::new(now),
            next_look: Cell::new(now),
        })
    }
}

impl PullSession for SourceSession {
    type Handle = Id;
    const HANDLES_LAST: bool = true;

    async fn pull(&self) -> Result<Vec<Fetched<Id>>, Error> {
        let own = self.own().await?;
        if !own.is_empty() || self.link.is_cut() {
            return Ok(own);
        }
        let request = self.stream.group.read(">", Some(self.link.block()));
        let mut reading = std::pin::pin!(self.link.read(&request));
        let (mut fetched, read) = loop {
            tokio::select! {
                biased;
                read = &mut reading => break (Vec::new(), read?),
                () = self.link.cutting() => break (Vec::new(), self.link.ended(reading).await?),
                () = sleep_until(self.next_look.get()) => {}
            }
            // To its end: what it claims is pending with us, whether we hear of it or not.
            let found = self.look().await?;
            if !found.is_empty() {
                break (found, self.link.ended(reading).await?);
            }
        };
        fetched.extend(self.handed_out(of_stream(only(read))?, false).await?);
        Ok(fetched)
    }

    async fn cut(&self) -> Result<(), Error> {
        self.link.cut();
        Ok(())
    }

    /// What an earlier connection left, and was not looked at, goes back without coming here.
    async fn rest(&self) -> Result<Vec<Fetched<Id>>, Error> {
        let (group, mut beside) = (&self.stream.group, self.link.beside());
        let mut from = self.own_after.take();
        while let Some(after) = from {
            let own = group.own(&mut beside, &after).await?;
            let left: Vec<Id> = own.iter().filter(|id| !self.known.contains(*id)).cloned().collect();
            group.tell(&mut beside, &[], &left).await?;
            from = own.last().map(|last| last.to_string());
        }
        Ok(Vec::new())
    }

    /// May be said twice: what is acknowledged already is no concern of the group's.
    async fn acknowledge(&self, verdicts: Vec<(Id, Verdict)>) -> Result<(), Error> {
        let (mut done, mut returned) = (Vec::new(), Vec::new());
        for (id, verdict) in verdicts {
            match verdict {
                Verdict::Done | Verdict::Refused => done.push(id),
                Verdict::Returned => returned.push(id),
            }
        }
        self.stream.group.tell(&mut self.link.beside(), &done, &returned).await?;
        let mut outstanding = self.stream.outstanding.borrow_mut();
        for id in done.iter().chain(&returned) {
            outstanding.remove(id);
        }
        // Not what was returned: it may have been claimed after that, and is ours again.
        if let Some(acknowledged) = &mut *self.acknowledged.borrow_mut() {
            acknowledged.extend(done);
        }
        Ok(())
    }

    fn keep_every(&self) -> Option<Duration> {
        Some(self.stream.claim_idle / RENEWALS)
    }

    async fn keep(&self, handles: Vec<Id>) -> Result<(), Error> {
        self.stream.group.keep(&mut self.link.beside(), &handles).await
    }

    /// A consumer that nobody will be again is not left behind.
    async fn close(self) {
        if self.stream.is_passing && !self.link.is_reading() {
            let _ = self.stream.group.leave(&mut self.link.beside()).await;
        }
    }
}

impl SourceSession {
    /// What is pending with us without having been handed in: its answer was lost with a connection, or its process died.
    async fn own(&self) -> Result<Vec<Fetched<Id>>, Error> {
        loop {
            let Some(after) = self.own_after.borrow().clone() else { return Ok(Vec::new()) };
            let mut page = of_stream(only(self.link.read(&self.stream.group.read(&after, None)).await?))?;
            self.own_after.replace(page.last().map(|last| last.id.to_string()));
            // Not only what is outstanding: some of this was acknowledged while the page was on its way.
            page.retain(|entry| !self.known.contains(&entry.id));
            let fetched = self.handed_out(page, true).await?;
            if !fetched.is_empty() {
                return Ok(fetched);
            }
        }
    }

    /// Claims what was returned, and now and then what was abandoned.
    async fn look(&self) -> Result<Vec<Fetched<Id>>, Error> {
        let now = Instant::now();
        self.acknowledged.replace(Some(HashSet::new()));
        let mut found = self.stream.group.claim_returned(&mut self.link.beside()).await?;
        if now >= self.next_claim.get() {
            found.extend(self.abandoned().await?);
        }
        let meanwhile = self.acknowledged.take().unwrap_or_default();
        found.retain(|entry| !meanwhile.contains(&entry.id));
        // Where there was something there may be more.
        self.next_look.set(if found.is_empty() { now + LOOK_EVERY } else { now });
        self.handed_out(found, true).await
    }

    async fn abandoned(&self) -> Result<Vec<Entry>, Error> {
        let (idle, from) = (self.stream.claim_idle, self.claim_from.borrow().clone());
        let (next, found) = self.stream.group.claim_idle(&mut self.link.beside(), idle, &from).await?;
        if next == START {
            self.next_claim.set(Instant::now() + idle / CLAIMS);
        }
        self.claim_from.replace(next);
        Ok(found)
    }

    /// Notes what is handed in, but for what is here already. What is empty is acknowledged at once.
    async fn handed_out(&self, all: Vec<Entry>, redelivered: bool) -> Result<Vec<Fetched<Id>>, Error> {
        let Stream { group, outstanding, .. } = &*self.stream;
        let (mut fetched, mut void) = (Vec::with_capacity(all.len()), Vec::new());
        for Entry { id, message } in all {
            match message {
                None => void.push(id),
                Some(payload) if outstanding.borrow_mut().insert(Rc::clone(&id)) => {
                    let name = format!("redis:{}:{id}", group.stream);
                    fetched.push(Fetched { payload, id: name, redelivered, handle: id });
                }
                Some(_) => {}
            }
        }
        group.tell(&mut self.link.beside(), &void, &[]).await?;
        Ok(fetched)
    }
}

/// The answer to the only request.
fn only(answers: Vec<Value>) -> Value {
    answers.into_iter().next().unwrap_or(Value::Nil)
}

/// A stream that is added to.
pub(in crate::broker) struct Sink {
    servers: Rc<Servers>,
    stream: Rc<str>,
    max_len: Option<u64>,
}

/// One connection to it.
pub(in crate::broker) struct SinkSession {
    sending: Sending,
    stream: Rc<str>,
    options: StreamAddOptions,
}

impl Sink {
    pub(in crate::broker) fn new(plan: &Push) -> Sink {
        let stream = plan.service.path.as_str().into();
        Sink { servers: Servers::new(plan.service.clone()), stream, max_len: plan.max_len }
    }
}

impl Publisher for Sink {
    type Session = SinkSession;

    async fn connect(&self) -> Result<SinkSession, Error> {
        let sending = Sending::open(self.servers.choose()?).await?;
        let mut options = StreamAddOptions::default();
        if let Some(entries) = self.max_len {
            let entries = usize::try_from(entries).unwrap_or(usize::MAX);
            options = options.trim(StreamTrimStrategy::maxlen(StreamTrimmingMode::Approx, entries));
        }
        Ok(SinkSession { sending, stream: Rc::clone(&self.stream), options })
    }
}

impl PublishSession for SinkSession {
    async fn send(&self, batch: &[Delivery]) -> Result<Vec<Answer>, Error> {
        let mut requests = Pipeline::with_capacity(batch.len());
        for delivery in batch {
            requests.xadd_options(&*self.stream, "*", &[(FIELD, &delivery.payload()[..])], &self.options);
        }
        self.sending.send(&mut requests).await
    }

    async fn close(self) {}
}
