//! Entries of a stream as the server hands them out.
//!
//! Lives here: what of an entry is the message. Never here: whose entry it is.

use std::rc::Rc;

use bytes::Bytes;
use redis::{FromRedisValue, Value, from_redis_value};

use crate::broker::error::{Doing, Error};

/// The field that holds the message.
pub(super) const FIELD: &str = "data";

/// An entry, which may have been deleted while it was pending.
pub(super) struct Entry {
    pub(super) id: Rc<str>,
    /// `None` if there is nothing in it.
    pub(super) message: Option<Bytes>,
}

/// Field and value in turn, in the order in which they were added: a map would not keep the first.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry's name, and what is in it.
type Named = (String, Option<Fields>);

/// Reads entries. Servers before 7.0 have nil where a claimed entry was deleted.
pub(super) fn entries(answer: Value) -> Result<Vec<Entry>, Error> {
    let all: Option<Vec<Option<Named>>> = parsed(answer)?;
    let there = all.unwrap_or_default().into_iter().flatten();
    Ok(there.map(|(id, fields)| Entry { id: id.into(), message: fields.and_then(message) }).collect())
}

/// Reads the entries of one stream, or none, as reading streams answers.
pub(super) fn of_stream(answer: Value) -> Result<Vec<Entry>, Error> {
    let streams: Option<Vec<(Value, Value)>> = parsed(answer)?;
    let first = streams.unwrap_or_default().into_iter().next();
    first.map_or_else(|| Ok(Vec::new()), |(_, of_it)| entries(of_it))
}

/// Reads what claiming whatever is idle answers: where to go on, and the entries. What servers add to that is of no use to us.
pub(super) fn claimed(answer: Value) -> Result<(String, Vec<Entry>), Error> {
    let mut parts = parsed::<Vec<Value>>(answer)?.into_iter();
    match (parts.next(), parts.next()) {
        (Some(next), Some(all)) => Ok((parsed(next)?, entries(all)?)),
        _ => Err(Error::new("claiming", "an answer without a place to go on from")),
    }
}

fn parsed<T: FromRedisValue>(answer: Value) -> Result<T, Error> {
    from_redis_value(answer).doing("reading an answer")
}

fn message(mut fields: Fields) -> Option<Bytes> {
    let place = fields.iter().position(|(name, _)| name == FIELD.as_bytes()).unwrap_or(0);
    (place < fields.len()).then(|| Bytes::from(fields.swap_remove(place).1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(id: &str, fields: &[&str]) -> Value {
        Value::Array(vec![text(id), Value::Array(fields.iter().map(|field| text(field)).collect())])
    }

    fn read(answer: Value) -> Vec<(String, Option<Bytes>)> {
        let all = entries(answer).expect("entries");
        all.into_iter().map(|entry| (entry.id.to_string(), entry.message)).collect()
    }

    #[test]
    fn the_message_is_the_field_of_that_name_or_else_the_first() {
        let found = read(Value::Array(vec![
            entry("1-1", &["a", "x", "data", "y"]),
            entry("1-2", &["a", "x", "b", "y"]),
            entry("1-3", &["only", ""]),
            entry("1-4", &[]),
        ]));
        let message = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let expected = [("1-1", message("y")), ("1-2", message("x")), ("1-3", message("")), ("1-4", None)];
        assert_eq!(found, expected.map(|(id, message)| (id.to_owned(), message)));
    }

    #[test]
    fn deleted_entries_have_no_message_and_nil_is_none() {
        let deleted = Value::Array(vec![text("1-1"), Value::Nil]);
        assert_eq!(read(Value::Array(vec![deleted, Value::Nil])), [("1-1".to_owned(), None)]);
        assert!(read(Value::Nil).is_empty());
        assert!(of_stream(Value::Nil).expect("nothing").is_empty());
        assert!(entries(Value::Int(1)).is_err() && claimed(Value::Array(vec![text("0-0")])).is_err());
    }

    #[test]
    fn answers_that_hold_entries_are_taken_apart() {
        let stream = Value::Array(vec![text("s"), Value::Array(vec![entry("1-1", &["data", "x"])])]);
        assert_eq!(of_stream(Value::Array(vec![stream])).expect("one stream").len(), 1);
        let answer =
            vec![text("2-0"), Value::Array(vec![entry("1-1", &["data", "x"])]), Value::Array(vec![])];
        let (next, all) = claimed(Value::Array(answer)).expect("three parts");
        assert_eq!((next.as_str(), all.len()), ("2-0", 1));
    }
}
