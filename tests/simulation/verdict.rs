//! What is right: after each run, with what both ends know.
//!
//! Lives here: the checks. Never here: what happened (`world` knows).

use std::collections::{BTreeMap, BTreeSet};

use slackwater::config::plan::{Balance, Confirm, Overflow, Target};
use slackwater::reactor::Books;

use crate::plan::Relay;
use crate::world::{DATAGRAM, World};

/// Checks everything; panics with what is wrong.
pub fn check(relay: &Relay, world: &World, books: &Books, leased: usize) {
    check_books(relay, world, books);
    check_intake(relay, world, books);
    check_delivery(relay, world, books);
    check_order(relay, world);
    assert_eq!(world.left_in_flight, 0, "operations are left in flight");
    assert_eq!(leased, 0, "buffers are leaked");
    assert_eq!(world.open_descriptors(), 0, "descriptors are leaked");
    for source in &relay.sources {
        let free = (0..source.plan.max_connections).take_while(|_| source.seats.take()).count();
        assert_eq!(free, source.plan.max_connections, "seats are not given back");
        if let Some(limit) = source.plan.max_connections_per_client {
            for client in (1..=3).map(|last| std::net::IpAddr::from([127, 0, 0, last])) {
                let free = (0..limit).take_while(|_| source.seats.admit(client)).count();
                assert_eq!(free, limit, "a client's connections are still counted");
            }
        }
    }
}

fn check_books(relay: &Relay, world: &World, books: &Books) {
    for totals in std::iter::once(&books.totals).chain(&books.sources).chain(&books.sinks) {
        assert!(totals.balances() && totals.in_flight == 0, "out of balance: {totals:?}");
    }
    let received: u64 = books.sources.iter().map(|source| source.received).sum();
    assert_eq!(received, books.totals.received);
    if !world.expired {
        assert_eq!(books.totals.abandoned, 0, "abandoned before the deadline: {books:?}");
    }
    for (sink, totals) in relay.sinks.iter().zip(&books.sinks) {
        let may_fail = relay.sources.iter().any(|source| source.plan.overflow == Overflow::DropNewest);
        let is_datagrams = matches!(sink.plan.target, Target::Udp(_) | Target::Unixgram(_));
        assert!(totals.failed == 0 || may_fail || is_datagrams, "failed for no reason: {totals:?}");
    }
}

/// What was acknowledged was read, and what was read was received.
fn check_intake(relay: &Relay, world: &World, books: &Books) {
    for (index, source) in relay.sources.iter().enumerate() {
        let mut expected = 0;
        for sender in world.senders.iter().filter(|sender| sender.source == index) {
            if source.is_datagrams() {
                expected += sender.taken_datagrams.len() as u64;
                continue;
            }
            if !sender.reset {
                assert_eq!(sender.read, sender.taken.len(), "acknowledged and never read");
            }
            let read = &sender.taken[..sender.read];
            let whole = read.iter().filter(|byte| **byte == b'\n').count() as u64;
            let rest = u64::from(sender.read_finish && read.last().is_some_and(|byte| *byte != b'\n'));
            expected += whole + rest;
        }
        assert_eq!(books.sources[index].received, expected, "source {index}: {:?}", books.sources[index]);
    }
    assert_eq!(books.totals.kernel_drops, u64::from(world.kernel_drops));
}

/// Every message, by its text, of one sink's endpoints.
fn arrived(world: &World, sink: usize) -> Vec<Vec<&[u8]>> {
    let of_sink = world.endpoints.iter().filter(|endpoint| endpoint.sink == sink);
    of_sink.map(|endpoint| endpoint.arrived.iter().map(Vec::as_slice).collect()).collect()
}

fn check_delivery(relay: &Relay, world: &World, books: &Books) {
    for (index, sink) in relay.sinks.iter().enumerate() {
        let totals = &books.sinks[index];
        if let Target::File(_) = sink.plan.target {
            let lines = world.files[0].iter().filter(|byte| **byte == b'\n').count() as u64;
            assert!(lines >= totals.delivered, "{lines} lines, {totals:?}");
            assert!(world.expired || lines == totals.delivered);
            continue;
        }
        let by_endpoint = arrived(world, index);
        let sets: Vec<BTreeSet<&[u8]>> =
            by_endpoint.iter().map(|all| all.iter().copied().collect()).collect();
        let whole = match sink.plan.balance {
            Balance::Copy => sets.iter().skip(1).fold(sets[0].clone(), |both, set| &both & set),
            Balance::Spread | Balance::Failover | Balance::Hash(_) => {
                sets.iter().flatten().copied().collect()
            }
        };
        // What our kernel took and a broken connection lost was delivered at that level.
        let may_lose = sink.plan.confirm == Confirm::Written && world.breaks > 0;
        if !may_lose {
            assert!(
                whole.len() as u64 >= totals.delivered,
                "sink {index}: {} arrived of {totals:?}",
                whole.len()
            );
        }
        let count: usize = by_endpoint.iter().map(Vec::len).sum();
        let distinct: usize = match sink.plan.balance {
            Balance::Copy => sets.iter().map(BTreeSet::len).sum(),
            Balance::Spread | Balance::Failover | Balance::Hash(_) => whole.len(),
        };
        assert!(
            count == distinct || world.breaks > 0,
            "sink {index}: {count} arrived, {distinct} of them different"
        );
        let too_long = whole.iter().any(|message| message.len() > DATAGRAM);
        assert!(!too_long || !matches!(sink.plan.target, Target::Udp(_) | Target::Unixgram(_)));
    }
}

/// The first arrival of a message comes after that of every earlier one of its sender, wherever the order is promised.
fn check_order(relay: &Relay, world: &World) {
    for (index, sink) in relay.sinks.iter().enumerate() {
        let by_key = matches!(sink.plan.balance, Balance::Hash(_));
        for endpoint in world.endpoints.iter().filter(|endpoint| endpoint.sink == index) {
            let mut last: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for message in &endpoint.arrived {
                let Some((key, sender, sequence)) = named(message) else { continue };
                if !seen.insert((sender, sequence)) {
                    continue;
                }
                let stream = (if by_key { key } else { 0 }, sender);
                let before = last.insert(stream, sequence);
                assert!(
                    before.is_none_or(|before| before < sequence),
                    "sink {index}: {sequence} after {before:?} of {sender}"
                );
            }
        }
    }
}

/// `k3 s1 #42 …`: key, sender, number.
fn named(message: &[u8]) -> Option<(u32, u32, u32)> {
    let text = std::str::from_utf8(message).ok()?;
    let mut words = text.split(' ');
    let key = words.next()?.strip_prefix('k')?.parse().ok()?;
    let sender = words.next()?.strip_prefix('s')?.parse().ok()?;
    let sequence = words.next()?.strip_prefix('#')?.parse().ok()?;
    Some((key, sender, sequence))
}
