//! Datagrams, by examples: whole ones, long ones, those that were cut off.

use bytes::Bytes;

use super::super::checks::feed_datagram;
use super::super::{Framer, FramingError, Tally};
use super::*;

fn texts(payloads: &[Vec<u8>]) -> Vec<&str> {
    payloads.iter().map(|payload| std::str::from_utf8(payload).unwrap()).collect()
}

#[test]
fn a_datagram_is_passed_on_without_a_copy() {
    let bytes = b"a\nb\0c\n";
    let mut framer = Framer::new(Framing::Datagram, bounds(9, Oversize::Close));
    let mut runs = Vec::new();
    assert_eq!(framer.feed_datagram(Bytes::from_static(bytes), false, &mut runs), Ok(false));
    let [run] = &runs[..] else { panic!("one run, not {}", runs.len()) };
    assert_eq!((run.body.as_ptr(), run.body.len(), run.messages), (bytes.as_ptr(), bytes.len(), 1));
}

#[test]
fn an_empty_datagram_is_no_message() {
    for framing in FRAMINGS {
        let mut framer = Framer::new(framing, bounds(9, Oversize::Close));
        assert_eq!(feed_datagram(&mut framer, b"", false).1, Default::default());
    }
}

#[test]
fn several_lines_in_one_datagram_are_one_run() {
    for (framing, datagram) in [
        (Framing::Line, &b"a:1|c\nb:2|c"[..]),
        (Framing::Line, b"a:1|c\r\nb:2|c\r\n\n"),
        (Framing::Nul, b"a:1|c\0b:2|c"),
        (Framing::Octet, b"5 a:1|c5 b:2|c"),
        (Framing::U32, b"\0\0\0\x05a:1|c\0\0\0\x05b:2|c\0\0\0\0"),
    ] {
        let (runs, outcome) =
            feed_datagram(&mut Framer::new(framing, bounds(9, Oversize::Close)), datagram, false);
        assert_eq!((runs.len(), texts(&outcome.payloads)), (1, vec!["a:1|c", "b:2|c"]));
    }
}

#[test]
fn a_datagram_above_the_bound_is_truncated_dropped_or_an_error() {
    for (oversize, payloads, tally) in [
        (Oversize::Truncate, vec!["abcd"], Tally { truncated: 1, dropped: 0 }),
        (Oversize::Drop, vec![], Tally { truncated: 0, dropped: 1 }),
        (Oversize::Close, vec![], Tally::default()),
    ] {
        let mut framer = Framer::new(Framing::Datagram, bounds(4, oversize));
        let (_, found) = feed_datagram(&mut framer, b"abcde", false);
        assert_eq!((texts(&found.payloads), found.tally), (payloads, tally));
        let mistake = FramingError::Oversize { len: 5, max: 4 };
        assert_eq!(found.error, (oversize == Oversize::Close).then_some(mistake));
    }
}

#[test]
fn a_datagram_that_was_cut_off_is_too_long_however_little_came() {
    for (framing, datagram, before) in [
        (Framing::Datagram, "abc", vec![]),
        (Framing::Line, "x\nabc", vec!["x"]),
        (Framing::Nul, "x\0abc", vec!["x"]),
    ] {
        let truncated = [&before[..], &["abc"]].concat();
        for (oversize, payloads, tally) in [
            (Oversize::Truncate, truncated, Tally { truncated: 1, dropped: 0 }),
            (Oversize::Drop, before.clone(), Tally { truncated: 0, dropped: 1 }),
            (Oversize::Close, before.clone(), Tally::default()),
        ] {
            let mut framer = Framer::new(framing, bounds(9, oversize));
            let (_, found) = feed_datagram(&mut framer, datagram.as_bytes(), true);
            assert_eq!((texts(&found.payloads), found.tally, found.torn), (payloads, tally, false));
            assert_eq!(
                found.error.as_ref().map(FramingError::reason),
                (oversize == Oversize::Close).then_some("oversize")
            );
        }
    }
}

#[test]
fn a_cut_right_after_a_delimiter_drops_a_message_of_which_nothing_came() {
    for oversize in [Oversize::Truncate, Oversize::Drop] {
        let (_, found) = feed_datagram(&mut Framer::new(Framing::Line, bounds(9, oversize)), b"ab\n", true);
        assert_eq!((texts(&found.payloads), found.tally), (vec!["ab"], Tally { truncated: 0, dropped: 1 }));
    }
}

#[test]
fn a_count_that_goes_beyond_its_datagram_is_torn() {
    for (framing, datagram) in [(Framing::Octet, &b"2 ab3 c"[..]), (Framing::U32, b"\0\0\0\x02ab\0\0\0\x03c")]
    {
        for (datagram, cut) in [(datagram, false), (datagram, true), (&datagram[..datagram.len() - 3], true)]
        {
            let (_, found) =
                feed_datagram(&mut Framer::new(framing, bounds(9, Oversize::Close)), datagram, cut);
            assert_eq!((texts(&found.payloads), found.torn, found.error), (vec!["ab"], true, None));
        }
    }
}

#[test]
fn after_a_mistake_the_next_datagram_is_read() {
    for (framing, bad, good) in [
        (Framing::Octet, &b"2 abx"[..], &b"2 cd"[..]),
        (Framing::U32, b"\xff\xff\xff\xff", b"\0\0\0\x02cd"),
        (Framing::Line, b"ab\nabcdefghij", b"cd"),
        (Framing::Nul, b"abcdefghij", b"cd\0"),
        (Framing::Datagram, b"abcdefghij", b"cd"),
    ] {
        let mut framer = Framer::new(framing, bounds(9, Oversize::Close));
        assert!(feed_datagram(&mut framer, bad, false).1.error.is_some(), "{framing:?}");
        let (_, found) = feed_datagram(&mut framer, good, false);
        assert_eq!((texts(&found.payloads), found.error), (vec!["cd"], None), "{framing:?}");
    }
}

#[test]
fn the_first_byte_of_each_datagram_decides() {
    use super::super::SourceFraming::Auto;
    let mut framer = Framer::new(Auto, bounds(9, Oversize::Close));
    for (datagram, expected) in
        [("2 ab", vec!["ab"]), ("<1>a\nb", vec!["<1>a", "b"]), ("1 c1 d", vec!["c", "d"])]
    {
        let (_, found) = feed_datagram(&mut framer, datagram.as_bytes(), false);
        assert_eq!(texts(&found.payloads), expected);
    }
}
