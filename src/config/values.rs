//! Single values: sizes, durations, counts and words of a closed set.
//!
//! Lives here: one text to one value, with its bounds. Never here: where the text stands, or what it is for.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use super::error::Mistake;
use super::nearest::did_you_mean;
use super::plan::{Confirm, Overflow, Pattern};
use crate::framing::{Oversize, SourceFraming};
use crate::message::Framing;

/// Bytes, from a number and its unit: `64KiB` (1024 each), `64KB` (1000 each) or `64B`.
pub(super) fn size(text: &str, bounds: RangeInclusive<usize>) -> Result<usize, Mistake> {
    let bytes = unit_of_bytes(text)?;
    within(text, usize::try_from(bytes).unwrap_or(usize::MAX), bounds, Size)
}

fn unit_of_bytes(text: &str) -> Result<u64, Mistake> {
    if is_bare_number(text) {
        return Err(Mistake::new(format!("no unit after `{text}`")).hint(format!("{text}KiB or {text}B")));
    }
    let Ok(ByteSize(bytes)) = text.parse() else {
        return Err(Mistake::new(format!("not a size: `{text}`")).hint("a number and its unit, like 64KiB"));
    };
    // Whether `64k` means 64000 or 65536 depends on whom one asks.
    let Some(number) = text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T']) else { return Ok(bytes) };
    let letter = text[number.len()..].to_uppercase();
    let hint = format!("{number}{letter}iB counts by 1024, {number}{letter}B by 1000");
    Err(Mistake::new(format!("an ambiguous unit after `{number}`")).hint(hint))
}

/// A duration, from numbers and their units: `200ms`, `1m 30s`, `0s`.
pub(super) fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, Mistake> {
    if is_bare_number(text) {
        return Err(Mistake::new(format!("no unit after `{text}`")).hint(format!("{text}s or {text}ms")));
    }
    let Ok(value) = humantime::parse_duration(text) else {
        return Err(
            Mistake::new(format!("not a duration: `{text}`")).hint("a number and its unit, like 200ms")
        );
    };
    within(text, value, bounds, humantime::format_duration)
}

fn is_bare_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// A whole number.
pub(super) fn count(text: &str, bounds: RangeInclusive<usize>) -> Result<usize, Mistake> {
    let hint = || range(&bounds, |bound| bound);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Mistake::new(format!("not a number: `{text}`")).hint(hint()));
    }
    within(text, text.parse().unwrap_or(usize::MAX), bounds, |bound| bound)
}

/// Whether a drain sends FIN to a sender that goes on.
pub(super) fn half_close(text: &str) -> Result<bool, Mistake> {
    choice(text, "half_close", &[("true", true), ("false", false)], &[])
}

fn framings() -> [(&'static str, Framing); 5] {
    Framing::ALL.map(|framing| (framing.name(), framing))
}

/// How a source's messages are told apart.
pub(super) fn source_framing(text: &str) -> Result<SourceFraming, Mistake> {
    let always = framings().map(|(name, framing)| (name, SourceFraming::Always(framing)));
    let all: Vec<_> = always.into_iter().chain([("auto", SourceFraming::Auto)]).collect();
    choice(text, "framing", &all, &[])
}

/// How a sink frames messages.
pub(super) fn framing(text: &str) -> Result<Framing, Mistake> {
    let tells = Mistake::new("no framing of a sink: `auto`")
        .hint("only a source can tell; leave it out to frame as it does");
    if text == "auto" { Err(tells) } else { choice(text, "framing", &framings(), &[]) }
}

/// What happens to a message for which there is no room.
pub(super) fn overflow(text: &str) -> Result<Overflow, Mistake> {
    let now = [("block", Overflow::Block), ("drop_newest", Overflow::DropNewest)];
    choice(text, "overflow", &now, &["spill"])
}

/// The balance rules, by what they are called; a hash still needs its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Spread,
    Failover,
    Hash,
    Copy,
}

/// Which endpoint a message goes to.
pub(super) fn balance(text: &str) -> Result<Rule, Mistake> {
    let now =
        [("spread", Rule::Spread), ("failover", Rule::Failover), ("hash", Rule::Hash), ("copy", Rule::Copy)];
    choice(text, "balance", &now, &[])
}

/// One byte: an ASCII character, or `\t`.
pub(super) fn byte(text: &str) -> Result<u8, Mistake> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err(Mistake::new(format!("not one byte: `{text}`")).hint("a single character, like ; or \\t")),
    }
}

/// A regular expression over bytes.
pub(super) fn pattern(text: &str) -> Result<Pattern, Mistake> {
    regex::bytes::Regex::new(text).map(Pattern).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().next_back().unwrap_or_default().trim_start_matches("error: ");
        Mistake::new("not a pattern").hint(reason.to_owned())
    })
}

/// Permissions of a file, in octal.
pub(super) fn mode(text: &str) -> Result<u32, Mistake> {
    let wrong = || Mistake::new(format!("not permissions: `{text}`")).hint("three octal digits, like 0660");
    let digits = text.strip_prefix("0o").unwrap_or(text);
    if digits.len() < 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(wrong)
}

/// Addresses, as a block or a single one.
pub(super) fn block(text: &str) -> Result<IpNet, Mistake> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let hint = if text.contains('/') {
        "an address, `/` and a length, like 10.0.0.0/8"
    } else {
        "like 10.0.0.0/8 or ::1"
    };
    let block: IpNet =
        text.parse().map_err(|_| Mistake::new(format!("not an address block: `{text}`")).hint(hint))?;
    if block.trunc() != block {
        let mistake = Mistake::new(format!("an address with the length of a block: `{text}`"));
        return Err(mistake.hint(format!(
            "`{}` for the block, `{}` for the one",
            block.trunc(),
            block.addr()
        )));
    }
    Ok(block)
}

/// What happens to a message that is too long.
pub(super) fn oversize(text: &str) -> Result<Oversize, Mistake> {
    let now = [("truncate", Oversize::Truncate), ("drop", Oversize::Drop), ("close", Oversize::Close)];
    choice(text, "oversize", &now, &[])
}

/// What makes a message delivered, on TCP.
pub(super) fn confirm(text: &str) -> Result<Confirm, Mistake> {
    if text == "replied" {
        let no_answer = Mistake::new("a confirmation that nobody gives");
        return Err(no_answer.hint("`written` or `acked`; only queues and services answer"));
    }
    choice(text, "confirm", &[("written", Confirm::Written), ("acked", Confirm::Acked)], &[])
}

/// What makes a message delivered where nobody acknowledges.
pub(super) fn confirm_locally(text: &str) -> Result<Confirm, Mistake> {
    let no_peer =
        Mistake::new("a confirmation without a peer").hint("`written`; only tcp sinks have `acked`");
    if text == "acked" {
        Err(no_peer)
    } else {
        choice(text, "confirm", &[("written", Confirm::Written)], &[])
    }
}

/// A header of an HTTP request, `Name: value` (RFC 9110 section 5).
pub(super) fn header(text: &str) -> Result<(String, String), Mistake> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match text.split_once(':') {
        Some((name, value))
            if !name.is_empty() && name.chars().all(is_token) && !value.contains(char::is_control) =>
        {
            Ok((name.to_owned(), value.trim().to_owned()))
        }
        _ => Err(Mistake::new("not a header").hint("like \"X-Source: relay\"")),
    }
}

fn choice<T: Copy>(text: &str, what: &str, now: &[(&str, T)], later: &[&str]) -> Result<T, Mistake> {
    if let Some((_, value)) = now.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = now.iter().map(|(word, _)| *word).collect();
    let hint =
        if later.contains(&text) { "not in this version".to_owned() } else { did_you_mean(text, &words) };
    let allowed = format!("{what} is one of: {}", words.join(", "));
    Err(Mistake::new(format!("unknown {what} `{text}`")).hint(hint).allowed(allowed))
}

fn within<T, D>(text: &str, value: T, bounds: RangeInclusive<T>, show: fn(T) -> D) -> Result<T, Mistake>
where
    T: PartialOrd + Copy,
    D: fmt::Display,
{
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(Mistake::new(format!("out of range: `{text}`")).hint(range(&bounds, show)))
}

fn range<T: Copy, D: fmt::Display>(bounds: &RangeInclusive<T>, show: fn(T) -> D) -> String {
    format!("{} to {}", show(*bounds.start()), show(*bounds.end()))
}

/// A size in the largest unit that leaves no rest, as it would be typed.
#[derive(Clone, Copy)]
pub(super) struct Size(pub(super) usize);

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let fits = |bits: usize| self.0 != 0 && self.0.is_multiple_of(1 << bits);
        let (bits, unit) = units.into_iter().find(|(bits, _)| fits(*bits)).unwrap_or((0, "B"));
        write!(out, "{}{unit}", self.0 >> bits)
    }
}
