//! NATS with JetStream, alone or as a cluster of three.
//!
//! Lives here: the servers, and a client that fills, reads and empties streams. Never here: what is expected of a relay.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, RetentionPolicy};
use async_nats::jetstream::{self, Context};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream as streams};
use serde_json::Value;

use super::super::peer::program;
use super::super::port::Reserved;
use super::super::{HANG, eventually};
use super::access::Access;
use super::credentials::Credentials;
use super::process::{Server, folder};
use super::{Backlog, block_on, http_get};

/// Requests that are on their way at once.
const AT_ONCE: usize = 200;
/// Who our own client is where there are passwords: one who may do everything.
const CLIENT: &str = "client";

/// A server of NATS.
pub struct Nats {
    pub server: Server,
    ports: Ports,
    door: Arc<Door>,
}

/// Whom a server lets in.
enum Door {
    /// Everyone.
    Open,
    /// Who has the password, by way of TLS. The relay may not publish on these subjects.
    Password { access: Access, denied: Vec<String> },
    /// Whom an account vouches for.
    Credentials(Credentials),
}

/// Three servers of NATS that hold the same.
pub struct NatsCluster {
    pub nodes: [Nats; 3],
}

/// A client of one server, or of whichever of a cluster answers.
pub struct JetStream {
    servers: Vec<String>,
    door: Arc<Door>,
}

struct Ports {
    clients: Reserved,
    routes: Reserved,
    monitor: Reserved,
}

impl Nats {
    /// One that lets everyone in.
    #[track_caller]
    pub fn start() -> Nats {
        Nats::with(Door::Open)
    }

    /// One with a user and a password, that speaks TLS.
    #[track_caller]
    pub fn secured() -> Nats {
        Nats::denying(&[])
    }

    /// The same, where that user may not publish on some subjects.
    #[track_caller]
    pub fn denying(subjects: &[&str]) -> Nats {
        let denied = subjects.iter().map(|&subject| subject.to_owned()).collect();
        Nats::with(Door::Password { access: Access::new(), denied })
    }

    /// One that asks for credentials.
    #[track_caller]
    pub fn with_credentials() -> Nats {
        Nats::with(Door::Credentials(Credentials::new()))
    }

    #[track_caller]
    fn with(door: Door) -> Nats {
        let nats = Nats::launch("alone", Ports::reserve(), door, "");
        nats.server.wait_until_ready();
        nats
    }

    #[track_caller]
    fn launch(name: &str, ports: Ports, door: Door, cluster: &str) -> Nats {
        let folder = folder();
        let text = format!(
            "server_name: {name}\n\
             listen: {:?}\n\
             http: {:?}\n\
             jetstream {{ store_dir: {:?}, max_memory_store: 64MB, max_file_store: 4GB }}\n\
             {}{cluster}",
            ports.clients.address().to_string(),
            ports.monitor.address().to_string(),
            folder.path(),
            door.configuration(),
        );
        let configuration = folder.path().join("nats.conf");
        fs::write(&configuration, text).expect("a file in a temporary folder");
        let mut command = program("nats-server");
        command.arg("-c").arg(configuration);
        let monitor = ports.monitor.address();
        // It is healthy once it has read its streams, and in a cluster once it knows what the others know.
        let server = Server::launch(folder, command, move || http_get(monitor, "/healthz").is_some());
        Nats { server, ports, door: Arc::new(door) }
    }

    /// Where it listens for clients.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    fn address(&self) -> SocketAddr {
        self.ports.clients.address()
    }

    /// A subject or a stream as the relay is told of it.
    pub fn url(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}://{}/{name}", self.address())
    }

    /// Who is let in, and whom to trust.
    #[track_caller]
    pub fn access(&self) -> &Access {
        match &*self.door {
            Door::Password { access, .. } => access,
            Door::Open | Door::Credentials(_) => panic!("not one with a password"),
        }
    }

    /// Who is let in, where an account says so.
    #[track_caller]
    pub fn credentials(&self) -> &Credentials {
        match &*self.door {
            Door::Credentials(credentials) => credentials,
            Door::Open | Door::Password { .. } => panic!("not one with credentials"),
        }
    }

    /// A client.
    pub fn jetstream(&self) -> JetStream {
        JetStream { servers: vec![self.address().to_string()], door: Arc::clone(&self.door) }
    }

    fn monitored(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&http_get(self.ports.monitor.address(), path)?).ok()
    }

    /// Who leads the cluster, as far as it knows.
    fn leader_of_cluster(&self) -> Option<String> {
        let leader = self.monitored("/jsz")?["meta_cluster"]["leader"].as_str()?.to_owned();
        (!leader.is_empty()).then_some(leader)
    }
}

impl NatsCluster {
    /// Three that let everyone in, once they have agreed on who leads.
    #[track_caller]
    pub fn start() -> NatsCluster {
        let ports = [(); 3].map(|()| Ports::reserve());
        let routes =
            ports.each_ref().map(|ports| format!("\"nats://{}\"", ports.routes.address())).join(", ");
        let mut number = 0;
        let nodes = ports.map(|ports| {
            number += 1;
            let cluster = format!(
                "cluster {{ name: tests, listen: {:?}, routes: [{routes}] }}\n",
                ports.routes.address().to_string()
            );
            Nats::launch(&format!("node-{number}"), ports, Door::Open, &cluster)
        });
        let cluster = NatsCluster { nodes };
        cluster.nodes.iter().for_each(|node| node.server.wait_until_ready());
        eventually("all three know the same leader", || {
            let [first, others @ ..] = &cluster.nodes;
            let leader = first.leader_of_cluster();
            leader.is_some() && others.iter().all(|other| other.leader_of_cluster() == leader)
        });
        cluster
    }

    /// A subject or a stream as the relay is told of it, at all three.
    pub fn url(&self, scheme: &str, name: &str) -> String {
        let hosts = self.nodes.each_ref().map(|node| node.address().to_string());
        format!("{scheme}://{}/{name}", hosts.join(","))
    }

    /// A client.
    pub fn jetstream(&self) -> JetStream {
        JetStream {
            servers: self.nodes.iter().map(|node| node.address().to_string()).collect(),
            door: Arc::new(Door::Open),
        }
    }

    /// Which of the nodes leads a stream.
    #[track_caller]
    pub fn leader_of(&self, stream: &str) -> usize {
        let client = self.jetstream();
        let mut leader = None;
        eventually("the stream has a leader", || {
            leader = client.leader_of(stream);
            leader.is_some()
        });
        let number = leader.and_then(|name| name.strip_prefix("node-")?.parse::<usize>().ok());
        number.expect("one of ours") - 1
    }
}

impl Door {
    /// What a server is told of it.
    fn configuration(&self) -> String {
        match self {
            Door::Open => String::new(),
            Door::Password { access, denied } => format!(
                "authorization {{ users: [\n\
                 {{ user: {:?}, password: {password:?}, permissions: {{ publish: {{ deny: {denied:?} }} }} }}\n\
                 {{ user: {CLIENT:?}, password: {password:?} }} ] }}\n\
                 tls {{ cert_file: {:?}, key_file: {:?}, timeout: 10 }}\n",
                Access::USER,
                access.certificate(),
                access.key(),
                password = Access::PASSWORD,
            ),
            Door::Credentials(credentials) => credentials.configuration().to_owned(),
        }
    }

    /// How our own client gets in.
    fn passed(&self, options: ConnectOptions) -> ConnectOptions {
        match self {
            Door::Open => options,
            Door::Password { access, .. } => options
                .user_and_password(CLIENT.to_owned(), Access::PASSWORD.to_owned())
                .tls_client_config(access.client())
                .require_tls(true),
            Door::Credentials(credentials) => {
                options.credentials(credentials.text()).expect("credentials of ours")
            }
        }
    }
}

impl JetStream {
    /// Carries out what a client does.
    pub fn run<T>(&self, work: impl AsyncFnOnce(&Context) -> T) -> T {
        let options = self.door.passed(ConnectOptions::new().connection_timeout(HANG));
        block_on(async {
            let client = options.connect(&self.servers).await.expect("a server that answers");
            work(&jetstream::new(client)).await
        })
    }

    /// Makes a stream of these subjects, held by so many servers; a work queue forgets what was acknowledged.
    pub fn create(&self, stream: &str, subjects: &[&str], replicas: usize, retention: RetentionPolicy) {
        let config = Config {
            name: stream.to_owned(),
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            num_replicas: replicas,
            retention,
            ..Config::default()
        };
        self.run(async |context| {
            context.create_stream(config).await.expect("a stream");
        });
    }

    /// Publishes messages on a subject of a stream. What was not acknowledged is sent again, by the same name: it is stored once.
    pub fn publish(&self, subject: &str, messages: &[Vec<u8>]) {
        let run = fastrand::u64(..);
        let named = |number: usize| {
            let message = PublishMessage::build().payload(messages[number].clone().into());
            message.message_id(format!("{run:016x}-{number}"))
        };
        self.run(async |context| {
            let mut left: Vec<usize> = (0..messages.len()).collect();
            while !left.is_empty() {
                let mut failed = Vec::new();
                for some in left.chunks(AT_ONCE) {
                    let mut sent = Vec::new();
                    for &number in some {
                        let answer = context.send_publish(subject.to_owned(), named(number)).await;
                        sent.push((number, answer.expect("a connection")));
                    }
                    // All at once: each that a dead server had in hand takes its time to be given up.
                    let judged = sent
                        .into_iter()
                        .map(|(number, answer)| async move { answer.await.is_err().then_some(number) });
                    failed.extend(join_all(judged).await.into_iter().flatten());
                }
                left = failed;
            }
        });
    }

    /// The messages in a stream, the oldest first.
    pub fn messages(&self, stream: &str) -> Vec<Vec<u8>> {
        self.run(async |context| {
            let stream = context.get_stream(stream).await.expect("a stream");
            let state = &stream.cached_info().state;
            let all = streams::iter(state.first_sequence..=state.last_sequence);
            let mut stored = all.map(|sequence| stream.get_raw_message(sequence)).buffered(AT_ONCE);
            let mut messages = Vec::new();
            while let Some(answer) = stored.next().await {
                match answer {
                    Ok(message) => messages.push(message.payload.into()),
                    // It was acknowledged or deleted before an older one.
                    Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            messages
        })
    }

    /// Takes messages by way of a durable consumer, which is made if there is none; acknowledges them, or leaves that.
    pub fn take(&self, stream: &str, consumer: &str, count: usize, acknowledge: bool) -> Vec<Vec<u8>> {
        self.run(async |context| {
            let stream = context.get_stream(stream).await.expect("a stream");
            let config = pull::Config { durable_name: Some(consumer.to_owned()), ..pull::Config::default() };
            let consumer: PullConsumer =
                stream.get_or_create_consumer(consumer, config).await.expect("a consumer");
            let batch = consumer.batch().max_messages(count).expires(HANG).messages().await;
            let (mut batch, mut taken) = (batch.expect("a batch"), Vec::new());
            while let Some(message) = batch.next().await {
                let message = message.expect("a message");
                if acknowledge {
                    message.double_ack().await.expect("an answer");
                }
                taken.push(message.payload.to_vec());
            }
            taken
        })
    }

    /// What a stream holds for a consumer: everything, where a relay was stopped before there was one.
    pub fn backlog(&self, stream: &str, consumer: &str) -> Backlog {
        self.run(async |context| {
            let stream = context.get_stream(stream).await.expect("a stream");
            match stream.consumer_info(consumer).await {
                Ok(info) => Backlog { ready: info.num_pending, unacknowledged: info.num_ack_pending as u64 },
                Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
                    Backlog { ready: stream.cached_info().state.messages, unacknowledged: 0 }
                }
                Err(error) => panic!("{error}"),
            }
        })
    }

    /// How many messages are in a stream.
    pub fn length(&self, stream: &str) -> u64 {
        self.run(async |context| {
            context.get_stream(stream).await.expect("a stream").cached_info().state.messages
        })
    }

    /// Removes the messages in a stream.
    pub fn purge(&self, stream: &str) {
        self.run(async |context| {
            context.get_stream(stream).await.expect("a stream").purge().await.expect("an answer");
        });
    }

    fn leader_of(&self, stream: &str) -> Option<String> {
        self.run(async |context| {
            let stream = context.get_stream(stream).await.ok()?;
            stream.cached_info().cluster.as_ref()?.leader.clone()
        })
    }
}

impl Ports {
    fn reserve() -> Ports {
        let [clients, routes, monitor] = [(); 3].map(|()| Reserved::on_loopback());
        Ports { clients, routes, monitor }
    }
}
