//! Which cores: a count, a list or all.
//!
//! Lives here: the value of `--cores`. Never here: which cores there are.

use super::error::{ConfigError, Mistake};
use super::plan::Cores;
use super::settings::Settings;
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
    if text.contains(',') { list(typed.split(',')).map(Cores::List) } else { one(typed) }
}

/// The same as a file says it: `2`, `[0, 3]` or `"all"`. With where that stands, if it does.
pub(super) fn cores_of<'a>(file: &Settings<'a>) -> Result<Option<(Cores, Word<'a>)>, ConfigError> {
    let Some(key) = file.key("cores") else { return Ok(None) };
    let items = file.list("cores")?;
    let cores = match &items[..] {
        [item] if !file.is_list("cores") => one(item.word)?,
        items => Cores::List(list(items.iter().map(|item| item.word))?),
    };
    Ok(Some((cores, items.first().map_or(key, |item| item.word))))
}

fn one(word: Word<'_>) -> Result<Cores, ConfigError> {
    if word.text() == "all" { Ok(Cores::All) } else { number(word, 1).map(Cores::Count) }
}

fn list<'a>(words: impl Iterator<Item = Word<'a>>) -> Result<Vec<usize>, ConfigError> {
    let mut numbers = Vec::new();
    for word in words {
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
