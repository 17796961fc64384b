//! The built programs against real peers: one file a behaviour.
//!
//! Lives here: the list. What a test needs to start a relay, a peer or a fault is in `support`.

#![expect(
    clippy::print_stdout,
    reason = "what a test measured, and the seed that replays it, are for its reader"
)]

/// Relays, peers and faults for the tests.
mod support;

/// More connections than most, and more than there is room for.
mod crowd;
/// The demonstration.
mod demo;
/// The commented examples.
mod examples;
/// Busy senders against sinks that are slow or take nothing.
mod fairness;
/// Sinks that close, reset, stall or are not there.
mod faults;
/// Programs of others, over every transport.
mod foreign_senders;
/// A message's way with nothing in between.
mod forward;
/// A disk without room.
mod full_disk;
/// A drain that begins with everything full.
mod full_drain;
/// Input that is no messages.
mod garbage;
/// A relay with nothing to do.
mod idle;
/// A sink that is killed and comes back.
mod killed;
/// What the built `slackload` says and how it ends.
mod load;
/// Receivers on unix sockets and over UDP that fail.
mod local_faults;
/// Standard output and files.
mod local_sinks;
/// Who may come, how many, for how long; no room.
mod manners;
/// Every transport and framing to every other.
mod matrix;
/// What waits, in whatever form it comes, and the memory that it takes.
mod memory_bound;
/// Two endpoints, of which one or both fail.
mod ordeals;
/// From and to programs of others.
mod peers;
/// The commands of the README.
mod readme;
/// Which sink and which endpoint a message goes to.
mod routing;
/// Datagrams longer than a packet.
mod segments;
/// The servers that services are tested against.
mod servers;
/// Queues and services.
mod services;
/// A short drain against a long linger.
mod short_drain;
/// What each signal does, whenever it comes.
mod signals;
/// A sink that resets in the middle of a send.
mod sink_resets;
/// Life after life.
mod soak;
/// A terminal that takes nothing.
mod stalled_terminal;
/// What keeps a relay from starting, and what it says then.
mod start;
/// SIGTERM at any moment, with all kinds of senders.
mod storm;
/// Messages that were never whole.
mod torn;
/// SIGTERM at any moment, between all transports under all rules.
mod weather;
