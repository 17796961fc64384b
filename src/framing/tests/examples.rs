//! What the framers make of a connection's bytes, by examples.

use bytes::Bytes;

use super::super::checks::feed_all;
use super::super::{Framer, FramingError, SourceFraming, Tally, reframe};
use super::*;

fn payloads_of(framing: Framing, bounds: Bounds, input: &[u8]) -> (Vec<String>, Tally) {
    let outcome = feed_all(framing, bounds, &[input]).1;
    assert_eq!((outcome.error, outcome.torn), (None, false));
    let text = outcome.payloads.into_iter().map(|payload| String::from_utf8(payload).unwrap()).collect();
    (text, outcome.tally)
}

fn error_of(framing: impl Into<SourceFraming>, bounds: Bounds, input: &[u8]) -> Option<FramingError> {
    feed_all(framing, bounds, &[input]).1.error
}

#[test]
fn crlf_and_empty_lines_leave_only_messages() {
    let (found, _) =
        payloads_of(Framing::Line, bounds(9, Oversize::Close), b"\na\r\n\r\n\n\r\r\nb\rc\r\r\n\0\n");
    assert_eq!(found, ["a", "b\rc", "\0"]);
}

#[test]
fn a_last_line_without_lf_is_a_message_at_fin() {
    for input in [&b"a\nbc"[..], b"a\nbc\r"] {
        let (found, _) = payloads_of(Framing::Line, bounds(2, Oversize::Close), input);
        assert_eq!(found, ["a", "bc"]);
    }
}

#[test]
fn a_line_of_exactly_the_bound_is_whole() {
    for oversize in POLICIES {
        let (found, tally) = payloads_of(Framing::Line, bounds(4, oversize), b"abcd\nabcd\r\nabcd");
        assert_eq!((found.len(), tally), (3, Tally::default()));
    }
}

#[test]
fn one_byte_more_is_truncated_dropped_or_closes() {
    for (framing, input, at_least) in [
        (Framing::Line, &b"ab\nabcde\nc\n"[..], 5),
        (Framing::Line, b"ab\r\nabcde\r\nc", 5),
        (Framing::Octet, b"2 ab5 abcde1 c", 5),
        (Framing::Nul, b"ab\0abcde\0c\0", 5),
        (Framing::Nul, b"ab\0abcde\0c", 5),
        (Framing::U32, b"\0\0\0\x02ab\0\0\0\x05abcde\0\0\0\x01c", 5),
    ] {
        let (found, tally) = payloads_of(framing, bounds(4, Oversize::Truncate), input);
        assert_eq!(
            (found, tally),
            (["ab", "abcd", "c"].map(String::from).into(), Tally { truncated: 1, dropped: 0 })
        );
        let (found, tally) = payloads_of(framing, bounds(4, Oversize::Drop), input);
        assert_eq!(
            (found, tally),
            (["ab", "c"].map(String::from).into(), Tally { truncated: 0, dropped: 1 })
        );
        let outcome = feed_all(framing, bounds(4, Oversize::Close), &[input]).1;
        assert_eq!(outcome.payloads, [b"ab"]);
        assert_eq!(outcome.error, Some(FramingError::Oversize { len: at_least, max: 4 }));
    }
}

#[test]
fn an_excess_closes_at_its_first_certain_byte() {
    for (framing, allowed, last) in [
        (Framing::Line, &b"abcd\r"[..], b"x"),
        (Framing::Nul, b"abcd", b"x"),
        (Framing::Octet, b"5", b" "),
        (Framing::U32, b"\0\0\0", b"\x05"),
    ] {
        let mut framer = Framer::new(framing, bounds(4, Oversize::Close));
        let mut runs = Vec::new();
        assert_eq!(framer.feed(Bytes::from_static(allowed), &mut runs), Ok(()));
        let mistake = framer.feed(Bytes::from_static(last), &mut runs).unwrap_err();
        assert_eq!(mistake.reason(), "oversize");
    }
}

#[test]
fn a_line_truncated_to_nothing_is_dropped() {
    let (found, tally) = payloads_of(Framing::Line, bounds(2, Oversize::Truncate), b"\r\rab\nab\n");
    assert_eq!((found, tally), (vec!["ab".to_owned()], Tally { truncated: 0, dropped: 1 }));
}

#[test]
fn bad_counts_are_noticed_at_their_first_wrong_byte() {
    for (input, excerpt) in [
        ("05 x", "0"),
        ("0 ", "0"),
        ("abc x", "a"),
        ("12x", "12x"),
        (" 1 x", " "),
        ("-1 x", "-"),
        ("1\n", "1\\n"),
        ("99999999999999999999", "9999999999"),
        ("4000000000 x", "4000000000"),
    ] {
        let whole = error_of(Framing::Octet, bounds(9, Oversize::Truncate), input.as_bytes()).unwrap();
        assert_eq!(whole, FramingError::BadCount { excerpt: excerpt.to_owned() });
        assert_eq!(whole.reason(), "bad_count");
        assert!(whole.to_string().contains(excerpt));
        let certain = input.len().min(excerpt.replace('\\', "").len());
        let good = &input.as_bytes()[..certain - 1];
        assert_eq!(error_of(Framing::Octet, bounds(9, Oversize::Truncate), good), None);
    }
}

#[test]
fn half_a_frame_is_torn_at_fin() {
    let octets = [&b"5"[..], b"5 ", b"5 abcd", b"3 abc5 a", b"99 a"].map(|input| (Framing::Octet, input));
    let u32s = [&b"\0"[..], b"\0\0\0\x05", b"\0\0\0\0\0", b"\0\0\0\x63a"].map(|input| (Framing::U32, input));
    for (framing, input) in octets.into_iter().chain(u32s) {
        for oversize in [Oversize::Truncate, Oversize::Drop] {
            let (_, outcome) = feed_all(framing, bounds(9, oversize), &[input]);
            assert!(outcome.torn, "{input:?}");
            assert_eq!(outcome.tally, Tally::default());
        }
    }
}

#[test]
fn canonical_input_is_passed_on_without_a_copy() {
    for (framing, beginning, input) in [
        (Framing::Line, &b"ab"[..], &b"c\nd\nefg\nhi"[..]),
        (Framing::Nul, b"ab", b"c\0d\0efg\0hi"),
        (Framing::Octet, b"3 a", b"bc3 efg1 h12 i"),
        (Framing::U32, b"\0\0\0\x03a", b"bc\0\0\0\x03efg\0\0\0\x01h\0\0\0"),
    ] {
        let mut framer = Framer::new(framing, bounds(64, Oversize::Close));
        let mut runs = Vec::new();
        framer.feed(Bytes::from_static(beginning), &mut runs).unwrap();
        framer.feed(Bytes::from_static(input), &mut runs).unwrap();
        let [run] = &runs[..] else { panic!("one run, not {}", runs.len()) };
        assert_eq!((run.messages, &run.head[..]), (3, beginning));
        assert_eq!(run.body.as_ptr(), input.as_ptr());
        let same = reframe(run.clone(), framing);
        assert_eq!((same.body.as_ptr(), same.head.as_ptr()), (run.body.as_ptr(), run.head.as_ptr()));
    }
}

#[test]
fn what_is_skipped_around_frames_costs_no_copy() {
    let input = b"\0\0\0\0\0\0\0\x02ab\0\0\0\x01c\0\0\0\0";
    let mut runs = Vec::new();
    let mut framer = Framer::new(Framing::U32, bounds(9, Oversize::Close));
    framer.feed(Bytes::from_static(input), &mut runs).unwrap();
    assert_eq!((runs[0].messages, runs[0].body.as_ptr()), (2, input[4..].as_ptr()));
    assert!(framer.is_at_boundary());
}

#[test]
fn an_unfinished_message_does_not_pin_its_input() {
    for framing in STREAMS {
        let input =
            Bytes::from(if framing == Framing::U32 { b"\0\0\0\x63ab".to_vec() } else { b"99 abc".to_vec() });
        let mut framer = Framer::new(framing, bounds(99, Oversize::Close));
        framer.feed(input.clone(), &mut Vec::new()).unwrap();
        assert!(input.is_unique() && !framer.is_at_boundary());
    }
}

#[test]
fn crlf_lines_become_one_run() {
    let (runs, _) = feed_all(Framing::Line, bounds(9, Oversize::Close), &[b"a", b"b\r\nc\r\nd\n\n", b"e\n"]);
    assert_eq!(runs.iter().map(|run| run.messages).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn empty_messages_are_skipped() {
    for (framing, input) in [
        (Framing::Nul, &b"\0\0a\0\0\r\n\0\0"[..]),
        (Framing::U32, b"\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\0\0\0\0\x02\r\n\0\0\0\0"),
    ] {
        let (found, tally) = payloads_of(framing, bounds(2, Oversize::Close), input);
        assert_eq!((found, tally), (["a", "\r\n"].map(String::from).into(), Tally::default()));
    }
}

#[test]
fn a_last_message_without_nul_is_a_message_at_fin() {
    let (found, _) = payloads_of(Framing::Nul, bounds(2, Oversize::Close), b"a\0b\r");
    assert_eq!(found, ["a", "b\r"]);
}

#[test]
fn a_length_that_no_message_has_closes_whatever_the_policy() {
    for oversize in POLICIES {
        for (input, len) in
            [(b"\x01\0\0\x01", 16_777_217), (b"GET ", 1_195_725_856), (b"\xff\xff\xff\xff", u32::MAX)]
        {
            let mistake = error_of(Framing::U32, bounds(9, oversize), input).unwrap();
            assert_eq!(mistake, FramingError::BadLength { len });
            assert_eq!(mistake.reason(), "bad_length");
            assert!(mistake.to_string().contains(&len.to_string()));
        }
    }
}

#[test]
fn the_longest_length_falls_to_the_policy() {
    let input = b"\x01\0\0\0";
    for oversize in [Oversize::Truncate, Oversize::Drop] {
        let (_, outcome) = feed_all(Framing::U32, bounds(9, oversize), &[input]);
        assert_eq!((outcome.error, outcome.torn), (None, true));
    }
    let mistake = FramingError::Oversize { len: 16_777_216, max: 9 };
    assert_eq!(error_of(Framing::U32, bounds(9, Oversize::Close), input), Some(mistake));
}

#[test]
fn the_first_byte_decides_between_counts_and_lines() {
    for (input, expected) in [
        ("3 a\nb1 c", vec!["a\nb", "c"]),
        ("<13>a\n3 b\n", vec!["<13>a", "3 b"]),
        (" 3 a\n", vec![" 3 a"]),
        ("\n3 a\n", vec!["3 a"]),
        ("", vec![]),
    ] {
        let pieces: Vec<_> = [&b""[..]].into_iter().chain(input.as_bytes().chunks(1)).collect();
        let (_, outcome) = feed_all(SourceFraming::Auto, bounds(9, Oversize::Close), &pieces);
        let expected: Vec<_> = expected.into_iter().map(|text| text.as_bytes().to_vec()).collect();
        assert_eq!((outcome.payloads, outcome.error), (expected, None));
    }
    let mistake = error_of(SourceFraming::Auto, bounds(9, Oversize::Close), b"0 x").unwrap();
    assert_eq!(mistake.reason(), "bad_count");
}

#[test]
fn a_flood_without_end_holds_one_message_at_most() {
    const PIECE: usize = 16 * 1024;
    const MAX: usize = 64 * 1024;
    let endless = Bytes::from([b'x'].repeat(PIECE));
    for (framing, beginning, overhead, flood) in [
        (Framing::Line, &b""[..], 1, 32 << 20),
        (Framing::Nul, b"", 0, 32 << 20),
        (Framing::Octet, b"900000000 ", 10, 32 << 20),
        // One piece short of the longest length that may be announced.
        (Framing::U32, b"\x01\0\0\0", 4, (16 << 20) - PIECE),
    ] {
        for oversize in [Oversize::Truncate, Oversize::Drop] {
            let mut framer = Framer::new(framing, bounds(MAX, oversize));
            let mut runs = Vec::new();
            framer.feed(Bytes::from_static(beginning), &mut runs).unwrap();
            for _ in 0..flood / PIECE {
                framer.feed(endless.clone(), &mut runs).unwrap();
                assert!(framer.held_capacity() <= MAX + overhead);
                assert!(!framer.is_at_boundary());
            }
            assert!(runs.is_empty());
        }
    }
}

#[test]
fn a_large_count_alone_reserves_nothing() {
    for (framing, beginning) in [(Framing::Octet, &b"16000000 abc"[..]), (Framing::U32, b"\x01\0\0\0abc")] {
        let mut framer = Framer::new(framing, bounds(16 << 20, Oversize::Close));
        framer.feed(Bytes::from_static(beginning), &mut Vec::new()).unwrap();
        assert!(framer.held_capacity() <= 64);
    }
}
