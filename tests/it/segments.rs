//! Datagrams that leave several in one call, where the network does not cut them.
//!
//! Lives here: packets that are too short for that. Never here: what a datagram says (`garbage`), sinks that break (`local_faults`).

use serde_json::Value;

use crate::support::confine::in_a_network_of_its_own;

/// Several datagrams leave in one call, unless they are longer than a packet: on loopback with the packets of an Ethernet, in a
/// network namespace of its own.
#[test]
fn datagrams_longer_than_a_packet_are_sent_all_the_same() {
    let (relay, load) = (env!("CARGO_BIN_EXE_slackwater"), env!("CARGO_BIN_EXE_slackload"));
    let script = format!(
        "ip link set lo up mtu 1500
         {load} sink --listen udp://127.0.0.1:5514 --expect 20 --idle-exit 5s --json & sink=$!
         until ss -lun | grep -q :5514; do :; done
         {relay} run --from tcp://127.0.0.1:5140 --to udp://127.0.0.1:5514 & relay=$!
         until {load} send --to tcp://127.0.0.1:5140 --messages 20 --size 4000 --patience 1s; do :; done
         wait $sink; seen=$?; kill -TERM $relay; wait $relay && exit $seen"
    );
    let output = in_a_network_of_its_own(&script);
    let report: Value = serde_json::from_slice(&output.stdout).expect("the sink's report");
    let seen =
        (output.status.code(), report["tally"]["messages"].as_u64(), report["tally"]["bytes"].as_u64());
    assert_eq!(seen, (Some(0), Some(20), Some(80_000)), "{report}");
}
