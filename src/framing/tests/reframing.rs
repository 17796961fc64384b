//! Any framing to any other, and what can be asked of a run.

use proptest::prelude::*;

use super::super::checks::{carried, encode, feed_all, feed_datagram, payloads_of, wire};
use super::super::{Frame, Framer, Oversize, Whole, frames, payloads, reframe, slices, whole_prefix};
use super::*;
use crate::message::Run;

/// Runs of messages with any content, split anyhow, and those messages.
fn any_runs(framing: Framing) -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Run>)> {
    let messages = prop::collection::vec(any_payload(b"ab\n\n\r\0 "), 1..12);
    (messages, any_cuts()).prop_map(move |(messages, cuts)| {
        let messages: Vec<_> = messages.iter().map(|message| carried(message, framing)).collect();
        let runs = runs_of(framing, &messages, &cuts);
        (messages, runs)
    })
}

fn runs_of(framing: Framing, messages: &[Vec<u8>], cuts: &[Index]) -> Vec<Run> {
    let bounds = bounds(64, Oversize::Close);
    if framing == Framing::Datagram {
        let mut framer = Framer::new(framing, bounds);
        return messages.iter().flat_map(|message| feed_datagram(&mut framer, message, false).0).collect();
    }
    feed_all(framing, bounds, &split(&encode(framing, messages), cuts)).0
}

fn all_payloads(runs: &[Run]) -> Vec<Vec<u8>> {
    runs.iter().flat_map(payloads_of).collect()
}

proptest! {
    #[test]
    fn any_message_stays_one_message_in_any_framing(
        (messages, runs) in any_framing().prop_flat_map(any_runs), to in select(STREAMS.to_vec()),
    ) {
        let reframed: Vec<_> = runs.iter().map(|run| reframe(run.clone(), to)).collect();
        for (before, after) in runs.iter().zip(&reframed) {
            prop_assert_eq!((after.messages, after.framing), (before.messages, to));
        }
        let expected: Vec<_> = messages.iter().map(|message| carried(message, to)).collect();
        prop_assert_eq!(&all_payloads(&reframed), &expected);
        let wires: Vec<_> = reframed.iter().map(wire).collect();
        prop_assert_eq!(wires.concat(), encode(to, &expected));
    }

    #[test]
    fn what_travels_everywhere_comes_back_as_it_was(
        from in any_framing(), to in select(STREAMS.to_vec()), messages in any_messages(), cuts in any_cuts(),
    ) {
        for run in runs_of(from, &messages, &cuts) {
            let there = reframe(run.clone(), to);
            prop_assert_eq!(payloads(&there).collect::<Vec<_>>(), payloads(&run).collect::<Vec<_>>());
            let back = reframe(there, from);
            prop_assert_eq!(payloads(&back).collect::<Vec<_>>(), payloads(&run).collect::<Vec<_>>());
            if from != Framing::Datagram || run.messages == 1 {
                prop_assert_eq!((back.framing, wire(&back)), (run.framing, wire(&run)));
            }
        }
    }

    #[test]
    fn frames_and_slices_agree_with_payloads((messages, runs) in any_framing().prop_flat_map(any_runs)) {
        let mut found = Vec::new();
        for run in &runs {
            let mut at = 0;
            for Frame { wire: on_wire, payload } in frames(run) {
                prop_assert_eq!(on_wire.start, at);
                at = on_wire.end;
                let (head, body) = slices(run, payload);
                found.push([&head[..], &body].concat());
                let (head, body) = slices(run, on_wire);
                prop_assert_eq!([&head[..], &body].concat(), encode(run.framing, &found[found.len() - 1..]));
            }
            prop_assert_eq!(at, run.wire_len());
        }
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn whole_prefix_is_what_a_count_gives((_, runs) in any_framing().prop_flat_map(any_runs)) {
        for run in &runs {
            let mut whole = Whole::default();
            let mut ends = payloads(run).scan(0, |end, payload| {
                *end += encode(run.framing, &[payload.into_owned()]).len();
                Some(*end)
            }).peekable();
            for bytes in 0..=run.wire_len() + 2 {
                while let Some(end) = ends.next_if(|&end| end <= bytes) {
                    whole = Whole { bytes: end, messages: whole.messages + 1 };
                }
                prop_assert_eq!(whole_prefix(run, bytes), whole);
            }
        }
    }
}

fn one_run(framing: Framing, texts: &[&str]) -> Run {
    let messages: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let (mut runs, _) = feed_all(framing, bounds(9, Oversize::Close), &[&encode(framing, &messages)]);
    runs.pop().expect("a run")
}

#[test]
fn what_cannot_travel_in_a_line_is_made_to() {
    for from in [Framing::Octet, Framing::U32, Framing::Nul] {
        let run = one_run(from, &["abc\n", "abc\r\n", "a\nb", "\n", "\r\n", "\n\n", "abc\n\n", "abc\r"]);
        let lines = reframe(run, Framing::Line);
        assert_eq!(wire(&lines), b"abc\nabc\na b\n \n \n \nabc \nabc\n");
        assert_eq!(lines.messages, 8);
    }
}

#[test]
fn a_nul_is_a_space_in_a_nul_terminated_message() {
    for from in [Framing::Octet, Framing::U32, Framing::Line] {
        let run = reframe(one_run(from, &["a\0b", "\0", "ab\0", "c"]), Framing::Nul);
        assert_eq!((&wire(&run)[..], run.messages), (&b"a b\0 \0ab \0c\0"[..], 4));
    }
}

#[test]
fn a_run_of_one_message_becomes_a_datagram_without_a_copy() {
    for from in STREAMS {
        let run = one_run(from, &["ab\0c"].map(|text| if from == Framing::Nul { "abc" } else { text }));
        let datagram = reframe(run.clone(), Framing::Datagram);
        let payload = frames(&run).next().unwrap().payload;
        assert_eq!(datagram.body.as_ptr(), run.body[payload].as_ptr());
        assert_eq!((datagram.framing, datagram.messages), (Framing::Datagram, 1));
        assert!(datagram.head.is_empty());
    }
}

#[test]
fn a_message_that_spans_two_receives_becomes_one_datagram() {
    for (from, pieces) in [(Framing::Line, [&b"ab"[..], b"c\n"]), (Framing::Octet, [b"3 a", b"bc"])] {
        let (runs, _) = feed_all(from, bounds(9, Oversize::Close), &pieces);
        let datagram = reframe(runs[0].clone(), Framing::Datagram);
        assert_eq!((&datagram.head[..], &datagram.body[..]), (&b""[..], &b"abc"[..]));
    }
    // All of the payload is in the head.
    let (runs, _) = feed_all(Framing::Nul, bounds(9, Oversize::Close), &[b"abc", b"\0"]);
    let datagram = reframe(runs[0].clone(), Framing::Datagram);
    assert_eq!((datagram.body.as_ptr(), &datagram.body[..]), (runs[0].head.as_ptr(), &b"abc"[..]));
}

#[test]
fn a_run_of_several_messages_does_not_become_a_datagram() {
    let run = one_run(Framing::Line, &["a", "b"]);
    let same = reframe(run.clone(), Framing::Datagram);
    assert_eq!((same.framing, same.messages, same.body.as_ptr()), (Framing::Line, 2, run.body.as_ptr()));
}

#[test]
fn slices_share_the_bytes_of_the_run() {
    let (runs, _) = feed_all(Framing::Line, bounds(9, Oversize::Close), &[b"ab", b"cd\nef\n"]);
    let run = &runs[0];
    let (head, body) = slices(run, 1..3);
    assert_eq!((&head[..], &body[..]), (&b"b"[..], &b"c"[..]));
    assert_eq!((head.as_ptr(), body.as_ptr()), (run.head[1..].as_ptr(), run.body.as_ptr()));
    let (head, body) = slices(run, 5..7);
    assert_eq!((&head[..], &body[..]), (&b""[..], &b"ef"[..]));
    let (head, body) = slices(run, 0..2);
    assert_eq!((&head[..], &body[..]), (&b"ab"[..], &b""[..]));
}
