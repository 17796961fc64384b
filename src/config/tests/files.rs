//! Configuration files: broken ones, and the very text with which each is met; right ones, and the plans that they mean.
//!
//! Lives here: what is said of the files in `tests/fixtures`. Never here: reading them from a disk at run time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use crate::config::plan::{
    Balance, Cores, HostPort, Key, Listen, Overflow, Pattern, Plan, SocketFile, Target,
};
use crate::config::{ConfigError, ConfigFile, RunArgs};
use crate::framing::SourceFraming;
use crate::message::Framing;

fn plan_of(text: &str) -> Result<Plan, ConfigError> {
    RunArgs::default().plan_of(&ConfigFile::new("slackwater.toml", text))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[test]
fn each_broken_file_is_met_with_the_place_and_what_is_right() {
    let files = files("tests/fixtures/broken");
    assert!(files.len() > 20, "only {} files", files.len());
    let shown = files.iter().map(|path| {
        let (name, text) = (path.file_name().unwrap().to_string_lossy(), fs::read_to_string(path).unwrap());
        let error = RunArgs::default().plan_of(&ConfigFile::new(&*name, text)).expect_err(&name);
        format!("{error}\n")
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn an_example_is_right() {
    let files = files("scripts/examples");
    assert!(files.len() >= 4, "only {} examples", files.len());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        plan_of(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn everything_in_a_file_is_in_the_plan() {
    let plan = plan_of(
        r#"
        cores = [0, 1]
        drain_timeout = "10s"
        max_in_flight = "8MiB"
        ledger = "/var/lib/slackwater/books.json"

        [[source]]
        name = "syslog"
        listen = "tcp://0.0.0.0:5140"
        framing = "auto"
        max_message = "16KiB"
        oversize = "drop"
        to = ["copies", "archive"]
        overflow = "drop_newest"
        max_connections = 100
        max_connections_per_client = 5
        allow = ["10.0.0.0/8", "::1"]
        idle_timeout = "1m"
        half_close = false
        linger = "1s"
        receive_buffer = "1MiB"

        [[source]]
        listen = "unixgram:/run/log.sock"
        mode = "0620"
        to = "archive"

        [[sink]]
        name = "archive"
        send = ["tcp://10.0.0.5:514", "tcp://10.0.0.6:514"]
        balance = "hash"
        key_regex = 'host=(\w+)'

        [[sink]]
        name = "copies"
        send = ["unix:/run/a.sock", "unix:/run/b.sock"]
        balance = "copy"
        framing = "u32"
        connections = 2
        "#,
    )
    .unwrap();
    let [syslog, log] = &plan.sources[..] else { panic!("two sources") };
    let [archive, copies] = &plan.sinks[..] else { panic!("two sinks") };
    assert_eq!((&plan.cores, plan.drain_timeout), (&Cores::List(vec![0, 1]), Duration::from_secs(10)));
    assert_eq!(
        (plan.max_in_flight, plan.ledger_file),
        (8 << 20, Some("/var/lib/slackwater/books.json".into()))
    );
    assert_eq!((&syslog.to, &log.to), (&vec![0, 1], &vec![0]));
    assert_eq!((syslog.framing, syslog.overflow), (SourceFraming::Auto, Overflow::DropNewest));
    assert_eq!((syslog.max_connections, syslog.max_connections_per_client), (100, Some(5)));
    assert_eq!(syslog.allow, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!((syslog.idle_timeout, syslog.linger), (Some(Duration::from_secs(60)), Duration::from_secs(1)));
    assert_eq!((syslog.half_close, syslog.receive_buffer), (false, Some(1 << 20)));
    let file = SocketFile { path: "/run/log.sock".into(), mode: Some(0o620) };
    assert_eq!(
        (&log.listen, log.framing, log.name.as_str()),
        (&Listen::Unixgram(file), Framing::Datagram.into(), "log.sock")
    );
    let host = |host: &str| HostPort { host: host.to_owned(), port: 514 };
    assert_eq!(archive.target, Target::Tcp(vec![host("10.0.0.5"), host("10.0.0.6")]));
    let pattern = Pattern(regex::bytes::Regex::new(r"host=(\w+)").unwrap());
    assert_eq!(archive.balance, Balance::Hash(Key::Pattern(pattern)));
    assert_eq!(copies.target, Target::Unix(vec!["/run/a.sock".into(), "/run/b.sock".into()]));
    assert_eq!((copies.framing, copies.connections), (Some(Framing::U32), 2));
}

#[test]
fn a_file_and_flags_mean_the_same() {
    let file = plan_of(
        r#"
        [[source]]
        listen = "udp://127.0.0.1:5140"
        framing = "line"
        allow = ["127.0.0.0/8", "10.0.0.1"]
        [[sink]]
        send = ["udp://a:1", "udp://b:2"]
        balance = "hash"
        key_until = ":"
        "#,
    );
    let from = "udp://127.0.0.1:5140?framing=line&allow=127.0.0.0/8,10.0.0.1".to_owned();
    let to = "udp://a:1,b:2?balance=hash&key_until=:".to_owned();
    let flags = RunArgs { from: vec![from], to: vec![to], ..RunArgs::default() }.plan();
    assert_eq!(file.unwrap(), flags.unwrap());
}

#[test]
fn flags_for_the_whole_go_before_the_file_and_endpoints_do_not_go_with_it() {
    let file = ConfigFile::new("f", "cores = 1\ndrain_timeout = \"5s\"\n");
    let args = RunArgs { drain_timeout: Some("7s".to_owned()), ..RunArgs::default() };
    assert_eq!(args.plan_of(&file).unwrap().drain_timeout, Duration::from_secs(7));
    let args = RunArgs { from: vec!["tcp://a:1".to_owned()], ..RunArgs::default() };
    let text = args.plan_of(&file).unwrap_err().to_string();
    assert!(text.starts_with("an endpoint beside a configuration file in --from"), "{text}");
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(plan_of("").unwrap(), RunArgs::default().plan().unwrap());
}

#[test]
fn what_is_wrong_in_a_line_of_tabs_and_letters_of_all_kinds_is_still_pointed_at() {
    let error =
        plan_of("\tmax_in_flight = \"1MiB\" # grün\n\tledger = \"ü\"\n\tcore\u{301}s = 1\r\n").unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("not TOML: ") && text.contains("slackwater.toml:3:"), "{text}");
    let text = plan_of("\tledger = \"ü\"\n\tledgr = 1\r\n").unwrap_err().to_string();
    assert_eq!(
        text.lines().take(3).collect::<Vec<_>>(),
        ["unknown key `ledgr` in slackwater.toml:2:2", "   ledgr = 1", "   ^^^^^ did you mean `ledger`?",]
    );
}

proptest! {
    /// Whatever stands in a file, it is a plan or a mistake with a place.
    #[test]
    fn no_file_makes_the_parser_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[ -~\n\u{e9}]{0,6}"), 0..4),
        which in any::<prop::sample::Index>(),
    ) {
        let examples = files("scripts/examples");
        let mut text = fs::read_to_string(which.get(&examples)).unwrap();
        for (from, to, put) in cuts {
            let mut ends = [from.index(text.len() + 1), to.index(text.len() + 1)];
            ends.sort_unstable();
            let on_character = |mut at: usize| { while !text.is_char_boundary(at) { at -= 1; } at };
            let (from, to) = (on_character(ends[0]), on_character(ends[1].min(ends[0] + 20)));
            text.replace_range(from..to, "");
            text.insert_str(from, &put);
        }
        if let Err(error) = plan_of(&text) {
            prop_assert!(error.to_string().contains(" in slackwater.toml:") || error.to_string().contains(" in --"));
        }
    }
}
