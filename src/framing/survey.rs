//! The one pass over all bytes of delimited messages: how many messages end there, and whether all are canonical.
//!
//! Most of what the relay itself does for a message in bulk is this loop. Lives here: that pass. Never here: what becomes of messages.

use multiversion::multiversion;

use super::delimited::Delimiter;
use super::fetch;

/// Bytes that are looked at side by side, two registers of AVX2. Each place counts for itself, in a byte.
const LANES: usize = 64;
/// Bytes after which the places are added up, before one of them can overflow.
const SLAB: usize = LANES * u8::MAX as usize;

/// Counts the messages of a region that follows the byte `before`; `None` where one is odd, that is, not canonical: its delimiter follows
/// another, so that it is empty, or a lead, which it would keep. Compiled also for what most processors have beyond the least of their
/// architecture.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn count(delimiter: &Delimiter, before: u8, region: &[u8]) -> Option<u32> {
    let (end, lead) = (delimiter.end, delimiter.lead.unwrap_or(delimiter.end));
    let Some(&first) = region.first() else { return Some(0) };
    if has_odd(end, lead, &[first], &[before]) {
        return None;
    }
    let mut messages = u32::from(first == end);
    // Each byte beside the one before it.
    let befores = region[..region.len() - 1].chunks(SLAB);
    for (bytes, befores) in region[1..].chunks(SLAB).zip(befores) {
        let (ended, least) = survey(end, bytes, befores);
        if least <= lead.max(end) && has_odd(end, lead, bytes, befores) {
            return None;
        }
        messages += ended;
    }
    Some(messages)
}

/// How many messages end, and the least byte that is before an end (255 before none). An odd message brings that down to the lead or
/// the delimiter, hardly anything else does (a tab before a line feed), and it takes fewer instructions than to see what is odd. Without
/// a branch, or a sum that is wider than a byte, it compiles to vector instructions: four of arithmetic for each register.
#[inline(always)]
fn survey(end: u8, bytes: &[u8], befores: &[u8]) -> (u32, u8) {
    debug_assert!(bytes.len() == befores.len() && bytes.len() <= SLAB);
    let ((rows, rest), (befores, rest_befores)) = (bytes.as_chunks::<LANES>(), befores.as_chunks::<LANES>());
    let (mut ended, mut furthest) = ([0; LANES], [0; LANES]);
    for (row, befores) in rows.iter().zip(befores) {
        fetch::ahead(row); // as long as a cache line
        for lane in 0..LANES {
            look(end, row[lane], befores[lane], &mut ended[lane], &mut furthest[lane]);
        }
    }
    let (mut rest_ended, mut rest_furthest) = (0, 0);
    for (&byte, &before) in rest.iter().zip(rest_befores) {
        look(end, byte, before, &mut rest_ended, &mut rest_furthest);
    }
    let ended = ended.into_iter().map(u32::from).sum::<u32>() + u32::from(rest_ended);
    (ended, !furthest.into_iter().fold(rest_furthest, u8::max))
}

/// Adds one to `ended` if a message ends here, and notes how far from 255 the byte before its end is, where that is furthest.
#[inline(always)]
fn look(end: u8, byte: u8, before: u8, ended: &mut u8, furthest: &mut u8) {
    // All bits or none, as a comparison of vectors gives it: minus one to count by, and 255 to take the byte before from.
    let ends = if byte == end { u8::MAX } else { 0 };
    *ended = ended.wrapping_sub(ends);
    *furthest = (*furthest).max(ends.saturating_sub(before));
}

/// Whether a delimiter follows another or a lead.
#[inline(always)]
fn has_odd(end: u8, lead: u8, bytes: &[u8], befores: &[u8]) -> bool {
    let odd = |(&byte, &before)| u8::from(byte == end) & (u8::from(before == end) | u8::from(before == lead));
    bytes.iter().zip(befores).fold(0, |any, pair| any | odd(pair)) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::line::LINE;
    use super::super::nul::NUL_TERMINATED;
    use super::*;

    fn count_slowly(delimiter: &Delimiter, mut before: u8, region: &[u8]) -> Option<u32> {
        let mut messages = 0;
        for &byte in region {
            if byte == delimiter.end {
                messages += 1;
                if before == delimiter.end || Some(before) == delimiter.lead {
                    return None;
                }
            }
            before = byte;
        }
        Some(messages)
    }

    proptest! {
        #[test]
        fn it_counts_and_judges_like_a_loop(
            before in prop::sample::select(b"a\r\n\0".to_vec()),
            region in prop::collection::vec(
                prop_oneof![200 => Just(b'a'), 4 => Just(b'\n'), 1 => Just(b'\r'), 1 => Just(b'\0')],
                0..500,
            ),
        ) {
            for delimiter in [&LINE, &NUL_TERMINATED] {
                prop_assert_eq!(count(delimiter, before, &region), count_slowly(delimiter, before, &region));
            }
        }
    }

    /// Messages of one byte, so that half of the places count as much as they can.
    #[test]
    fn no_place_overflows() {
        for len in [SLAB, SLAB + 1, 2 * SLAB + LANES + 2] {
            for start in [b"\na", b"a\n"] {
                let region: Vec<u8> = start.iter().copied().cycle().take(len).collect();
                assert_eq!(
                    count(&LINE, b'a', &region),
                    Some((region.iter().filter(|&&byte| byte == b'\n').count()) as u32)
                );
            }
        }
    }

    #[test]
    fn one_odd_message_is_seen_wherever_it_is() {
        for (delimiter, odd) in [(&LINE, b"\r\n"), (&LINE, b"\n\n"), (&NUL_TERMINATED, b"\0\0")] {
            assert_eq!(count(delimiter, odd[0], &odd[1..]), None, "across receives");
            for at in (1..3 * LANES).chain(SLAB - LANES..SLAB + 2 * LANES) {
                let mut region = [b'a'].repeat(SLAB + 2 * LANES + 3);
                region[at - 1..=at].copy_from_slice(odd);
                assert_eq!(count(delimiter, b'a', &region), None, "at {at}");
            }
        }
    }

    /// A lead before something else, or behind the delimiter; and bytes below the two, at an end and elsewhere.
    #[test]
    fn what_only_looks_odd_is_counted() {
        for (bytes, messages) in
            [("a\n\ra\n", 2), ("\r\ra\n", 1), ("a\n\x0b\n", 2), ("\x0b\x0c\n", 1), ("\t\t\n", 1), ("\0\n", 1)]
        {
            let region = bytes.repeat(LANES);
            assert_eq!(count(&LINE, b'a', region.as_bytes()), Some(messages * LANES as u32), "{bytes:?}");
        }
    }
}
