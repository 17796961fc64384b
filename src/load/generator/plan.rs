//! What the generator is to do.
//!
//! Lives here: the plan, its defaults, and the check that it can be carried out. Never here: sockets, threads.

use std::io;
use std::time::Duration;

use crate::limits::{LOAD_PATIENCE_DEFAULT, MAX_MESSAGE_MAX};
use crate::load::place::Place;
use crate::load::stamp::Stamp;
use crate::message::Framing;

/// Connections, how many messages they write, and in what manner.
#[derive(Clone, Debug)]
pub struct SendPlan {
    /// Stamped into every message.
    pub run: u32,
    /// Where to connect to.
    pub to: Place,
    /// Connections, 1 to [`Stamp::CONNECTIONS`], over at most [`LOAD_THREADS_MAX`](crate::limits::LOAD_THREADS_MAX) threads. Each connects
    /// all of its own before it writes, but none waits for another: of a short run some may end before others open.
    pub connections: u32,
    /// Messages after which a connection has finished; `None` leaves that to `duration` or to a stop.
    pub messages_per_connection: Option<u64>,
    /// Time after which a connection has finished, from when it could write.
    pub duration: Option<Duration>,
    /// Payload of each message in bytes, [`Stamp::LEN`] to [`MAX_MESSAGE_MAX`].
    pub size: usize,
    /// How messages are told apart on the wire.
    pub framing: Framing,
    /// How they are divided into writes.
    pub style: Style,
    /// What each socket may hold in our kernel, in bytes: `SO_SNDBUF` of socket(7), of which the kernel makes twice as much. `None`
    /// leaves it to the kernel, which lets a TCP connection have up to `net.ipv4.tcp_wmem` (4 MiB by default).
    pub send_buffer: Option<usize>,
    /// Whether a connection stops writing when its peer sends FIN, as it should; else only a reset ends it.
    pub heeds_fin: bool,
    /// How long a connection waits for its peer (to accept, to read, to acknowledge) before it ends as timed out.
    pub patience: Duration,
}

/// Longest message that a datagram takes in any framing (RFC 768), rounded down.
const DATAGRAM_SIZE_MAX: usize = 65_000;

/// How messages are divided into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As many whole messages a write as fit into 64 KiB.
    Bulk,
    /// One message a write.
    Single,
    /// Messages at their due times, evenly spread; in one write only what is due at once.
    Paced {
        /// Messages a second, over all connections.
        per_second: u64,
    },
    /// Writes of a random length up to that of a message, so that most messages are split.
    Dribble,
}

/// Why a plan cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message size is out of its range.
    #[error("a message of {0} bytes cannot be sent: choose {min} to {MAX_MESSAGE_MAX}", min = Stamp::LEN)]
    Size(usize),
    /// The number of connections is out of its range.
    #[error("{0} connections cannot be told apart: choose 1 to {max}", max = Stamp::CONNECTIONS)]
    Connections(u32),
    /// A connection would run out of numbers.
    #[error("{0} messages of a connection cannot be told apart: choose at most {max}", max = Stamp::SEQUENCES)]
    Messages(u64),
    /// A rate of nothing never sends.
    #[error("a rate of 0 messages a second never sends: choose at least 1")]
    Rate,
    /// Pieces of messages, or messages longer than a datagram, cannot travel in datagrams.
    #[error("{0}")]
    Datagram(&'static str),
    /// Whole datagrams cannot travel in a stream.
    #[error(
        "messages without a delimiter or count run together on a stream: choose another framing than datagram"
    )]
    Stream,
    /// The system refused a thread or a descriptor.
    #[error("cannot start the generator: {0}")]
    Io(#[from] io::Error),
}

impl SendError {
    /// Whether the plan itself is at fault, whoever would carry it out.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Size(_) | Self::Connections(_) | Self::Messages(_) => true,
            Self::Rate | Self::Datagram(_) | Self::Stream => true,
            Self::Io(_) => false,
        }
    }
}

impl SendPlan {
    /// One connection to `to` that writes lines of 256 bytes in bulk until it is stopped, under a random run.
    pub fn new(to: impl Into<Place>) -> Self {
        Self {
            run: fastrand::u32(..),
            to: to.into(),
            connections: 1,
            messages_per_connection: None,
            duration: None,
            size: 256,
            framing: Framing::Line,
            style: Style::Bulk,
            send_buffer: None,
            heeds_fin: true,
            patience: LOAD_PATIENCE_DEFAULT,
        }
    }

    /// Messages after which a connection must end: its share, or all numbers that there are.
    pub(super) fn message_limit(&self) -> u64 {
        self.messages_per_connection.unwrap_or(Stamp::SEQUENCES)
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// [`SendError`], which names what cannot.
    pub fn check(&self) -> Result<(), SendError> {
        if !(Stamp::LEN..=MAX_MESSAGE_MAX).contains(&self.size) {
            return Err(SendError::Size(self.size));
        }
        if !(1..=Stamp::CONNECTIONS).contains(&self.connections) {
            return Err(SendError::Connections(self.connections));
        }
        if self.message_limit() > Stamp::SEQUENCES {
            return Err(SendError::Messages(self.message_limit()));
        }
        if self.to.is_datagrams() && self.style == Style::Dribble {
            return Err(SendError::Datagram(
                "a datagram cannot be sent in pieces: choose another style than dribble",
            ));
        }
        if self.to.is_datagrams() && self.size > DATAGRAM_SIZE_MAX {
            return Err(SendError::Datagram(
                "a message of more than 65000 bytes fits into no datagram: choose a shorter one",
            ));
        }
        if !self.to.is_datagrams() && self.framing == Framing::Datagram {
            return Err(SendError::Stream);
        }
        if self.style == (Style::Paced { per_second: 0 }) {
            return Err(SendError::Rate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> SendPlan {
        SendPlan::new(std::net::SocketAddr::from(([127, 0, 0, 1], 9)))
    }

    #[test]
    fn the_smallest_size_is_the_stamp() {
        assert!(SendPlan { size: Stamp::LEN, ..plan() }.check().is_ok());
        let error = SendPlan { size: Stamp::LEN - 1, ..plan() }.check().unwrap_err();
        assert!(error.to_string().contains("choose 53 to 16777216"), "{error}");
    }

    #[test]
    fn what_could_not_be_told_apart_is_refused() {
        assert!(SendPlan { connections: 0, ..plan() }.check().is_err());
        assert!(SendPlan { connections: Stamp::CONNECTIONS + 1, ..plan() }.check().is_err());
        assert!(SendPlan { messages_per_connection: Some(Stamp::SEQUENCES + 1), ..plan() }.check().is_err());
        assert!(SendPlan { style: Style::Paced { per_second: 0 }, ..plan() }.check().is_err());
    }
}
