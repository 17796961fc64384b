//! All framers against slow readers of the whole input: any split must give the same.

mod cases;

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
