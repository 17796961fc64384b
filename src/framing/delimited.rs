//! Messages that end with a byte: what lines and NUL-terminated messages have in common.
//!
//! Empty messages are skipped. Lives here: the framer, over any [`Ending`]. Never here: which byte it is, and what may stand before
//! it (`line`, `nul`).

use std::marker::PhantomData;
use std::mem;

use bytes::Bytes;
use memchr::{memchr_iter, memrchr};

use super::{Bounds, FramingError, Oversize, Tally, hold};
use crate::message::{Framing, Run};

/// What ends a message.
pub(super) trait Ending {
    /// The byte itself.
    const BYTE: u8;
    /// The format whose messages end so.
    const FRAMING: Framing;
    /// The byte that may stand before it and belongs to it.
    const BEFORE: Option<u8>;

    /// What is left of a message without what belongs to its end.
    fn trim(message: &[u8]) -> &[u8];
}

/// The unfinished message, and what its end will mean.
///
/// Invariant: carry ≤ max_message + 1, for a CR may follow the payload; while skipping, carry = max_message if the line is to
/// be truncated and 0 if it is to be dropped.
#[derive(Debug)]
pub(super) struct Delimited<E> {
    ending: PhantomData<E>,
    bounds: Bounds,
    /// The first bytes of the unfinished line.
    pub(super) carry: Vec<u8>,
    /// The unfinished line is certainly too long: what comes is skipped up to its LF.
    skipping: bool,
    pub(super) tally: Tally,
}

impl<E: Ending> Delimited<E> {
    pub(super) fn new(bounds: Bounds) -> Delimited<E> {
        Delimited { ending: PhantomData, bounds, carry: Vec::new(), skipping: false, tally: Tally::default() }
    }

    pub(super) fn is_at_boundary(&self) -> bool {
        self.carry.is_empty() && !self.skipping
    }

    pub(super) fn feed(&mut self, mut input: Bytes, runs: &mut Vec<Run>) -> Result<(), FramingError> {
        if let Some(last) = memrchr(E::BYTE, &input) {
            self.end_lines(input.split_to(last + 1), runs)?;
        }
        self.begin_line(&input)
    }

    /// FIN ends a message like its delimiter does: nothing is ever torn.
    pub(super) fn finish(&mut self, runs: &mut Vec<Run>) -> bool {
        if self.is_at_boundary() {
            return false;
        }
        let mut lines = Lines::<E>::with_capacity(self.carry.len() + 1);
        self.end_held(&mut lines);
        lines.push_into(runs);
        false
    }

    /// Takes a region that ends with LF: shared if it is canonical, else copied.
    fn end_lines(&mut self, region: Bytes, runs: &mut Vec<Run>) -> Result<(), FramingError> {
        let before = self.carry.last().copied().unwrap_or(E::BYTE);
        let seen = scan::<E>(before, &region);
        if self.skipping || !seen.canonical || !self.fits(&region) {
            return self.normalise(&region, runs);
        }
        let head = mem::take(&mut self.carry).into();
        runs.push(Run { head, body: region, messages: seen.lines, framing: E::FRAMING });
        Ok(())
    }

    /// Whether each line of the region, the first with what is carried, has its LF in time. Hops as far as one line may reach,
    /// not line by line.
    fn fits(&self, region: &[u8]) -> bool {
        let reach = self.bounds.max_message + 1;
        let mut rest = region;
        let mut window = reach - self.carry.len();
        while rest.len() > window {
            let Some(lf) = memrchr(E::BYTE, &rest[..window]) else { return false };
            rest = &rest[lf + 1..];
            window = reach;
        }
        true
    }

    /// Copies the region's lines into one buffer, each in its canonical form. On an error, those before it are pushed.
    fn normalise(&mut self, region: &[u8], runs: &mut Vec<Run>) -> Result<(), FramingError> {
        let mut lines = Lines::<E>::with_capacity(self.carry.len() + region.len());
        let mut start = 0;
        let ended = memchr_iter(E::BYTE, region).try_for_each(|lf| {
            let rest = &region[mem::replace(&mut start, lf + 1)..lf];
            self.end_line(rest, &mut lines)
        });
        lines.push_into(runs);
        ended
    }

    /// The unfinished line ends with `rest`, before an LF.
    fn end_line(&mut self, rest: &[u8], lines: &mut Lines<E>) -> Result<(), FramingError> {
        if self.is_at_boundary() && !self.is_excess(rest) {
            lines.push(rest);
            return Ok(());
        }
        self.begin_line(rest)?;
        self.end_held(lines);
        Ok(())
    }

    /// The held line ends here. If it is too long, something of it was kept to be relayed, or nothing.
    fn end_held(&mut self, lines: &mut Lines<E>) {
        let held = mem::take(&mut self.carry);
        let relayed = lines.push(&held);
        match (mem::take(&mut self.skipping), relayed) {
            (false, _) => {}
            (true, true) => self.tally.truncated += 1,
            (true, false) => self.tally.dropped += 1,
        }
    }

    /// Adds to the unfinished line bytes that hold no LF.
    fn begin_line(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        if self.skipping {
            return Ok(());
        }
        let most = self.bounds.max_message + 1;
        let kept = bytes.len().min(most - self.carry.len());
        hold(&mut self.carry, &bytes[..kept], most);
        if kept < bytes.len() || self.is_excess(&self.carry) {
            self.exceed()?;
        }
        debug_assert!(self.is_consistent());
        Ok(())
    }

    /// Whether a line that begins like this is too long even if LF comes next.
    fn is_excess(&self, line: &[u8]) -> bool {
        let line = match (line.split_last(), E::BEFORE) {
            (Some((last, rest)), Some(before)) if *last == before => rest,
            _ => line,
        };
        line.len() > self.bounds.max_message
    }

    /// The unfinished line is certainly too long.
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
            (false, _) => held <= self.bounds.max_message + 1,
            (true, Oversize::Truncate) => held == self.bounds.max_message,
            (true, Oversize::Drop) => held == 0,
            (true, Oversize::Close) => false,
        }
    }
}

/// Canonical lines, owned.
struct Lines<E> {
    ending: PhantomData<E>,
    bytes: Vec<u8>,
    messages: u32,
}

impl<E: Ending> Lines<E> {
    fn with_capacity(bytes: usize) -> Lines<E> {
        Lines { ending: PhantomData, bytes: Vec::with_capacity(bytes), messages: 0 }
    }

    /// Appends a line without its CRs; returns whether anything was left to append.
    fn push(&mut self, line: &[u8]) -> bool {
        let payload = E::trim(line);
        if payload.is_empty() {
            return false;
        }
        self.bytes.extend_from_slice(payload);
        self.bytes.push(E::BYTE);
        self.messages += 1;
        true
    }

    fn push_into(self, runs: &mut Vec<Run>) {
        if self.messages > 0 {
            let Lines { bytes, messages, .. } = self;
            runs.push(Run { head: Bytes::new(), body: bytes.into(), messages, framing: E::FRAMING });
        }
    }
}

/// What one pass over a region finds.
#[derive(Debug, PartialEq, Eq)]
struct Scan {
    lines: u32,
    /// No delimiter follows another, or what would belong to it: no message is empty, none ends in two ways.
    canonical: bool,
}

impl Scan {
    fn plus(&self, next: &Scan) -> Scan {
        Scan { lines: self.lines + next.lines, canonical: self.canonical & next.canonical }
    }
}

/// Bytes whose lines a `u8` counts without overflow; a multiple of the registers' width.
const BLOCK: usize = 192;

/// Counts the lines of a region that follows the byte `before`, and sees whether they are canonical.
fn scan<E: Ending>(before: u8, region: &[u8]) -> Scan {
    let Some(&first) = region.first() else { return Scan { lines: 0, canonical: true } };
    // Each byte beside the one before it.
    let (blocks, rest) = region[1..].as_chunks::<BLOCK>();
    let (befores, rest_befores) = region[..region.len() - 1].as_chunks::<BLOCK>();
    let mut sum = scan_block::<E>(&[first], &[before]);
    for (block, befores) in blocks.iter().zip(befores) {
        sum = sum.plus(&scan_block::<E>(block, befores));
    }
    sum.plus(&scan_block::<E>(rest, rest_befores))
}

/// One sum and one OR without a branch between: compiles to vector instructions, unlike a sum that is wider than a byte.
fn scan_block<E: Ending>(block: &[u8], befores: &[u8]) -> Scan {
    debug_assert!(block.len() == befores.len() && block.len() <= BLOCK);
    let mut lines = 0;
    let mut odd = 0;
    for (&byte, &before) in block.iter().zip(befores) {
        let line = u8::from(byte == E::BYTE);
        lines += line;
        let spoils = before == E::BYTE || E::BEFORE.is_some_and(|also| before == also);
        odd |= line & u8::from(spoils);
    }
    Scan { lines: u32::from(lines), canonical: odd == 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::framing::LF;
    use crate::framing::line::Lf;
    use crate::framing::nul::Nul;

    fn scan_slowly<E: Ending>(mut before: u8, region: &[u8]) -> Scan {
        let mut seen = Scan { lines: 0, canonical: true };
        for &byte in region {
            if byte == E::BYTE {
                seen.lines += 1;
                seen.canonical &= before != E::BYTE && Some(before) != E::BEFORE;
            }
            before = byte;
        }
        seen
    }

    proptest! {
        #[test]
        fn scan_counts_and_judges_like_a_loop(
            before in prop::sample::select(b"a\r\n\0".to_vec()),
            region in prop::collection::vec(prop::sample::select(b"aaaaaaaaaaaaaaaaaaaaaa\r\n\0".to_vec()), 0..500),
        ) {
            prop_assert_eq!(scan::<Lf>(before, &region), scan_slowly::<Lf>(before, &region));
            prop_assert_eq!(scan::<Nul>(before, &region), scan_slowly::<Nul>(before, &region));
        }
    }

    #[test]
    fn a_block_does_not_overflow() {
        let region = [LF].repeat(2 * BLOCK + 3);
        assert_eq!(scan::<Lf>(b'a', &region), scan_slowly::<Lf>(b'a', &region));
    }

    #[test]
    fn one_odd_line_is_seen_wherever_it_is() {
        for at in 1..3 * BLOCK {
            let mut region = [b'a'].repeat(3 * BLOCK);
            region[at - 1..=at].copy_from_slice(b"\r\n");
            assert_eq!(scan::<Lf>(b'a', &region), Scan { lines: 1, canonical: false }, "at {at}");
        }
    }
}
