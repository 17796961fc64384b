//! The two contracts between a reactor and a service: an inlet, by which a service hands messages in and learns what became of
//! them, and an outlet, by which it gets messages and says what became of them.
//!
//! ```text
//! service ── Feed::offer ──→ Inlet ──→ ledger, route ──→ Outlet ──→ Deliveries ── service
//!         ←─ Feed::verdicts ────────── Origin ←───────── Delivery ←──────────────
//! ```
//! Both ends are on the reactor's thread and share plain cells; a service's tasks sleep on [`Notify`](tokio::sync::Notify), the
//! reactor on its [`Bell`]. Whatever a service does (ends, panics, forgets), what it had in hand is settled by the drop of its
//! tickets. Lives here: the queues between the two. Never here: a reactor, a protocol, a clock.

mod bell;
mod inlet;
mod outlet;

pub use bell::Bell;
pub use inlet::{Feed, Inlet, Offer, Pulled, Tag};
pub use outlet::{Deliveries, Delivery, Letter, Outlet};

#[cfg(test)]
mod tests;
