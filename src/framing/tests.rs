//! All framers against slow readers of the whole input: any split must give the same.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::limits::{MAX_MESSAGE_MAX, OCTET_COUNT_DIGITS};

/// All that can be seen of a link's input.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    payloads: Vec<Vec<u8>>,
    tally: Tally,
    error: Option<FramingError>,
    torn: bool,
}

const POLICIES: [Oversize; 3] = [Oversize::Truncate, Oversize::Drop, Oversize::Close];

fn bounds(max_message: usize, oversize: Oversize) -> Bounds {
    Bounds { max_message, oversize }
}

/// Runs of the pieces, then FIN unless a mistake ended it; everything on the way is checked to be canonical.
fn feed_all(framing: Framing, bounds: Bounds, pieces: &[&[u8]]) -> (Vec<Run>, Outcome) {
    let mut framer = Framer::new(framing, bounds);
    let mut outcome = Outcome::default();
    let mut runs = Vec::new();
    for piece in pieces {
        let before = runs.len();
        let fed = framer.feed(Bytes::copy_from_slice(piece), &mut runs);
        assert!(runs.len() <= before + 1, "one run a call");
        assert!(framer.held_capacity() <= bounds.max_message + OCTET_COUNT_DIGITS + 16);
        if let Err(mistake) = fed {
            assert_eq!(framer.feed(Bytes::from_static(b"x\n"), &mut runs), Err(mistake.clone()));
            outcome.error = Some(mistake);
            break;
        }
    }
    let unfinished = !framer.is_at_boundary();
    let before = runs.len();
    outcome.torn = framer.finish(&mut runs);
    if outcome.error.is_none() && matches!(framing, Framing::Octet | Framing::U32) {
        assert_eq!(outcome.torn, unfinished);
    }
    assert!(runs.len() <= before + usize::from(unfinished));
    outcome.tally = framer.take_tally();
    assert_eq!(framer.take_tally(), Tally::default());
    for run in &runs {
        assert_canonical(run, bounds.max_message);
        outcome.payloads.extend(payloads(run).map(|payload| payload.into_owned()));
    }
    (runs, outcome)
}

fn frame_all(framing: Framing, bounds: Bounds, pieces: &[&[u8]]) -> Outcome {
    feed_all(framing, bounds, pieces).1
}

/// Encodes the payloads again and expects the run's own bytes.
fn assert_canonical(run: &Run, max_message: usize) {
    let found: Vec<_> = payloads(run).map(|payload| payload.into_owned()).collect();
    assert_eq!(found.len(), run.messages as usize);
    assert!(run.messages >= 1);
    assert_eq!(encode(run.framing, &found), wire(run));
    for payload in &found {
        assert!((1..=max_message).contains(&payload.len()));
        match run.framing {
            Framing::Line => assert!(!payload.contains(&LF) && !payload.ends_with(&[CR])),
            Framing::Nul => assert!(!payload.contains(&NUL)),
            Framing::Octet | Framing::U32 | Framing::Datagram => {}
        }
    }
}

fn wire(run: &Run) -> Vec<u8> {
    [&run.head[..], &run.body].concat()
}

fn encode(framing: Framing, payloads: &[Vec<u8>]) -> Vec<u8> {
    let encoded = payloads.iter().map(|payload| match framing {
        Framing::Line => [payload, &b"\n"[..]].concat(),
        Framing::Octet => [format!("{} ", payload.len()).as_bytes(), payload].concat(),
        Framing::U32 => [&(payload.len() as u32).to_be_bytes()[..], payload].concat(),
        Framing::Nul => [payload, &b"\0"[..]].concat(),
        Framing::Datagram => payload.clone(),
    });
    encoded.collect::<Vec<_>>().concat()
}

/// Lines by the book: split at LF, FIN counts as one more.
fn read_lines(bounds: Bounds, input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let max = bounds.max_message;
    for line in input.split(|&byte| byte == LF) {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        let excess = text.len() > max;
        let kept = match bounds.oversize {
            _ if !excess => text,
            Oversize::Truncate => &text[..max],
            Oversize::Drop => b"",
            Oversize::Close => {
                outcome.error = Some(FramingError::Oversize { len: max + 1, max });
                return outcome;
            }
        };
        let mut payload = kept.to_vec();
        while payload.last() == Some(&CR) {
            payload.pop();
        }
        match (excess, payload.is_empty()) {
            (false, _) => {}
            (true, false) => outcome.tally.truncated += 1,
            (true, true) => outcome.tally.dropped += 1,
        }
        if !payload.is_empty() {
            outcome.payloads.push(payload);
        }
    }
    outcome
}

/// Messages that end with NUL, by the book: lines without any rule for CR.
fn read_nul(bounds: Bounds, input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let max = bounds.max_message;
    for text in input.split(|&byte| byte == NUL).filter(|text| !text.is_empty()) {
        match bounds.oversize {
            _ if text.len() <= max => outcome.payloads.push(text.to_vec()),
            Oversize::Truncate => {
                outcome.tally.truncated += 1;
                outcome.payloads.push(text[..max].to_vec());
            }
            Oversize::Drop => outcome.tally.dropped += 1,
            Oversize::Close => {
                outcome.error = Some(FramingError::Oversize { len: max + 1, max });
                return outcome;
            }
        }
    }
    outcome
}

/// Length and rest of a frame's payload; `None` if the count goes on beyond the input.
fn read_count(input: &[u8]) -> Result<Option<(usize, &[u8])>, FramingError> {
    let digits = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let wrong = match input.get(digits) {
        _ if input.starts_with(b"0") => Some(0),
        _ if digits > OCTET_COUNT_DIGITS => Some(OCTET_COUNT_DIGITS),
        Some(b' ') if digits > 0 => None,
        None => return Ok(None),
        Some(_) => Some(digits),
    };
    if let Some(wrong) = wrong {
        let excerpt = input[..=wrong].escape_ascii().to_string();
        return Err(FramingError::BadCount { excerpt });
    }
    let len = std::str::from_utf8(&input[..digits]).unwrap().parse().unwrap();
    Ok(Some((len, &input[digits + 1..])))
}

/// Octet counting by the book.
fn read_octets(bounds: Bounds, input: &[u8]) -> Outcome {
    read_frames(read_count, bounds, input)
}

/// Lengths of four bytes by the book.
fn read_lengths(bounds: Bounds, input: &[u8]) -> Outcome {
    read_frames(read_length, bounds, input)
}

fn read_length(input: &[u8]) -> Result<Option<(usize, &[u8])>, FramingError> {
    let Some((header, rest)) = input.split_first_chunk() else { return Ok(None) };
    match u32::from_be_bytes(*header) as usize {
        len if len > MAX_MESSAGE_MAX => Err(FramingError::BadLength { len }),
        len => Ok(Some((len, rest))),
    }
}

type ReadCount = fn(&[u8]) -> Result<Option<(usize, &[u8])>, FramingError>;

fn read_frames(read_count: ReadCount, bounds: Bounds, mut input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let max = bounds.max_message;
    while !input.is_empty() {
        let (len, rest) = match read_count(input) {
            Ok(Some(count)) => count,
            Ok(None) => return Outcome { torn: true, ..outcome },
            Err(mistake) => return Outcome { error: Some(mistake), ..outcome },
        };
        if len > max && bounds.oversize == Oversize::Close {
            return Outcome { error: Some(FramingError::Oversize { len, max }), ..outcome };
        }
        if rest.len() < len {
            return Outcome { torn: true, ..outcome };
        }
        match bounds.oversize {
            _ if len == 0 => {}
            _ if len <= max => outcome.payloads.push(rest[..len].to_vec()),
            Oversize::Drop => outcome.tally.dropped += 1,
            Oversize::Truncate | Oversize::Close => {
                outcome.tally.truncated += 1;
                outcome.payloads.push(rest[..max].to_vec());
            }
        }
        input = &rest[len..];
    }
    outcome
}

fn read_by_the_book(framing: Framing, bounds: Bounds, input: &[u8]) -> Outcome {
    match framing {
        Framing::Line => read_lines(bounds, input),
        Framing::Octet => read_octets(bounds, input),
        Framing::U32 => read_lengths(bounds, input),
        Framing::Nul => read_nul(bounds, input),
        Framing::Datagram => unreachable!("a stream has no datagrams"),
    }
}

/// The input in pieces, cut at these places; some pieces are empty.
fn split<'i>(input: &'i [u8], cuts: &[Index]) -> Vec<&'i [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.extend([0, input.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|ends| &input[ends[0]..ends[1]]).collect()
}

fn any_cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..12)
}

fn any_bounds() -> impl Strategy<Value = Bounds> {
    (1..14_usize, select(POLICIES.to_vec())).prop_map(|(max, oversize)| bounds(max, oversize))
}

/// Text with many delimiters, NUL and bytes that are no UTF-8.
fn any_lines() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(select(b"aaaaabbb \0\xff\r\r\n\n\n".to_vec()), 0..120)
}

fn any_payload(bytes: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(select(bytes.to_vec()), 1..14)
}

/// Good frames, now and then one that is cut short or a bad count.
fn any_frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = any_payload(b"ab 1\n\r\0\xff").prop_map(|payload| encode(Framing::Octet, &[payload]));
    let mistakes: Vec<_> =
        ["05 x", "0 ", "abc x", "12x", " ", "99999999999999999999 ", "4000000000 ", "9", "19 x", ""]
            .map(|text| text.as_bytes().to_vec())
            .into();
    let part = prop_oneof![12 => frame, 1 => select(mistakes)];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// The same with lengths of four bytes, some of them zero or absurd.
fn any_lengths() -> impl Strategy<Value = Vec<u8>> {
    let frame = any_payload(b"ab \0\xff\n").prop_map(|payload| encode(Framing::U32, &[payload]));
    let odd = [&[0, 0, 0, 0][..], &[0, 0], &[0xff; 4], &[1, 0, 0, 1], &[0, 0, 0, 19, b'x']];
    let part = prop_oneof![12 => frame, 1 => select(odd.map(<[u8]>::to_vec).to_vec())];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

const STREAM_FRAMINGS: [Framing; 4] = [Framing::Line, Framing::Octet, Framing::U32, Framing::Nul];

fn any_framing() -> impl Strategy<Value = Framing> {
    select(STREAM_FRAMINGS.to_vec())
}

/// Messages that travel unchanged in every format.
fn any_messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(any_payload(b"ab 1\xff"), 1..12)
}

/// Runs of octet frames with any content, split anyhow.
fn any_octet_runs() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Run>)> {
    let messages = prop::collection::vec(any_payload(b"ab\n\r "), 1..12);
    (messages, any_cuts()).prop_map(|(messages, cuts)| {
        let input = encode(Framing::Octet, &messages);
        let (runs, _) = feed_all(Framing::Octet, bounds(64, Oversize::Close), &split(&input, &cuts));
        (messages, runs)
    })
}

/// What a payload becomes in a format, by the book.
fn fit(payload: &[u8], to: Framing) -> Vec<u8> {
    match to {
        Framing::Line => as_line(payload),
        Framing::Nul => {
            let text = payload.strip_suffix(b"\0").unwrap_or(payload);
            let text: Vec<u8> = text.iter().map(|&byte| if byte == NUL { b' ' } else { byte }).collect();
            if text.is_empty() { b" ".to_vec() } else { text }
        }
        Framing::Octet | Framing::U32 | Framing::Datagram => payload.to_vec(),
    }
}

/// What a payload becomes in a line, by the book.
fn as_line(payload: &[u8]) -> Vec<u8> {
    let text = payload.strip_suffix(b"\n").unwrap_or(payload);
    let mut line: Vec<u8> = text.iter().map(|&byte| if byte == LF { b' ' } else { byte }).collect();
    while line.last() == Some(&CR) {
        line.pop();
    }
    if line.is_empty() { b" ".to_vec() } else { line }
}

proptest! {
    #[test]
    fn any_split_of_lines_gives_the_same(bounds in any_bounds(), input in any_lines(), cuts in any_cuts()) {
        let found = frame_all(Framing::Line, bounds, &split(&input, &cuts));
        prop_assert_eq!(found, read_lines(bounds, &input));
    }

    #[test]
    fn any_split_of_frames_gives_the_same(bounds in any_bounds(), input in any_frames(), cuts in any_cuts()) {
        let found = frame_all(Framing::Octet, bounds, &split(&input, &cuts));
        prop_assert_eq!(found, read_octets(bounds, &input));
    }

    #[test]
    fn any_split_in_any_framing_gives_the_same(
        framing in any_framing(),
        bounds in any_bounds(),
        input in prop_oneof![any_lines(), any_frames(), any_lengths()],
        cuts in any_cuts(),
    ) {
        let found = frame_all(framing, bounds, &split(&input, &cuts));
        prop_assert_eq!(found, read_by_the_book(framing, bounds, &input));
    }

    #[test]
    fn auto_is_what_the_first_byte_says(
        bounds in any_bounds(), input in prop_oneof![any_lines(), any_frames()], cuts in any_cuts(),
    ) {
        let told = match input.first() {
            Some(first) if first.is_ascii_digit() => Framing::Octet,
            _ => Framing::Line,
        };
        let (mut framer, mut runs) = (Framer::new(SourceFraming::Auto, bounds), Vec::new());
        let fed = split(&input, &cuts).iter().try_for_each(|piece| framer.feed(Bytes::copy_from_slice(piece), &mut runs));
        let torn = framer.finish(&mut runs);
        let payloads = runs.iter().flat_map(payloads).map(|payload| payload.into_owned()).collect();
        let found = Outcome { payloads, tally: framer.take_tally(), error: fed.err(), torn };
        prop_assert_eq!(found, read_by_the_book(told, bounds, &input));
    }

    #[test]
    fn a_datagram_is_read_as_a_stream_that_ends_and_the_next_as_if_nothing_had_been(
        framing in any_framing(),
        bounds in any_bounds(),
        datagrams in prop::collection::vec(prop_oneof![any_lines(), any_frames(), any_lengths()], 1..4),
    ) {
        let mut framer = Framer::new(framing, bounds);
        for datagram in datagrams {
            let mut runs = Vec::new();
            let fed = framer.feed_datagram(Bytes::copy_from_slice(&datagram), false, &mut runs);
            let payloads = runs.iter().flat_map(payloads).map(|payload| payload.into_owned()).collect();
            let (torn, error) = (fed.clone().unwrap_or(false), fed.err());
            let found = Outcome { payloads, tally: framer.take_tally(), error, torn };
            prop_assert_eq!(found, read_by_the_book(framing, bounds, &datagram));
            prop_assert!(framer.is_at_boundary());
        }
    }

    #[test]
    fn any_message_stays_one_message_in_any_framing(
        from in any_framing(),
        to in any_framing(),
        messages in prop::collection::vec(any_payload(b"ab\n\r \0"), 1..12),
        cuts in any_cuts(),
    ) {
        let input = encode(from, &messages);
        let (runs, outcome) = feed_all(from, bounds(64, Oversize::Close), &split(&input, &cuts));
        let mut found = Vec::new();
        for run in runs {
            let reframed = reframe(run, to);
            assert_canonical(&reframed, 64);
            found.extend(payloads(&reframed).map(|payload| payload.into_owned()));
        }
        let expected = outcome.payloads.iter().map(|payload| if from == to { payload.clone() } else { fit(payload, to) });
        prop_assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn slices_are_what_frames_say(framing in any_framing(), messages in any_messages(), cuts in any_cuts()) {
        let input = encode(framing, &messages);
        let (runs, _) = feed_all(framing, bounds(64, Oversize::Close), &split(&input, &cuts));
        for run in &runs {
            let joined = |range| { let (head, body) = slices(run, range); [&head[..], &body].concat() };
            for (frame, payload) in frames(run).zip(payloads(run)) {
                prop_assert_eq!(joined(frame.payload), payload.to_vec());
                prop_assert_eq!(joined(frame.wire), encode(framing, &[payload.into_owned()]));
            }
            prop_assert_eq!(frames(run).count(), run.messages as usize);
        }
    }

    #[test]
    fn bytes_one_by_one_give_the_same(
        framing in any_framing(), bounds in any_bounds(), input in prop_oneof![any_lines(), any_frames(), any_lengths()],
    ) {
        let bytes: Vec<_> = input.chunks(1).collect();
        let found = frame_all(framing, bounds, &bytes);
        prop_assert_eq!(found, read_by_the_book(framing, bounds, &input));
    }

    #[test]
    fn messages_survive_encoding_and_any_split(
        framing in any_framing(), messages in any_messages(), cuts in any_cuts(),
    ) {
        let input = encode(framing, &messages);
        let found = frame_all(framing, bounds(64, Oversize::Close), &split(&input, &cuts));
        prop_assert_eq!(found, Outcome { payloads: messages, ..Outcome::default() });
    }

    #[test]
    fn lines_survive_octet_counting(messages in any_messages(), cuts in any_cuts()) {
        let input = encode(Framing::Line, &messages);
        let (runs, _) = feed_all(Framing::Line, bounds(64, Oversize::Close), &split(&input, &cuts));
        for run in runs {
            let octets = reframe(run.clone(), Framing::Octet);
            assert_canonical(&octets, 64);
            prop_assert_eq!(payloads(&octets).collect::<Vec<_>>(), payloads(&run).collect::<Vec<_>>());
            let lines = reframe(octets, Framing::Line);
            prop_assert_eq!((wire(&lines), lines.messages), (wire(&run), run.messages));
        }
    }

    #[test]
    fn any_octet_message_stays_one_line((messages, runs) in any_octet_runs()) {
        let mut found = Vec::new();
        for run in runs {
            let lines = reframe(run, Framing::Line);
            assert_canonical(&lines, 64);
            found.extend(payloads(&lines).map(|payload| payload.into_owned()));
        }
        let expected: Vec<_> = messages.iter().map(|message| as_line(message)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn whole_prefix_is_what_a_count_gives(framing in any_framing(), messages in any_messages(), cuts in any_cuts()) {
        let input = encode(framing, &messages);
        let (runs, _) = feed_all(framing, bounds(64, Oversize::Close), &split(&input, &cuts));
        for run in &runs {
            let mut whole = Whole::default();
            let mut ends = payloads(run).scan(0, |end, payload| {
                *end += encode(framing, &[payload.into_owned()]).len();
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
