//! The servers of a service, of which one at a time is used.
//!
//! Lives here: which one, who we are there, and how it is connected to. Never here: what it is asked.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates,
};

use crate::broker::error::{Doing, Error};
use crate::broker::files;
use crate::config::plan::HostPort;
use crate::config::services::{Login, Service};
use crate::limits::{KEEPALIVE_AFTER, KEEPALIVE_EVERY};

/// All servers of a service. An attempt goes to the one that was good last; from one that is not there, to the next.
pub(super) struct Servers {
    service: Service,
    next: Cell<usize>,
}

/// One of them. Dropped without having been found good, it is passed over by the next attempt.
pub(super) struct Server {
    servers: Rc<Servers>,
    place: usize,
    client: Client,
    is_good: Cell<bool>,
}

impl Servers {
    pub(super) fn new(service: Service) -> Rc<Servers> {
        Rc::new(Servers { service, next: Cell::new(0) })
    }

    /// The one whose turn it is. Reads the secrets and certificates, which may have changed.
    pub(super) fn choose(self: &Rc<Self>) -> Result<Server, Error> {
        let place = self.next.get();
        let info = self.info(&self.service.hosts[place])?;
        let client = if self.service.tls {
            // The client takes what the process has chosen; all of ours choose the same, so that it may be chosen already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            Client::build_with_tls(info, certificates(&self.service.login)?)
        } else {
            Client::open(info)
        };
        let client = client.doing("setting up the connection")?;
        Ok(Server { servers: Rc::clone(self), place, client, is_good: Cell::new(false) })
    }

    fn info(&self, at: &HostPort) -> Result<ConnectionInfo, Error> {
        let HostPort { host, port } = at.clone();
        let address = if self.service.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        let info = address.into_connection_info().doing("setting up the connection")?;
        Ok(info.set_tcp_settings(tcp).set_redis_settings(login(&self.service.login)?))
    }
}

impl Server {
    /// Connects, and logs in. A request that takes longer than `patience` fails.
    pub(super) async fn connect(&self, patience: Option<Duration>) -> Result<MultiplexedConnection, Error> {
        // The drivers bound the attempt as a whole.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(patience);
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(|error| Error::new("connecting", format!("{}: {error}", self.address())))
    }

    /// It does what we need: the next attempt is made to it again.
    pub(super) fn found_good(&self) {
        self.is_good.set(true);
    }

    /// It answers, but does not do what we need, as a replica does not: the next attempt is made to another.
    pub(super) fn found_unfit(&self) {
        self.is_good.set(false);
    }

    pub(super) fn is_good(&self) -> bool {
        self.is_good.get()
    }

    fn address(&self) -> &HostPort {
        &self.servers.service.hosts[self.place]
    }
}

impl Drop for Server {
    /// Also of an attempt that ran out of time. Of several attempts at the same time one moves on.
    fn drop(&mut self) {
        let next = &self.servers.next;
        if !self.is_good.get() && next.get() == self.place {
            next.set((self.place + 1) % self.servers.service.hosts.len());
        }
    }
}

fn login(login: &Login) -> Result<RedisConnectionInfo, Error> {
    let mut who = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2);
    if let Some(user) = &login.user {
        who = who.set_username(user);
    }
    if let Some(secret) = &login.secret {
        who = who.set_password(files::secret(secret).doing("logging in")?);
    }
    Ok(who)
}

fn certificates(login: &Login) -> Result<TlsCertificates, Error> {
    Ok(TlsCertificates { client_tls: None, root_cert: login.authority.as_deref().map(contents).transpose()? })
}

fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    files::contents(path)
        .map_err(|error| Error::new("reading certificates", format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::services::Protocol;

    fn servers(hosts: usize) -> Rc<Servers> {
        let hosts = (0..hosts).map(|at| HostPort { host: format!("host{at}"), port: 6379 }).collect();
        Servers::new(Service {
            protocol: Protocol::Redis,
            tls: false,
            hosts,
            path: "s".to_owned(),
            vhost: String::new(),
            login: Login::default(),
            timeout: Duration::from_secs(1),
            batch: 1,
        })
    }

    #[test]
    fn a_server_that_is_not_good_is_passed_over_and_one_that_was_is_tried_again() {
        let servers = servers(2);
        let (one, same) = (servers.choose().unwrap(), servers.choose().unwrap());
        assert_eq!((one.place, same.place), (0, 0), "attempts at the same time go to the same");
        drop((one, same));
        let other = servers.choose().unwrap();
        assert_eq!(other.place, 1, "and move on by one");
        other.found_good();
        drop(other);
        let again = servers.choose().unwrap();
        assert_eq!(again.place, 1);
        again.found_good();
        again.found_unfit();
        drop(again);
        assert_eq!(servers.choose().unwrap().place, 0);
    }
}
