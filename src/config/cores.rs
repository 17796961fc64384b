//! Which cores: a count, a list or all.
//!
//! Lives here: the value of `--cores`. Never here: which cores there are.

use super::error::{ConfigError, Mistake};
use super::plan::Cores;
use super::values::count;
use super::word::Word;
use crate::limits::CORES_MAX;

/// The meaning of `--cores`: `2`, `0,3` or `all`.
///
/// # Errors
///
/// When `text` is neither, a count is zero, a core is named twice, or a number is beyond what a `cpu_set_t` holds.
pub fn cores(text: &str) -> Result<Cores, ConfigError> {
    let typed = Word::typed("--cores", text);
    if text == "all" {
        Ok(Cores::All)
    } else if text.contains(',') {
        list(typed).map(Cores::List)
    } else {
        number(typed, 1).map(Cores::Count)
    }
}

fn list(typed: Word<'_>) -> Result<Vec<usize>, ConfigError> {
    let mut numbers = Vec::new();
    for word in typed.split(',') {
        let core = number(word, 0)?;
        if numbers.contains(&core) {
            return Err(word.wrong(Mistake::new(format!("core {core} twice"))));
        }
        numbers.push(core);
    }
    Ok(numbers)
}

/// A count starts at 1, a core's own number at 0.
fn number(word: Word<'_>, least: usize) -> Result<usize, ConfigError> {
    let most = CORES_MAX - 1 + least;
    let allowed = "cores are a count (2), their numbers (0,3) or all";
    count(word.text(), least..=most).map_err(|mistake| word.wrong(mistake.allowed(allowed)))
}
