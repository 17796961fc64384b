//! Good command lines, and the plans that they mean.
//!
//! Lives here: one test a group of options. Never here: mistakes.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::plan::{Balance, Confirm, Cores, HostPort, Listen, Overflow, Plan, Sink, Source, Target};
use crate::config::{RunArgs, cores};
use crate::framing::{Oversize, SourceFraming};
use crate::message::Framing;

fn plan(args: &RunArgs) -> Plan {
    args.plan().unwrap_or_else(|error| panic!("{error}"))
}

fn source(url: &str) -> Source {
    let args = RunArgs { from: vec![url.to_owned()], ..RunArgs::default() };
    plan(&args).sources.remove(0)
}

fn sink(url: &str) -> Sink {
    let args = RunArgs { to: vec![url.to_owned()], ..RunArgs::default() };
    plan(&args).sinks.remove(0)
}

fn at(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

fn usual_source(name: &str, listen: HostPort) -> Source {
    Source {
        name: name.to_owned(),
        listen: Listen::Tcp(listen),
        framing: SourceFraming::Always(Framing::Line),
        to: vec![0],
        overflow: Overflow::Block,
        allow: Vec::new(),
        max_connections_per_client: None,
        idle_timeout: None,
        max_message: 65_536,
        oversize: Oversize::Truncate,
        max_connections: 65_536,
        half_close: true,
        linger: Duration::from_secs(5),
        receive_buffer: None,
    }
}

fn usual_datagrams(name: &str, listen: HostPort) -> Source {
    let framing = SourceFraming::Always(Framing::Datagram);
    Source { listen: Listen::Udp(listen.clone()), framing, ..usual_source(name, listen) }
}

fn usual_sink(name: &str, target: Target, confirm: Confirm) -> Sink {
    let balance = Balance::Spread;
    Sink { name: name.to_owned(), target, framing: None, confirm, connections: 1, balance, dead_letter: None }
}

fn usual_file(name: &str, path: &str) -> Sink {
    usual_sink(name, Target::File(PathBuf::from(path)), Confirm::Written)
}

fn names(from: &[&str]) -> Vec<String> {
    let args = RunArgs { from: from.iter().map(|url| (*url).to_owned()).collect(), ..RunArgs::default() };
    plan(&args).sources.into_iter().map(|source| source.name).collect()
}

#[test]
fn nothing_typed_relays_from_loopback_to_stdout_on_one_core() {
    let expected = Plan {
        cores: Cores::Count(1),
        drain_timeout: Duration::from_secs(25),
        max_in_flight: 64 << 20,
        gather: None,
        sources: vec![
            usual_source("tcp-5140", at("127.0.0.1", 5140)),
            usual_datagrams("udp-5140", at("127.0.0.1", 5140)),
        ],
        sinks: vec![usual_sink("stdout", Target::Stdout, Confirm::Written)],
        ledger_file: None,
    };
    assert_eq!(plan(&RunArgs::default()), expected);
}

#[test]
fn everything_typed_is_in_the_plan() {
    let from = "tcp://0.0.0.0:5140?framing=octet&max_message=8KB&oversize=close&max_connections=7&half_close=false\
                &linger=1m%2030s&receive_buffer=256KiB&name=in";
    let args = RunArgs {
        from: vec![from.to_owned(), "tcp://[::]:0".to_owned()],
        to: vec!["tcp://relay.example:514?framing=line&confirm=written&connections=4&name=out".to_owned()],
        cores: Some("0,3".to_owned()),
        drain_timeout: Some("4m".to_owned()),
        max_in_flight: Some("1.5MiB".to_owned()),
        gather: Some("200us".to_owned()),
        ledger: Some(PathBuf::from("books.json")),
        config: None,
    };
    let input = Source {
        framing: SourceFraming::Always(Framing::Octet),
        max_message: 8_000,
        oversize: Oversize::Close,
        max_connections: 7,
        half_close: false,
        linger: Duration::from_secs(90),
        receive_buffer: Some(256 << 10),
        ..usual_source("in", at("0.0.0.0", 5140))
    };
    let output = Sink {
        framing: Some(Framing::Line),
        connections: 4,
        ..usual_sink("out", Target::Tcp(vec![at("relay.example", 514)]), Confirm::Written)
    };
    let expected = Plan {
        cores: Cores::List(vec![0, 3]),
        drain_timeout: Duration::from_secs(240),
        max_in_flight: 3 << 19,
        gather: Some(Duration::from_micros(200)),
        sources: vec![input, usual_source("tcp-0", at("::", 0))],
        sinks: vec![output],
        ledger_file: Some(PathBuf::from("books.json")),
    };
    assert_eq!(plan(&args), expected);
}

#[test]
fn a_linger_leaves_half_of_the_drain_to_deliver_in() {
    let drain_timeout = Some("3s".to_owned());
    let plan = plan(&RunArgs { drain_timeout, ..RunArgs::default() });
    assert_eq!(plan.sources[0].linger, Duration::from_millis(1_500));
}

#[test]
fn a_tcp_sink_is_acked_and_framed_as_its_source_unless_told_otherwise() {
    let expected = usual_sink("10.0.0.5:514", Target::Tcp(vec![at("10.0.0.5", 514)]), Confirm::Acked);
    assert_eq!(sink("tcp://10.0.0.5:514"), expected);
    assert_eq!(sink("TCP://10.0.0.5:514/"), expected);
    assert_eq!(sink("tcp://10.0.0.5:514?"), expected);
    let six = usual_sink("[::1]:514", Target::Tcp(vec![at("::1", 514)]), Confirm::Acked);
    assert_eq!(sink("tcp://[::1]:514"), six);
}

#[test]
fn stdout_has_four_spellings() {
    for url in ["-", "stdout", "stdout:", "stdout://"] {
        assert_eq!(sink(url), usual_sink("stdout", Target::Stdout, Confirm::Written), "{url}");
    }
    let octets =
        Sink { framing: Some(Framing::Octet), ..usual_sink("screen", Target::Stdout, Confirm::Written) };
    assert_eq!(sink("stdout?framing=octet&confirm=written&name=screen"), octets);
}

#[test]
fn a_files_path_is_absolute_or_relative_and_percent_decoded() {
    assert_eq!(sink("file:///var/log/a.log"), usual_file("a.log", "/var/log/a.log"));
    assert_eq!(sink("file:/var/log/a.log"), usual_file("a.log", "/var/log/a.log"));
    assert_eq!(sink("file:logs/a.log"), usual_file("a.log", "logs/a.log"));
    assert_eq!(sink("file:../a.log"), usual_file("a.log", "../a.log"));
    assert_eq!(sink("file:a%3Fb%23c+d"), usual_file("a?b#c+d", "a?b#c+d"));
    assert_eq!(sink("file:a?name=b"), usual_file("b", "a"));
}

#[test]
fn several_cores_may_write_to_tcp_or_a_file() {
    for to in ["tcp://a:514", "file:a"] {
        let args = RunArgs { to: vec![to.to_owned()], ..RunArgs::default() };
        assert_eq!(plan(&args).cores, Cores::All);
        assert_eq!(plan(&RunArgs { cores: Some("2".to_owned()), ..args }).cores, Cores::Count(2));
    }
}

#[test]
fn stdout_takes_one_core_however_it_is_asked_for() {
    let cores = |text: &str| plan(&RunArgs { cores: Some(text.to_owned()), ..RunArgs::default() }).cores;
    assert_eq!(cores("1"), Cores::Count(1));
    assert_eq!(cores("all"), Cores::Count(1));
}

#[test]
fn cores_are_a_count_a_list_or_all() {
    assert_eq!(cores("all"), Ok(Cores::All));
    assert_eq!(cores("1024"), Ok(Cores::Count(1024)));
    assert_eq!(cores("1023,0"), Ok(Cores::List(vec![1023, 0])));
}

#[test]
fn default_names_are_made_unique() {
    assert_eq!(names(&["tcp://a:1", "tcp://b:1", "tcp://c:1"]), ["tcp-1", "tcp-1-2", "tcp-1-3"]);
    assert_eq!(names(&["tcp://a:0", "tcp://a:0"]), ["tcp-0", "tcp-0-2"]);
    assert_eq!(names(&["tcp://a:1?name=tcp-2", "tcp://a:2"]), ["tcp-2", "tcp-2-2"]);
}

#[test]
fn bounds_are_inclusive() {
    assert_eq!(source("tcp://a:1?max_message=1B").max_message, 1);
    assert_eq!(source("tcp://a:1?max_message=16MiB").max_message, 16 << 20);
    assert_eq!(source("tcp://a:1?linger=0s").linger, Duration::ZERO);
    assert_eq!(sink("tcp://a:65535?connections=64").connections, 64);
    let half = RunArgs {
        from: vec!["tcp://a:1?max_message=512KiB".to_owned()],
        max_in_flight: Some("1MiB".to_owned()),
        ..RunArgs::default()
    };
    assert_eq!(plan(&half).sources[0].max_message, 512 << 10);
}
