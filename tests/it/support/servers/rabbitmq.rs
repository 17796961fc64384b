//! RabbitMQ, without the daemon by which Erlang's nodes find each other: it would outlive them.
//!
//! Lives here: the server, one that all tests share, and a client that fills, reads and empties queues. Never here: what is expected
//! of a relay.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use futures_util::{StreamExt, TryStreamExt, stream as streams};
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::super::peer::program;
use super::super::port::{Reserved, is_listened};
use super::access::Access;
use super::process::{Server, folder};
use super::{Backlog, block_on};

/// Messages whose confirmation is waited for at once.
const AT_ONCE: usize = 1000;
/// Of AMQP: kept on the disk.
const PERSISTENT: u8 = 2;

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

/// Starts when it is first asked for, and ends with the process.
static SHARED: LazyLock<RabbitMq> = LazyLock::new(RabbitMq::start);

impl RabbitMq {
    /// The one of all tests, each of which has queues of its own there: it takes seconds to start.
    pub fn shared() -> &'static RabbitMq {
        &SHARED
    }

    /// One of its own, for a test that stops it.
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
        command.env("RABBITMQ_ALLOW_INPUT", "1").args(["-noinput", "-sname", &node(&node_port)]);
        command.args(arguments(&node_port)).args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]);
        let address = port.address();
        let answers = move || {
            let refused = || connect(address, "/").map(Client::close);
            is_listened(address) && block_on(async { refused().await.is_ok() })
        };
        RabbitMq { server: Server::start(folder, command, answers), port, tls_port, node_port, access }
    }
}
