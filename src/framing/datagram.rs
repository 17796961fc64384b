//! Datagrams: each is one message, all of it; an empty one is none.
//!
//! Lives here: the bounds of such a message. Never here: several messages in a datagram (any other format finds those).

use bytes::Bytes;

use super::{Bounds, FramingError, Oversize, Tally};
use crate::message::{Framing, Run};

/// What a source of whole datagrams knows: how long they may be, and how many were not.
#[derive(Debug)]
pub(super) struct Whole {
    bounds: Bounds,
    pub(super) tally: Tally,
}

impl Whole {
    pub(super) fn new(bounds: Bounds) -> Whole {
        Whole { bounds, tally: Tally::default() }
    }

    /// Takes a datagram, which the kernel may have cut off.
    pub(super) fn feed(
        &mut self,
        mut datagram: Bytes,
        cut: bool,
        runs: &mut Vec<Run>,
    ) -> Result<(), FramingError> {
        let (len, max) = (datagram.len() + usize::from(cut), self.bounds.max_message);
        if len > max || cut {
            match self.bounds.oversize {
                Oversize::Close => return Err(FramingError::Oversize { len, max: max.min(len - 1) }),
                Oversize::Drop => {
                    self.tally.dropped += 1;
                    return Ok(());
                }
                Oversize::Truncate => {
                    self.tally.truncated += 1;
                    datagram.truncate(max);
                }
            }
        }
        if !datagram.is_empty() {
            runs.push(Run { head: Bytes::new(), body: datagram, messages: 1, framing: Framing::Datagram });
        }
        Ok(())
    }
}
