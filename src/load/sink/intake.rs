//! The read buffer of one connection.
//!
//! Lives here: keeping the beginning of a message until its rest has come. Never here: sockets, verification.

use super::haul::Haul;
use super::split::{Misframed, split};
use crate::limits::{LOAD_READ, MAX_MESSAGE_MAX, OCTET_COUNT_DIGITS};
use crate::message::Framing;

/// Longest that a message may be on the wire, in bytes.
const WIRE_MAX: usize = MAX_MESSAGE_MAX + OCTET_COUNT_DIGITS + 2;

/// `bytes[..filled]` is the beginning of a message; the rest is free.
#[derive(Debug)]
pub(super) struct Intake {
    framing: Framing,
    bytes: Vec<u8>,
    filled: usize,
    haul: Haul,
}

impl Intake {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, bytes: vec![0; LOAD_READ], filled: 0, haul: Haul::default() }
    }

    /// Where to read to; never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Takes what was read into [`Intake::space`]; its whole messages are then in [`Intake::haul`].
    pub(super) fn take(&mut self, read: usize) -> Result<(), Misframed> {
        self.haul.begin(read);
        let end = self.filled + read;
        let used = split(self.framing, &self.bytes[..end], |message| self.haul.add(message));
        let used = used.inspect_err(|_| self.haul.misframe())?;
        self.bytes.copy_within(used..end, 0);
        self.filled = end - used;
        self.make_room()
    }

    fn make_room(&mut self) -> Result<(), Misframed> {
        if self.filled < self.bytes.len() {
            return Ok(());
        }
        if self.filled >= WIRE_MAX {
            self.haul.misframe();
            return Err(Misframed);
        }
        self.bytes.resize((self.bytes.len() * 2).min(WIRE_MAX), 0);
        Ok(())
    }

    /// Nothing more will come: the beginning of a message that is left is torn.
    pub(super) fn end(&mut self) {
        self.haul.begin(0);
        if self.filled > 0 {
            self.haul.tear();
        }
    }

    /// What the last read brought.
    pub(super) fn haul(&self) -> &Haul {
        &self.haul
    }
}
