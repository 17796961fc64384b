//! The commands in README's tables of sources, sinks and framings, as they stand there but for their ports.
//!
//! Lives here: finding the commands, and one message through each. Never here: what many messages do (`matrix`).

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::eventually;
use crate::support::peer::{Peer, program};
use crate::support::port::{Reserved, is_bound_for_datagrams};
use crate::support::relay::{End, Order, Relay};

/// The README's ports, one for what comes in and one for where it goes.
const PORTS: [&str; 2] = ["5140", "5514"];

/// A folder in which commands of the README run, with ports of its own instead of the README's.
struct Terminal {
    folder: tempfile::TempDir,
    ports: [Reserved; 2],
}

impl Terminal {
    fn new() -> Terminal {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Terminal { folder, ports: [Reserved::on_loopback(), Reserved::on_loopback()] }
    }

    fn entrance(&self) -> SocketAddr {
        self.ports[0].address()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn output(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The command in a shell that finds the built programs, with its standard output in `output`.
    fn shell(&self, line: &str, output: &str) -> Command {
        let line = PORTS.iter().zip(&self.ports).fold(line.to_owned(), |line, (written, port)| {
            line.replace(written, &port.address().port().to_string())
        });
        let built = Path::new(env!("CARGO_BIN_EXE_slackwater")).parent().expect("a folder");
        let path = std::env::var("PATH").expect("a PATH");
        let mut command = program("bash");
        command
            .args(["-c", &line])
            .env("PATH", format!("{}:{path}", built.display()))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(self.path(output)).expect("a file of our own"));
        command
    }

    /// The relay by a command of the README.
    fn relay(&self, line: &str) -> Relay {
        let mut order = Order::bare("slackwater");
        order.command = self.shell(&format!("exec {line} --log-format json"), "relay");
        order.start()
    }

    /// Ends the relay, which had one message and delivered it.
    #[track_caller]
    fn assert_one_delivered(&self, relay: Relay, line: &str) {
        eventually("the message is delivered", || relay.book("delivered") == 1);
        let end: End = relay.terminate();
        assert_eq!(end.code(), 0, "{line}: {:#?}", end.log);
    }
}

/// The rows of the table whose first row begins with `title`: the cells' commands, which stand between backticks.
fn rows(title: &str) -> Vec<Vec<String>> {
    let readme = include_str!("../../README.md").replace("\\|", "\u{0}");
    let (_, table) = readme.split_once(title).unwrap_or_else(|| panic!("no table {title}"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let commands = |row: &str| row.split('|').map(command).collect::<Vec<_>>();
    rows.map(|row| commands(&row.trim_matches('|').replace("| |", "|``|"))).collect()
}

fn command(cell: &str) -> String {
    cell.split('`').nth(1).unwrap_or_default().replace('\u{0}', "|")
}

#[test]
fn each_source_takes_what_its_command_sends() {
    let rows = rows("| | source | try it |");
    assert_eq!(rows.len(), 4);
    for row in rows {
        let [_, source, sender] = &row[..] else { panic!("three cells: {row:?}") };
        let terminal = Terminal::new();
        let relay = terminal.relay(source);
        assert_eq!(Peer::start(&mut terminal.shell(sender, "sender")).wait(), Some(0), "{sender}");
        eventually("the message is on the relay's standard output", || {
            terminal.output("relay").contains("hello")
        });
        terminal.assert_one_delivered(relay, source);
    }
}

#[test]
fn each_sink_reaches_the_receiver_of_its_command() {
    let rows = rows("| | sink | a receiver for it |");
    assert_eq!(rows.len(), 6);
    for row in rows {
        let [kind, sink, receiver] = &row[..] else { panic!("three cells: {row:?}") };
        let terminal = Terminal::new();
        // It is there before the datagram is: nobody keeps that for it. `tail` wants a file.
        let starts_first = kind != "file" && !receiver.is_empty();
        let start = || Peer::start(&mut terminal.shell(&format!("exec {receiver}"), "receiver"));
        let early = starts_first.then(start);
        if kind == "udp" {
            eventually("the receiver listens", || is_bound_for_datagrams(terminal.ports[1].address()));
        }
        let relay = terminal.relay(&format!("{sink} --from tcp://{}", terminal.entrance()));
        let _receiver = early.or_else(|| (!receiver.is_empty()).then(start));
        TcpStream::connect(terminal.entrance()).unwrap().write_all(b"hello\n").unwrap();
        let shown = match kind.as_str() {
            // It counts, and shows nothing of what came.
            "unixgram" => None,
            "stdout" => Some("relay"),
            _ => Some("receiver"),
        };
        if let Some(shown) = shown {
            eventually(&format!("{receiver:?} shows the message"), || {
                terminal.output(shown).contains("hello")
            });
        }
        terminal.assert_one_delivered(relay, sink);
    }
}

#[test]
fn each_framing_is_one_that_a_relay_starts_with() {
    let rows = rows("| framing | a message is | as a source | as a sink |");
    assert_eq!(rows.len(), 6);
    for row in rows {
        let [_, _, source, sink] = &row[..] else { panic!("four cells: {row:?}") };
        for (cell, beside) in [(source, "--to file:out.log"), (sink, "--from unixgram:in.sock")] {
            if !cell.is_empty() {
                let terminal = Terminal::new();
                let end = terminal.relay(&format!("slackwater run {cell} {beside}")).terminate();
                assert_eq!(end.code(), 0, "{cell}: {:#?}", end.log);
            }
        }
    }
}
