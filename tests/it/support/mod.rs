//! Starts what the tests need and ends it again, whatever happens.
//!
//! Lives here: processes and waiting for conditions. Never here: assertions about a behaviour.

pub mod arrivals;
pub mod confine;
pub mod flow;
pub mod foreign;
pub mod hold;
pub mod memory;
pub mod peer;
pub mod port;
pub mod procfs;
pub mod relay;
pub mod sender;
pub mod servers;

use std::path::Path;
use std::time::{Duration, Instant};

use slackwater::load::Place;
use slackwater::message::Framing;

/// No step of any test takes this long; only a hang does.
pub const HANG: Duration = Duration::from_secs(60);

/// A framing as it is written in a URL.
pub fn name_of(framing: Framing) -> &'static str {
    match framing {
        Framing::Line => "line",
        Framing::Octet => "octet",
        Framing::U32 => "u32",
        Framing::Nul => "nul",
        Framing::Datagram => "datagram",
    }
}

/// What messages travel over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    Unix,
    Unixgram,
}

impl Transport {
    pub const ALL: [Transport; 4] = [Transport::Tcp, Transport::Udp, Transport::Unix, Transport::Unixgram];

    pub fn is_datagrams(self) -> bool {
        matches!(self, Transport::Udp | Transport::Unixgram)
    }

    /// A place of this kind, on loopback or in `folder`.
    pub fn place(self, folder: &Path, name: &str) -> Place {
        let any = ([127, 0, 0, 1], 0).into();
        match self {
            Transport::Tcp => Place::Tcp(any),
            Transport::Udp => Place::Udp(any),
            Transport::Unix => Place::Unix(folder.join(name)),
            Transport::Unixgram => Place::Unixgram(folder.join(name)),
        }
    }

    /// The framings that a source or a sink of this kind can have.
    pub fn framings(self) -> &'static [Framing] {
        const ALL: [Framing; 5] =
            [Framing::Line, Framing::Octet, Framing::U32, Framing::Nul, Framing::Datagram];
        if self.is_datagrams() { &ALL } else { &ALL[..4] }
    }
}

/// Waits until `condition` holds; for what has no event to wait for (a figure in /proc, a line in another's file).
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(condition), "never happened: {what}");
}

/// Whether `condition` holds before a test is taken to hang.
pub fn comes_true(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + HANG;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
