//! What is wrong with what the user wrote, and where.
//!
//! Lives here: the error and how it is shown. Never here: what is right.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use thiserror::Error;

use super::file::ConfigFile;

/// A mistake in what the user wrote: what it is and in which flag or file, the text with carets below the offending word, what was
/// meant, and what is allowed.
///
/// Its text has several lines, starts without `error:` and ends without a line break.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} in {place}\n  {}\n  {}{}{}",
    masked(&printable(&.mistake.what)), masked(&printable(.line)), carets(.line, .at), beside(&.mistake.hint), below(&.mistake.allowed))]
pub struct ConfigError {
    // Boxed because a `Result` is moved far more often than it fails.
    mistake: Box<Mistake>,
    /// The flag, or `FILE:LINE:COLUMN`.
    place: String,
    /// What was typed after the flag, or the line of the file.
    line: String,
    /// Bytes of `line`, on character boundaries.
    at: Range<usize>,
}

impl ConfigError {
    pub(super) fn typed(mistake: Mistake, flag: &str, typed: &str, at: Range<usize>) -> Self {
        let (place, line) = (flag.to_owned(), typed.to_owned());
        ConfigError { mistake: Box::new(mistake), place, line, at }
    }

    /// Lines and columns count from 1, columns in characters. What goes on in a further line is shown up to the end of its first.
    pub(super) fn in_file(mistake: Mistake, file: &ConfigFile, at: Range<usize>) -> Self {
        let text = file.text();
        let start = text[..at.start].rfind('\n').map_or(0, |before| before + 1);
        let line = text[start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let within = (at.start - start).min(line.len())..(at.end - start).min(line.len());
        let number = text[..start].matches('\n').count() + 1;
        let column = line[..within.start].chars().count() + 1;
        ConfigError {
            mistake: Box::new(mistake),
            place: format!("{}:{number}:{column}", file.path()),
            line: line.to_owned(),
            at: within,
        }
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
    /// `what` reads on with "in --flag", or with "in FILE".
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
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// What could be a password is not shown again: between `:` and `@` of a URL, and behind a key that is called so. As long as it was, so
/// that the carets stay below their word.
fn masked(text: &str) -> String {
    static SECRETS: LazyLock<Regex> = LazyLock::new(|| {
        let in_url = r"://[^/?#@\s:]*:(?<url>[^/?#\s]*)@";
        let behind_key =
            r#"(?i)\b(?:password|passwd|token|secret|pass)\s*=\s*(?<key>"[^"]*"|'[^']*'|[^&\s]+)"#;
        Regex::new(&format!("{in_url}|{behind_key}")).expect("a pattern that is tested")
    });
    let mut shown = text.to_owned();
    for found in SECRETS.captures_iter(text) {
        let Some(secret) = found.name("url").or(found.name("key")) else { continue };
        let stars = "*".repeat(secret.as_str().chars().count());
        shown = shown.replace(secret.as_str(), &stars);
    }
    shown
}

fn carets(line: &str, at: &Range<usize>) -> String {
    let before = line[..at.start].chars().count();
    let width = line[at.clone()].chars().count().max(1);
    " ".repeat(before) + &"^".repeat(width)
}

fn beside(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" {}", printable(hint)) }
}

fn below(allowed: &str) -> String {
    if allowed.is_empty() { String::new() } else { format!("\n{allowed}") }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn what_could_be_a_password_is_not_shown_again() {
        for (typed, shown) in [
            ("redis://me:hunter2@h/S", "redis://me:*******@h/S"),
            ("redis://:hunter2@h/S?group=g", "redis://:*******@h/S?group=g"),
            ("amqp://h/q?password=hunter2&batch=1", "amqp://h/q?password=*******&batch=1"),
            ("password = \"hunter2\"", "password = *********"),
            ("Token = 'x y'", "Token = *****"),
            ("password_file = \"/run/secret\"", "password_file = \"/run/secret\""),
            ("tcp://127.0.0.1:5140?framing=line", "tcp://127.0.0.1:5140?framing=line"),
        ] {
            assert_eq!(masked(typed), shown);
        }
    }
}
