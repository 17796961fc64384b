//! The framers, by properties and by examples.
//!
//! Lives here: any input, any split, any bounds. What must hold of them is in `checks`, which the fuzz targets use too.

mod by_the_book;
mod corpus;
mod datagrams;
mod examples;
mod properties;
mod reframing;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::checks::{FRAMINGS, POLICIES, encode};
use super::{Bounds, Oversize};
use crate::message::Framing;

/// The framings that a connection may have.
const STREAMS: [Framing; 4] = [Framing::Line, Framing::Octet, Framing::U32, Framing::Nul];

fn bounds(max_message: usize, oversize: Oversize) -> Bounds {
    Bounds { max_message, oversize }
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

fn any_framing() -> impl Strategy<Value = Framing> {
    select(FRAMINGS.to_vec())
}

fn any_stream() -> impl Strategy<Value = Framing> {
    select(STREAMS.to_vec())
}

/// Text with many delimiters, and bytes that are no UTF-8.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(select(b"aaaaabbb \0\0\0\xff\r\r\n\n\n".to_vec()), 0..120)
}

fn any_payload(bytes: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(select(bytes.to_vec()), 1..14)
}

/// Good octet-counted frames, now and then one that is cut short or a bad count.
fn any_octets() -> impl Strategy<Value = Vec<u8>> {
    const MISTAKES: [&[u8]; 10] = [
        b"05 x",
        b"0 ",
        b"abc x",
        b"12x",
        b" ",
        b"99999999999999999999 ",
        b"4000000000 ",
        b"9",
        b"19 x",
        b"",
    ];
    any_frames(Framing::Octet, MISTAKES.map(<[u8]>::to_vec).into())
}

/// Good frames with a length, now and then an empty one, one that is cut short or a bad length.
fn any_u32s() -> impl Strategy<Value = Vec<u8>> {
    const ODD: [&[u8]; 7] = [
        b"\0\0\0\0",
        b"\0\0\0\0\0\0\0\0",
        b"\0\0\0\x09x",
        b"\0\0\x01",
        b"\x01\0\0\x01",
        b"\x01\0\0\0",
        b"\xee\x6b\x28\0xx",
    ];
    any_frames(Framing::U32, ODD.map(<[u8]>::to_vec).into())
}

fn any_frames(framing: Framing, odd: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let frame = any_payload(b"ab 1\n\r\0\xff").prop_map(move |payload| encode(framing, &[payload]));
    let part = prop_oneof![12 => frame, 2 => select(odd)];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// What may come in any format, and in none.
fn any_input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![any_text(), any_octets(), any_u32s()]
}

/// Messages that travel unchanged in every format.
fn any_messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(any_payload(b"ab 1\xff"), 1..12)
}
