//! HTTP/1.1 (RFC 9110 and RFC 9112), in both directions: a listener that messages are posted to, and a client that posts them.
//!
//! ```text
//! server   accept → check → receive the body → Feed::offer … verdicts → 202 | 422 | 503     (server.rs, exchange.rs, body.rs)
//!          an answer has left → the verdicts that it tells are acted on                     (pending.rs, stream.rs)
//! client   Deliveries → POST → 2xx | again | refused                                        (client.rs, reply.rs)
//! ```
//! Lives here: who we are, and whom we let in. Never here: the bytes of HTTP, which are hyper's.

mod body;
pub(in crate::broker) mod client;
mod exchange;
mod pending;
mod reply;
pub(in crate::broker) mod server;
mod stream;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::HeaderValue;
use subtle::ConstantTimeEq;

use super::error::{Doing, Error};
use super::files;
use crate::config::services::Login;

/// What a request is named by, so that it has the same effect when it comes again (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What we speak over TLS (RFC 7301 section 6).
const ALPN: &[u8] = b"http/1.1";

/// Credentials as a request carries them: a name and a password (RFC 7617), or a token alone (RFC 6750).
struct Credentials {
    scheme: &'static str,
    /// What follows the scheme.
    parameter: String,
}

impl Credentials {
    /// Those of a login; `None` where there are none.
    fn of(login: &Login) -> Result<Option<Credentials>, Error> {
        let secret = login
            .secret
            .as_ref()
            .map(|secret| files::secret(secret).doing("reading the secret"))
            .transpose()?;
        Ok(Credentials::new(login.user.as_deref(), secret))
    }

    fn new(user: Option<&str>, secret: Option<String>) -> Option<Credentials> {
        match (user, secret) {
            (None, None) => None,
            (None, Some(token)) => Some(Credentials { scheme: "Bearer", parameter: token }),
            (Some(user), secret) => {
                let pair = format!("{user}:{}", secret.unwrap_or_default());
                Some(Credentials { scheme: "Basic", parameter: BASE64_STANDARD.encode(pair) })
            }
        }
    }

    /// The value of `Authorization` (RFC 9110 section 11.6.2). Its error tells nothing of the secret.
    fn header(&self) -> Result<HeaderValue, Error> {
        let mut value =
            HeaderValue::from_str(&format!("{} {}", self.scheme, self.parameter)).map_err(|_| {
                Error::new("reading the secret", "it has characters that no HTTP header can carry")
            })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What a client that has none is asked for (RFC 9110 section 11.6.1).
    fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(match self.scheme {
            "Basic" => "Basic realm=\"slackwater\", charset=\"UTF-8\"",
            _ => "Bearer realm=\"slackwater\"",
        })
    }

    /// Whether a request carries them. How long that takes tells nothing of how much of the secret was right.
    fn are_in(&self, authorization: Option<&HeaderValue>) -> bool {
        let Some(value) = authorization.map(HeaderValue::as_bytes) else { return false };
        let end = value.iter().position(|&byte| byte == b' ').unwrap_or(value.len());
        let (scheme, parameter) = value.split_at(end);
        scheme.eq_ignore_ascii_case(self.scheme.as_bytes())
            && parameter.trim_ascii().ct_eq(self.parameter.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(credentials: &Credentials, value: &str) -> bool {
        credentials.are_in(Some(&HeaderValue::from_str(value).unwrap()))
    }

    #[test]
    fn a_user_is_basic_and_a_secret_alone_is_a_bearer_token() {
        assert!(Credentials::new(None, None).is_none());
        // The example of RFC 7617 section 2.
        let basic = Credentials::new(Some("Aladdin"), Some("open sesame".to_owned())).unwrap();
        assert_eq!(basic.header().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let bearer = Credentials::new(None, Some("t0k-n".to_owned())).unwrap();
        assert_eq!(bearer.header().unwrap(), "Bearer t0k-n");
        assert!(bearer.header().unwrap().is_sensitive());
    }

    #[test]
    fn a_secret_that_no_header_carries_is_not_told() {
        let error = Credentials::new(None, Some("t0k\nn".to_owned())).unwrap().header().unwrap_err();
        assert!(!error.to_string().contains("t0k"), "{error}");
    }

    #[test]
    fn only_the_right_credentials_are_let_in() {
        let bearer = Credentials::new(None, Some("right".to_owned())).unwrap();
        for right in ["Bearer right", "bearer right", "BEARER   right "] {
            assert!(has(&bearer, right), "{right}");
        }
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer righ", "Bearer rights", "Bearer wrong", "Basic right", "right"]
        {
            assert!(!has(&bearer, wrong), "{wrong}");
        }
        assert!(!bearer.are_in(None));
    }
}
