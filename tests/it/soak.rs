//! Lives of a relay, one after another: steady load, faults at its sink, TERM in full flow, start again.
//!
//! Lives here: that nothing grows from flow to flow, and that every life ends with its books closed. Never here: a single fault's
//! own tests (`faults`, `storm`, `weather`). `scripts/soak` makes it last an hour; `SLACKWATER_SOAK_SEED` replays its choices.

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use fastrand::Rng;
use slackwater::load::{self, Place, Report, SendPlan, SendReport, SinkHandle, Style};
use slackwater::message::Framing;

use crate::support::relay::{Order, Relay};
use crate::support::{HANG, eventually};

/// How long it lasts as one test among others.
const USUAL: Duration = Duration::from_secs(10);
/// Memory that later lives may have more at rest than earlier ones: what a stall that only they had may leave (`max_in_flight`).
const LEEWAY_KIB: u64 = 32 * 1024;

/// Descriptors that the relay has open.
fn descriptors(relay: &Relay) -> usize {
    fs::read_dir(format!("/proc/{}/fd", relay.pid())).expect("it runs").count()
}

/// Waits until nothing is in flight and every descriptor of the flow is closed again; the memory that is resident then, in KiB.
fn rest(relay: &Relay, descriptors_before: usize) -> u64 {
    eventually("nothing is in flight", || relay.book("in_flight") == 0);
    eventually("no descriptor stays", || descriptors(relay) == descriptors_before);
    relay.proc_status("VmRSS")
}

fn plan(relay: &Relay, rng: &mut Rng, messages: Option<u64>) -> SendPlan {
    let style =
        [Style::Bulk, Style::Single, Style::Dribble, Style::Paced { per_second: 50_000 }][rng.usize(..4)];
    let connections = rng.u32(1..=16);
    let size = rng.usize(64..=2000);
    SendPlan { connections, size, style, messages_per_connection: messages, ..SendPlan::new(relay.address()) }
}

/// A fault at the sink that loses nothing of what it had acknowledged.
fn trouble(sink: &SinkHandle, rng: &mut Rng) {
    match rng.u32(..4) {
        0 => {
            sink.stall();
            let before = sink.tally().messages;
            assert!(!sink.wait_for(u64::MAX, Duration::from_millis(rng.u64(20..200))));
            assert_eq!(sink.tally().messages, before, "a stalled sink reads nothing");
            sink.resume();
        }
        1 => sink.cut_all(),
        2 => sink.close_all(),
        _ => {}
    }
}

/// One life: flows, each with trouble in it, and a TERM in the midst of the last. What was sent in it, and the memory at its rests.
fn live(sink: &SinkHandle, rng: &mut Rng) -> (Vec<SendReport>, Vec<u64>) {
    let cores = ["1", "2"][rng.usize(..2)];
    let relay = Order::tcp("", &sink.place().to_string())
        .args(&["--cores", cores, "--max-in-flight", "16MiB"])
        .start();
    let descriptors_before = descriptors(&relay);
    let (mut sent, mut rests) = (Vec::new(), Vec::new());
    for _ in 0..rng.usize(2..5) {
        let messages = rng.u64(500..5_000);
        let sending = load::start(plan(&relay, rng, Some(messages))).expect("a plan that can be sent");
        trouble(sink, rng);
        sent.push(sending.finish());
        rests.push(rest(&relay, descriptors_before));
    }
    let sending = load::start(plan(&relay, rng, None)).expect("a plan that can be sent");
    eventually("it flows", || sending.written_messages() > 100);
    let end = relay.terminate();
    sending.stopper().stop();
    sent.push(sending.finish());
    end.assert_balanced();
    assert_eq!((end.code(), end.book("abandoned"), end.book("in_flight")), (0, 0, 0));
    (sent, rests)
}

#[test]
fn nothing_grows_and_nothing_is_lost_in_life_after_life() {
    let seconds = env::var("SLACKWATER_SOAK_SECONDS").ok().map(|text| text.parse().expect("seconds"));
    let duration = seconds.map_or(USUAL, Duration::from_secs);
    let seed = env::var("SLACKWATER_SOAK_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("a seed"));
    println!("SLACKWATER_SOAK_SEED={seed}");
    let (mut rng, begun) = (Rng::with_seed(seed), Instant::now());
    let (mut sent, mut rests, mut lives): (Vec<SendReport>, Vec<u64>, u32) = (Vec::new(), Vec::new(), 0);
    let (mut messages, mut sink) = (0, listen());
    while begun.elapsed() < duration {
        let (of_this, at_rest) = live(&sink, &mut rng);
        let acknowledged: u64 = of_this.iter().map(SendReport::acked_messages).sum();
        (lives, messages) = (lives + 1, messages + acknowledged);
        sent.extend(of_this);
        rests.extend(at_rest);
        println!("life {lives}: {acknowledged} messages, at rest {:?} KiB", rests.last());
        // A sink for many lives would keep the numbers of them all.
        if lives % 50 == 0 {
            verify(std::mem::replace(&mut sink, listen()), &std::mem::take(&mut sent));
        }
    }
    verify(sink, &sent);
    let (early, late) = rests.split_at(rests.len().div_ceil(2));
    assert!(
        late.iter().max() <= early.iter().max().map(|most| most + LEEWAY_KIB).as_ref(),
        "memory grows: {rests:?}"
    );
    println!("{lives} lives, {messages} messages in {:.0?}", begun.elapsed());
}

fn listen() -> SinkHandle {
    load::listen(Place::loopback(), Framing::Line).expect("loopback")
}

fn verify(sink: SinkHandle, sent: &[SendReport]) {
    assert!(sink.wait_for(sent.iter().map(SendReport::acked_messages).sum(), HANG), "{:?}", sink.tally());
    let report: Report = sink.finish();
    let lost: u64 = sent.iter().map(|one| report.lost(one)).sum();
    assert_eq!((lost, report.tally.holes, report.tally.misframed), (0, 0, 0), "{:?}", report.tally);
}
