//! What several receivers got of what a generator sent.
//!
//! Lives here: the comparison over more than one report; one report compares itself. Never here: who should have got what.

use slackwater::load::{Report, SendReport};

/// How many messages were acknowledged to their senders and came to none of these receivers.
pub fn missing_everywhere(sent: &SendReport, reports: &[Report]) -> u64 {
    let of = |connection: u32, acked: u64| {
        let [first, others @ ..] = reports else { return acked };
        let others: Vec<_> =
            others.iter().map(|report| numbers(report, sent.run, connection, acked)).collect();
        let here = numbers(first, sent.run, connection, acked);
        let nowhere =
            here.iter().filter(|number| others.iter().all(|other| other.binary_search(number).is_ok()));
        nowhere.count() as u64
    };
    sent.connections.iter().map(|one| of(one.connection, one.acked_messages)).sum()
}

/// The numbers below `acked` that one receiver did not get, ascending.
fn numbers(report: &Report, run: u32, connection: u32, acked: u64) -> Vec<u64> {
    let Some(stream) = report.stream(run, connection) else { return (0..acked).collect() };
    let gaps = stream.gaps.iter().flat_map(|gap| gap.clone());
    gaps.chain(stream.highest + 1..acked).filter(|number| *number < acked).collect()
}
