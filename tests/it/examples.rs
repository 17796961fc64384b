//! The commented examples, each run as it stands but for its addresses.

use std::fs;
use std::path::Path;

use slackwater::load::{self, Place, SendPlan, SinkHandle, Style};
use slackwater::message::Framing;

use crate::support::relay::{End, Order, Relay};

/// An example that runs, with addresses of the test's own.
struct Example {
    relay: Relay,
    folder: tempfile::TempDir,
}

impl Example {
    /// `sinks` take the places of these addresses; sources get ports of the kernel's choice, files a folder of the test's own.
    fn start(name: &str, listens: &[&str], sinks: &[(&str, &SinkHandle)]) -> Example {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/examples").join(name);
        let folder = tempfile::tempdir().unwrap();
        let mut text = fs::read_to_string(path).unwrap();
        for listen in listens {
            assert!(text.contains(listen), "{name} no longer listens on {listen}");
            text = text.replace(listen, "127.0.0.1:0");
        }
        for (address, sink) in sinks {
            assert!(text.contains(address), "{name} no longer sends to {address}");
            text = text.replace(address, &sink.address().to_string());
        }
        let file = folder.path().join("slackwater.toml");
        fs::write(&file, text).unwrap();
        let mut order = Order::bare("slackwater");
        let ledger = order.ledger();
        order
            .command
            .current_dir(folder.path())
            .args(["run", "--log-format", "json", "-c"])
            .arg(file)
            .arg("--ledger")
            .arg(ledger);
        Example { relay: order.start(), folder }
    }

    fn send(&self, to: Place, framing: Framing, messages: u64) {
        let to = match to {
            Place::Unixgram(path) => Place::Unixgram(self.folder.path().join(path)),
            other => other,
        };
        let style = if to.is_datagrams() { Style::Single } else { Style::Bulk };
        let plan = SendPlan {
            messages_per_connection: Some(messages),
            size: 80,
            framing,
            style,
            ..SendPlan::new(to)
        };
        assert_eq!(load::send(plan).unwrap().written_messages(), messages);
    }

    #[track_caller]
    fn end(self, messages: u64) -> End {
        let end = self.relay.terminate();
        let received = end.book("received") + end.book("kernel_drops");
        assert_eq!((end.code(), received, end.book("abandoned")), (0, messages, 0), "{:#?}", end.log);
        end.assert_balanced();
        end
    }
}

fn sink(framing: Framing) -> SinkHandle {
    load::listen(Place::loopback(), framing).unwrap()
}

fn entrance(relay: &Relay, wanted: fn(&Place) -> bool) -> Place {
    relay.entrances().into_iter().find(wanted).expect("such an entrance")
}

#[test]
fn the_syslog_relay() {
    let server = sink(Framing::Octet);
    let example = Example::start("syslog-relay.toml", &["127.0.0.1:5140"], &[("127.0.0.1:5514", &server)]);
    let tcp = entrance(&example.relay, |place| matches!(place, Place::Tcp(_)));
    let udp = entrance(&example.relay, |place| matches!(place, Place::Udp(_)));
    let local = entrance(&example.relay, |place| matches!(place, Place::Unixgram(_)));
    example.send(tcp.clone(), Framing::Line, 500);
    example.send(tcp, Framing::Octet, 500);
    example.send(udp, Framing::Datagram, 500);
    example.send(local, Framing::Datagram, 500);
    let end = example.end(2_000);
    let tally = server.finish().tally;
    assert_eq!((tally.messages, tally.foreign, tally.torn), (end.book("delivered"), 0, 0));
}

#[test]
fn the_statsd_fan_in() {
    let listen = |_| load::listen(Place::Udp(([127, 0, 0, 1], 0).into()), Framing::Datagram).unwrap();
    let servers = [0, 1].map(listen);
    let sinks = [("127.0.0.1:9125", &servers[0]), ("127.0.0.1:9126", &servers[1])];
    let example = Example::start("statsd-fan-in.toml", &["127.0.0.1:8125"], &sinks);
    example.send(example.relay.entrances().remove(0), Framing::Line, 2_000);
    let end = example.end(2_000);
    let tallies = servers.map(|server| server.finish().tally);
    let arrived: u64 = tallies.iter().map(|tally| tally.messages + tally.kernel_drops).sum();
    assert_eq!(arrived, end.book("delivered"));
}

#[test]
fn the_failover_pair() {
    let servers = [sink(Framing::Line), sink(Framing::Line)];
    let sinks = [("127.0.0.1:5514", &servers[0]), ("127.0.0.1:5515", &servers[1])];
    let example = Example::start("failover-pair.toml", &["127.0.0.1:5141"], &sinks);
    example.send(example.relay.entrances().remove(0), Framing::Line, 2_000);
    example.end(2_000);
    let [first, second] = servers.map(|server| server.finish().tally.messages);
    assert_eq!((first, second), (2_000, 0));
}

#[test]
fn the_copy_to_two_sites() {
    let sites = [sink(Framing::Octet), sink(Framing::Octet)];
    let sinks = [("127.0.0.1:5514", &sites[0]), ("127.0.0.1:5515", &sites[1])];
    let example = Example::start("copy-two-sites.toml", &["127.0.0.1:5142", "127.0.0.1:5143"], &sinks);
    let entrances = example.relay.entrances();
    example.send(entrances[0].clone(), Framing::Line, 1_000);
    example.send(entrances[1].clone(), Framing::Line, 200);
    let end = example.end(1_200);
    assert_eq!(end.books["sinks"]["file"]["delivered"], 200);
    let [first, second] = sites.map(|site| site.finish().tally.messages);
    assert_eq!((first, second), (1_200, 1_200));
}

#[test]
fn orders_go_from_redis_to_http() {
    use crate::support::servers::messages::{assert_each_once, numbered};
    use crate::support::servers::nginx::Nginx;
    use crate::support::servers::redis::Redis;
    let (redis, nginx) = (Redis::start(), Nginx::start());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/examples/orders-to-http.toml");
    let (folder, text) = (tempfile::tempdir().unwrap(), fs::read_to_string(path).unwrap());
    for address in ["127.0.0.1:6379", "127.0.0.1:8080"] {
        assert!(text.contains(address), "it no longer names {address}");
    }
    let text = text
        .replace("127.0.0.1:6379", &format!("127.0.0.1:{}", redis.port()))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", nginx.port()));
    fs::write(folder.path().join("slackwater.toml"), text).unwrap();
    redis.add("orders", &numbered(0..500));
    let mut order = Order::bare("slackwater");
    order.command.current_dir(folder.path());
    let ledger = order.ledger();
    order.command.args(["run", "--log-format", "json", "-c", "slackwater.toml", "--ledger"]).arg(ledger);
    let relay = order.start();
    assert_each_once(&nginx.taken(500), 0..500);
    crate::support::eventually("nothing is in flight", || relay.book("in_flight") == 0);
    let end = relay.terminate();
    end.assert_all_delivered(500);
    assert!(nginx.requests().iter().all(|one| one.content_type == "application/json"));
}
