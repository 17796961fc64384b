//! What a generator's connections report at their end.
//!
//! Lives here: plain figures and their sums. Never here: how they came about.

use std::io;

use serde::Serialize;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It wrote all that was planned, and all of it was acknowledged.
    Finished,
    /// It was stopped, after a whole message.
    Stopped,
    /// The peer sent FIN; it stopped after a whole message.
    PeerClosed,
    /// The peer reset it, or the network failed.
    Reset,
    /// The peer did not read or did not acknowledge in time; the last message may be torn.
    TimedOut,
    /// It never came about.
    Unconnected,
}

impl End {
    pub(super) fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::TimedOut } else { Self::Reset }
    }
}

/// What one connection wrote, and how much of it the receiving host acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Its number within the run.
    pub connection: u32,
    /// Whole messages that our kernel took.
    pub written_messages: u64,
    /// Bytes on the wire that our kernel took.
    pub written_bytes: u64,
    /// Messages whose every byte the peer's TCP acknowledged.
    pub acked_messages: u64,
    /// Bytes that the peer's TCP acknowledged.
    pub acked_bytes: u64,
    /// How it ended.
    pub end: End,
}

/// What a run sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SendReport {
    /// The run that is stamped into its messages.
    pub run: u32,
    /// From the start to the end of the last connection, in microseconds.
    pub micros: u64,
    /// One entry a connection, by number.
    pub connections: Vec<Sent>,
}

impl SendReport {
    /// Whole messages written, over all connections.
    pub fn written_messages(&self) -> u64 {
        self.connections.iter().map(|sent| sent.written_messages).sum()
    }

    /// Messages acknowledged in whole, over all connections.
    pub fn acked_messages(&self) -> u64 {
        self.connections.iter().map(|sent| sent.acked_messages).sum()
    }

    /// Connections that ended in that way.
    pub fn count(&self, end: End) -> usize {
        self.connections.iter().filter(|sent| sent.end == end).count()
    }
}
