//! A part of what the user typed, which still knows where it stands.
//!
//! Lives here: cutting a text into words without losing their places. Never here: what the words mean.

use super::error::{ConfigError, Mistake};

/// A part of what follows one flag. Invariant: `start <= end <= whole.len()`, both on character boundaries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    flag: &'static str,
    whole: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Word<'a> {
    /// All that was typed after `flag`.
    pub(super) fn typed(flag: &'static str, whole: &'a str) -> Self {
        Word { flag, whole, start: 0, end: whole.len() }
    }

    pub(super) fn text(self) -> &'a str {
        &self.whole[self.start..self.end]
    }

    /// This word as the place of `mistake`.
    pub(super) fn wrong(self, mistake: Mistake) -> ConfigError {
        ConfigError::new(mistake, self.flag, self.whole, self.start..self.end)
    }

    /// What stands before the first `mark`, and after it.
    pub(super) fn split_once(self, mark: char) -> (Self, Option<Self>) {
        let Some(at) = self.text().find(mark) else { return (self, None) };
        (self.until(at), Some(self.from(at + mark.len_utf8())))
    }

    /// What stands between the `mark`s, one after the other; at least one word, which may be empty.
    pub(super) fn split(self, mark: char) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let (word, after) = rest?.split_once(mark);
            rest = after;
            Some(word)
        })
    }

    /// What follows `prefix`, if the word starts with it.
    pub(super) fn strip_prefix(self, prefix: &str) -> Option<Self> {
        self.text().starts_with(prefix).then(|| self.from(prefix.len()))
    }

    /// From byte `at` of this word to its end.
    pub(super) fn from(self, at: usize) -> Self {
        Word { start: self.start + at, ..self }
    }

    /// From its start to before its byte `at`.
    pub(super) fn until(self, at: usize) -> Self {
        Word { end: self.start + at, ..self }
    }

    /// The empty word behind this one.
    pub(super) fn behind(self) -> Self {
        self.from(self.text().len())
    }
}
