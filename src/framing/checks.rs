//! What must hold of the framers, whatever they are given: for the tests and for the fuzz targets below `tests/fuzz`.
//!
//! Lives here: the promises as assertions, and how a fuzz target's bytes are read. Never here: examples, or anything that ships.

use bytes::Bytes;

use super::{
    Bounds, Frame, Framer, FramingError, Oversize, SourceFraming, Tally, Whole, frames, payloads, reframe,
    slices, whole_prefix,
};
use crate::limits::OCTET_COUNT_DIGITS;
use crate::message::{Framing, Run};

/// All framings that there are.
pub const FRAMINGS: [Framing; 5] =
    [Framing::Line, Framing::Octet, Framing::U32, Framing::Nul, Framing::Datagram];
/// All that may happen to an oversized message.
pub const POLICIES: [Oversize; 3] = [Oversize::Truncate, Oversize::Drop, Oversize::Close];
/// What a framer may hold beside `max_message` bytes: the longest of the delimiters, counts and lengths.
const OVERHEAD: usize = OCTET_COUNT_DIGITS + 1;
/// No run of [`reframing`] is longer.
const UNBOUNDED: usize = 1 << 20;

/// All that can be seen of a link's input.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Each message, in order.
    pub payloads: Vec<Vec<u8>>,
    /// What was too long.
    pub tally: Tally,
    /// What ended it before its end.
    pub error: Option<FramingError>,
    /// Whether its end fell into a message.
    pub torn: bool,
}

impl Outcome {
    fn add(&mut self, runs: &[Run]) {
        self.payloads.extend(runs.iter().flat_map(payloads_of));
    }
}

/// What the framers make of any input: the same for any split of it, in canonical runs, in bounded memory; and of any datagrams:
/// the same whatever came before.
///
/// The bytes are: framing, policy and cut, `max_message` less one, how many lengths follow, lengths of pieces; the rest is the
/// input. Without lengths each byte is a piece.
pub fn framers(data: &[u8]) {
    let Some((&[framing, policy, max, splits], rest)) = data.split_first_chunk() else { return };
    let (lengths, input) = rest.split_at(usize::from(splits).min(rest.len()));
    let bounds = Bounds { max_message: 1 + usize::from(max), oversize: pick(&POLICIES, policy) };
    let pieces = cut_up(input, lengths);
    let fixed = FRAMINGS.get(usize::from(framing) % (FRAMINGS.len() + 1));
    let framing = fixed.map_or(SourceFraming::Auto, |&framing| SourceFraming::Always(framing));
    if framing != SourceFraming::Always(Framing::Datagram) {
        let (_, whole) = feed_all(framing, bounds, &[input]);
        let (_, split) = feed_all(framing, bounds, &pieces);
        assert_eq!(split, whole, "a split makes a difference");
        let (_, datagram) = feed_datagram(&mut Framer::new(framing, bounds), input, false);
        assert_eq!(datagram, whole, "a datagram is not what a connection is");
    }
    check_datagrams(framing, bounds, &pieces, policy & 0x40 != 0);
}

/// What becomes of any run in any framing, there and back: as many messages, their payloads up to what cannot travel; and what
/// can be asked of either run.
///
/// The bytes are: framing before, framing after, where the input is split, how many lengths follow, lengths of payloads; the rest
/// is the payloads.
pub fn reframing(data: &[u8]) {
    let Some((&[from, to, at, splits], rest)) = data.split_first_chunk() else { return };
    let (lengths, content) = rest.split_at(usize::from(splits).min(rest.len()));
    let (from, to) = (pick(&FRAMINGS, from), pick(&FRAMINGS, to));
    let contents = cut_up(content, lengths).into_iter().filter(|payload| !payload.is_empty());
    let sent: Vec<Vec<u8>> = contents.map(|payload| carried(payload, from)).collect();
    let runs = runs_of(from, &sent, usize::from(at));
    assert_eq!(runs.iter().flat_map(payloads_of).collect::<Vec<_>>(), sent);
    for run in runs {
        check_reframed(&check_reframed(&run, to), from);
    }
}

fn pick<T: Copy>(all: &[T], byte: u8) -> T {
    all[usize::from(byte) % all.len()]
}

/// Pieces of these lengths, some of them empty, and the rest; each byte for itself if there are no lengths.
fn cut_up<'i>(mut input: &'i [u8], lengths: &[u8]) -> Vec<&'i [u8]> {
    if lengths.is_empty() {
        return input.chunks(1).collect();
    }
    let mut pieces = Vec::new();
    for &len in lengths {
        let (piece, rest) = input.split_at(usize::from(len).min(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces.push(input);
    pieces
}

/// Runs of the pieces, then FIN unless a mistake ended it.
pub fn feed_all(framing: impl Into<SourceFraming>, bounds: Bounds, pieces: &[&[u8]]) -> (Vec<Run>, Outcome) {
    let mut framer = Framer::new(framing, bounds);
    assert!(framer.is_at_boundary());
    let mut outcome = Outcome::default();
    let mut runs = Vec::new();
    for piece in pieces {
        let before = runs.len();
        let fed = framer.feed(Bytes::copy_from_slice(piece), &mut runs);
        assert!(runs.len() <= before + 1, "one run a call");
        assert_bounded(&framer);
        if let Err(mistake) = fed {
            assert_eq!(framer.feed(Bytes::from_static(b"x\n"), &mut runs), Err(mistake.clone()));
            outcome.error = Some(mistake);
            break;
        }
    }
    let unfinished = !framer.is_at_boundary();
    let before = runs.len();
    outcome.torn = framer.finish(&mut runs);
    assert!(unfinished || !outcome.torn, "nothing is torn at a boundary");
    assert!(runs.len() <= before + usize::from(unfinished));
    outcome.tally = framer.take_tally();
    assert_eq!(framer.take_tally(), Tally::default());
    runs.iter().for_each(|run| check_run(run, bounds.max_message));
    outcome.add(&runs);
    (runs, outcome)
}

/// One datagram's runs, and what can be seen of it.
pub fn feed_datagram(framer: &mut Framer, datagram: &[u8], cut: bool) -> (Vec<Run>, Outcome) {
    let mut runs = Vec::new();
    let fed = framer.feed_datagram(Bytes::copy_from_slice(datagram), cut, &mut runs);
    assert!(framer.is_at_boundary(), "it begins anew");
    assert!(runs.len() <= 2);
    assert_bounded(framer);
    let mut outcome = Outcome { tally: framer.take_tally(), ..Outcome::default() };
    match fed {
        Ok(torn) => outcome.torn = torn,
        Err(mistake) => outcome.error = Some(mistake),
    }
    runs.iter().for_each(|run| check_run(run, framer.bounds.max_message));
    outcome.add(&runs);
    (runs, outcome)
}

/// Each datagram is what it is alone, and nothing that was cut off goes unseen.
fn check_datagrams(framing: SourceFraming, bounds: Bounds, datagrams: &[&[u8]], cut: bool) {
    let mut framer = Framer::new(framing, bounds);
    for datagram in datagrams {
        let (_, found) = feed_datagram(&mut framer, datagram, cut);
        let (_, alone) = feed_datagram(&mut Framer::new(framing, bounds), datagram, cut);
        assert_eq!(found, alone, "an earlier datagram makes a difference");
        let seen = found.torn || found.error.is_some() || found.tally != Tally::default();
        assert!(seen || !cut, "what was cut off left no trace");
    }
}

fn assert_bounded(framer: &Framer) {
    let held = framer.held_capacity();
    assert!(held <= framer.bounds.max_message + OVERHEAD, "{held} bytes are held");
}

/// Encodes the payloads again and expects the run's own bytes, found by every way that there is.
pub fn check_run(run: &Run, max_message: usize) {
    let found: Vec<_> = payloads_of(run).collect();
    assert_eq!(found.len(), run.messages as usize);
    assert!(run.messages >= 1);
    assert_eq!(encode(run.framing, &found), wire(run), "a run is canonical");
    for payload in &found {
        assert!((1..=max_message).contains(&payload.len()));
        assert_eq!(&carried(payload, run.framing), payload, "a run holds what can travel in it");
    }
    if run.framing == Framing::Datagram {
        assert!(run.head.is_empty() && run.messages == 1);
    }
    check_frames(run, &found);
}

/// Frames, slices and prefixes agree with the payloads.
fn check_frames(run: &Run, payloads: &[Vec<u8>]) {
    let mut whole = Whole::default();
    for (Frame { wire, payload }, expected) in frames(run).zip(payloads) {
        assert_eq!(wire.start, whole.bytes, "frames leave no gap");
        assert!(wire.start <= payload.start && payload.end <= wire.end);
        assert_eq!(sliced(run, payload), *expected);
        assert_eq!(sliced(run, wire.clone()), encode(run.framing, std::slice::from_ref(expected)));
        assert_eq!(whole_prefix(run, wire.end - 1), whole);
        whole = Whole { bytes: wire.end, messages: whole.messages + 1 };
        assert_eq!(whole_prefix(run, wire.end), whole);
    }
    assert_eq!(whole, Whole { bytes: run.wire_len(), messages: run.messages });
}

fn sliced(run: &Run, range: std::ops::Range<usize>) -> Vec<u8> {
    let (head, body) = slices(run, range);
    [head, body].concat()
}

/// Puts a run into another framing and returns it.
fn check_reframed(run: &Run, to: Framing) -> Run {
    let before: Vec<_> = payloads_of(run).collect();
    let after = reframe(run.clone(), to);
    check_run(&after, UNBOUNDED);
    if to == Framing::Datagram && run.messages > 1 {
        assert_eq!((after.framing, wire(&after)), (run.framing, wire(run)), "it stays as it is");
        return after;
    }
    assert_eq!((after.framing, after.messages), (to, run.messages));
    let expected: Vec<_> = before.iter().map(|payload| carried(payload, to)).collect();
    assert_eq!(payloads_of(&after).collect::<Vec<_>>(), expected);
    after
}

/// Runs that hold the messages, received in two pieces or in a datagram each.
fn runs_of(framing: Framing, messages: &[Vec<u8>], at: usize) -> Vec<Run> {
    let bounds = Bounds { max_message: UNBOUNDED, oversize: Oversize::Close };
    if framing == Framing::Datagram {
        let mut framer = Framer::new(framing, bounds);
        return messages.iter().flat_map(|message| feed_datagram(&mut framer, message, false).0).collect();
    }
    let input = encode(framing, messages);
    let (first, rest) = input.split_at(at.min(input.len()));
    let (runs, outcome) = feed_all(framing, bounds, &[first, rest]);
    assert_eq!((outcome.error, outcome.torn), (None, false));
    runs
}

/// What a payload becomes in a framing, by the book.
pub fn carried(payload: &[u8], to: Framing) -> Vec<u8> {
    match to {
        Framing::Octet | Framing::U32 | Framing::Datagram => payload.to_vec(),
        Framing::Nul => replaced(payload, 0),
        Framing::Line => {
            let mut line = replaced(payload.strip_suffix(b"\n").unwrap_or(payload), b'\n');
            while line.last() == Some(&b'\r') {
                line.pop();
            }
            if line.is_empty() { b" ".to_vec() } else { line }
        }
    }
}

fn replaced(payload: &[u8], unwanted: u8) -> Vec<u8> {
    payload.iter().map(|&byte| if byte == unwanted { b' ' } else { byte }).collect()
}

/// The canonical form of messages, by the book; datagrams one after another.
pub fn encode(framing: Framing, payloads: &[Vec<u8>]) -> Vec<u8> {
    let encoded = payloads.iter().map(|payload| match framing {
        Framing::Line => [payload, &b"\n"[..]].concat(),
        Framing::Octet => [format!("{} ", payload.len()).as_bytes(), payload].concat(),
        Framing::U32 => [&(payload.len() as u32).to_be_bytes()[..], payload].concat(),
        Framing::Nul => [payload, &b"\0"[..]].concat(),
        Framing::Datagram => payload.clone(),
    });
    encoded.collect::<Vec<_>>().concat()
}

/// All bytes of a run.
pub fn wire(run: &Run) -> Vec<u8> {
    [&run.head[..], &run.body].concat()
}

/// The messages of a run.
pub fn payloads_of(run: &Run) -> impl Iterator<Item = Vec<u8>> {
    payloads(run).map(|payload| payload.into_owned())
}
