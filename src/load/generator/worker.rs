//! One thread of the generator and the connections that it drives in turn.
//!
//! Lives here: the round over its connections, and the one place where it sleeps. Never here: the states of a connection.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl;
use nix::sys::time::TimeSpec;

use super::course::Course;
use super::link::Link;
use super::plan::SendPlan;
use super::sent::{End, Sent};
use crate::load::stop::Stop;

/// What one thread needs.
#[derive(Debug)]
pub(super) struct Worker {
    plan: Arc<SendPlan>,
    connections: Vec<u32>,
    stop: Stop,
    /// Messages written by all threads.
    written: Arc<AtomicU64>,
    links: Vec<Link>,
    outcome: Outcome,
    stopped: bool,
}

/// What became of the connections of one thread.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) sent: Vec<Sent>,
    /// Why the first of them that could not connect could not.
    pub(super) refusal: Option<io::Error>,
}

impl Worker {
    pub(super) fn new(
        plan: Arc<SendPlan>,
        connections: Vec<u32>,
        stop: Stop,
        written: Arc<AtomicU64>,
    ) -> Self {
        Self {
            plan,
            connections,
            stop,
            written,
            links: Vec::new(),
            outcome: Outcome::default(),
            stopped: false,
        }
    }

    /// Drives all connections to their ends.
    pub(super) fn run(mut self) -> Outcome {
        be_punctual();
        let mut course = Course::new(&self.plan);
        self.connect_all(course.stride());
        course.begin();
        while !self.links.is_empty() {
            let now = Instant::now();
            self.heed(&course, now);
            if !self.advance(&mut course, now) {
                self.sleep(&course, now);
            }
        }
        self.outcome
    }

    fn connect_all(&mut self, stride: u64) {
        for connection in std::mem::take(&mut self.connections) {
            if self.stop.is_asked() {
                self.outcome.sent.push(unconnected(connection));
                continue;
            }
            match Link::connect(&self.plan, connection, stride) {
                Ok(link) => self.links.push(link),
                Err(error) => {
                    self.outcome.sent.push(unconnected(connection));
                    self.outcome.refusal.get_or_insert(error);
                }
            }
        }
    }

    /// Passes on a request to stop, and the end of the planned time.
    fn heed(&mut self, course: &Course, now: Instant) {
        if !self.stopped && self.stop.is_asked() {
            self.stopped = true;
            self.links.iter_mut().for_each(|link| link.stop(now));
        }
        if course.end().is_some_and(|end| now >= end) {
            self.links.iter_mut().for_each(|link| link.end_at_boundary(End::Finished));
        }
    }

    /// One step of each connection; says whether any moved.
    fn advance(&mut self, course: &mut Course, now: Instant) -> bool {
        let (mut moved, mut messages) = (false, 0);
        for link in &mut self.links {
            let before = link.written_messages();
            moved |= link.advance(course, now);
            messages += link.written_messages() - before;
        }
        if messages > 0 {
            self.written.fetch_add(messages, Ordering::Relaxed);
        }
        self.retire();
        moved
    }

    fn retire(&mut self) {
        let sent = &mut self.outcome.sent;
        self.links.retain(|link| {
            if link.has_ended() {
                sent.push(link.sent());
            }
            !link.has_ended()
        });
    }

    /// Until a connection can go on, a moment that one waits for has come, or a stop is asked for.
    fn sleep(&self, course: &Course, now: Instant) {
        let wakes = self.links.iter().map(|link| link.wake_at(now));
        let end = course.end().filter(|&end| end > now);
        let Some(until) = wakes.chain(end).min() else { return };
        let mut wanted: Vec<PollFd<'_>> = Vec::with_capacity(self.links.len() + 1);
        wanted.extend(self.links.iter().filter_map(Link::interest).map(|(fd, flags)| PollFd::new(fd, flags)));
        if !self.stopped {
            // Once asked it stays readable and would end every sleep.
            wanted.push(PollFd::new(self.stop.as_fd(), PollFlags::POLLIN));
        }
        // An interrupted sleep is a short one.
        let _ = ppoll(&mut wanted, Some(timeout(until, now)), None);
    }
}

/// Sleeps of this thread end when they should, not up to 50 µs later (PR_SET_TIMERSLACK, prctl(2)).
fn be_punctual() {
    // Without it messages are sent a little late, which their latency shows.
    let _ = prctl::set_timerslack(1);
}

fn timeout(until: Instant, now: Instant) -> TimeSpec {
    // A day bounds what the kernel's type could not hold.
    TimeSpec::from_duration(until.saturating_duration_since(now).min(Duration::from_secs(86_400)))
}

fn unconnected(connection: u32) -> Sent {
    Sent {
        connection,
        written_messages: 0,
        written_bytes: 0,
        acked_messages: 0,
        acked_bytes: 0,
        end: End::Unconnected,
    }
}
