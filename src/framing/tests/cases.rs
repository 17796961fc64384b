//! Single inputs, and what becomes of each.

use super::*;

fn payloads_of(framing: Framing, bounds: Bounds, input: &[u8]) -> (Vec<String>, Tally) {
    let outcome = frame_all(framing, bounds, &[input]);
    assert_eq!((outcome.error, outcome.torn), (None, false));
    let text = outcome.payloads.into_iter().map(|payload| String::from_utf8(payload).unwrap()).collect();
    (text, outcome.tally)
}

fn error_of(framing: Framing, bounds: Bounds, input: &[u8]) -> Option<FramingError> {
    frame_all(framing, bounds, &[input]).error
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
        let outcome = frame_all(framing, bounds(4, Oversize::Close), &[input]);
        assert_eq!(outcome.payloads, [b"ab"]);
        assert_eq!(outcome.error, Some(FramingError::Oversize { len: at_least, max: 4 }));
    }
}

#[test]
fn an_excess_closes_at_its_first_certain_byte() {
    for (framing, allowed, last) in [(Framing::Line, &b"abcd\r"[..], b"x"), (Framing::Octet, b"5", b" ")] {
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
    for input in ["5", "5 ", "5 abcd", "3 abc5 a", "99 a"] {
        for oversize in [Oversize::Truncate, Oversize::Drop] {
            let outcome = frame_all(Framing::Octet, bounds(9, oversize), &[input.as_bytes()]);
            assert!(outcome.torn, "{input:?}");
            assert_eq!(outcome.tally, Tally::default());
        }
    }
}

#[test]
fn canonical_input_is_passed_on_without_a_copy() {
    for (framing, input) in [(Framing::Line, &b"c\nd\nefg\nhi"[..]), (Framing::Octet, b"bc3 efg1 h12 i")] {
        let beginning = if framing == Framing::Line { &b"ab"[..] } else { b"3 a" };
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
fn an_unfinished_message_does_not_pin_its_input() {
    for framing in [Framing::Line, Framing::Octet] {
        let input = Bytes::from(b"99 abc".to_vec());
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
fn a_flood_without_end_holds_one_message_at_most() {
    const PIECE: usize = 16 * 1024;
    const MAX: usize = 64 * 1024;
    let endless = Bytes::from([b'x'].repeat(PIECE));
    let beginnings = [
        (Framing::Line, "", 1),
        (Framing::Octet, "900000000 ", 10),
        (Framing::Nul, "", 1),
        (Framing::U32, "\x01\0\0\0", 4),
    ];
    for (framing, beginning, overhead) in beginnings {
        for oversize in [Oversize::Truncate, Oversize::Drop] {
            let mut framer = Framer::new(framing, bounds(MAX, oversize));
            let mut runs = Vec::new();
            framer.feed(Bytes::from_static(beginning.as_bytes()), &mut runs).unwrap();
            // What may be announced in four bytes is 16 MiB.
            let all = if framing == Framing::U32 { 15 } else { 32 } * 1024 * 1024;
            for _ in 0..all / PIECE {
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
    let mut framer = Framer::new(Framing::Octet, bounds(16 << 20, Oversize::Close));
    framer.feed(Bytes::from_static(b"16000000 abc"), &mut Vec::new()).unwrap();
    assert!(framer.held_capacity() <= 64);
}

#[test]
fn what_cannot_travel_in_a_line_is_made_to() {
    let payloads_sent = ["abc\n", "abc\r\n", "a\nb", "\n", "\r\n", "\n\n", "abc\n\n", "abc\r"]
        .map(|text| text.as_bytes().to_vec());
    let input = encode(Framing::Octet, &payloads_sent);
    let (runs, _) = feed_all(Framing::Octet, bounds(9, Oversize::Close), &[&input]);
    let lines = reframe(runs[0].clone(), Framing::Line);
    assert_eq!(wire(&lines), b"abc\nabc\na b\n \n \n \nabc \nabc\n");
    assert_eq!(lines.messages, 8);
}

#[test]
fn a_length_that_cannot_be_closes_the_link_whatever_the_policy() {
    for oversize in POLICIES {
        let error = error_of(Framing::U32, bounds(9, oversize), b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!((error.reason(), error.to_string().as_str()), ("bad_length", "bad length 1195725856"));
    }
}

fn feed_datagrams(
    bounds: Bounds,
    datagrams: &[(&str, bool)],
) -> (Vec<String>, Tally, Vec<Option<FramingError>>) {
    let (mut framer, mut runs) = (Framer::new(Framing::Datagram, bounds), Vec::new());
    let errors = datagrams.iter().map(|(text, cut)| {
        framer.feed_datagram(Bytes::copy_from_slice(text.as_bytes()), *cut, &mut runs).err()
    });
    let errors = errors.collect();
    let text = |run: &Run| String::from_utf8(wire(run)).unwrap();
    (runs.iter().map(text).collect(), framer.take_tally(), errors)
}

#[test]
fn a_whole_datagram_is_a_message_and_an_empty_one_is_none() {
    let (found, tally, errors) =
        feed_datagrams(bounds(5, Oversize::Close), &[("a\nb", false), ("", false), ("\0", false)]);
    assert_eq!(
        (found.as_slice(), tally, errors),
        (&["a\nb".to_owned(), "\0".to_owned()][..], Tally::default(), vec![None; 3])
    );
}

#[test]
fn a_datagram_that_is_too_long_or_was_cut_off_is_truncated_dropped_or_an_error_and_spoils_no_other() {
    let datagrams = [("abcd", false), ("abc", true), ("xy", false)];
    let (found, tally, _) = feed_datagrams(bounds(3, Oversize::Truncate), &datagrams);
    assert_eq!((found.join(" "), tally), ("abc abc xy".to_owned(), Tally { truncated: 2, dropped: 0 }));
    let (found, tally, _) = feed_datagrams(bounds(3, Oversize::Drop), &datagrams);
    assert_eq!((found.join(" "), tally), ("xy".to_owned(), Tally { truncated: 0, dropped: 2 }));
    let (found, _, errors) = feed_datagrams(bounds(3, Oversize::Close), &datagrams);
    let oversize = Some(FramingError::Oversize { len: 4, max: 3 });
    assert_eq!((found.join(" "), errors), ("xy".to_owned(), vec![oversize.clone(), oversize, None]));
}

#[test]
fn what_the_kernel_cut_off_of_a_packed_datagram_is_torn() {
    for (framing, datagram, whole) in [(Framing::Line, "a\nb", "a\n"), (Framing::Octet, "1 a5 bc", "1 a")] {
        let (mut framer, mut runs) = (Framer::new(framing, bounds(9, Oversize::Close)), Vec::new());
        let fed = framer.feed_datagram(Bytes::copy_from_slice(datagram.as_bytes()), true, &mut runs);
        assert_eq!((fed, wire(&runs[0]), runs.len()), (Ok(true), whole.as_bytes().to_vec(), 1));
    }
}

#[test]
fn long_messages_of_packed_datagrams_are_counted_also_where_the_format_is_told_by_each() {
    let (mut framer, mut runs) = (Framer::new(SourceFraming::Auto, bounds(3, Oversize::Drop)), Vec::new());
    for datagram in ["abcd\nx\n", "4 abcd1 x", "<1>x"] {
        framer.feed_datagram(Bytes::copy_from_slice(datagram.as_bytes()), false, &mut runs).unwrap();
    }
    assert_eq!(framer.take_tally(), Tally { truncated: 0, dropped: 3 });
    assert_eq!(runs.iter().map(|run| run.framing).collect::<Vec<_>>(), [Framing::Line, Framing::Octet]);
}
