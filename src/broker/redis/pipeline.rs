//! One connection of a sink, and a batch on it: all requests at once, each with an answer of its own.
//!
//! Lives here: what an answer means for the message it is about. Never here: how a message is added to a stream or a list.

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, ServerError, Value};

use super::connection::Server;
use super::{shown, step};
use crate::broker::error::Error;
use crate::broker::sink::Verdict;

/// A connection that batches are sent on.
pub(super) struct Sending {
    connection: MultiplexedConnection,
    server: Server,
}

/// What an error is about.
#[derive(Debug, PartialEq, Eq)]
enum About {
    /// This message, whatever server it goes to and when.
    Message,
    /// The moment.
    Moment,
    /// This server, or who we are there.
    Server,
}

impl Sending {
    /// Connects. Whether a server takes what it is sent shows when it is sent something.
    pub(super) async fn open(server: Server) -> Result<Sending, Error> {
        let connection = server.connect(None).await?;
        server.found_good();
        Ok(Sending { connection, server })
    }

    /// Sends one request for each message, and waits for all answers.
    pub(super) async fn send(&self, requests: &mut Pipeline) -> Result<Vec<Verdict>, Error> {
        if !self.server.is_good() {
            return Err(Error::new("sending", "the server does not take messages from us"));
        }
        let answers = requests.ignore_errors().query_async(&mut self.connection.clone()).await;
        let answers: Vec<Value> = step("sending", answers)?;
        self.judged(&answers)
    }

    /// What a batch's answers mean. The connection is given up at once only where that sends nothing twice.
    fn judged(&self, answers: &[Value]) -> Result<Vec<Verdict>, Error> {
        let is_unfit =
            |answer: &Value| matches!(answer, Value::ServerError(error) if about(error) == About::Server);
        if answers.iter().any(is_unfit) {
            self.server.found_unfit();
            if let Some(Value::ServerError(error)) = answers.first()
                && answers.iter().all(is_unfit)
            {
                return Err(Error::new("sending", shown(error)));
            }
        }
        Ok(answers.iter().map(verdict).collect())
    }
}

fn verdict(answer: &Value) -> Verdict {
    match answer {
        Value::ServerError(error) if about(error) == About::Message => Verdict::Refused(shown(error)),
        Value::ServerError(error) => Verdict::Again(None, shown(error)),
        _ => Verdict::Delivered,
    }
}

/// An error that we do not know is taken to pass: waiting loses nothing.
fn about(error: &ServerError) -> About {
    match error.code() {
        // The key is not what the operator takes it for: no message will ever fit.
        "WRONGTYPE" => About::Message,
        "ERR" if is_too_large(error.details().unwrap_or_default()) => About::Message,
        "READONLY" | "MASTERDOWN" | "MOVED" | "ASK" | "NOAUTH" | "WRONGPASS" | "NOPERM" => About::Server,
        _ => About::Moment,
    }
}

/// The server has no code for it: "string exceeds maximum allowed size", "Element too large", "Elements are too large to be stored".
fn is_too_large(details: &str) -> bool {
    details.contains("exceeds maximum allowed size") || details.contains("too large")
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn meant(answer: &str) -> Verdict {
        verdict(&parse_redis_value(format!("{answer}\r\n").as_bytes()).expect("an answer"))
    }

    #[test]
    fn only_what_will_never_fit_is_refused() {
        assert_eq!(meant(":1"), Verdict::Delivered);
        let again = |text: &str| Verdict::Again(None, text.to_owned());
        for passing in
            ["OOM no memory", "LOADING wait", "MISCONF disk", "NOREPLICAS", "TRYAGAIN later", "ERR what?"]
        {
            assert_eq!(meant(&format!("-{passing}")), again(passing));
        }
        // The others of its batch are delivered: their connection is given up afterwards.
        assert_eq!(meant("-READONLY replica"), again("READONLY replica"));
        for lasting in
            ["WRONGTYPE no list", "ERR string exceeds maximum allowed size", "ERR Element too large"]
        {
            assert_eq!(meant(&format!("-{lasting}")), Verdict::Refused(lasting.to_owned()));
        }
    }
}
