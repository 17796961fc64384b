//! Which sink and which endpoint a message goes to, when endpoints come and go.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use slackwater::load::{self, Place, SendPlan, SinkHandle, Style};
use slackwater::message::Framing;

use crate::support::arrivals::missing_everywhere;
use crate::support::flow::wait_until_blocked;
use crate::support::port::Reserved;
use crate::support::relay::{Order, Relay};
use crate::support::{HANG, eventually};

fn sink() -> SinkHandle {
    load::listen(Place::loopback(), Framing::Line).unwrap()
}

fn at(address: SocketAddr) -> SinkHandle {
    load::listen(address, Framing::Line).expect("a free address")
}

fn relay(to: &[String], args: &[&str]) -> Relay {
    let mut order = Order::between(&["tcp://127.0.0.1:0"], &to[0]).args(&["--cores", "1"]).args(args);
    for to in &to[1..] {
        order = order.args(&["--to", to]);
    }
    order.start()
}

fn pool(endpoints: &[SocketAddr], options: &str) -> String {
    let hosts: Vec<String> = endpoints.iter().map(SocketAddr::to_string).collect();
    format!("tcp://{}?{options}", hosts.join(","))
}

fn plan(relay: &Relay, messages: u64) -> SendPlan {
    SendPlan {
        connections: 4,
        messages_per_connection: Some(messages / 4),
        size: 100,
        ..SendPlan::new(relay.address())
    }
}

#[test]
fn several_sinks_each_get_each_message_which_is_received_once() {
    let (one, two) = (sink(), sink());
    let relay =
        relay(&[format!("{}?name=one", one.place()), format!("{}?name=two&framing=line", two.place())], &[]);
    let sent = load::send(plan(&relay, 20_000)).unwrap();
    let end = relay.terminate();
    end.assert_all_delivered(20_000);
    for (name, sink) in [("one", one), ("two", two)] {
        assert_eq!(end.books["sinks"][name]["delivered"], 20_000);
        let report = sink.finish();
        assert!(report.tally.is_whole() && report.lost(&sent) == 0, "{name}: {:?}", report.tally);
        assert_eq!(report.tally.messages, 20_000);
    }
}

#[test]
fn a_source_sends_to_those_that_it_names() {
    let (one, two) = (sink(), sink());
    let sources = ["tcp://127.0.0.1:0?name=both", "tcp://127.0.0.1:0?name=second&to=two"];
    let relay = Order::between(&sources, &format!("{}?name=one", one.place()))
        .args(&["--to", &format!("{}?name=two", two.place())])
        .start();
    let [both, second] = relay.addresses()[..] else { panic!("two sources") };
    load::send(SendPlan { messages_per_connection: Some(1_000), ..SendPlan::new(both) }).unwrap();
    load::send(SendPlan { messages_per_connection: Some(500), ..SendPlan::new(second) }).unwrap();
    let end = relay.terminate();
    end.assert_all_delivered(1_500);
    assert_eq!((one.finish().tally.messages, two.finish().tally.messages), (1_000, 1_500));
}

#[test]
fn spread_gives_each_endpoint_its_senders() {
    let sinks = [sink(), sink()];
    let relay = relay(&[pool(&[sinks[0].address(), sinks[1].address()], "balance=spread")], &[]);
    // At a pace, so that all of them are connected at once.
    let style = Style::Paced { per_second: 40_000 };
    let sent = load::send(SendPlan { style, ..plan(&relay, 20_000) }).unwrap();
    relay.terminate().assert_all_delivered(20_000);
    let reports = sinks.map(SinkHandle::finish);
    assert_eq!(reports.each_ref().map(|report| report.tally.messages), [10_000, 10_000]);
    assert!(reports.iter().all(|report| report.tally.is_whole() && report.streams.len() == 2));
    assert_eq!(sent.acked_messages(), 20_000);
}

#[test]
fn spread_sends_what_a_lost_endpoint_had_to_another_and_comes_back() {
    let (first, second) = (Reserved::on_loopback(), sink());
    let lost = at(first.address());
    let relay = relay(&[pool(&[first.address(), second.address()], "balance=spread")], &[]);
    let sending = load::start(plan(&relay, 400_000)).unwrap();
    assert!(lost.wait_for(20_000, HANG) && second.wait_for(20_000, HANG));
    let before = lost.abort();
    let sent = sending.finish();
    assert!(second.wait_for(200_000, HANG), "{:#?}", relay.log());
    let back = at(first.address());
    eventually("the link goes home", || back.tally().connections > 0);
    let more = load::send(plan(&relay, 4_000)).unwrap();
    let end = relay.terminate();
    end.assert_all_delivered(404_000);
    let (second, back) = (second.finish(), back.finish());
    assert!(back.tally.messages > 0, "nothing goes to the one that is back");
    let reports = [before, second, back];
    assert_eq!((missing_everywhere(&sent, &reports), missing_everywhere(&more, &reports)), (0, 0));
    assert_eq!((sent.acked_messages(), more.acked_messages()), (400_000, 4_000));
}

#[test]
fn failover_uses_the_first_that_is_there_and_goes_back_to_it() {
    let (first, second) = (Reserved::on_loopback(), sink());
    let relay = relay(&[pool(&[first.address(), second.address()], "balance=failover")], &[]);
    let sent = load::send(plan(&relay, 10_000)).unwrap();
    assert!(second.wait_for(10_000, HANG));
    let back = at(first.address());
    eventually("the link goes to the first", || back.tally().connections > 0);
    let more = load::send(plan(&relay, 10_000)).unwrap();
    assert!(back.wait_for(10_000, HANG), "{:?}", back.tally());
    relay.terminate().assert_all_delivered(20_000);
    let (second, back) = (second.finish(), back.finish());
    assert_eq!((second.lost(&sent), back.lost(&more)), (0, 0));
    assert!(second.tally.is_whole() && back.tally.is_whole(), "{:?} {:?}", second.tally, back.tally);
}

/// The first endpoint comes and goes under load: nothing is lost, and each sender's order holds.
#[test]
fn failover_between_a_flapping_endpoint_and_a_steady_one_loses_nothing() {
    let (first, steady) = (Reserved::on_loopback(), sink());
    let relay = relay(&[pool(&[first.address(), steady.address()], "balance=failover")], &[]);
    let rate = Style::Paced { per_second: 50_000 };
    let sending = load::start(SendPlan { style: rate, ..plan(&relay, 200_000) }).unwrap();
    let mut lives = Vec::new();
    while sending.written_messages() < 200_000 {
        let flapping = at(first.address());
        // However long it takes until the relay has come back to it.
        eventually("it is used, or all is written", || {
            flapping.tally().messages > 0 || sending.written_messages() == 200_000
        });
        lives.push(if lives.len() % 2 == 0 { flapping.abort() } else { flapping.finish() });
    }
    let sent = sending.finish();
    let end = relay.terminate();
    end.assert_all_delivered(200_000);
    lives.push(steady.finish());
    println!("the flapping endpoint lived {} times", lives.len() - 1);
    assert_eq!((missing_everywhere(&sent, &lives), sent.acked_messages()), (0, 200_000));
    assert!(lives.iter().all(|report| report.tally.out_of_order == 0));
}

fn keys_by_endpoint(received: &[Vec<String>]) -> BTreeMap<String, usize> {
    let mut places = BTreeMap::new();
    for (endpoint, lines) in received.iter().enumerate() {
        for line in lines.iter().filter(|line| line.starts_with("key-")) {
            let key = line.split_once(' ').unwrap().0.to_owned();
            assert_eq!(*places.entry(key).or_insert(endpoint), endpoint, "{line} at two endpoints");
        }
    }
    places
}

/// All messages of a key go to one endpoint; one that is not there moves only its own keys, to each of the others some.
#[test]
fn hash_keeps_keys_together_and_moves_only_those_of_a_lost_endpoint() {
    let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<SocketAddr> = listeners.iter().map(|one| one.local_addr().unwrap()).collect();
    let options = "balance=hash&key_until=%20&framing=line";
    let all = run_hash(&addresses, options, listeners);
    let mut listeners: Vec<TcpListener> =
        addresses[1..].iter().map(|at| TcpListener::bind(at).unwrap()).collect();
    // Bound and not listening: connections to it are refused.
    let _held = hold(addresses[0]);
    let without = run_hash(&addresses, options, std::mem::take(&mut listeners));
    let mut moved = [0; 2];
    for (key, endpoint) in &all {
        match endpoint {
            0 => moved[without[key]] += 1,
            other => assert_eq!(without[key] + 1, *other, "{key} has moved"),
        }
    }
    assert!(moved.iter().all(|count| *count > 20), "{moved:?} of {}", all.len());
}

fn hold(address: SocketAddr) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// Many keys through a relay with these endpoints, of which some listen; where each key went.
fn run_hash(addresses: &[SocketAddr], options: &str, listeners: Vec<TcpListener>) -> BTreeMap<String, usize> {
    let receivers: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let (done, address) = (listener.local_addr().unwrap(), listener);
            (done, receive_all(address))
        })
        .collect();
    let relay = relay(&[pool(addresses, options)], &[]);
    let mut sender = TcpStream::connect(relay.address()).unwrap();
    for round in 0..3 {
        for key in 0..300 {
            writeln!(sender, "key-{key} round {round}").unwrap();
        }
    }
    drop(sender);
    relay.terminate().assert_all_delivered(900);
    let received: Vec<Vec<String>> = receivers
        .into_iter()
        .map(|(address, receiver)| {
            writeln!(TcpStream::connect(address).unwrap(), "end").unwrap();
            receiver.join().unwrap()
        })
        .collect();
    let places = keys_by_endpoint(&received);
    assert_eq!(places.len(), 300);
    for lines in received {
        for key in 0..300 {
            let name = format!("key-{key} ");
            let rounds: Vec<_> = lines.iter().filter(|line| line.starts_with(&name)).collect();
            assert!(rounds.is_sorted(), "{rounds:?}");
        }
    }
    places
}

/// Several connections at once, each read to its end; all of them end with the one that says so.
fn receive_all(listener: TcpListener) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let (lines, mut readers) = (std::sync::Arc::new(std::sync::Mutex::new(Vec::new())), Vec::new());
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut peeked = [0; 3];
            let is_last = stream.peek(&mut peeked).is_ok_and(|bytes| bytes == 3) && &peeked == b"end";
            if is_last {
                break;
            }
            let lines = std::sync::Arc::clone(&lines);
            readers.push(std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            }));
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        std::mem::take(&mut *lines.lock().unwrap())
    })
}

#[test]
fn copy_settles_once_when_all_have_it() {
    let sinks = [sink(), sink(), sink()];
    let relay = relay(&[pool(&sinks.each_ref().map(SinkHandle::address), "balance=copy&name=copies")], &[]);
    let sent = load::send(plan(&relay, 20_000)).unwrap();
    let end = relay.terminate();
    end.assert_all_delivered(20_000);
    assert_eq!(end.books["sinks"]["copies"]["received"], 20_000);
    for sink in sinks {
        let report = sink.finish();
        assert!(report.tally.is_whole() && report.lost(&sent) == 0 && report.tally.messages == 20_000);
    }
}

#[test]
fn a_copy_with_a_dead_member_waits_for_it_within_the_bound_and_reports_what_it_never_got() {
    let (alive, dead) = (sink(), Reserved::on_loopback());
    let options = "balance=copy&name=copies";
    let args = ["--max-in-flight", "2MiB", "--drain-timeout", "500ms"];
    let relay = relay(&[pool(&[alive.address(), dead.address()], options)], &args);
    let sending =
        load::start(SendPlan { patience: Duration::from_secs(3), ..plan(&relay, 4_000_000) }).unwrap();
    assert!(alive.wait_for(1, HANG));
    wait_until_blocked(&sending);
    let end = relay.terminate();
    let sent = sending.finish();
    assert_eq!((end.code(), end.book("delivered")), (3, 0));
    assert_eq!((end.book("abandoned"), end.book("received")), (sent.acked_messages(), sent.acked_messages()));
    end.assert_balanced();
    // It has what there was room for; what was read at the deadline was only counted.
    let tally = alive.finish().tally;
    assert!(tally.is_whole() && tally.messages <= sent.acked_messages(), "{tally:?}");
}

#[test]
fn a_copy_whose_dead_member_comes_back_in_time_loses_nothing() {
    let (alive, dead) = (sink(), Reserved::on_loopback());
    let relay =
        relay(&[pool(&[alive.address(), dead.address()], "balance=copy")], &["--drain-timeout", "60s"]);
    let sent = load::send(plan(&relay, 8_000)).unwrap();
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    relay.expect_log("\"draining\"");
    let back = at(dead.address());
    let end = relay.wait();
    end.assert_all_delivered(8_000);
    assert_eq!((alive.finish().lost(&sent), back.finish().lost(&sent)), (0, 0));
}

/// What goes by a key and to another sink as well is received once, and in order at both.
#[test]
fn a_hash_beside_another_sink_keeps_the_order_at_both() {
    let (endpoints, archive) = ([sink(), sink()], sink());
    let hash = pool(&endpoints.each_ref().map(SinkHandle::address), "balance=hash&name=shards");
    let relay = relay(&[hash, format!("{}?name=archive", archive.place())], &[]);
    let sent = load::send(plan(&relay, 8_000)).unwrap();
    let end = relay.terminate();
    end.assert_all_delivered(8_000);
    let archive = archive.finish();
    assert!(archive.tally.is_whole() && archive.lost(&sent) == 0, "{:?}", archive.tally);
    let shards = endpoints.map(SinkHandle::finish);
    assert_eq!(shards.iter().map(|shard| shard.tally.messages).sum::<u64>(), 8_000);
    assert!(shards.iter().all(|shard| shard.tally.out_of_order == 0 && shard.tally.messages > 3_000));
}
