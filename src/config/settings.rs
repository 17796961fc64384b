//! Options by name, as they stand behind the `?` of an endpoint's URL or as keys of a file's table.
//!
//! Lives here: finding each once, by its right name. Never here: what their values mean.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::{ConfigError, Mistake};
use super::nearest::did_you_mean;
use super::word::Word;

/// The options of one source, sink or file: each name known to it and given once, no value empty.
pub(super) struct Settings<'a> {
    pairs: Vec<(Word<'a>, Value<'a>)>,
}

/// What stands behind a name.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// In a URL: percent-encoded, several divided by commas.
    Encoded(Word<'a>),
    /// In a file: a string, a number, true or false.
    Plain(Word<'a>),
    /// In a file: several, in brackets.
    List(Word<'a>, Vec<Word<'a>>),
}

/// One value, with its place.
pub(super) struct Item<'a> {
    pub(super) word: Word<'a>,
    pub(super) text: Cow<'a, str>,
}

/// What may be asked for: a kind of thing ("a tcp source"), and the names that it knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) owner: &'a str,
    pub(super) keys: &'a [&'a str],
}

impl<'a> Settings<'a> {
    /// Those of a table in a file, without a look at their names.
    pub(super) fn of_table(pairs: Vec<(Word<'a>, Value<'a>)>) -> Self {
        Settings { pairs }
    }

    /// Adds those of a URL's query.
    pub(super) fn add_query(&mut self, query: Option<Word<'a>>) -> Result<(), ConfigError> {
        let words = query.into_iter().flat_map(|query| query.split('&'));
        for word in words.filter(|word| !word.text().is_empty()) {
            let (key, value) = word.split_once('=');
            self.pairs.push((key, Value::Encoded(filled(key, value)?)));
        }
        Ok(())
    }

    /// Makes sure that each name is known, and there once.
    pub(super) fn check(&self, known: Known<'_>) -> Result<(), ConfigError> {
        for (place, (key, _)) in self.pairs.iter().enumerate() {
            let text = key.text();
            if !known.keys.contains(&text) {
                return Err(key.wrong(unknown(*key, known)));
            }
            if self.pairs[..place].iter().any(|(other, _)| other.text() == text) {
                let mistake = Mistake::new(format!("{} `{text}` twice", noun(*key)));
                return Err(key.wrong(mistake.hint("give it once")));
            }
        }
        Ok(())
    }

    /// The value of `key` as `parse` reads it, `None` if it is not given. What is wrong with it points at it.
    pub(super) fn get<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(item) = self.item(key)? else { return Ok(None) };
        parse(&item.text).map(Some).map_err(|mistake| item.word.wrong(mistake))
    }

    /// The value of `key`, of which there is one.
    pub(super) fn item(&self, key: &str) -> Result<Option<Item<'a>>, ConfigError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Encoded(word)) => Ok(Some(Item { word: *word, text: decoded(*word)? })),
            Some(Value::Plain(word)) => Ok(Some(Item { word: *word, text: word.text().into() })),
            Some(Value::List(word, _)) => {
                Err(word.wrong(Mistake::new(format!("a list for `{key}`")).hint("one value belongs here")))
            }
        }
    }

    /// The values of `key`, of which there may be several; none if it is not given.
    pub(super) fn list(&self, key: &str) -> Result<Vec<Item<'a>>, ConfigError> {
        let plain = |word: Word<'a>| Item { word, text: word.text().into() };
        let items = match self.value(key) {
            None => return Ok(Vec::new()),
            Some(Value::Encoded(word)) => {
                let each = word.split(',').map(|word| Ok(Item { word, text: decoded(word)? }));
                each.collect::<Result<Vec<_>, ConfigError>>()?
            }
            Some(Value::Plain(word)) => vec![plain(*word)],
            Some(Value::List(word, words)) if words.is_empty() => {
                return Err(
                    word.wrong(Mistake::new(format!("nothing in `{key}`")).hint("leave it out, or name one"))
                );
            }
            Some(Value::List(_, words)) => words.iter().copied().map(plain).collect(),
        };
        match items.iter().find(|item| item.text.is_empty()) {
            Some(empty) => Err(empty.word.wrong(Mistake::new(format!("an empty value in `{key}`")))),
            None => Ok(items),
        }
    }

    /// Whether `key` is given as a list, in brackets.
    pub(super) fn is_list(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::List(..)))
    }

    /// Where `key` is given.
    pub(super) fn key(&self, key: &str) -> Option<Word<'a>> {
        self.pairs.iter().find(|(given, _)| given.text() == key).map(|(word, _)| *word)
    }

    fn value(&self, key: &str) -> Option<&Value<'a>> {
        self.pairs.iter().find(|(given, _)| given.text() == key).map(|(_, value)| value)
    }
}

fn unknown(key: Word<'_>, known: Known<'_>) -> Mistake {
    let text = key.text();
    let misplaced = || {
        let (_, place) = IN_FILE.iter().find(|(keys, _)| key.is_in_file() && keys.contains(&text))?;
        Some(format!("it belongs {place}"))
    };
    let hint = misplaced().unwrap_or_else(|| did_you_mean(text, known.keys));
    Mistake::new(format!("unknown {} `{text}`", noun(key))).hint(hint).allowed(format!(
        "{} takes: {}",
        known.owner,
        known.keys.join(", ")
    ))
}

/// Keys of a file that only one kind of table has, and which.
const IN_FILE: [(&[&str], &str); 3] = [
    (
        &["cores", "drain_timeout", "max_in_flight", "gather", "ledger"],
        "before the first [[source]] and [[sink]]",
    ),
    (&["listen", "pull", "to", "max_message", "oversize", "overflow", "allow"], "below a [[source]]"),
    (&["send", "confirm", "balance", "dead_letter"], "below a [[sink]]"),
];

/// What a name is called where it stands.
fn noun(key: Word<'_>) -> &'static str {
    if key.is_in_file() { "key" } else { "parameter" }
}

fn filled<'a>(key: Word<'a>, value: Option<Word<'a>>) -> Result<Word<'a>, ConfigError> {
    value.filter(|value| !value.text().is_empty()).ok_or_else(|| {
        let text = key.text();
        key.wrong(Mistake::new(format!("no value of `{text}`")).hint(format!("{text}=VALUE")))
    })
}

fn decoded(value: Word<'_>) -> Result<Cow<'_, str>, ConfigError> {
    percent_decode_str(value.text())
        .decode_utf8()
        .map_err(|_| value.wrong(Mistake::new("bytes that are not UTF-8")))
}
