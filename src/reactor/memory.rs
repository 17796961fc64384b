//! Memory that is given back to the system, so that what the relay holds on to stays within `max_in_flight` too.
//!
//! What is in flight is in receive buffers or, copied and framed anew, on the heap; what the one has been through with would stay
//! resident beside what the other then needs. Lives here: when which of the two gives memory back. Never here: how much may be
//! in flight (turn), or how memory is given back (the kernel's layer).

use super::{Owner, Reactor};
use crate::kernel::Kernel;
use crate::limits::{BUFFER_SIZE, BUFFERS_KEPT};

/// What the heap may hold on to before it is asked, as a part of `max_in_flight`: asking looks at all that is free in it.
const FALLOW: usize = 16;

impl<K: Kernel<Owner = Owner>> Reactor<K> {
    /// Leaves memory to free buffers and to the free heap only as far as `max_in_flight` has room for it.
    pub(super) fn give_back_memory(&mut self) {
        let in_flight = self.ledger.bytes_in_flight();
        let in_buffers = self.kernel.leased_bytes();
        let on_heap = in_flight.saturating_sub(in_buffers);
        self.heap_peak = self.heap_peak.max(on_heap);

        let spare = self.max_in_flight.saturating_sub(in_flight + self.kernel.offered_bytes());
        let fallow = self.heap_peak - on_heap;
        if fallow > spare.max(self.max_in_flight / FALLOW) {
            self.kernel.trim_heap();
            self.heap_peak = on_heap;
        }
        let kept = self.heap_peak - on_heap;
        self.kernel.keep(spare.saturating_sub(kept).max(BUFFERS_KEPT * BUFFER_SIZE));
    }
}
