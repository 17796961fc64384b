//! A part of what the user wrote, which still knows where it stands.
//!
//! Lives here: cutting a text into words without losing their places. Never here: what the words mean.

use std::ops::Range;

use super::error::{ConfigError, Mistake};
use super::file::ConfigFile;

/// A part of a text. Invariant: `start <= end <= whole.len()`, both on character boundaries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    origin: Origin<'a>,
    whole: &'a str,
    start: usize,
    end: usize,
}

/// Where the whole text stands.
#[derive(Clone, Copy, Debug)]
enum Origin<'a> {
    /// After a flag.
    Flag(&'static str),
    /// In a file, from that byte on, as it is.
    Verbatim(&'a ConfigFile, usize),
    /// In a file, between those bytes, written in another way: with escapes.
    Written(&'a ConfigFile, usize, usize),
}

impl<'a> Word<'a> {
    /// All that was typed after `flag`.
    pub(super) fn typed(flag: &'static str, whole: &'a str) -> Self {
        Word { origin: Origin::Flag(flag), whole, start: 0, end: whole.len() }
    }

    /// What stands at `place` in a file.
    pub(super) fn in_file(file: &'a ConfigFile, place: Range<usize>) -> Self {
        let whole = &file.text()[place.clone()];
        Word { origin: Origin::Verbatim(file, place.start), whole, start: 0, end: whole.len() }
    }

    /// A string in a file, whose quoted form stands at `place`. Unless it has escapes, `text` is a part of the file itself.
    pub(super) fn string_in_file(file: &'a ConfigFile, text: &'a str, place: Range<usize>) -> Self {
        let origin = match file.offset_of(text) {
            Some(offset) => Origin::Verbatim(file, offset),
            None => Origin::Written(file, place.start, place.end),
        };
        Word { origin, whole: text, start: 0, end: text.len() }
    }

    pub(super) fn text(self) -> &'a str {
        &self.whole[self.start..self.end]
    }

    /// Whether it stands in a file.
    pub(super) fn is_in_file(self) -> bool {
        !matches!(self.origin, Origin::Flag(_))
    }

    /// This word as the place of `mistake`.
    pub(super) fn wrong(self, mistake: Mistake) -> ConfigError {
        match self.origin {
            Origin::Flag(flag) => ConfigError::typed(mistake, flag, self.whole, self.start..self.end),
            Origin::Verbatim(file, offset) => {
                ConfigError::in_file(mistake, file, offset + self.start..offset + self.end)
            }
            Origin::Written(file, start, end) => ConfigError::in_file(mistake, file, start..end),
        }
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
