//! Any input, in any pieces, to any framer: `checks::framers` says how the bytes are read and what must hold.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slackwater::framing::checks;

fuzz_target!(|data: &[u8]| checks::framers(data));
