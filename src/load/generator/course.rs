//! What a connection writes next.
//!
//! Lives here: the style of a plan, applied to a position. Never here: sockets, or what happened to a write.

use std::time::{Duration, Instant};

use super::batch::Batch;
use super::pace::Pace;
use super::plan::{SendPlan, Style};
use crate::limits::LOAD_WRITE;
use crate::load::clock::monotonic_nanos;

/// The choice of the next bytes, shared by the connections of one thread.
#[derive(Debug)]
pub(super) struct Course {
    batch: Batch,
    style: Style,
    pace: Pace,
    begun: Instant,
    duration: Option<Duration>,
}

/// What a connection may write now.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// These bytes; never empty.
    Write(&'a [u8]),
    /// Nothing before that moment.
    At(Instant),
}

impl Course {
    pub(super) fn new(plan: &SendPlan) -> Self {
        let per_second = if let Style::Paced { per_second } = plan.style { per_second } else { u64::MAX };
        Self {
            batch: Batch::new(plan.run, plan.size, plan.framing, LOAD_WRITE),
            style: plan.style,
            pace: Pace { per_second, connections: plan.connections },
            begun: Instant::now(),
            duration: plan.duration,
        }
    }

    /// Sets the moment from which paces and durations count: now.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
        if let Style::Paced { .. } = self.style {
            self.batch.time(self.pace, monotonic_nanos());
        }
    }

    /// Length of one message on the wire, in bytes.
    pub(super) fn stride(&self) -> u64 {
        self.batch.stride()
    }

    /// What follows after `written` bytes of `connection`, which in all writes `limit > written`.
    pub(super) fn next(&mut self, connection: u32, written: u64, limit: u64, now: Instant) -> Next<'_> {
        let stride = self.stride();
        let boundary = (written + 1).next_multiple_of(stride);
        let to = match self.style {
            Style::Bulk => limit,
            Style::Single => boundary,
            Style::Dribble => written + fastrand::u64(1..=stride),
            Style::Paced { .. } => self.due(connection, now) * stride,
        };
        if to <= written {
            return Next::At(self.begun + self.pace.at(connection, written / stride));
        }
        Next::Write(self.batch.render(connection, written, to.min(limit)))
    }

    fn due(&self, connection: u32, now: Instant) -> u64 {
        self.pace.due(connection, now.saturating_duration_since(self.begun))
    }

    /// When the planned duration is over, if there is one.
    pub(super) fn end(&self) -> Option<Instant> {
        self.begun.checked_add(self.duration?)
    }
}
