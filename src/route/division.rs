//! The messages of a run, divided among sink links.
//!
//! Lives here: which bytes go where. Never here: who chooses (the caller passes that in).

use std::ops::Range;

use bytes::Bytes;

use crate::framing::{Frame, frames, joined, slices};
use crate::message::Run;

/// The messages of a run by the link that `pick` names for each: one run for each link, in which they keep their order.
///
/// Copies nothing where all go to one link and the run `owns_buffer`, the one that it came in; else each link's are copied together, so
/// that one that is slow does not hold what is for others.
pub fn partition(run: Run, owns_buffer: bool, mut pick: impl FnMut(&[u8]) -> usize) -> Vec<(usize, Run)> {
    let mut parts: Vec<(usize, Vec<Range<usize>>)> = Vec::new();
    for frame in frames(&run) {
        let link = pick(&payload(&run, &frame));
        match parts.iter_mut().find(|(of, _)| *of == link) {
            Some((_, wires)) => wires.push(frame.wire),
            None => parts.push((link, vec![frame.wire])),
        }
    }
    match &parts[..] {
        [(only, _)] if owns_buffer => vec![(*only, run)],
        _ => parts.into_iter().map(|(link, wires)| (link, copied(&run, &wires))).collect(),
    }
}

/// The run cut into stretches of messages for which `pick` names the same links, in order.
///
/// Copies nothing where there is one stretch and the run `owns_buffer`, the one that it came in; else each stretch is a copy, so that links
/// that are slow do not hold what is for others.
pub fn segments(
    run: Run,
    owns_buffer: bool,
    mut pick: impl FnMut(&[u8]) -> Vec<usize>,
) -> Vec<(Vec<usize>, Run)> {
    let mut stretches: Vec<(Vec<usize>, Vec<Range<usize>>)> = Vec::new();
    for frame in frames(&run) {
        let links = pick(&payload(&run, &frame));
        match stretches.last_mut() {
            Some((same, wires)) if *same == links => wires.push(frame.wire),
            _ => stretches.push((links, vec![frame.wire])),
        }
    }
    match &stretches[..] {
        [(links, _)] if owns_buffer => vec![(links.clone(), run)],
        _ => stretches.into_iter().map(|(links, wires)| (links, copied(&run, &wires))).collect(),
    }
}

/// These messages of a run in memory of their own.
fn copied(run: &Run, wires: &[Range<usize>]) -> Run {
    let mut body = Vec::with_capacity(wires.iter().map(ExactSizeIterator::len).sum());
    for wire in wires {
        let (head, rest) = slices(run, wire.clone());
        body.extend_from_slice(&head);
        body.extend_from_slice(&rest);
    }
    Run { head: Bytes::new(), body: body.into(), messages: wires.len() as u32, framing: run.framing }
}

/// The payload in one piece; only of the message that spans head and body it is a copy.
fn payload(run: &Run, frame: &Frame) -> Bytes {
    let (head, body) = slices(run, frame.payload.clone());
    joined(head, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Framing;

    fn run() -> Run {
        let (head, body) = (Bytes::from_static(b"a"), Bytes::from_static(b"1\nb2\nb3\na4\n"));
        Run { head, body, messages: 4, framing: Framing::Line }
    }

    fn by_letter(message: &[u8]) -> usize {
        usize::from(message[0] - b'a')
    }

    fn text(run: &Run) -> String {
        String::from_utf8([&run.head[..], &run.body].concat()).unwrap()
    }

    #[test]
    fn each_link_gets_its_messages_in_order() {
        let parts = partition(run(), true, by_letter);
        let parts: Vec<_> = parts.iter().map(|(link, run)| (*link, run.messages, text(run))).collect();
        assert_eq!(parts, [(0, 2, "a1\na4\n".to_owned()), (1, 2, "b2\nb3\n".to_owned())]);
    }

    #[test]
    fn a_run_for_one_link_is_copied_unless_it_owns_its_buffer() {
        for owns_buffer in [true, false] {
            let whole = run();
            let body = whole.body.as_ptr();
            let parts = partition(whole.clone(), owns_buffer, |_| 3);
            assert_eq!((parts.len(), parts[0].0, parts[0].1.messages), (1, 3, 4));
            assert_eq!(parts[0].1.body.as_ptr() == body, owns_buffer);
            let cut = segments(whole, owns_buffer, |_| vec![1, 2]);
            assert_eq!((cut.len(), &cut[0].0[..], cut[0].1.messages), (1, &[1, 2][..], 4));
            assert_eq!(cut[0].1.body.as_ptr() == body, owns_buffer);
            assert_eq!((text(&parts[0].1), text(&cut[0].1)), (text(&run()), text(&run())));
        }
    }

    #[test]
    fn stretches_keep_the_order_of_all() {
        let whole = run();
        let within = |run: &Run| whole.body.as_ptr_range().contains(&run.body.as_ptr());
        let cut = segments(whole.clone(), true, |message| vec![9, by_letter(message)]);
        assert!(!cut.iter().any(|(_, run)| within(run)), "each has memory of its own");
        let cut: Vec<_> = cut.iter().map(|(links, run)| (links[1], run.messages, text(run))).collect();
        let expected = [(0, 1, "a1\n"), (1, 2, "b2\nb3\n"), (0, 1, "a4\n")];
        assert_eq!(cut, expected.map(|(link, messages, text)| (link, messages, text.to_owned())));
    }
}
