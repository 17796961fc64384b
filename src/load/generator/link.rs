//! One connection of the generator, from connect to the last acknowledgement.
//!
//! Lives here: its states, its writes, and how it ends. It never blocks but to connect. Never here: what is written (that is
//! `course`), or waiting until a write is possible (that is `worker`).

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::channel::Channel;
use super::course::{Course, Next};
use super::plan::SendPlan;
use super::sent::{End, Sent};
use crate::limits::LOAD_STOP_PATIENCE;

/// How often an acknowledgement is looked for that no event announces.
const ACK_TICK: Duration = Duration::from_millis(2);

/// A connection and how far it has come.
#[derive(Debug)]
pub(super) struct Link {
    channel: Channel,
    connection: u32,
    /// Length of one message on the wire, in bytes.
    stride: u64,
    /// Bytes after which it stops writing, always whole messages. `written <= limit`.
    limit: u64,
    /// Bytes that our kernel took.
    written: u64,
    /// How it will have ended once everything written is acknowledged.
    end: End,
    phase: Phase,
    /// Whether the peer's FIN was seen; from then on the descriptor is always readable.
    fin_seen: bool,
    heeds_fin: bool,
    /// When it is given up; counts while it is blocked or closing.
    patient_until: Instant,
    patience: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It may be able to write.
    Ready,
    /// Our kernel took nothing more.
    Blocked,
    /// The next message is not due before that moment.
    Early(Instant),
    /// Everything is written and FIN sent; acknowledgements are missing.
    Closing,
    /// Nothing will change any more.
    Ended,
}

impl Link {
    /// Connects. Errors as connect(2), and `TimedOut` once the plan's patience is over.
    pub(super) fn connect(plan: &SendPlan, connection: u32, stride: u64) -> io::Result<Self> {
        let channel = Channel::connect(plan, stride)?;
        // A datagram socket never says that its peer wants no more.
        let fin_seen = !channel.has_an_end();
        Ok(Self {
            channel,
            connection,
            stride,
            limit: plan.message_limit() * stride,
            written: 0,
            end: End::Finished,
            phase: Phase::Ready,
            fin_seen,
            heeds_fin: plan.heeds_fin,
            patient_until: Instant::now() + plan.patience,
            patience: plan.patience,
        })
    }

    /// Does what can be done without waiting; says whether anything moved.
    pub(super) fn advance(&mut self, course: &mut Course, now: Instant) -> bool {
        match self.phase {
            Phase::Ready | Phase::Blocked | Phase::Early(_) => self.write(course, now),
            Phase::Closing => self.settle(now),
            Phase::Ended => false,
        }
    }

    /// Lets it end after the message in progress, as `end`.
    pub(super) fn end_at_boundary(&mut self, end: End) {
        let boundary = self.written.next_multiple_of(self.stride);
        if boundary < self.limit {
            self.limit = boundary;
            self.end = end;
        }
    }

    /// As [`Link::end_at_boundary`], with less patience from now on.
    pub(super) fn stop(&mut self, now: Instant) {
        self.end_at_boundary(End::Stopped);
        self.patience = self.patience.min(LOAD_STOP_PATIENCE);
        self.patient_until = self.patient_until.min(now + self.patience);
    }

    /// Messages that our kernel took in whole.
    pub(super) fn written_messages(&self) -> u64 {
        self.written / self.stride
    }

    pub(super) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The figures, as they are now.
    pub(super) fn sent(&self) -> Sent {
        let acked_bytes = self.acked_bytes();
        Sent {
            connection: self.connection,
            written_messages: self.written_messages(),
            written_bytes: self.written,
            acked_messages: acked_bytes / self.stride,
            acked_bytes,
            end: self.end,
        }
    }

    fn write(&mut self, course: &mut Course, now: Instant) -> bool {
        if let Err(error) = self.look_for_fin() {
            return self.finish(End::of(&error));
        }
        if self.written == self.limit {
            return self.close(now);
        }
        match course.next(self.connection, self.written, self.limit, now) {
            Next::Write(bytes) => {
                let taken = self.channel.write(bytes);
                self.account(taken, now)
            }
            Next::At(due) => self.wait(Phase::Early(due)),
        }
    }

    fn account(&mut self, taken: io::Result<usize>, now: Instant) -> bool {
        match taken {
            Ok(bytes) => self.progress(bytes),
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.block(now),
            Err(error) => self.finish(End::of(&error)),
        }
    }

    fn progress(&mut self, bytes: usize) -> bool {
        self.written += bytes as u64;
        self.phase = Phase::Ready;
        true
    }

    fn block(&mut self, now: Instant) -> bool {
        if self.phase != Phase::Blocked {
            self.patient_until = now + self.patience;
        }
        self.wait_patiently(Phase::Blocked, now)
    }

    fn wait(&mut self, phase: Phase) -> bool {
        self.phase = phase;
        false
    }

    fn wait_patiently(&mut self, phase: Phase, now: Instant) -> bool {
        if now >= self.patient_until { self.give_up() } else { self.wait(phase) }
    }

    fn give_up(&mut self) -> bool {
        if !self.written.is_multiple_of(self.stride) {
            self.channel.reset_on_close();
        }
        self.finish(End::TimedOut)
    }

    fn finish(&mut self, end: End) -> bool {
        self.end = end;
        self.phase = Phase::Ended;
        true
    }

    /// Reads away what the peer says, up to its FIN, at which the message in progress becomes the last.
    fn look_for_fin(&mut self) -> io::Result<()> {
        while !self.fin_seen {
            match self.channel.read(&mut [0; 512]) {
                Ok(0) => {
                    self.fin_seen = true;
                    if self.heeds_fin {
                        self.end_at_boundary(End::PeerClosed);
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn close(&mut self, now: Instant) -> bool {
        self.phase = Phase::Closing;
        self.patient_until = now + self.patience;
        match self.channel.finish() {
            Ok(()) => self.settle(now),
            Err(error) => self.finish(End::of(&error)),
        }
    }

    /// Ends it once all is acknowledged, or never will be.
    fn settle(&mut self, now: Instant) -> bool {
        if self.channel.acknowledged(self.written).is_none_or(|acked| acked == self.written) {
            return self.finish(self.end);
        }
        let broken = self.look_for_fin().err().or_else(|| self.channel.take_error());
        match broken {
            Some(error) => self.finish(End::of(&error)),
            None => self.wait_patiently(Phase::Closing, now),
        }
    }

    /// Nothing of what nobody acknowledges.
    fn acked_bytes(&self) -> u64 {
        self.channel.acknowledged(self.written).unwrap_or(0)
    }

    /// What to wait for on its descriptor; `None` when there is nothing that would not be there at once.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let fin = if self.fin_seen { PollFlags::empty() } else { PollFlags::POLLIN };
        let flags = match self.phase {
            Phase::Blocked => fin | PollFlags::POLLOUT,
            Phase::Ready | Phase::Early(_) | Phase::Closing => fin,
            Phase::Ended => PollFlags::empty(),
        };
        (!flags.is_empty()).then_some((self.channel.as_fd(), flags))
    }

    /// When it must be looked at again though nothing happened.
    pub(super) fn wake_at(&self, now: Instant) -> Instant {
        match self.phase {
            Phase::Ready | Phase::Ended => now,
            Phase::Blocked => self.patient_until,
            Phase::Early(due) => due,
            // That a FIN or the last bytes were acknowledged is no event to poll(2).
            Phase::Closing => now + ACK_TICK,
        }
    }
}
