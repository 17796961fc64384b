//! RabbitMQ, without the daemon by which Erlang's nodes find each other: that would outlive it.
//!
//! Lives here: the server, one that all tests share, and a client that fills, reads and empties queues. Never here: what is expected
//! of a relay.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::super::peer::program;
use super::super::port::{Reserved, is_listened};
use super::access::Access;
use super::process::{Server, folder};
use super::{Backlog, block_on};

/// Each is alone, whatever it is called: nobody looks one up.
const NODE: &str = "relay@localhost";
/// Messages that are published before their confirmations are waited for.
const AT_ONCE: usize = 1000;
/// Of AMQP: kept on the disk.
const PERSISTENT: u8 = 2;
/// Of AMQP: the end of a connection that is content.
const SUCCESS: u16 = 200;

/// A server of RabbitMQ, on one port without and on another with TLS. The user `guest` has the password `guest`.
pub struct RabbitMq {
    pub server: Server,
    port: Reserved,
    tls_port: Reserved,
    node_port: Reserved,
    access: Access,
}

/// The queues in one of its virtual hosts.
pub struct Queues<'a> {
    rabbitmq: &'a RabbitMq,
    vhost: String,
}

impl RabbitMq {
    /// The one of all tests, each of which has queues of its own there: one takes seconds to start. It ends with the process.
    pub fn shared() -> &'static RabbitMq {
        static SHARED: LazyLock<RabbitMq> = LazyLock::new(RabbitMq::start);
        &SHARED
    }

    /// One for a single test, which stops it.
    #[track_caller]
    pub fn start() -> RabbitMq {
        let (folder, access) = (folder(), Access::new());
        let [port, tls_port, node_port] = [(); 3].map(|()| Reserved::on_loopback());
        let text = format!(
            "listeners.tcp.1 = {}\n\
             listeners.ssl.1 = {}\n\
             ssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = false\n\
             vm_memory_high_watermark.absolute = 512MiB\n\
             disk_free_limit.absolute = 1MB\n\
             log.file = false\n\
             log.console = true\n",
            port.address(),
            tls_port.address(),
            access.authority().display(),
            access.certificate().display(),
            access.key().display(),
        );
        fs::write(folder.path().join("rabbitmq.conf"), text).expect("a file in a temporary folder");
        let mut command = script("rabbitmq-server", folder.path());
        // Erlang's own arguments. With its input allowed, the script becomes the server instead of waiting for it.
        command.env("RABBITMQ_ALLOW_INPUT", "1").args(["-noinput", "-sname", NODE]);
        command.args(without_lookup(&node_port)).args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]);
        let address = port.address();
        let answers = move || {
            let connected = || block_on(async { Client::connect(address, "/").await?.close().await });
            is_listened(address) && connected().is_ok()
        };
        RabbitMq { server: Server::start(folder, command, answers), port, tls_port, node_port, access }
    }

    /// Where it listens without TLS.
    pub fn port(&self) -> u16 {
        self.port.address().port()
    }

    /// Where it listens with TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls_port.address()
    }

    /// Whom to trust.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The queues of the virtual host that is always there.
    pub fn queues(&self) -> Queues<'_> {
        Queues { rabbitmq: self, vhost: "/".to_owned() }
    }

    /// The queues of a new virtual host.
    #[track_caller]
    pub fn new_vhost(&self, name: &str) -> Queues<'_> {
        self.control(&["add_vhost", name]);
        self.control(&["set_permissions", "-p", name, "guest", ".*", ".*", ".*"]);
        Queues { rabbitmq: self, vhost: name.to_owned() }
    }

    /// What `rabbitmqctl` says.
    #[track_caller]
    pub fn control(&self, arguments: &[&str]) -> String {
        let mut command = script("rabbitmqctl", self.server.folder());
        // It is a node too, to which none connects.
        let node = [&without_lookup(&self.node_port)[..], &["-dist_listen".into(), "false".into()]].concat();
        command.env("RABBITMQ_CTL_ERL_ARGS", node.join(" ")).args(["-q", "-n", NODE]).args(arguments);
        let output = command.stdin(Stdio::null()).output().expect("rabbitmqctl runs");
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).expect("an answer in UTF-8")
    }
}

impl Queues<'_> {
    /// A queue as the relay is told of it: `amqp` or `amqps`.
    pub fn url(&self, scheme: &str, queue: &str) -> String {
        let port = if scheme == "amqps" { &self.rabbitmq.tls_port } else { &self.rabbitmq.port };
        let vhost = if self.vhost == "/" { String::new() } else { format!("/{}", self.vhost) };
        format!("{scheme}://{}{vhost}/{queue}", port.address())
    }

    /// Where their server listens without TLS.
    pub fn address(&self) -> SocketAddr {
        self.rabbitmq.port.address()
    }

    /// Makes a queue that outlives its server.
    pub fn declare(&self, queue: &str) {
        self.run(async |channel| {
            let declared =
                channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default());
            declared.await.expect("a queue");
        });
    }

    /// Publishes messages that outlive the server, and waits until it has them.
    pub fn publish(&self, queue: &str, messages: &[Vec<u8>]) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        self.run(async |channel| {
            channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirmations");
            for some in messages.chunks(AT_ONCE) {
                let mut sent = Vec::new();
                for message in some {
                    let exchange = ShortString::default();
                    let publish =
                        channel.basic_publish(exchange, queue.into(), options, message, properties.clone());
                    sent.push(publish.await.expect("a connection"));
                }
                for confirmation in sent {
                    let confirmation = confirmation.await.expect("a connection");
                    assert!(
                        confirmation.is_ack() && confirmation.take_message().is_none(),
                        "{queue} took it"
                    );
                }
            }
        });
    }

    /// Takes all messages that are ready out of a queue.
    pub fn take(&self, queue: &str) -> Vec<Vec<u8>> {
        self.run(async |channel| {
            let mut taken = Vec::new();
            let get = || channel.basic_get(queue.into(), BasicGetOptions { no_ack: true });
            while let Some(message) = get().await.expect("a queue") {
                taken.push(message.delivery.data);
            }
            taken
        })
    }

    /// How many messages are ready in a queue. Quicker than [`Queues::backlog`].
    pub fn ready(&self, queue: &str) -> u64 {
        self.run(async |channel| {
            let declared = channel.queue_declare(
                queue.into(),
                QueueDeclareOptions::default().passive(),
                FieldTable::default(),
            );
            declared.await.expect("a queue").message_count().into()
        })
    }

    /// What a queue holds.
    #[track_caller]
    pub fn backlog(&self, queue: &str) -> Backlog {
        let columns = ["name", "messages_ready", "messages_unacknowledged", "--no-table-headers"];
        let table = self.rabbitmq.control(&[&["list_queues", "-p", &self.vhost], &columns[..]].concat());
        let line = table.lines().find_map(|line| line.strip_prefix(queue)?.strip_prefix('\t'));
        let mut counts =
            line.expect("a queue of this name").split('\t').map(|count| count.parse().expect("a count"));
        let mut next = || counts.next().expect("both counts");
        Backlog { ready: next(), unacknowledged: next() }
    }

    /// Removes the messages that are ready in a queue.
    pub fn purge(&self, queue: &str) {
        self.run(async |channel| {
            channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.expect("a queue");
        });
    }

    /// Carries out what a client does.
    pub fn run<T>(&self, work: impl AsyncFnOnce(&Channel) -> T) -> T {
        block_on(async {
            let client = Client::connect(self.rabbitmq.port.address(), &self.vhost).await;
            let client = client.expect("a server that answers");
            let done = work(&client.channel).await;
            client.close().await.expect("an orderly end");
            done
        })
    }
}

struct Client {
    connection: Connection,
    channel: Channel,
}

impl Client {
    async fn connect(to: SocketAddr, vhost: &str) -> lapin::Result<Client> {
        let vhost = vhost.replace('/', "%2f");
        let url = format!("amqp://guest:guest@{to}/{vhost}");
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok(Client { connection, channel })
    }

    async fn close(self) -> lapin::Result<()> {
        self.connection.close(SUCCESS, "".into()).await
    }
}

/// One of the scripts, with everything that it reads and writes in a folder.
fn script(name: &str, folder: &Path) -> Command {
    let mut command = program(name);
    // The cookie by which it knows us is in our home.
    command.env("HOME", folder).env("RABBITMQ_NODENAME", NODE).env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
    command.env("ERL_CRASH_DUMP", folder.join("crash"));
    for (variable, file) in [
        ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
        ("RABBITMQ_MNESIA_BASE", "data"),
        ("RABBITMQ_LOG_BASE", "logs"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
    ] {
        command.env(variable, folder.join(file));
    }
    command
}

/// Erlang's arguments for nodes that are all at one port, so that none has to be looked up.
fn without_lookup(port: &Reserved) -> [String; 4] {
    let port = port.address().port().to_string();
    ["-start_epmd".into(), "false".into(), "-erl_epmd_port".into(), port]
}
