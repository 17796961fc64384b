//! AMQP 0.9.1, as RabbitMQ speaks it.
//!
//! ```text
//! our task ── acknowledgements, messages ──→ the client's thread ──→ server
//!          ←─ deliveries, confirms ───────── (one a connection)  ←──
//! ```
//! The client reads, writes, parses and serialises each connection on a thread of its own, which sleeps unless there is something
//! to do; our task and it share queues, and both stand on the reactor's runtime for readiness and timers. So a connection may use a
//! second processor, and what is sent is out of our hands when it is queued, in the order in which it was queued. The client never
//! connects again by itself: the drivers do. Lives here: one connection, the queue that it is for, and what both directions share.
//! Never here: a frame.

mod sink;
mod source;
mod window;

use std::cell::Cell;
use std::io::{Error as IoError, ErrorKind as IoErrorKind};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Mutex;

use futures_util::future::{MaybeDone, maybe_done};
use futures_util::poll;
use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::RustlsConnector;
use lapin::types::{FieldTable, Heartbeat, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind};
use socket2::{SockRef, Socket};

pub(in crate::broker) use self::sink::Sink;
pub(in crate::broker) use self::source::Source;
use super::error::{Doing, Error};
use super::{files, tls};
use crate::config::plan::HostPort;
use crate::config::services::{Login, Service};

/// Seconds; each side says something twice within it, and a server that is silent for two of them counts as gone.
const HEARTBEAT: Heartbeat = 10;
/// Most bytes of a frame. The client holds 64 of them for each connection, so not as many as servers allow.
const FRAME_MAX: u32 = 32 * 1024;
/// Who we are where an operator lists connections.
const NAME: &str = "slackwater";
/// The user that a new server knows, and its password.
const GUEST: &str = "guest";
/// What a close that went well says.
const REPLY_SUCCESS: u16 = 200;

/// A connection to one of a service's servers.
struct Line {
    connection: Connection,
    // Dropped after the connection.
    _hang_up: HangUp,
}

/// Ends a connection's socket, and so the client's thread, at once: also when the server is stuck and will not say goodbye.
struct HangUp(Socket);

impl Drop for HangUp {
    fn drop(&mut self) {
        // Nothing is to be done if it is closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// The servers of a service, one after another.
struct Servers {
    service: Service,
    attempts: Cell<usize>,
}

impl Servers {
    fn new(service: Service) -> Servers {
        Servers { service, attempts: Cell::new(0) }
    }

    /// Connects to the next server.
    async fn connect(&self) -> Result<Line, Error> {
        let attempt = self.attempts.get();
        self.attempts.set(attempt.wrapping_add(1));
        let host = &self.service.hosts[attempt % self.service.hosts.len()];
        Line::to(host, &self.service).await
    }

    /// The queue's name, or the routing key.
    fn path(&self) -> Result<ShortString, Error> {
        ShortString::try_new(self.service.path.as_str()).doing("naming the queue")
    }
}

impl Line {
    /// Connects here, where a caller that gives up ends it; only then the client has the stream.
    async fn to(host: &HostPort, service: &Service) -> Result<Line, Error> {
        let runtime = lapin::runtime::default_runtime().doing("starting the client")?;
        let addresses = runtime.to_socket_addrs((host.host.clone(), host.port));
        let AsyncTcpStream::Plain(stream) =
            AsyncTcpStream::connect(&runtime, addresses).await.doing("connecting")?
        else {
            return Err(Error::new("connecting", "no plain stream to begin with"));
        };
        let socket = SockRef::from(stream.get_ref()).try_clone().doing("connecting")?;
        let hang_up = HangUp(socket);
        let mut stream = AsyncTcpStream::Plain(stream);
        if service.tls {
            let connector = RustlsConnector::from(tls::client(&service.login)?);
            stream = stream.into_rustls(&connector, &host.host).await.doing("shaking hands over TLS")?;
        }
        let stream = Mutex::new(Some(stream));
        let hand_over = async move |_, _| {
            let stream = stream.lock().ok().and_then(|mut stream| stream.take());
            stream.ok_or_else(|| IoError::from(IoErrorKind::NotConnected).into())
        };
        let properties = ConnectionProperties::default().with_connection_name(NAME.into());
        let connecting = Connection::connector(uri(host, service)?, runtime, hand_over, properties);
        Ok(Line { connection: connecting.await.doing("logging in")?, _hang_up: hang_up })
    }

    async fn channel(&self) -> Result<Channel, Error> {
        self.connection.create_channel().await.doing("opening a channel")
    }

    /// A channel, and a queue of this name: as it is there, or a durable one if none is.
    async fn channel_with(&self, queue: &ShortString) -> Result<Channel, Error> {
        let channel = self.channel().await?;
        let look = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match channel.queue_declare(queue.clone(), look, FieldTable::default()).await {
            Ok(_) => return Ok(channel),
            // The channel went with the answer.
            Err(error) if is_soft(&error, AMQPSoftError::NOTFOUND) => {}
            Err(error) => return Err(Error::new("looking for the queue", error)),
        }
        let channel = self.channel().await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel
            .queue_declare(queue.clone(), durable, FieldTable::default())
            .await
            .doing("declaring the queue")?;
        Ok(channel)
    }

    /// Closes a channel, then the connection. Both are answered when everything before them was processed.
    async fn close(self, channel: &Channel) {
        // What cannot be closed any more is closed.
        let _ = channel.close(REPLY_SUCCESS, "OK".into()).await;
        let _ = self.connection.close(REPLY_SUCCESS, "OK".into()).await;
    }
}

fn uri(host: &HostPort, service: &Service) -> Result<AMQPUri, Error> {
    let vhost = if service.vhost.is_empty() { "/" } else { &service.vhost };
    // The client takes it for granted that it fits.
    ShortString::try_new(vhost).doing("naming the virtual host")?;
    let query = AMQPQueryString {
        frame_max: Some(FRAME_MAX),
        heartbeat: Some(HEARTBEAT),
        ..AMQPQueryString::default()
    };
    Ok(AMQPUri {
        scheme: if service.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: user_info(&service.login)?,
            host: host.host.clone(),
            port: host.port,
        },
        vhost: vhost.to_owned(),
        query,
    })
}

fn user_info(login: &Login) -> Result<AMQPUserInfo, Error> {
    let password = login.secret.as_ref().map_or_else(|| Ok(GUEST.to_owned()), files::secret);
    Ok(AMQPUserInfo {
        username: login.user.clone().unwrap_or_else(|| GUEST.to_owned()),
        password: password.doing("reading the password")?,
    })
}

/// Whether the server closed a channel for this reason.
fn is_soft(error: &lapin::Error, reason: AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if *error.kind() == AMQPErrorKind::Soft(reason))
}

/// Begins all of these requests in order, then waits for all of them. What each has to say is queued when it begins.
///
/// # Errors
/// Of several errors the server's own: others are what follows from it.
async fn in_order<T, F>(requests: impl Iterator<Item = F>) -> Result<Vec<T>, lapin::Error>
where
    F: Future<Output = Result<T, lapin::Error>>,
{
    let mut begun: Vec<Pin<Box<MaybeDone<F>>>> = Vec::with_capacity(requests.size_hint().0);
    for request in requests {
        let mut request = Box::pin(maybe_done(request));
        let _ = poll!(request.as_mut());
        begun.push(request);
    }
    let (mut answers, mut first_error) = (Vec::with_capacity(begun.len()), None::<lapin::Error>);
    for mut request in begun {
        request.as_mut().await;
        match request.as_mut().take_output() {
            Some(Ok(answer)) => answers.push(answer),
            Some(Err(error)) => {
                let has_reason = first_error.as_ref().is_some_and(lapin::Error::is_amqp_error);
                first_error = if has_reason { first_error } else { Some(error) };
            }
            None => {}
        }
    }
    first_error.map_or(Ok(answers), Err)
}
