//! Any run to any framing and back: `checks::reframing` says how the bytes are read and what must hold.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slackwater::framing::checks;

fuzz_target!(|data: &[u8]| checks::reframing(data));
