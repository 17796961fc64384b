//! What the fuzz targets of `tests/fuzz` begin with, and random bytes, through the same checks.
//!
//! Lives here: the replay of `tests/fuzz/corpus`. A finding becomes a file there.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::super::checks;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let seeds = fs::read_dir(&folder).expect("a corpus");
    let paths: Vec<_> = seeds.map(|seed| seed.expect("a readable entry").path()).collect();
    assert!(paths.len() >= 20, "{} seeds in {}", paths.len(), folder.display());
    for path in paths {
        let seed = fs::read(&path).expect("a readable seed");
        let checked = std::panic::catch_unwind(|| check(&seed));
        assert!(checked.is_ok(), "{} breaks a promise", path.display());
    }
}

#[test]
fn the_corpus_of_the_framers_holds() {
    replay("framers", checks::framers);
}

#[test]
fn the_corpus_of_reframing_holds() {
    replay("reframe", checks::reframing);
}

proptest! {
    #[test]
    fn random_bytes_hold(
        header in prop::array::uniform3(any::<u8>()),
        lengths in prop::collection::vec(0..20_u8, 0..9),
        input in super::any_input(),
    ) {
        let data = [&header[..], &[lengths.len() as u8], &lengths, &input].concat();
        checks::framers(&data);
        checks::reframing(&data);
    }
}
