//! Queues and services, from each to each, in every state of both.
//!
//! Lives here: what of a relay's both ends is the same for all of them: filling one, reading the other, what is pending. Never here: how
//! a server is started (`support::servers`), or what is expected.

/// Several servers, several relays.
mod cluster;
/// What a relay does that is told no more than from where and to where.
mod defaults;
/// Messages that their sink refuses for good.
mod letters;
/// From each to each.
mod pairs;
/// What a user is let in for, and what not.
mod permissions;
/// What one of them promises alone.
mod promises;
/// Names and passwords, and TLS.
mod secured;
/// SIGTERM and SIGKILL at any moment, life after life.
mod storm;
/// Servers that are not there, stand still, die, or answer badly.
mod troubles;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream::stream::RetentionPolicy;

use crate::support::relay::{Order, Relay};
use crate::support::servers::Backlog;
use crate::support::servers::messages::numbered;
use crate::support::servers::nats::Nats;
use crate::support::servers::nginx::Nginx;
use crate::support::servers::rabbitmq::{Queues, RabbitMq};
use crate::support::servers::redis::Redis;

/// What stands at an end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Redis,
    RedisList,
    Nats,
    Amqp,
    Http,
}

const KINDS: [Kind; 6] = [Kind::Tcp, Kind::Redis, Kind::RedisList, Kind::Nats, Kind::Amqp, Kind::Http];
const QUEUES: [Kind; 4] = [Kind::Redis, Kind::RedisList, Kind::Nats, Kind::Amqp];
const GROUP: &str = "slackwater";

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Redis => "redis",
            Kind::RedisList => "redis-list",
            Kind::Nats => "nats",
            Kind::Amqp => "amqp",
            Kind::Http => "http",
        }
    }
}

/// One server of each kind.
struct House {
    redis: Redis,
    nats: Nats,
    rabbit: Queues<'static>,
    nginx: Nginx,
    tcp: Collector,
}

impl House {
    fn open() -> House {
        static VHOSTS: AtomicUsize = AtomicUsize::new(0);
        let vhost = format!("house-{}", VHOSTS.fetch_add(1, Ordering::Relaxed));
        House {
            redis: Redis::start(),
            nats: Nats::start(),
            rabbit: RabbitMq::shared().new_vhost(&vhost),
            nginx: Nginx::start(),
            tcp: Collector::start(),
        }
    }

    /// As a source is named after `--from`. What is not there yet is made.
    fn source(&self, kind: Kind, name: &str) -> String {
        match kind {
            Kind::Tcp => "tcp://127.0.0.1:0".to_owned(),
            Kind::Redis => self.redis.url("redis", &format!("{name}?claim_idle=200ms")),
            Kind::RedisList => self.redis.url("redis-list", &format!("{name}?consumer=c")),
            Kind::Nats => {
                self.nats.jetstream().create(name, &[name], 1, RetentionPolicy::WorkQueue);
                self.nats.url("nats", name)
            }
            Kind::Amqp => {
                self.rabbit.declare(name);
                self.rabbit.url("amqp", name)
            }
            Kind::Http => "http://127.0.0.1:0/in?framing=line".to_owned(),
        }
    }

    /// As a sink is named after `--to`. What is not there yet is made.
    fn sink(&self, kind: Kind, name: &str) -> String {
        match kind {
            Kind::Tcp => format!("tcp://{}?framing=line", self.tcp.address),
            Kind::Redis => self.redis.url("redis", name),
            Kind::RedisList => self.redis.url("redis-list", name),
            Kind::Nats => {
                self.nats.jetstream().create(name, &[name], 1, RetentionPolicy::Limits);
                self.nats.url("nats", name)
            }
            Kind::Amqp => {
                self.rabbit.declare(name);
                self.rabbit.url("amqp", name)
            }
            Kind::Http => self.nginx.url("http", "/out?batch=100"),
        }
    }

    /// Puts messages into a source: into a queue at any time, else into a relay that runs.
    fn fill(&self, kind: Kind, name: &str, numbers: Range<u64>, relay: Option<&Relay>) {
        let messages = numbered(numbers);
        let running = || relay.expect("a relay to send to");
        match kind {
            Kind::Tcp => {
                let mut stream = TcpStream::connect(running().address()).expect("it listens");
                messages.iter().for_each(|message| stream.write_all(&line(message)).expect("it reads"));
            }
            Kind::Redis => self.redis.add(name, &messages),
            Kind::RedisList => self.redis.push(name, &messages),
            Kind::Nats => self.nats.jetstream().publish(name, &messages),
            Kind::Amqp => self.rabbit.publish(name, &messages),
            Kind::Http => messages.chunks(500).for_each(|some| {
                let body: Vec<u8> = some.iter().flat_map(|message| line(message)).collect();
                assert_eq!(post(http_address(running()), &body), 202);
            }),
        }
    }

    /// What a sink has got, once there are at least so many.
    fn got(&self, kind: Kind, name: &str, at_least: usize) -> Vec<Vec<u8>> {
        crate::support::eventually(&format!("{at_least} come to {kind:?}"), || {
            self.count(kind, name) >= at_least
        });
        self.take(kind, name)
    }

    fn count(&self, kind: Kind, name: &str) -> usize {
        match kind {
            Kind::Tcp => self.tcp.count(),
            Kind::Redis => self.redis.entries(name).len(),
            Kind::RedisList => self.redis.elements(name).len(),
            Kind::Nats => self.nats.jetstream().length(name) as usize,
            Kind::Amqp => self.rabbit.ready(name) as usize,
            Kind::Http => lines_of(&self.nginx).len(),
        }
    }

    fn take(&self, kind: Kind, name: &str) -> Vec<Vec<u8>> {
        match kind {
            Kind::Tcp => self.tcp.take(),
            Kind::Redis => self.redis.entries(name),
            Kind::RedisList => self.redis.elements(name),
            Kind::Nats => self.nats.jetstream().messages(name),
            Kind::Amqp => self.rabbit.take(name),
            Kind::Http => lines_of(&self.nginx),
        }
    }

    /// What is left in a queue that a relay pulls from.
    fn backlog(&self, kind: Kind, name: &str) -> Backlog {
        match kind {
            Kind::Redis => self.redis.backlog_of_group(name, GROUP),
            Kind::RedisList => self.redis.backlog_of_list(name),
            Kind::Nats => self.nats.jetstream().backlog(name, GROUP),
            Kind::Amqp => self.rabbit.backlog(name),
            Kind::Tcp | Kind::Http => Backlog { ready: 0, unacknowledged: 0 },
        }
    }
}

/// Nothing is left, and nobody is waited for.
const EMPTY: Backlog = Backlog { ready: 0, unacknowledged: 0 };

fn relay(from: &str, to: &str) -> Order {
    Order::between(&[from], to).args(&["--cores", "1"])
}

fn line(message: &[u8]) -> Vec<u8> {
    [message, b"\n"].concat()
}

fn lines_of(nginx: &Nginx) -> Vec<Vec<u8>> {
    let taken = nginx.requests().into_iter().filter(|one| one.status == 200);
    let lines = |body: Vec<u8>| body.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    taken.flat_map(|one| lines(one.body)).filter(|line| !line.is_empty()).collect()
}

/// Where a relay's listener for HTTP is.
fn http_address(relay: &Relay) -> SocketAddr {
    let line = relay.expect_log("\"relaying\"");
    let at = line.split("http://").nth(1).expect("a listener for HTTP");
    at.split(['"', ' ']).next().and_then(|at| at.parse().ok()).expect("an address")
}

/// Posts a body, and returns the status; 0 where no answer came.
fn post(to: SocketAddr, body: &[u8]) -> u16 {
    answer(to, body).split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Posts a body, and returns the whole answer; nothing where none came.
fn answer(to: SocketAddr, body: &[u8]) -> String {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(crate::support::HANG))?;
        write!(stream, "POST /in HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\n", body.len())?;
        stream.write_all(b"Connection: close\r\n\r\n")?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    answer().unwrap_or_default()
}

/// A TCP server that keeps every line.
struct Collector {
    address: SocketAddr,
    lines: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let collector = Collector { address: listener.local_addr().unwrap(), lines: Arc::default() };
        let lines = Arc::clone(&collector.lines);
        // It ends with the process, as its connections do.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let lines = Arc::clone(&lines);
                std::thread::spawn(move || {
                    let read = BufReader::with_capacity(1 << 16, stream).split(b'\n').map_while(Result::ok);
                    read.for_each(|line| lines.lock().unwrap().push_back(line));
                });
            }
        });
        collector
    }

    fn count(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    fn take(&self) -> Vec<Vec<u8>> {
        self.lines.lock().unwrap().iter().cloned().collect()
    }
}
