//! What was meant: the nearest right word.
//!
//! Lives here: edit distance, its threshold, and words that were cut short. Never here: the right words.

/// The word of `right` that is nearest to `typed`, if at most a third of its letters are wrong (always one may be), or
/// else the first that `typed` begins.
pub(super) fn nearest<'a>(typed: &str, right: &[&'a str]) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let cut_short = |word: &&str| typed.len() >= 3 && word.starts_with(&typed);
    let mistyped = |word: &&str| strsim::damerau_levenshtein(&typed, word);
    let word = right.iter().copied().min_by_key(mistyped)?;
    let near = mistyped(&word) <= (typed.chars().count() / 3).max(1);
    if near { Some(word) } else { right.iter().copied().find(cut_short) }
}

/// "did you mean", or nothing if no word of `right` is near.
pub(super) fn did_you_mean(typed: &str, right: &[&str]) -> String {
    nearest(typed, right).map(|word| format!("did you mean `{word}`?")).unwrap_or_default()
}
