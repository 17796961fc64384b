//! What is wrong with what the user typed, and where.
//!
//! Lives here: the error and how it is shown. Never here: what is right.

use std::ops::Range;

use thiserror::Error;

/// A mistake in what the user typed: what it is and in which flag, the typed text with carets below the offending word,
/// what was meant, and what is allowed.
///
/// Its text has several lines, starts without `error:` and ends without a line break.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} in {flag}\n  {}\n  {}{}{}",
    printable(&.mistake.what), printable(.typed), carets(.typed, .at), beside(&.mistake.hint), below(&.mistake.allowed))]
pub struct ConfigError {
    // Boxed because a `Result` is moved far more often than it fails.
    mistake: Box<Mistake>,
    flag: &'static str,
    typed: String,
    /// Bytes of `typed`, on character boundaries.
    at: Range<usize>,
}

impl ConfigError {
    pub(super) fn new(mistake: Mistake, flag: &'static str, typed: &str, at: Range<usize>) -> Self {
        ConfigError { mistake: Box::new(mistake), flag, typed: typed.to_owned(), at }
    }
}

/// A mistake without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    what: String,
    hint: String,
    allowed: String,
}

impl Mistake {
    /// `what` reads on with "in --flag".
    pub(super) fn new(what: impl Into<String>) -> Self {
        Mistake { what: what.into(), hint: String::new(), allowed: String::new() }
    }

    /// Stands beside the carets: what was meant, or what would be right in this place.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Stands below: everything that is allowed.
    pub(super) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = allowed.into();
        self
    }
}

/// One character for each, so that the carets stay below their word; no control sequence reaches a terminal.
fn printable(typed: &str) -> String {
    typed.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn carets(typed: &str, at: &Range<usize>) -> String {
    let before = typed[..at.start].chars().count();
    let width = typed[at.clone()].chars().count().max(1);
    " ".repeat(before) + &"^".repeat(width)
}

fn beside(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" {}", printable(hint)) }
}

fn below(allowed: &str) -> String {
    if allowed.is_empty() { String::new() } else { format!("\n{allowed}") }
}
