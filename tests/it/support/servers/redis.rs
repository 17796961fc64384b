//! Redis, which puts every command into its log on the disk before it answers.
//!
//! Lives here: the server, and a client that fills, reads and empties streams and lists. Never here: what is expected of a relay.

use std::net::SocketAddr;

use redis::{Commands, Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::super::peer::program;
use super::super::port::Reserved;
use super::Backlog;
use super::access::Access;
use super::process::{Server, folder};

/// The field of a stream's entry that holds the message.
const FIELD: &str = "data";
/// What a connection has to answer within.
const AT_ONCE: usize = 1000;

/// A server of Redis.
pub struct Redis {
    pub server: Server,
    port: Reserved,
    secured: Option<Secured>,
}

struct Secured {
    access: Access,
    port: Reserved,
}

/// The consumer of a group that has what relays gave back.
const RETURNED: &str = "slackwater-returned";

impl Redis {
    /// One that lets everyone in.
    #[track_caller]
    pub fn start() -> Redis {
        Redis::with(None)
    }

    /// One with a password, that speaks TLS on a second port.
    #[track_caller]
    pub fn secured() -> Redis {
        Redis::with(Some(Secured { access: Access::new(), port: Reserved::on_loopback() }))
    }

    #[track_caller]
    fn with(secured: Option<Secured>) -> Redis {
        let (folder, port) = (folder(), Reserved::on_loopback());
        let mut command = program("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.address().port().to_string()]);
        command.arg("--dir").arg(folder.path());
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        if let Some(Secured { access, port }) = &secured {
            command.args(["--requirepass", Access::PASSWORD, "--tls-auth-clients", "no"]);
            command.args(["--tls-port", &port.address().port().to_string()]);
            command.arg("--tls-cert-file").arg(access.certificate());
            command.arg("--tls-key-file").arg(access.key());
            command.arg("--tls-ca-cert-file").arg(access.authority());
        }
        let (address, has_password) = (port.address(), secured.is_some());
        // It refuses commands while it reads its log.
        let answers = move || {
            connect(address, has_password)
                .and_then(|mut connection| redis::cmd("PING").exec(&mut connection))
                .is_ok()
        };
        Redis { server: Server::start(folder, command, answers), port, secured }
    }

    /// Where it listens without TLS.
    pub fn port(&self) -> u16 {
        self.port.address().port()
    }

    /// A key as the relay is told of it; with `rediss…` by way of TLS.
    pub fn url(&self, scheme: &str, key: &str) -> String {
        let address = if scheme.starts_with("rediss") { self.tls_address() } else { self.port.address() };
        format!("{scheme}://{address}/{key}")
    }

    /// Where it listens with TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.secured.as_ref().expect("one with TLS").port.address()
    }

    /// Who is let in, and whom to trust.
    pub fn access(&self) -> &Access {
        &self.secured.as_ref().expect("one with a password").access
    }

    /// A connection for whatever else a test asks.
    pub fn connection(&self) -> Connection {
        connect(self.port.address(), self.secured.is_some()).expect("a connection")
    }

    /// Appends messages to a stream.
    pub fn add(&self, stream: &str, messages: &[Vec<u8>]) {
        self.send(messages, |pipe, message| {
            pipe.xadd(stream, "*", &[(FIELD, message)]).ignore();
        });
    }

    /// Appends messages to a list.
    pub fn push(&self, list: &str, messages: &[Vec<u8>]) {
        self.send(messages, |pipe, message| {
            pipe.rpush(list, message).ignore();
        });
    }

    fn send(&self, messages: &[Vec<u8>], command: impl Fn(&mut redis::Pipeline, &[u8])) {
        let mut connection = self.connection();
        for some in messages.chunks(AT_ONCE) {
            let mut pipe = redis::pipe();
            some.iter().for_each(|message| command(&mut pipe, message));
            pipe.exec(&mut connection).expect("room for messages");
        }
    }

    /// The messages in a stream, the oldest first.
    pub fn entries(&self, stream: &str) -> Vec<Vec<u8>> {
        self.entries_from(stream, "-")
    }

    fn entries_from(&self, stream: &str, first: &str) -> Vec<Vec<u8>> {
        let reply: redis::streams::StreamRangeReply =
            self.connection().xrange(stream, first, "+").expect("a stream");
        reply.ids.iter().map(|entry| entry.get(FIELD).expect("an entry with a message")).collect()
    }

    /// The messages in a list, from its left to its right end.
    pub fn elements(&self, list: &str) -> Vec<Vec<u8>> {
        self.connection().lrange(list, 0, -1).expect("a list")
    }

    /// What a stream holds for a group: everything, where a relay was stopped before there was one.
    pub fn backlog_of_group(&self, stream: &str, group: &str) -> Backlog {
        let groups: redis::streams::StreamInfoGroupsReply =
            self.connection().xinfo_groups(stream).expect("a stream");
        let Some(group) = groups.groups.into_iter().find(|one| one.name == group) else {
            return Backlog { ready: self.entries(stream).len() as u64, unacknowledged: 0 };
        };
        // Redis itself does not know how many there are once one was deleted.
        let undelivered = self.entries_from(stream, &format!("({}", group.last_delivered_id));
        // What a relay gave back is pending with nobody, and claimed by whoever looks.
        let consumers: redis::streams::StreamInfoConsumersReply =
            self.connection().xinfo_consumers(stream, &group.name).expect("a group");
        let returned =
            consumers.consumers.iter().filter(|one| one.name == RETURNED).map(|one| one.pending as u64);
        let returned: u64 = returned.sum();
        Backlog {
            ready: undelivered.len() as u64 + returned,
            unacknowledged: group.pending as u64 - returned,
        }
    }

    /// What a list holds, and what relays have taken from it to process it.
    pub fn backlog_of_list(&self, list: &str) -> Backlog {
        let mut connection = self.connection();
        let processing: Vec<String> = connection.keys(format!("{list}:processing:*")).expect("an answer");
        let mut length = |list: &str| connection.llen::<_, u64>(list).expect("a list");
        Backlog {
            ready: length(list),
            unacknowledged: processing.iter().map(|processing| length(processing)).sum(),
        }
    }

    /// Removes a stream or a list, whether there is one or not.
    pub fn purge(&self, key: &str) {
        let _: u64 = self.connection().del(key).expect("an answer");
    }
}

fn connect(to: SocketAddr, has_password: bool) -> redis::RedisResult<Connection> {
    let login = RedisConnectionInfo::default();
    let login = if has_password { login.set_password(Access::PASSWORD) } else { login };
    let to = ConnectionAddr::Tcp(to.ip().to_string(), to.port());
    redis::Client::open(to.into_connection_info()?.set_redis_settings(login))?.get_connection()
}
