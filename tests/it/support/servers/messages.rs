//! Messages that tell which one they are.
//!
//! Lives here: writing and recognising them. Never here: how they get anywhere.

use std::ops::Range;

use slackwater::load::Stamp;

/// All of them are of one run and one connection, so that a sink of the generator tells what is missing of them.
const RUN: u32 = 0x5e_17_e5;

/// Messages with these numbers.
pub fn numbered(numbers: Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(message).collect()
}

fn message(number: u64) -> Vec<u8> {
    let mut message = vec![0; Stamp::LEN];
    Stamp { run: RUN, connection: 0, sequence: number }.write_into(&mut message);
    message
}

/// The numbers of messages, in their order.
#[track_caller]
pub fn numbers(messages: &[Vec<u8>]) -> Vec<u64> {
    let number = |message: &Vec<u8>| match Stamp::parse(message) {
        Some(Stamp { run: RUN, connection: 0, sequence }) => sequence,
        other => panic!("{other:?} is none of ours: {}", String::from_utf8_lossy(message)),
    };
    messages.iter().map(number).collect()
}

/// Asserts that these are all of them, each once, in whatever order.
#[track_caller]
pub fn assert_each_once(messages: &[Vec<u8>], expected: Range<u64>) {
    let mut found = numbers(messages);
    found.sort_unstable();
    let repeated = found.windows(2).filter(|two| two[0] == two[1]).count();
    let missing = expected.clone().filter(|number| found.binary_search(number).is_err()).count();
    assert!(
        found.iter().copied().eq(expected.clone()),
        "of {expected:?}, {missing} are missing, {repeated} came again: {} came",
        found.len()
    );
}

/// Asserts that these are all of them, each once, in order.
#[track_caller]
pub fn assert_in_order(messages: &[Vec<u8>], expected: Range<u64>) {
    assert_each_once(messages, expected);
    let found = numbers(messages);
    let back = found.windows(2).find(|two| two[0] > two[1]);
    assert!(back.is_none(), "out of order: {back:?}");
}
