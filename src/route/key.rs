//! What of a message decides where it goes.
//!
//! Lives here: cutting the key out. Never here: what is made of it.

use memchr::memchr;

use crate::config::plan::Key;

/// The part of `message` that `key` names; all of it where there is no such part.
pub fn key_of<'a>(message: &'a [u8], key: &Key) -> &'a [u8] {
    match key {
        Key::Message => message,
        Key::Until(byte) => memchr(*byte, message).map_or(message, |end| &message[..end]),
        Key::Pattern(pattern) => {
            let captures = pattern.0.captures(message);
            let group = captures.and_then(|captures| captures.get(1).or_else(|| captures.get(0)));
            group.map_or(message, |group| group.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::Pattern;

    fn pattern(text: &str) -> Key {
        Key::Pattern(Pattern(regex::bytes::Regex::new(text).unwrap()))
    }

    #[test]
    fn each_rule_cuts_its_part_out_and_takes_all_where_there_is_none() {
        let message = b"host=a1 app=x";
        let cases = [
            (Key::Message, &message[..]),
            (Key::Until(b' '), b"host=a1"),
            (Key::Until(b'#'), message),
            (pattern("host=([a-z0-9]+)"), b"a1"),
            (pattern("app=."), b"app=x"),
            (pattern("user=(.+)"), message),
            (pattern("(none)?app"), b"app"),
        ];
        for (key, expected) in cases {
            assert_eq!(key_of(message, &key), expected, "{key:?}");
        }
    }
}
