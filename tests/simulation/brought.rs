//! What a reactor has reaped of late, by which the waits that it asks for are judged.
//!
//! Lives here: after what it may wait for more. Never here: how long, or the wait itself.

use std::time::Duration;

use slackwater::kernel::Event;

#[derive(Default)]
pub struct Brought {
    /// Datagrams by UDP, since the last wait.
    datagrams: bool,
    /// Bytes of a stream, or datagrams by a socket file, since the last park.
    others: bool,
}

impl Brought {
    pub fn note<S, L>(&mut self, event: &Event<S, L>) {
        match event {
            Event::Datagram(datagram) if datagram.from.is_some() => self.datagrams = true,
            Event::Datagram(_) | Event::Received(_) => self.others = true,
            _ => {}
        }
    }

    /// Fails where a park waits for more though nothing asked for it (`gather` of the plan is unset).
    pub fn judge(&mut self, timeout: Option<Duration>, gather: Duration) {
        if !gather.is_zero() {
            assert!(self.datagrams, "more datagrams are waited for, and none came since the last wait");
            assert!(!self.others, "what is not waited for came since the last wait");
        }
        self.others = false;
        // A park that waits for nothing need not be a turn's choice of how long to wait.
        self.datagrams &= timeout == Some(Duration::ZERO);
    }
}
