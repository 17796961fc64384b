//! NATS JetStream.
//!
//! ```text
//! our task ── requests, acknowledgements, messages ──→ the client's task ──→ server
//!          ←─ deliveries, answers ──────────────────── (one a connection)  ←──
//! ```
//! The client would connect again by itself, and what was on its way when a connection broke would be gone without a word. So a
//! session ends with its connection: the driver makes the next one, and says on it again what was not confirmed. Lives here: one
//! connection, who we are on it, and when it is broken. Never here: what is said on it.

mod inflow;
mod remains;
mod sink;
mod source;

use std::fmt::Display;
use std::fs;
use std::future::{Future, ready};
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Auth, AuthError, Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;
use tracing::debug;

pub(in crate::broker) use self::sink::Sink;
pub(in crate::broker) use self::source::Source;
use super::error::{Doing, Error, in_time};
use super::{files, tls};
use crate::config::services::{Login, Service};
use crate::limits::CONNECT_TIMEOUT;

/// Who we are where an operator lists connections.
const NAME: &str = "slackwater";

/// Batches that an inbox holds. At most one and a half are due at the same time, as far as we know: what comes too late is more.
const INBOX_BATCHES: usize = 8;

/// How long a request waits for its answer. What a node of a cluster had in hand when it was killed is never answered, also on a
/// connection to another; and whatever is said is the same if it is said again.
const ANSWER: Duration = Duration::from_secs(2);

/// A connection to one of a service's servers, until it breaks.
struct Link {
    context: Context,
    client: Client,
    /// How long an answer may take.
    patience: Duration,
    /// Why it broke.
    broken: watch::Receiver<Option<String>>,
}

impl Link {
    /// Connects. `batch` is how many answers are awaited at the same time at most.
    async fn connect(service: &Service, batch: usize) -> Result<Link, Error> {
        let servers = servers(service)?;
        // There is time for each, and some to spare for the first requests.
        let share = CONNECT_TIMEOUT / u32::try_from(servers.len() + 1).unwrap_or(u32::MAX);
        let patience = service.timeout.min(ANSWER);
        let (tell, broken) = watch::channel(None);
        let options = authenticated(&service.login)?
            .name(NAME)
            .connection_timeout(share)
            .request_timeout(Some(patience))
            .subscription_capacity(INBOX_BATCHES * batch)
            // Each server once: the task of a client that is not used any more ends.
            .max_reconnects(servers.len())
            .event_callback(move |event| {
                note(&tell, &event);
                ready(())
            });
        let client = encrypted(options, service)?.connect(servers).await.doing("connecting")?;
        let context = ContextBuilder::new().timeout(patience).max_ack_inflight(batch).build(client.clone());
        Ok(Link { context, client, patience, broken })
    }

    /// Does something, unless the connection breaks or that takes too long.
    async fn within<T, E: Display>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = in_time(self.patience, doing, async { work.await.doing(doing) }) => done,
            error = self.broken(doing) => Err(error),
        }
    }

    /// Waits until it is broken.
    async fn broken(&self, doing: &'static str) -> Error {
        let mut broken = self.broken.clone();
        match broken.wait_for(Option::is_some).await {
            Ok(why) => Error::new(doing, why.as_deref().unwrap_or_default()),
            Err(_) => Error::new(doing, "the connection is closed"),
        }
    }

    /// Makes sure that what was said before the last answer went out on the same connection as the question: news of a broken one
    /// may come later than an answer on the next.
    fn unbroken(&self, doing: &'static str) -> Result<(), Error> {
        match self.client.statistics().connects.load(Ordering::Relaxed) {
            1 => Ok(()),
            _ => Err(Error::new(doing, "the connection broke meanwhile")),
        }
    }

    /// Says goodbye, once everything is out.
    async fn close(&self) {
        // The process is about to end, or the driver to connect again: there is nobody to tell.
        let _ = self.client.flush().await;
        let _ = self.client.drain().await;
    }
}

/// Only a first connection and a goodbye leave a session usable. Also what the server only complains about ends it: the answer to
/// what it forbids never comes.
fn note(tell: &watch::Sender<Option<String>>, event: &Event) {
    debug!(%event, "NATS");
    if !matches!(event, Event::Connected | Event::Draining | Event::LameDuckMode) {
        tell.send_if_modified(|why| {
            let is_first = why.is_none();
            why.get_or_insert_with(|| event.to_string());
            is_first
        });
    }
}

fn servers(service: &Service) -> Result<Vec<ServerAddr>, Error> {
    let scheme = if service.tls { "tls" } else { "nats" };
    let addresses = service.hosts.iter().map(|host| format!("{scheme}://{host}").parse());
    addresses.collect::<Result<_, _>>().doing("naming the servers")
}

fn encrypted(options: ConnectOptions, service: &Service) -> Result<ConnectOptions, Error> {
    if !service.tls {
        return Ok(options);
    }
    Ok(options.require_tls(true).tls_client_config(tls::client(&service.login)?))
}

/// A credentials file, or a user and a password, or a token, or nobody.
fn authenticated(login: &Login) -> Result<ConnectOptions, Error> {
    if let Some(path) = &login.credentials {
        let in_file =
            |error| Error::new("reading the credentials", format_args!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(in_file)?;
        return ConnectOptions::with_credentials(&text).map_err(in_file);
    }
    if login.user.is_none() && login.secret.is_none() {
        return Ok(ConnectOptions::new());
    }
    // So that what is missing is said in our words; the client asks for it only while it connects, and holds none.
    credentials(login).doing("reading the secret")?;
    let login = login.clone();
    Ok(ConnectOptions::with_auth_callback(move |_nonce| ready(credentials(&login).map_err(AuthError::new))))
}

fn credentials(login: &Login) -> Result<Auth, String> {
    let secret = login.secret.as_ref().map(files::secret).transpose()?;
    let mut auth = Auth::new();
    match &login.user {
        Some(user) => (auth.username, auth.password) = (Some(user.clone()), secret),
        None => auth.token = secret,
    }
    Ok(auth)
}
