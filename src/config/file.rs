//! The configuration file: TOML, of which every key and value knows its place.
//!
//! Lives here: from a text to tables of settings. Never here: reading it from a disk, or what the settings mean.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Mistake};
use super::settings::{Known, Settings, Value};
use super::word::Word;

/// A configuration file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    path: String,
    text: String,
}

/// What a file may say outside of sources and sinks.
pub(super) const TOP_KEYS: [&str; 7] =
    ["cores", "drain_timeout", "max_in_flight", "gather", "ledger", "source", "sink"];

impl ConfigFile {
    /// `text`, as it stands in the file that the user calls `path`.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> ConfigFile {
        ConfigFile { path: path.into(), text: text.into() }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where `part` begins, if it is a part of this very text.
    pub(super) fn offset_of(&self, part: &str) -> Option<usize> {
        let offset = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        (offset + part.len() <= self.text.len()).then_some(offset)
    }

    /// Whether a value without quotes begins at `place`.
    fn is_bare_word(&self, place: &Range<usize>) -> bool {
        let before = self.text[..place.start].trim_end();
        before.ends_with('=') && self.text[place.start..].starts_with(char::is_alphabetic)
    }

    /// The tables of the file, by the rules of TOML.
    pub(super) fn parse(&self) -> Result<Document<'_>, ConfigError> {
        DeTable::parse(&self.text).map(|table| Document { file: self, table: table.into_inner() }).map_err(
            |error| {
                let end = self.text.len();
                let place = error.span().map_or(end..end, |span| span.start.min(end)..span.end.min(end));
                let mistake = Mistake::new(format!("not TOML: {}", error.message().replace('\n', ", ")));
                let hint = if self.is_bare_word(&place) { "a text stands in quotes" } else { "" };
                Word::in_file(self, place).wrong(mistake.hint(hint))
            },
        )
    }
}

/// A file that is TOML.
pub(super) struct Document<'a> {
    file: &'a ConfigFile,
    table: DeTable<'a>,
}

impl<'a> Document<'a> {
    /// What stands outside of sources and sinks.
    pub(super) fn top(&'a self) -> Result<Settings<'a>, ConfigError> {
        let pairs = self.pairs(&self.table, &["source", "sink"])?;
        let settings = Settings::of_table(pairs);
        settings.check(Known { owner: "a configuration file", keys: &TOP_KEYS })?;
        Ok(settings)
    }

    /// The tables that are called `name`, in the order of the file, each with where it stands.
    pub(super) fn tables(&'a self, name: &str) -> Result<Vec<(Word<'a>, Settings<'a>)>, ConfigError> {
        let Some((key, value)) = self.table.iter().find(|(key, _)| key.get_ref() == name) else {
            return Ok(Vec::new());
        };
        let not_tables = |place: Range<usize>| {
            let mistake = Mistake::new(format!("`{name}` is no list of tables"))
                .hint(format!("begin each with [[{name}]]"));
            Word::in_file(self.file, place).wrong(mistake)
        };
        match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::Table(table) => {
                        let pairs = self.pairs(table, &[])?;
                        Ok((Word::in_file(self.file, item.span()), Settings::of_table(pairs)))
                    }
                    _ => Err(not_tables(item.span())),
                })
                .collect(),
            _ => Err(not_tables(key.span())),
        }
    }

    /// Keys and values in the order of the file, except those that are read by themselves.
    fn pairs(
        &'a self,
        table: &'a DeTable<'a>,
        except: &[&str],
    ) -> Result<Vec<(Word<'a>, Value<'a>)>, ConfigError> {
        let mut entries: Vec<_> =
            table.iter().filter(|(key, _)| !except.contains(&key.get_ref().as_ref())).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let pair = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            let word = Word::string_in_file(self.file, name, key.span());
            Ok((word, self.value(word, value)?))
        };
        entries.into_iter().map(pair).collect()
    }

    fn value(&'a self, key: Word<'a>, value: &'a Spanned<DeValue<'a>>) -> Result<Value<'a>, ConfigError> {
        let place = Word::in_file(self.file, value.span());
        match value.get_ref() {
            DeValue::Array(items) => {
                let words = items.iter().map(|item| self.scalar(key, item));
                Ok(Value::List(place, words.collect::<Result<_, _>>()?))
            }
            DeValue::String(text) if text.is_empty() => {
                Err(place.wrong(Mistake::new(format!("no value of `{}`", key.text()))))
            }
            _ => self.scalar(key, value).map(Value::Plain),
        }
    }

    fn scalar(&'a self, key: Word<'a>, value: &'a Spanned<DeValue<'a>>) -> Result<Word<'a>, ConfigError> {
        let place = Word::in_file(self.file, value.span());
        match value.get_ref() {
            DeValue::String(text) => Ok(Word::string_in_file(self.file, text, value.span())),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => Ok(place),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                let mistake = Mistake::new(format!("{} for `{}`", kind(value.get_ref()), key.text()));
                Err(place.wrong(mistake.hint("a text, a number, true or false belongs here")))
            }
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => "a value",
    }
}
