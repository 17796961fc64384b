//! The messages of a run, divided among sink links.
//!
//! Lives here: which bytes go where. Never here: who chooses (the caller passes that in).

use bytes::{Bytes, BytesMut};

use crate::framing::{Frame, frames, slices};
use crate::message::Run;

/// The messages of a run by the link that `pick` names for each: one run for each link, in which they keep their order.
///
/// Copies nothing where all go to one link; else each link's are copied together, so that one that is slow does not hold what is
/// for others.
pub fn partition(run: Run, mut pick: impl FnMut(&[u8]) -> usize) -> Vec<(usize, Run)> {
    let picked: Vec<(usize, Frame)> =
        frames(&run).map(|frame| (pick(&payload(&run, &frame)), frame)).collect();
    let Some(&(first, _)) = picked.first() else { return Vec::new() };
    if picked.iter().all(|(link, _)| *link == first) {
        return vec![(first, run)];
    }
    let mut parts: Vec<(usize, BytesMut, u32)> = Vec::new();
    for (link, frame) in picked {
        let part = match parts.iter().position(|(of, ..)| *of == link) {
            Some(known) => &mut parts[known],
            None => {
                parts.push((link, BytesMut::new(), 0));
                parts.last_mut().expect("pushed above")
            }
        };
        let (head, body) = slices(&run, frame.wire);
        part.1.extend_from_slice(&head);
        part.1.extend_from_slice(&body);
        part.2 += 1;
    }
    let owned = |(link, bytes, messages): (usize, BytesMut, u32)| {
        (link, Run { head: Bytes::new(), body: bytes.freeze(), messages, framing: run.framing })
    };
    parts.into_iter().map(owned).collect()
}

/// The run cut into stretches of messages for which `pick` names the same links, in order. Copies nothing.
pub fn segments(run: &Run, mut pick: impl FnMut(&[u8]) -> Vec<usize>) -> Vec<(Vec<usize>, Run)> {
    let mut rest = run.clone();
    let (mut done, mut cut) = (0, Vec::new());
    let mut stretch: Option<(Vec<usize>, u32)> = None;
    for frame in frames(run) {
        let links = pick(&payload(run, &frame));
        stretch = match stretch.take() {
            Some((same, messages)) if same == links => Some((same, messages + 1)),
            Some((other, messages)) => {
                cut.push((other, split_off(&mut rest, frame.wire.start - done, messages)));
                done = frame.wire.start;
                Some((links, 1))
            }
            None => Some((links, 1)),
        };
    }
    cut.extend(stretch.map(|(links, _)| (links, rest)));
    cut
}

/// Cuts off the first `bytes` of a run, in which `messages` end.
fn split_off(run: &mut Run, bytes: usize, messages: u32) -> Run {
    let (head, body) = slices(run, 0..bytes);
    run.skip(bytes, messages);
    Run { head, body, messages, framing: run.framing }
}

/// The payload in one piece; only of the message that spans head and body it is a copy.
fn payload(run: &Run, frame: &Frame) -> Bytes {
    let (head, body) = slices(run, frame.payload.clone());
    match (head.is_empty(), body.is_empty()) {
        (true, _) => body,
        (_, true) => head,
        (false, false) => [&head[..], &body].concat().into(),
    }
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
        let parts = partition(run(), by_letter);
        let parts: Vec<_> = parts.iter().map(|(link, run)| (*link, run.messages, text(run))).collect();
        assert_eq!(parts, [(0, 2, "a1\na4\n".to_owned()), (1, 2, "b2\nb3\n".to_owned())]);
    }

    #[test]
    fn a_run_for_one_link_is_not_copied() {
        let run = run();
        let body = run.body.as_ptr();
        let parts = partition(run, |_| 3);
        assert_eq!((parts.len(), parts[0].0, parts[0].1.body.as_ptr()), (1, 3, body));
    }

    #[test]
    fn stretches_keep_the_order_of_all() {
        let cut = segments(&run(), |message| vec![9, by_letter(message)]);
        let cut: Vec<_> = cut.iter().map(|(links, run)| (links[1], run.messages, text(run))).collect();
        let expected = [(0, 1, "a1\n"), (1, 2, "b2\nb3\n"), (0, 1, "a4\n")];
        assert_eq!(cut, expected.map(|(link, messages, text)| (link, messages, text.to_owned())));
        assert_eq!(segments(&run(), |_| vec![1]).len(), 1);
    }
}
