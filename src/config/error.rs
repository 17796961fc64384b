//! What is wrong with what the user wrote, and where.
//!
//! Lives here: the error and how it is shown. Never here: what is right.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Match, Regex};
use thiserror::Error;

use super::endpoint::Role;
use super::file::ConfigFile;

/// A mistake in what the user wrote: what it is and in which flag or file, the text with carets below the offending word, what was
/// meant, and what is allowed.
///
/// Its text has several lines, starts without `error:` and ends without a line break.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} in {place}\n  {}\n  {}{}{}",
    masked(&.mistake.what, .line), masked(.line, .line), carets(.line, .at), beside(&masked(&.mistake.hint, .line)), below(&.mistake.allowed))]
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

/// A text without what could be a secret in it, or in the `line` that it is about. As long as it was, so that the carets stay below their
/// word.
fn masked(text: &str, line: &str) -> String {
    let mut shown = printable(text);
    for secret in secrets(&printable(line)).into_iter().chain(secrets(&shown.clone())) {
        shown = shown.replace(&secret, &"*".repeat(secret.chars().count()));
    }
    shown
}

/// What could be a password: between `:` and `@` of whatever may be meant as a URL, behind a key that is called so, and all that a header
/// says.
fn secrets(text: &str) -> Vec<String> {
    static SECRETS: LazyLock<Regex> = LazyLock::new(|| {
        let in_url = r#"(?:[a-z0-9+.-]+:)?/{0,2}(?<user>[^/@:\s"'=]*):(?<url>[^\s"']+)@"#;
        let behind_key = r#"(?i)(?<name>[\w-]*(?:pass|token|secret|sig|api[_-]?key|auth)[\w-]*)\s*=\s*(?<key>"[^"]*"|'[^']*'|[^&\s]+)"#;
        let in_header = r#"\bheaders?\s*=\s*\[?\s*["']?(?:[\w-]+:)?(?<header>[^&]+)"#;
        Regex::new(&format!("{in_header}|{behind_key}|{in_url}")).expect("a pattern that is tested")
    });
    let of = |found: Captures<'_>| {
        let is_place = |name: &Match<'_>| ["_file", "_env"].iter().any(|end| name.as_str().ends_with(end));
        let user = found.name("user").map_or("", |user| user.as_str());
        let by_key = found.name("key").filter(|_| !found.name("name").is_some_and(|name| is_place(&name)));
        let in_url = found.name("url").filter(|secret| !is_address(user, secret.as_str()));
        let secret = found.name("header").or(by_key).or(in_url)?;
        Some(secret.as_str().to_owned())
    };
    SECRETS.captures_iter(text).filter_map(of).collect()
}

/// Whether it is a host with its port, or a path, and an `@` stands somewhere behind it.
fn is_address(user: &str, rest: &str) -> bool {
    let is_port = rest.split(['/', '?', ',']).next().is_some_and(|port| port.parse::<u16>().is_ok());
    let is_host = user.contains('.') || user == "localhost";
    let is_path = matches!(user, "file" | "unix" | "unixgram");
    // All that stands before an `@` is a user's name.
    let is_scheme = rest.starts_with('/') && Role::Sink.schemes().contains(&user);
    is_host && is_port || user.starts_with('[') || is_path || is_scheme
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
            ("redis://me:hunt/er2@h/S", "redis://me:********@h/S"),
            ("redis://me:hunt?er2@h/S", "redis://me:********@h/S"),
            ("redis://me:hunt#er2@h/S", "redis://me:********@h/S"),
            ("redis://me:hunt@er2@h/S", "redis://me:********@h/S"),
            ("send = \"redis://me:hunt/er2@h/S\"", "send = \"redis://me:********@h/S\""),
            ("redis:/me:hunter2@h/S", "redis:/me:*******@h/S"),
            ("redis:me:hunter2@h/S", "redis:me:*******@h/S"),
            ("redis//me:hunter2@h/S", "redis//me:*******@h/S"),
            ("me:hunter2@h/S", "me:*******@h/S"),
            ("amqp://h/q?password=hunter2&batch=1", "amqp://h/q?password=*******&batch=1"),
            ("amqp://h/q?passwordx=hunter2", "amqp://h/q?passwordx=*******"),
            ("http://h/?apikey=hunter2&sig=hunter3", "http://h/?apikey=*******&sig=*******"),
            ("password = \"hunter2\"", "password = *********"),
            ("Token = 'x y'", "Token = *****"),
            ("http://h/?headers=A: Bearer hunter2&x=1", "http://h/?headers=A:***************&x=1"),
            ("http://h/?headers=A hunter2", "http://h/?headers=*********"),
            ("headers = [\"A: hunter2\", 3]", "headers = [\"A:*************"),
            ("password_file = \"/run/secret\"", "password_file = \"/run/secret\""),
            ("tcp://127.0.0.1:5140?framing=line", "tcp://127.0.0.1:5140?framing=line"),
            ("tcp://127.0.0.1:5140?name=a@b", "tcp://127.0.0.1:5140?name=a@b"),
            ("tcp://[::1]:5140?name=a@b", "tcp://[::1]:5140?name=a@b"),
            ("unix:/run/a@b", "unix:/run/a@b"),
        ] {
            assert_eq!(masked(typed, typed), shown);
        }
        let line = "redis://h/q?password=hunter2&batch=hunter2";
        assert_eq!(masked("not a number: `hunter2`", line), "not a number: `*******`");
    }
}
