//! The parameters behind the `?` of an endpoint's URL.
//!
//! Lives here: finding each once, by its right name. Never here: what their values mean.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::{ConfigError, Mistake};
use super::nearest::did_you_mean;
use super::word::Word;

/// The parameters of one endpoint: each key known to it and given once, no value empty.
pub(super) struct Params<'a> {
    pairs: Vec<(Word<'a>, Word<'a>)>,
}

impl<'a> Params<'a> {
    /// Cuts `query`; `owner` ("a tcp source") takes `keys` and no others.
    pub(super) fn read(query: Option<Word<'a>>, owner: &str, keys: &[&str]) -> Result<Self, ConfigError> {
        let mut params = Params { pairs: Vec::new() };
        let words = query.into_iter().flat_map(|query| query.split('&'));
        for word in words.filter(|word| !word.text().is_empty()) {
            let (key, value) = word.split_once('=');
            params.accept(key, owner, keys)?;
            params.pairs.push((key, filled(key, value)?));
        }
        Ok(params)
    }

    fn accept(&self, key: Word<'_>, owner: &str, keys: &[&str]) -> Result<(), ConfigError> {
        let text = key.text();
        if !keys.contains(&text) {
            let mistake = Mistake::new(format!("unknown parameter `{text}`")).hint(did_you_mean(text, keys));
            return Err(key.wrong(mistake.allowed(format!("{owner} takes: {}", keys.join(", ")))));
        }
        if self.find(text).is_some() {
            return Err(key.wrong(Mistake::new(format!("parameter `{text}` twice")).hint("give it once")));
        }
        Ok(())
    }

    /// The value of `key` as `parse` reads it, `None` if it is not given. What is wrong with it points at it.
    pub(super) fn get<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.find(key) else { return Ok(None) };
        let text = decoded(value)?;
        parse(&text).map(Some).map_err(|mistake| value.wrong(mistake))
    }

    fn find(&self, key: &str) -> Option<Word<'a>> {
        self.pairs.iter().find(|(given, _)| given.text() == key).map(|(_, value)| *value)
    }
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
