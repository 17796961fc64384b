//! Any split of any input gives what a reader by the book finds in all of it.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::checks::{Outcome, encode, feed_all, feed_datagram};
use super::super::{Framer, Oversize, SourceFraming};
use super::by_the_book::{read, read_cut};
use super::*;

proptest! {
    #[test]
    fn any_split_of_lines_gives_the_same(bounds in any_bounds(), input in any_text(), cuts in any_cuts()) {
        let (_, found) = feed_all(Framing::Line, bounds, &split(&input, &cuts));
        prop_assert_eq!(found, read(Framing::Line, bounds, &input));
    }

    #[test]
    fn any_split_of_nul_terminated_messages_gives_the_same(
        bounds in any_bounds(), input in any_text(), cuts in any_cuts(),
    ) {
        let (_, found) = feed_all(Framing::Nul, bounds, &split(&input, &cuts));
        prop_assert_eq!(found, read(Framing::Nul, bounds, &input));
    }

    #[test]
    fn any_split_of_octet_counted_frames_gives_the_same(
        bounds in any_bounds(), input in any_octets(), cuts in any_cuts(),
    ) {
        let (_, found) = feed_all(Framing::Octet, bounds, &split(&input, &cuts));
        prop_assert_eq!(found, read(Framing::Octet, bounds, &input));
    }

    #[test]
    fn any_split_of_frames_with_a_length_gives_the_same(
        bounds in any_bounds(), input in any_u32s(), cuts in any_cuts(),
    ) {
        let (_, found) = feed_all(Framing::U32, bounds, &split(&input, &cuts));
        prop_assert_eq!(found, read(Framing::U32, bounds, &input));
    }

    #[test]
    fn any_split_is_read_as_what_its_first_byte_says(
        bounds in any_bounds(), input in prop_oneof![any_text(), any_octets()], cuts in any_cuts(),
    ) {
        let (_, found) = feed_all(SourceFraming::Auto, bounds, &split(&input, &cuts));
        prop_assert_eq!(found, read(SourceFraming::Auto, bounds, &input));
    }

    #[test]
    fn bytes_one_by_one_give_the_same(framing in any_stream(), bounds in any_bounds(), input in any_input()) {
        let (_, found) = feed_all(framing, bounds, &input.chunks(1).collect::<Vec<_>>());
        prop_assert_eq!(found, read(framing, bounds, &input));
    }

    #[test]
    fn messages_survive_encoding_and_any_split(
        framing in any_stream(), messages in any_messages(), cuts in any_cuts(),
    ) {
        let input = encode(framing, &messages);
        let (_, found) = feed_all(framing, bounds(64, Oversize::Close), &split(&input, &cuts));
        prop_assert_eq!(found, Outcome { payloads: messages, ..Outcome::default() });
    }

    #[test]
    fn a_datagram_is_read_as_all_of_a_link(framing in any_framing(), bounds in any_bounds(), input in any_input()) {
        let (_, found) = feed_datagram(&mut Framer::new(framing, bounds), &input, false);
        prop_assert_eq!(found, read(framing, bounds, &input));
    }

    #[test]
    fn what_was_cut_off_belongs_to_the_last_message(
        framing in any_framing(), bounds in any_bounds(), input in any_input(),
    ) {
        let (_, found) = feed_datagram(&mut Framer::new(framing, bounds), &input, true);
        prop_assert_eq!(found, read_cut(framing, bounds, &input));
    }

    #[test]
    fn each_datagram_is_read_as_if_it_were_the_first(
        framing in any_source(), bounds in any_bounds(), inputs in prop::collection::vec(any_input(), 1..5),
    ) {
        let mut framer = Framer::new(framing, bounds);
        for input in inputs {
            let (_, found) = feed_datagram(&mut framer, &input, false);
            prop_assert_eq!(found, read(framing, bounds, &input));
        }
    }

    #[test]
    fn a_tally_waits_until_it_is_asked_for(framing in any_source(), inputs in prop::collection::vec(any_input(), 1..5)) {
        let bounds = bounds(3, Oversize::Drop);
        let mut framer = Framer::new(framing, bounds);
        let mut dropped = 0;
        for input in inputs {
            dropped += read(framing, bounds, &input).tally.dropped;
            // A mistake is counted elsewhere.
            let _ = framer.feed_datagram(Bytes::from(input), false, &mut Vec::new());
        }
        prop_assert_eq!(framer.take_tally().dropped, dropped);
    }
}

fn any_source() -> impl Strategy<Value = SourceFraming> {
    prop_oneof![1 => Just(SourceFraming::Auto), 5 => any_framing().prop_map(SourceFraming::from)]
}
