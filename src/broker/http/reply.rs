//! What a server's answer means to the messages of a request.
//!
//! Lives here: from a response to a verdict. Never here: when a request is sent, and how often.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Response, StatusCode};

use crate::broker::error::{Doing, Error};
use crate::broker::sink::Verdict;

/// Bytes of a response's body that are read at most: it says why a message was refused, and nothing else that we need.
const REPLY_MAX: usize = 64 * 1024;
/// Characters of it that the log shows.
const REASON_MAX: usize = 200;
/// Longest wait that a server can ask for: a slip of its clock must not silence a sink until somebody looks.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// Reads a response to its end, or as far as it matters. Also whether its connection can be used again.
pub(super) async fn read(response: Response<Incoming>) -> Result<(Verdict, bool), Error> {
    let (head, mut body) = response.into_parts();
    let mut text = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.doing("receiving the answer")?.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() > REPLY_MAX {
            return Ok((verdict(head.status, &head.headers, &text, SystemTime::now()), false));
        }
    }
    Ok((verdict(head.status, &head.headers, &text, SystemTime::now()), true))
}

/// What a status means (RFC 9110 section 15; 425: RFC 8470, 429: RFC 6585).
fn verdict(status: StatusCode, headers: &HeaderMap, text: &[u8], now: SystemTime) -> Verdict {
    let code = status.as_u16();
    match code {
        200..=299 => Verdict::Delivered,
        // A redirect is a wrong address: it is not for a server to say where messages go.
        300..=399 => {
            let elsewhere = field(headers, header::LOCATION).unwrap_or("nowhere");
            Verdict::Refused(format!("status {code}: the server points to {}", shown(elsewhere.as_bytes())))
        }
        408 | 425 | 429 => Verdict::Again(retry_after(headers, now), format!("status {code}")),
        400..=499 => Verdict::Refused(format!("status {code}: {}", shown(text))),
        _ => Verdict::Again(retry_after(headers, now), format!("status {code}")),
    }
}

/// How long to wait, in seconds or until a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = field(headers, header::RETRY_AFTER)?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date that has passed is no reason to wait.
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn field(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What a log can show of bytes that somebody else wrote.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim().chars().filter(|one| !one.is_control()).take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    /// Of RFC 9110 section 10.2.3: Fri, 31 Dec 1999 23:59:59 GMT.
    const EVE: Duration = Duration::from_secs(946_684_799);

    fn judge(code: u16, fields: &[(HeaderName, &'static str)], text: &str) -> Verdict {
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let now = SystemTime::UNIX_EPOCH + EVE - Duration::from_secs(9);
        verdict(StatusCode::from_u16(code).unwrap(), &fields.collect(), text.as_bytes(), now)
    }

    #[test]
    fn each_status_has_its_verdict() {
        for code in [200, 201, 202, 204, 299] {
            assert_eq!(judge(code, &[], "whatever"), Verdict::Delivered);
        }
        for code in [101, 408, 425, 429, 500, 502, 503, 504, 599, 999] {
            assert_eq!(judge(code, &[], "not now"), Verdict::Again(None, format!("status {code}")));
        }
        for code in [400, 401, 403, 404, 413, 422] {
            assert_eq!(judge(code, &[], "no"), Verdict::Refused(format!("status {code}: no")));
        }
        let moved = judge(308, &[(header::LOCATION, "https://b.example/in")], "");
        assert_eq!(
            moved,
            Verdict::Refused("status 308: the server points to https://b.example/in".to_owned())
        );
        assert!(matches!(judge(304, &[], ""), Verdict::Refused(_)));
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_by_a_date() {
        let wait = |value| match judge(503, &[(header::RETRY_AFTER, value)], "") {
            Verdict::Again(wait, _) => wait.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait(" 120 "), Some(120));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(9));
        assert_eq!(wait("Friday, 31-Dec-99 23:59:59 GMT"), Some(9));
        assert_eq!(wait("Thu, 30 Dec 1999 23:59:59 GMT"), Some(0));
        assert_eq!(wait("18446744073709551615"), Some(RETRY_AFTER_MAX.as_secs()));
        for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(wait(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_reason_is_short_and_harmless() {
        let Verdict::Refused(reason) = judge(400, &[], &format!("\r\n\x1b[2Jbad\u{7f}\n{}", "é".repeat(500)))
        else {
            panic!("a refusal")
        };
        assert!(reason.starts_with("status 400: [2Jbadé") && reason.ends_with('é'), "{reason}");
        assert_eq!(reason.chars().count(), "status 400: ".len() + REASON_MAX);
    }
}
