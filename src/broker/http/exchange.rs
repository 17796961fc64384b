//! One request, and its answer.
//!
//! ```text
//! 401 404 405 503 413 ← check → receive → hand in → 202 | 422 | 503
//!                                  └→ 503 408 413 400
//! ```
//! Lives here: what a client is told, and when. Never here: connections, verdicts.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::body::{LINES_BODY_MAX, LINES_MAX, Share, Unfit, messages};
use super::pending::{Answer, Pending, Settled};
use super::stream::Answers;
use super::{Credentials, IDEMPOTENCY_KEY};
use crate::config::services::HttpListen;
use crate::limits::QUIET_AFTER_FIN;

/// After how many seconds a client may come again whom we could not serve now (RFC 9110 section 10.2.3).
const RETRY_AFTER: &str = "1";
/// Bytes of an idempotency key at most: it is kept with every message of its request.
const KEY_MAX: usize = 256;
/// Bytes of a body that is received though its request is refused, so that its connection can go on.
const PASSED_OVER_MAX: u64 = 16 * 1024;
/// How long that may take: it comes with its head, or right behind it.
const PASSED_OVER_WAIT: Duration = Duration::from_millis(50);
/// What is set aside at once for a body whose length is known, in bytes at most: it may never come.
const RESERVED_MAX: usize = 64 * 1024;

/// How far the listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    /// Nothing is taken any more; what was taken is settled.
    Draining,
    /// Everything is answered: connections end.
    Leaving,
}

/// What all connections of a listener share.
pub(super) struct Desk {
    pub(super) pending: Rc<Pending>,
    pub(super) stage: watch::Receiver<Stage>,
    /// How long a request may take to arrive.
    pub(super) timeout: Duration,
    path: String,
    credentials: Option<Credentials>,
    max_message: usize,
    lines: bool,
    /// Bytes of bodies that are being received.
    receiving: Cell<usize>,
    /// What our own names of messages begin with, and the number of the next.
    unique: String,
    number: Cell<u64>,
    /// When a client was last told what became of its messages.
    told: Cell<Option<Instant>>,
}

/// An answer other than that the messages were taken.
#[derive(Debug)]
struct Refusal(StatusCode, Cow<'static, str>);

impl Refusal {
    const fn new(status: StatusCode, text: &'static str) -> Refusal {
        Refusal(status, Cow::Borrowed(text))
    }

    const fn draining() -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "shutting down")
    }

    const fn full() -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "full")
    }
}

impl Desk {
    /// Takes messages of up to `max_message` bytes, or `lines` of up to as many each.
    pub(super) fn new(
        plan: &HttpListen,
        credentials: Option<Credentials>,
        (max_message, lines): (usize, bool),
        pending: Rc<Pending>,
        stage: watch::Receiver<Stage>,
    ) -> Desk {
        Desk {
            pending,
            stage,
            timeout: plan.timeout,
            path: plan.path.clone(),
            credentials,
            max_message,
            lines,
            receiving: Cell::new(0),
            unique: format!("http:{:016x}", fastrand::u64(..)),
            number: Cell::new(0),
            told: Cell::new(None),
        }
    }

    /// Until when a client that was told may go on with its next request: it hears that nothing is taken any more, where it
    /// could not know what a closed connection means.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.told.get().map(|at| at + QUIET_AFTER_FIN)
    }

    /// Waits until the listener has come so far.
    pub(super) async fn reached(&self, stage: Stage) {
        // An error means that the listener is gone, and that is further.
        let _ = self.stage.clone().wait_for(|&now| now >= stage).await;
    }

    /// Answers a request, and tells `answers` of it.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        answers: &Answers,
    ) -> Response<Full<Bytes>> {
        answers.ask();
        let (head, body) = request.into_parts();
        let (received, is_here) = match self.check(&head, &body) {
            Ok(()) => {
                let received = self.receive(body).await;
                let is_here = received.is_ok();
                (received, is_here)
            }
            Err(refusal) => (Err(refusal), pass_over(&head.headers, body).await),
        };
        let settled = match received {
            Ok(body) => self.hand_in(&head.headers, &body).await,
            Err(refusal) => Err(refusal),
        };
        let (answer, debt) = match settled {
            Ok(Settled { answer, debt }) => {
                self.told.set(Some(Instant::now()));
                (told(answer), Some(debt))
            }
            Err(refusal) => (Err(refusal), None),
        };
        let mut response = self.response(answer);
        // From here on it is on its way: nothing is awaited before hyper has it.
        answers.give(debt, !is_here);
        // Who sends too much is likely to go on with it.
        let ends = !is_here || response.status() == StatusCode::PAYLOAD_TOO_LARGE;
        if ends || self.pending.feed().is_sealing() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// What can be said before the body is here. A client that waits for "100 Continue" has not sent it then.
    fn check(&self, head: &Parts, body: &Incoming) -> Result<(), Refusal> {
        let authorization = head.headers.get(header::AUTHORIZATION);
        if self.credentials.as_ref().is_some_and(|credentials| !credentials.are_in(authorization)) {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "who are you?"));
        }
        if head.uri.path() != self.path {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "no messages are taken at this path"));
        }
        if head.method != Method::POST {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "messages are posted"));
        }
        if self.pending.feed().is_sealing() {
            return Err(Refusal::draining());
        }
        if !self.pending.feed().is_open() {
            return Err(Refusal::full());
        }
        if body.size_hint().lower() > self.longest_body() as u64 {
            return Err(self.too_long());
        }
        key(&head.headers).map(|_| ())
    }

    fn longest_body(&self) -> usize {
        if self.lines { LINES_BODY_MAX } else { self.max_message }
    }

    fn too_long(&self) -> Refusal {
        let what = if self.lines { "the lines of one request" } else { "a message" };
        let text = format!("{what} may have {} bytes", self.longest_body());
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, Cow::Owned(text))
    }

    /// Waits for the body, unless a drain begins.
    async fn receive(&self, body: Incoming) -> Result<Bytes, Refusal> {
        tokio::select! {
            received = timeout(self.timeout, self.collect(body)) => received.unwrap_or(Err(
                Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")
            )),
            () = self.reached(Stage::Draining) => Err(Refusal::draining()),
        }
    }

    async fn collect(&self, mut body: Incoming) -> Result<Bytes, Refusal> {
        let mut share = Share::of(&self.receiving);
        let known = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut all = BytesMut::with_capacity(known.min(RESERVED_MAX));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the body broke off"))?;
            // Trailers are nothing to us.
            let Ok(data) = frame.into_data() else { continue };
            if all.len() + data.len() > self.longest_body() {
                return Err(self.too_long());
            }
            if !share.grow(data.len()) {
                return Err(Refusal::full());
            }
            // Copied: what hyper received with it is not to be held as long as a message is in flight.
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    /// Hands in what a body has, and waits until it is settled. A source that is full by now takes it all the same: what all
    /// requests together can bring so is bounded.
    async fn hand_in(&self, headers: &HeaderMap, body: &Bytes) -> Result<Settled, Refusal> {
        let messages = messages(body, self.lines, self.max_message).map_err(|unfit| self.unfit(unfit))?;
        let key = key(headers)?;
        if self.pending.feed().is_sealing() {
            return Err(Refusal::draining());
        }
        let named = (1..).zip(messages).map(|(number, message)| (message, self.name(key, number))).collect();
        let told = self.pending.hand_in(named);
        told.await.map_err(|_| Refusal::draining())
    }

    fn unfit(&self, unfit: Unfit) -> Refusal {
        let text = match unfit {
            Unfit::Empty => return Refusal::new(StatusCode::BAD_REQUEST, "no message"),
            Unfit::LongMessage => format!("a message may have {} bytes; nothing was taken", self.max_message),
            Unfit::ManyMessages => format!("one request may bring {LINES_MAX} messages; nothing was taken"),
        };
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, Cow::Owned(text))
    }

    /// The client's own name of a message, if it gave one.
    fn name(&self, key: Option<&str>, line: u64) -> String {
        match key {
            Some(key) if self.lines => format!("{key}-{line}"),
            Some(key) => key.to_owned(),
            None => {
                let number = self.number.get();
                self.number.set(number + 1);
                format!("{}-{number}", self.unique)
            }
        }
    }

    fn response(&self, answer: Result<StatusCode, Refusal>) -> Response<Full<Bytes>> {
        let (status, text) = match answer {
            // Without a body it has left as soon as its head has.
            Ok(status) => (status, Bytes::new()),
            Err(Refusal(status, text)) => (status, Bytes::from(format!("{text}\n"))),
        };
        let mut response = Response::new(Full::new(text));
        *response.status_mut() = status;
        let (name, value) = match (status, &self.credentials) {
            (StatusCode::SERVICE_UNAVAILABLE, _) => {
                (header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER))
            }
            (StatusCode::METHOD_NOT_ALLOWED, _) => (header::ALLOW, HeaderValue::from_static("POST")),
            (StatusCode::UNAUTHORIZED, Some(credentials)) => {
                (header::WWW_AUTHENTICATE, credentials.challenge())
            }
            _ => return response,
        };
        response.headers_mut().insert(name, value);
        response
    }
}

/// Receives a short body for nothing. Whether it is gone: what is left of it would be in the way of the next request.
async fn pass_over(headers: &HeaderMap, mut body: Incoming) -> bool {
    // Who asks whether to send it has not sent it, and is not encouraged.
    let is_short = body.size_hint().upper().is_some_and(|most| most <= PASSED_OVER_MAX);
    if body.is_end_stream() || !is_short || headers.contains_key(header::EXPECT) {
        return body.is_end_stream();
    }
    let ended = async { while let Some(Ok(_)) = body.frame().await {} };
    timeout(PASSED_OVER_WAIT, ended).await.is_ok() && body.is_end_stream()
}

fn told(answer: Answer) -> Result<StatusCode, Refusal> {
    match answer {
        Answer::Taken => Ok(StatusCode::ACCEPTED),
        Answer::Refused => {
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "refused for good by the sink"))
        }
        Answer::Again => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not delivered; it is still yours"))
        }
    }
}

/// The name that a client gave its request. One that cannot be kept is not passed over: the client relies on it.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_MAX).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "an idempotency key has 1 to 256 visible characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_or_refused_but_not_passed_over() {
        let of = |value: &str| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            key(&HeaderMap::from_iter([(IDEMPOTENCY_KEY.parse().unwrap(), value)]))
                .map(|key| key.map(str::to_owned))
        };
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("\"8e03978e\"").unwrap().unwrap(), "\"8e03978e\"");
        assert!(of(&"k".repeat(KEY_MAX)).is_ok());
        for bad in [String::new(), "k".repeat(KEY_MAX + 1), "schlüssel".to_owned()] {
            assert_eq!(of(&bad).unwrap_err().0, StatusCode::BAD_REQUEST, "{bad}");
        }
    }

    #[test]
    fn each_answer_has_its_status() {
        assert_eq!(told(Answer::Taken).unwrap(), StatusCode::ACCEPTED);
        assert_eq!(told(Answer::Refused).unwrap_err().0, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(told(Answer::Again).unwrap_err().0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
