//! The client: messages are posted, one a request or several joined by LF, which none of those should have in it.
//!
//! ```text
//! connect: TCP, TLS ──→ POST ──→ the answer, to its end ──→ POST …
//!                        ↑ the server closed meanwhile: connect again
//! ```
//! Lives here: connections, and requests. Never here: what an answer means, or when a request is repeated.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::{ALPN, Credentials, IDEMPOTENCY_KEY, reply};
use crate::broker::error::{Doing, Error};
use crate::broker::sink::{PublishSession, Publisher, Verdict};
use crate::broker::tls;
use crate::config::plan::HostPort;
use crate::config::services::{Protocol, Push, Service};
use crate::endpoint::Delivery;
use crate::limits::{KEEPALIVE_AFTER, KEEPALIVE_EVERY};

/// Who we say we are (RFC 9110 section 10.1.5).
const USER_AGENT: &str = concat!("slackwater/", env!("CARGO_PKG_VERSION"));
/// What a message is, unless its user says it: bytes.
const ONE: &str = "application/octet-stream";
/// What several messages are: lines.
const SEVERAL: &str = "text/plain";
/// Headers that say how long a request is, which only its writer knows (RFC 9112 section 6).
const OURS: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

/// A server that messages are posted to.
pub(in crate::broker) struct Sink(Rc<Target>);

struct Target {
    service: Service,
    headers: Vec<(String, String)>,
    /// Which of the hosts is tried next.
    next: Cell<usize>,
    /// Kept from one connection to the next, for the certificates that were read and the sessions that can be resumed.
    tls: RefCell<Option<TlsConnector>>,
    /// What our own names of messages begin with.
    unique: String,
}

/// One connection at a time to it.
pub(in crate::broker) struct SinkSession {
    target: Rc<Target>,
    /// What every request has, with our credentials.
    headers: HeaderMap,
    wire: Cell<Option<Wire>>,
}

/// A connection that waits for a request.
struct Wire {
    sender: SendRequest<Full<Bytes>>,
    /// Moves its bytes; ends with it.
    pump: JoinSet<()>,
    /// Which of the hosts it goes to.
    at: usize,
}

/// The next host has its turn, unless this one turns out to be there. Also if that takes so long that nobody waits for it.
struct Attempt<'a> {
    target: &'a Target,
    at: usize,
}

impl Attempt<'_> {
    fn succeeded(self) {
        std::mem::forget(self);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Unless another attempt has moved on already.
        if self.target.next.get() == self.at {
            self.target.next.set((self.at + 1) % self.target.service.hosts.len());
        }
    }
}

impl Sink {
    pub(in crate::broker) fn new(plan: &Push) -> Sink {
        Sink(Rc::new(Target {
            service: plan.service.clone(),
            headers: plan.headers.clone(),
            next: Cell::new(0),
            tls: RefCell::default(),
            unique: format!("slackwater-{:016x}", fastrand::u64(..)),
        }))
    }
}

impl Publisher for Sink {
    type Session = SinkSession;

    async fn connect(&self) -> Result<SinkSession, Error> {
        let headers = self.0.headers()?;
        let wire = self.0.dial().await?;
        Ok(SinkSession { target: Rc::clone(&self.0), headers, wire: Cell::new(Some(wire)) })
    }
}

impl PublishSession for SinkSession {
    /// One request with one answer: what the server says of a batch holds for each of its messages.
    async fn send(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, Error> {
        let (response, wire) = self.post(batch).await?;
        let attempt = Attempt { target: &self.target, at: wire.at };
        let (verdict, is_reusable) = reply::read(response).await?;
        attempt.succeeded();
        if is_reusable {
            self.wire.set(Some(wire));
        }
        Ok(vec![verdict; batch.len()])
    }

    async fn close(self) {
        if let Some(Wire { sender, mut pump, .. }) = self.wire.take() {
            drop(sender);
            while pump.join_next().await.is_some() {}
        }
    }
}

impl SinkSession {
    /// Sends a request and waits for the head of its answer. A connection that was closed since its last answer is replaced.
    async fn post(&self, batch: &[Delivery]) -> Result<(Response<Incoming>, Wire), Error> {
        if let Some(mut wire) = self.wire.take() {
            let attempt = Attempt { target: &self.target, at: wire.at };
            if wire.sender.ready().await.is_ok() {
                match wire.sender.try_send_request(self.request(batch, wire.at)?).await {
                    Ok(response) => {
                        attempt.succeeded();
                        return Ok((response, wire));
                    }
                    // Nothing of it was written.
                    Err(unsent) if unsent.message().is_some() => {}
                    Err(failed) => return Err(Error::new("sending", whole(failed.error()))),
                }
            }
            attempt.succeeded();
        }
        let mut wire = self.target.dial().await?;
        let attempt = Attempt { target: &self.target, at: wire.at };
        let request = self.request(batch, wire.at)?;
        let response =
            wire.sender.send_request(request).await.map_err(|error| Error::new("sending", whole(&error)))?;
        attempt.succeeded();
        Ok((response, wire))
    }

    fn request(&self, batch: &[Delivery], at: usize) -> Result<Request<Full<Bytes>>, Error> {
        let service = &self.target.service;
        let mut request = Request::new(Full::new(body(batch)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = service.path.parse::<Uri>().doing("the path of the request")?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host(&service.hosts[at], service.tls)?);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(if batch.len() > 1 { SEVERAL } else { ONE }),
        );
        // Those of the user replace ours.
        headers.extend(self.headers.clone());
        if let [delivery] = batch {
            headers.insert(IDEMPOTENCY_KEY, self.name(delivery));
        }
        Ok(request)
    }

    /// What a message is called, whenever it is sent: as its source calls it, or with a name of ours.
    fn name(&self, delivery: &Delivery) -> HeaderValue {
        let given = delivery.id().and_then(|id| HeaderValue::from_str(id).ok());
        given.unwrap_or_else(|| {
            let ours = format!("{}-{}", self.target.unique, delivery.number());
            HeaderValue::from_str(&ours).expect("letters, digits and hyphens")
        })
    }
}

impl Target {
    /// What every request has beside what is its own.
    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.extend(users(&self.headers)?);
        if let Some(credentials) = Credentials::of(&self.service.login)? {
            headers.insert(header::AUTHORIZATION, credentials.header()?);
        }
        Ok(headers)
    }

    /// Connects to the host whose turn it is.
    async fn dial(&self) -> Result<Wire, Error> {
        let attempt = Attempt { target: self, at: self.next.get() };
        let at = attempt.at;
        let HostPort { host, port } = &self.service.hosts[at];
        let stream = TcpStream::connect((host.as_str(), *port)).await.doing("connecting")?;
        stream.set_nodelay(true).doing("connecting")?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).doing("connecting")?;
        let wire = if self.service.tls {
            Wire::over(self.shake_hands(host, stream).await?, at).await?
        } else {
            Wire::over(stream, at).await?
        };
        attempt.succeeded();
        Ok(wire)
    }

    async fn shake_hands(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
        let name = ServerName::try_from(host.to_owned()).doing("the server's name")?;
        let kept = self.tls.borrow().clone();
        let connector = match kept {
            Some(connector) => connector,
            None => connector(&self.service)?,
        };
        let shaken = connector.connect(name, stream).await;
        // After a failure the certificates are read again: they may be what was wrong.
        self.tls.replace(shaken.is_ok().then_some(connector));
        shaken.doing("shaking hands")
    }
}

impl Wire {
    async fn over<S>(stream: S, at: usize) -> Result<Wire, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.doing("connecting")?;
        let mut pump = JoinSet::new();
        // How it ended, whoever waits for an answer is told.
        pump.spawn_local(async { drop(connection.await) });
        Ok(Wire { sender, pump, at })
    }
}

fn connector(service: &Service) -> Result<TlsConnector, Error> {
    let mut config = tls::client(&service.login)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The messages of a request: one as it is, several as lines.
fn body(batch: &[Delivery]) -> Bytes {
    if let [delivery] = batch {
        return delivery.payload().clone();
    }
    let mut lines = BytesMut::with_capacity(batch.iter().map(|delivery| delivery.payload().len() + 1).sum());
    for delivery in batch {
        lines.extend_from_slice(delivery.payload());
        lines.extend_from_slice(b"\n");
    }
    lines.freeze()
}

/// The server's name as a request has it, without the port that goes without saying (RFC 9110 section 7.2).
fn host(at: &HostPort, tls: bool) -> Result<HeaderValue, Error> {
    let mut name = at.to_string();
    let usual = format!(":{}", Protocol::Http.default_port(tls));
    if at.port == Protocol::Http.default_port(tls) {
        name.truncate(name.len() - usual.len());
    }
    HeaderValue::from_str(&name).doing("the server's name")
}

/// The user's own headers. An error names the header, and tells nothing of its value, which may be a secret.
fn users(headers: &[(String, String)]) -> Result<HeaderMap, Error> {
    let wrong = |name: &str, why| Error::new("headers", format!("{name:?} {why}"));
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        let known =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(name, "is not a header's name"))?;
        if OURS.contains(&known) {
            return Err(wrong(name, "is not for a user to set"));
        }
        let mut value =
            HeaderValue::from_str(value).map_err(|_| wrong(name, "has a value that no header can have"))?;
        value.set_sensitive(true);
        all.append(known, value);
    }
    Ok(all)
}

/// An error with what was behind it, which hyper's own text leaves out.
fn whole(error: &hyper::Error) -> String {
    let behind = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", behind.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    #[test]
    fn the_usual_port_goes_without_saying() {
        assert_eq!(host(&at("a.example", 80), false).unwrap(), "a.example");
        assert_eq!(host(&at("a.example", 443), true).unwrap(), "a.example");
        assert_eq!(host(&at("a.example", 443), false).unwrap(), "a.example:443");
        assert_eq!(host(&at("::1", 80), false).unwrap(), "[::1]");
        assert_eq!(host(&at("::1", 8080), false).unwrap(), "[::1]:8080");
    }

    #[test]
    fn a_users_headers_are_checked_and_their_values_are_not_told() {
        let one = |name: &str, value: &str| users(&[(name.to_owned(), value.to_owned())]);
        assert_eq!(one("X-Tenant", "a").unwrap()["x-tenant"], "a");
        for (name, value) in [("", "hush"), ("a b", "hush"), ("x", "hush\n"), ("Content-Length", "1")] {
            let error = one(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hush"), "{error}");
        }
        let twice = users(&[("x".to_owned(), "1".to_owned()), ("X".to_owned(), "2".to_owned())]).unwrap();
        assert_eq!(twice.get_all("x").iter().count(), 2);
    }
}
