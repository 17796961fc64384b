//! Starts what the tests need and ends it again, whatever happens.
//!
//! Lives here: processes and waiting for conditions. Never here: assertions about a behaviour.

pub mod confine;
pub mod foreign;
pub mod hold;
pub mod peer;
pub mod port;
pub mod procfs;
pub mod relay;
pub mod sender;

use std::time::{Duration, Instant};

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

/// Waits until `condition` holds; for what has no event to wait for (a figure in /proc, a line in another's file).
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
