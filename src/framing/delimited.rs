//! Messages that end with a delimiter: what lines and NUL-terminated messages have in common.
//!
//! Lives here: what is unfinished, what is too long, what is not canonical. Never here: which bytes delimit, or the pass that counts
//! messages (`survey`).

use std::mem;

use bytes::Bytes;
use memchr::{memchr_iter, memrchr};

use super::survey::count;
use super::{Bounds, FramingError, Oversize, Tally, hold};
use crate::message::{Framing, Run};

/// What ends a message.
#[derive(Debug)]
pub(super) struct Delimiter {
    pub(super) framing: Framing,
    /// The byte that ends a message; it is never content.
    pub(super) end: u8,
    /// A byte that belongs to the delimiter wherever it stands directly before `end`, also several times.
    pub(super) lead: Option<u8>,
}

impl Delimiter {
    /// What is left of a message without the leads at its end.
    pub(super) fn trim<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        let content = message.iter().rposition(|&byte| Some(byte) != self.lead).map_or(0, |last| last + 1);
        &message[..content]
    }

    /// Bytes of a message that count towards the bound: one lead is free.
    fn counted(&self, message: &[u8]) -> usize {
        message.len() - usize::from(self.lead.is_some() && message.last().copied() == self.lead)
    }

    /// Most bytes that can stand before `end` if `max_message` of them count.
    fn reach(&self, max_message: usize) -> usize {
        max_message + usize::from(self.lead.is_some())
    }
}

/// The unfinished message, and what its end will mean.
///
/// Invariant: carry ≤ max_message, and one more if a lead may follow the payload; while skipping, carry = max_message if the
/// message is to be truncated and 0 if it is to be dropped.
#[derive(Debug)]
pub(super) struct DelimitedFramer {
    delimiter: &'static Delimiter,
    bounds: Bounds,
    /// The first bytes of the unfinished message.
    pub(super) carry: Vec<u8>,
    /// The unfinished message is certainly too long: what comes is skipped up to its delimiter.
    skipping: bool,
    pub(super) tally: Tally,
}

impl DelimitedFramer {
    pub(super) fn new(delimiter: &'static Delimiter, bounds: Bounds) -> DelimitedFramer {
        DelimitedFramer { delimiter, bounds, carry: Vec::new(), skipping: false, tally: Tally::default() }
    }

    pub(super) fn is_at_boundary(&self) -> bool {
        self.carry.is_empty() && !self.skipping
    }

    pub(super) fn feed(&mut self, mut input: Bytes, runs: &mut Vec<Run>) -> Result<(), FramingError> {
        if let Some(last) = memrchr(self.delimiter.end, &input) {
            self.end_messages(input.split_to(last + 1), runs)?;
        }
        self.begin_message(&input)
    }

    /// FIN ends a message like the delimiter does.
    pub(super) fn finish(&mut self, runs: &mut Vec<Run>) {
        if self.is_at_boundary() {
            return;
        }
        let mut owned = Owned::with_capacity(self.delimiter, self.carry.len() + 1);
        self.end_held(&mut owned);
        owned.push_into(runs);
    }

    /// Takes a datagram at a boundary; its end ends a message like the delimiter does.
    pub(super) fn feed_datagram(
        &mut self,
        datagram: Bytes,
        cut: bool,
        runs: &mut Vec<Run>,
    ) -> Result<(), FramingError> {
        if !cut {
            return self.feed(self.ended(datagram), runs);
        }
        let received = datagram.len();
        self.feed(datagram, runs)?;
        self.cut_off(received)?;
        self.finish(runs);
        Ok(())
    }

    /// The datagram with a delimiter at its end, so that its messages leave as one run.
    fn ended(&self, datagram: Bytes) -> Bytes {
        if datagram.last().is_none_or(|&last| last == self.delimiter.end) {
            return datagram;
        }
        [&datagram[..], &[self.delimiter.end]].concat().into()
    }

    /// The rest of the message was cut off, so it is too long, however little of it came.
    fn cut_off(&mut self, received: usize) -> Result<(), FramingError> {
        if self.skipping {
            return Ok(());
        }
        match self.bounds.oversize {
            Oversize::Close => return Err(FramingError::Cut { received }),
            Oversize::Truncate => {}
            Oversize::Drop => self.carry = Vec::new(),
        }
        self.skipping = true;
        Ok(())
    }

    /// Takes a region that ends with a delimiter: shared if it is canonical, else copied.
    fn end_messages(&mut self, region: Bytes, runs: &mut Vec<Run>) -> Result<(), FramingError> {
        let before = self.carry.last().copied().unwrap_or(self.delimiter.end);
        let counted = count(self.delimiter, before, &region);
        let Some(messages) = counted.filter(|_| !self.skipping && self.fits(&region)) else {
            return self.normalise(&region, runs);
        };
        let head = mem::take(&mut self.carry).into();
        runs.push(Run { head, body: region, messages, framing: self.delimiter.framing });
        Ok(())
    }

    /// Whether each message of the region, the first with what is carried, has its delimiter in time. Hops as far as one
    /// message may reach, not message by message.
    fn fits(&self, region: &[u8]) -> bool {
        let reach = self.bounds.max_message + 1;
        let mut rest = region;
        let mut window = reach - self.carry.len();
        while rest.len() > window {
            let Some(end) = memrchr(self.delimiter.end, &rest[..window]) else { return false };
            rest = &rest[end + 1..];
            window = reach;
        }
        true
    }

    /// Copies the region's messages into one buffer, each in its canonical form. On an error, those before it are pushed.
    fn normalise(&mut self, region: &[u8], runs: &mut Vec<Run>) -> Result<(), FramingError> {
        let mut owned = Owned::with_capacity(self.delimiter, self.carry.len() + region.len());
        let mut start = 0;
        let ended = memchr_iter(self.delimiter.end, region).try_for_each(|end| {
            let rest = &region[mem::replace(&mut start, end + 1)..end];
            self.end_message(rest, &mut owned)
        });
        owned.push_into(runs);
        ended
    }

    /// The unfinished message ends with `rest`, before a delimiter.
    fn end_message(&mut self, rest: &[u8], owned: &mut Owned) -> Result<(), FramingError> {
        if self.is_at_boundary() && !self.is_excess(rest) {
            owned.push(rest);
            return Ok(());
        }
        self.begin_message(rest)?;
        self.end_held(owned);
        Ok(())
    }

    /// The held message ends here. If it is too long, something of it was kept to be relayed, or nothing.
    fn end_held(&mut self, owned: &mut Owned) {
        let held = mem::take(&mut self.carry);
        let relayed = owned.push(&held);
        match (mem::take(&mut self.skipping), relayed) {
            (false, _) => {}
            (true, true) => self.tally.truncated += 1,
            (true, false) => self.tally.dropped += 1,
        }
    }

    /// Adds to the unfinished message bytes that hold no delimiter.
    fn begin_message(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        if self.skipping {
            return Ok(());
        }
        let most = self.delimiter.reach(self.bounds.max_message);
        let kept = bytes.len().min(most - self.carry.len());
        hold(&mut self.carry, &bytes[..kept], most);
        if kept < bytes.len() || self.is_excess(&self.carry) {
            self.exceed()?;
        }
        debug_assert!(self.is_consistent());
        Ok(())
    }

    /// Whether a message that begins like this is too long even if its delimiter comes next.
    fn is_excess(&self, message: &[u8]) -> bool {
        self.delimiter.counted(message) > self.bounds.max_message
    }

    /// The unfinished message is certainly too long.
    fn exceed(&mut self) -> Result<(), FramingError> {
        let max = self.bounds.max_message;
        match self.bounds.oversize {
            Oversize::Close => return Err(FramingError::Oversize { len: max + 1, max }),
            Oversize::Truncate => self.carry.truncate(max),
            Oversize::Drop => self.carry = Vec::new(),
        }
        self.skipping = true;
        Ok(())
    }

    fn is_consistent(&self) -> bool {
        let held = self.carry.len();
        match (self.skipping, self.bounds.oversize) {
            (false, _) => held <= self.delimiter.reach(self.bounds.max_message),
            (true, Oversize::Truncate) => held == self.bounds.max_message,
            (true, Oversize::Drop) => held == 0,
            (true, Oversize::Close) => false,
        }
    }
}

/// Canonical messages, copied.
struct Owned {
    delimiter: &'static Delimiter,
    bytes: Vec<u8>,
    messages: u32,
}

impl Owned {
    fn with_capacity(delimiter: &'static Delimiter, bytes: usize) -> Owned {
        Owned { delimiter, bytes: Vec::with_capacity(bytes), messages: 0 }
    }

    /// Appends a message without its leads; returns whether anything was left to append.
    fn push(&mut self, message: &[u8]) -> bool {
        let payload = self.delimiter.trim(message);
        if payload.is_empty() {
            return false;
        }
        self.bytes.extend_from_slice(payload);
        self.bytes.push(self.delimiter.end);
        self.messages += 1;
        true
    }

    fn push_into(self, runs: &mut Vec<Run>) {
        if self.messages > 0 {
            let Owned { delimiter, bytes, messages } = self;
            runs.push(Run { head: Bytes::new(), body: bytes.into(), messages, framing: delimiter.framing });
        }
    }
}
