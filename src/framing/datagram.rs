//! Datagrams: each is one message, and all of it is payload.
//!
//! An empty one is no message, and is skipped. One that the kernel cut off (MSG_TRUNC, recv(2)) is too long, however little of
//! it came.
//!
//! Lives here: what a datagram of its own means. Never here: several messages in one datagram; the other framers find those.

use bytes::Bytes;

use super::{Bounds, FramingError, Oversize, Tally};
use crate::message::{Framing, Run};

/// Nothing is ever unfinished here.
#[derive(Debug)]
pub(super) struct DatagramFramer {
    bounds: Bounds,
    pub(super) tally: Tally,
}

impl DatagramFramer {
    pub(super) fn new(bounds: Bounds) -> DatagramFramer {
        DatagramFramer { bounds, tally: Tally::default() }
    }

    pub(super) fn feed(
        &mut self,
        datagram: Bytes,
        cut: bool,
        runs: &mut Vec<Run>,
    ) -> Result<(), FramingError> {
        let body = match cut || datagram.len() > self.bounds.max_message {
            true => self.exceed(datagram)?,
            false => datagram,
        };
        if !body.is_empty() {
            runs.push(Run { head: Bytes::new(), body, messages: 1, framing: Framing::Datagram });
        }
        Ok(())
    }

    /// What is relayed of a datagram that is too long, or was; nothing if it is dropped.
    fn exceed(&mut self, mut datagram: Bytes) -> Result<Bytes, FramingError> {
        let (len, max) = (datagram.len(), self.bounds.max_message);
        match self.bounds.oversize {
            Oversize::Close if len > max => return Err(FramingError::Oversize { len, max }),
            Oversize::Close => return Err(FramingError::Cut { received: len }),
            Oversize::Truncate => datagram.truncate(max),
            Oversize::Drop => datagram.clear(),
        }
        match datagram.is_empty() {
            true => self.tally.dropped += 1,
            false => self.tally.truncated += 1,
        }
        Ok(datagram)
    }
}
