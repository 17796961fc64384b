//! The relays, and how each is started between a port and a sink.
//!
//! Lives here: their names, commands and configurations. Never here: what is measured of them.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use slackwater::load::Place;
use tempfile::TempDir;

use crate::process::{Running, wait_until};

/// What stands for what in a configuration.
type Fill = &'static [(&'static str, &'static str)];

/// What to start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// Ours, with parameters of its source and its sink, and arguments.
    Slackwater {
        scheme: &'static str,
        name: &'static str,
        from: &'static str,
        to: &'static str,
        arguments: &'static [&'static str],
    },
    /// A reference, by its subcommand of this program.
    Reference { name: &'static str, subcommand: &'static str },
    /// Another relay, by a configuration in `scripts/relays` and what is filled in there.
    Configured {
        name: &'static str,
        program: &'static str,
        file: &'static str,
        arguments: &'static [&'static str],
        fill: Fill,
    },
    /// socat, by the names of its addresses.
    Socat { name: &'static str, from: &'static str, to: &'static str },
    /// A program that relays nothing: the floor of a stop.
    Sleep,
}

pub const ONE: &[&str] = &["--cores", "1"];
pub const SLACKWATER: Relay =
    Relay::Slackwater { scheme: "tcp", name: "slackwater", from: "", to: "", arguments: ONE };
pub const OCTET: Relay = Relay::Slackwater {
    scheme: "tcp",
    name: "slackwater, line to octet",
    from: "",
    to: "?framing=octet",
    arguments: ONE,
};
pub const WRITTEN: Relay = Relay::Slackwater {
    scheme: "tcp",
    name: "slackwater, written",
    from: "",
    to: "?confirm=written",
    arguments: ONE,
};
pub const TWO_CORES: Relay = Relay::Slackwater {
    scheme: "tcp",
    name: "slackwater, two reactors",
    from: "",
    to: "",
    arguments: &["--cores", "2"],
};
pub const FOUR_LINKS: Relay = Relay::Slackwater {
    scheme: "tcp",
    name: "slackwater, 4 connections to the sink",
    from: "",
    to: "?connections=4",
    arguments: ONE,
};
pub const GATHER: Relay = Relay::Slackwater {
    scheme: "tcp",
    name: "slackwater, gather=200us",
    from: "",
    to: "",
    arguments: &["--cores", "1", "--gather", "200us"],
};
pub const QUICK: Relay = Relay::Slackwater {
    scheme: "tcp",
    name: "slackwater, receive_buffer=256KiB, linger=0s",
    from: "?receive_buffer=256KiB&linger=0s",
    to: "",
    arguments: ONE,
};
pub const SLACKWATER_UDP: Relay = Relay::Slackwater {
    scheme: "udp",
    name: "slackwater udp",
    from: "?receive_buffer=4MiB",
    to: "",
    arguments: ONE,
};
pub const BYTE_PIPE: Relay = Relay::Reference { name: "byte pipe on our ring", subcommand: "byte-pipe" };
pub const BYTE_PIPE_IN_TURN: Relay =
    Relay::Reference { name: "byte pipe on our ring, in turn", subcommand: "byte-pipe-in-turn" };
pub const TOKIO: Relay = Relay::Reference { name: "tokio relay", subcommand: "tokio" };
pub const HAPROXY: Relay = haproxy("haproxy", &[("@SPLICE@", ""), ("@OPTION@", "")]);
pub const HAPROXY_SPLICE: Relay = haproxy(
    "haproxy with splice",
    // A pipe of 1 MiB, as root may have: its default of 64 KiB takes more calls.
    &[("@SPLICE@", "tune.pipesize 1048576"), ("@OPTION@", "option splice-auto")],
);
pub const NGINX: Relay = nginx("nginx stream", "nginx.conf");
pub const NGINX_UDP: Relay = nginx("nginx stream udp", "nginx-udp.conf");
pub const RSYSLOG: Relay = rsyslog("rsyslog", "rsyslog.conf");
pub const RSYSLOG_UDP: Relay = rsyslog("rsyslog udp", "rsyslog-udp.conf");
pub const SYSLOG_NG: Relay = Relay::Configured {
    name: "syslog-ng",
    program: "syslog-ng",
    file: "syslog-ng.conf",
    arguments: &[
        "--foreground",
        "--no-caps",
        "-f",
        "@FILE@",
        "-p",
        "@FOLDER@/pid",
        "-c",
        "@FOLDER@/ctl",
        "-R",
        "@FOLDER@/persist",
    ],
    fill: &[],
};
pub const CARBON: Relay = Relay::Configured {
    name: "carbon-c-relay",
    program: "carbon-c-relay",
    file: "carbon-c-relay.conf",
    // `-w`: one thread, as one reactor. `-q`: messages that its queue may hold; with its default of 25,000 it begins to stall its senders, and
    // then to drop, within half a second of 50,000 a second. `-c`: else it would replace these characters of a message.
    arguments: &["-f", "@FILE@", "-w", "1", "-q", "1000000", "-c", "-_:#<>=."],
    fill: &[],
};
pub const SOCAT: Relay = Relay::Socat { name: "socat", from: "TCP-LISTEN", to: "TCP" };
pub const SOCAT_UDP: Relay = Relay::Socat { name: "socat udp", from: "UDP-RECV", to: "UDP-SENDTO" };
pub const SLEEP: Relay = Relay::Sleep;

const fn haproxy(name: &'static str, fill: Fill) -> Relay {
    Relay::Configured {
        name,
        program: "haproxy",
        file: "haproxy.cfg",
        arguments: &["-db", "-f", "@FILE@"],
        fill,
    }
}

const fn nginx(name: &'static str, file: &'static str) -> Relay {
    Relay::Configured {
        name,
        program: "nginx",
        file,
        arguments: &["-e", "stderr", "-p", "@FOLDER@", "-c", "@FILE@"],
        fill: &[],
    }
}

const fn rsyslog(name: &'static str, file: &'static str) -> Relay {
    Relay::Configured {
        name,
        program: "rsyslogd",
        file,
        arguments: &["-n", "-f", "@FILE@", "-i", "@FOLDER@/pid"],
        fill: &[],
    }
}

impl Relay {
    pub fn name(self) -> &'static str {
        match self {
            Relay::Slackwater { name, .. } | Relay::Reference { name, .. } => name,
            Relay::Configured { name, .. } | Relay::Socat { name, .. } => name,
            Relay::Sleep => "sleep",
        }
    }

    /// Starts it towards `sink`; returns when it listens, with where it does.
    pub fn start(self, sink: &Place) -> Result<(Running, Place), Box<dyn Error>> {
        let (Place::Tcp(to) | Place::Udp(to)) = sink else {
            return Err("only TCP and UDP are compared".into());
        };
        let is_udp = sink.is_datagrams();
        let from = free_address(is_udp)?;
        let folder = tempfile::tempdir_in(installed_as(RUNNING))?;
        let mut command = self.command(from, *to, &folder)?;
        let log = folder.path().join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let running =
            Running::new(command.spawn().map_err(|error| format!("{}: {error}", self.name()))?, folder);
        if self != Relay::Sleep {
            wait_until("it listens", || listens(from.port(), is_udp)).map_err(|error| {
                format!("{}: {error}: {}", self.name(), fs::read_to_string(&log).unwrap_or_default())
            })?;
        }
        Ok((running, if is_udp { Place::Udp(from) } else { Place::Tcp(from) }))
    }

    fn command(self, from: SocketAddr, to: SocketAddr, folder: &TempDir) -> Result<Command, Box<dyn Error>> {
        Ok(match self {
            Relay::Slackwater { scheme, from: of_source, to: of_sink, arguments, .. } => {
                let mut command = program(installed_as("slackwater"));
                let (from, to) =
                    (format!("{scheme}://{from}{of_source}"), format!("{scheme}://{to}{of_sink}"));
                command.args(["run", "--from", &from, "--to", &to]).args(arguments);
                command
            }
            Relay::Reference { subcommand, .. } => {
                let mut command = program(installed_as("reference"));
                command.args([subcommand, &from.to_string(), &to.to_string()]);
                command
            }
            Relay::Configured { program: peer, file, arguments, fill, .. } => {
                let written = folder.path().join(file);
                let fill = Filler { from, to, folder: folder.path(), file: &written, more: fill };
                fs::write(
                    &written,
                    fill.fill(&fs::read_to_string(repository().join("scripts/relays").join(file))?),
                )?;
                let mut command = program(repository().join("target/peers/bin").join(peer));
                command.args(arguments.iter().map(|argument| fill.fill(argument)));
                command
            }
            Relay::Socat { from: listen, to: send, .. } => {
                let mut command = program(repository().join("target/peers/bin/socat"));
                let fork = if listen.starts_with("TCP") { ",fork,backlog=4096" } else { ",rcvbuf=4194304" };
                let (from, to) = (
                    format!("{listen}:{},bind=127.0.0.1,reuseaddr{fork}", from.port()),
                    format!("{send}:{to}"),
                );
                command.args(["-u", "-b65536", &from, &to]);
                command
            }
            Relay::Sleep => {
                let mut command = program("sleep");
                command.arg("60");
                command
            }
        })
    }
}

/// A program that does not outlive who measures it, whatever ends that (PR_SET_PDEATHSIG, which execve(2) keeps).
fn program(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// What stands for the placeholders of a configuration.
struct Filler<'a> {
    from: SocketAddr,
    to: SocketAddr,
    folder: &'a Path,
    file: &'a Path,
    more: Fill,
}

impl Filler<'_> {
    fn fill(&self, text: &str) -> String {
        let known = text
            .replace("@FROM_PORT@", &self.from.port().to_string())
            .replace("@TO_PORT@", &self.to.port().to_string())
            .replace("@FOLDER@", &self.folder.display().to_string())
            .replace("@FILE@", &self.file.display().to_string());
        self.more.iter().fold(known, |text, (word, value)| text.replace(word, value))
    }
}

/// Installs what is ours, as the peers are: by a copy. What a linker wrote piece by piece lies in small pieces in the kernel's cache, and
/// that costs whoever runs it a fifth of a millisecond more.
pub fn install() -> std::io::Result<()> {
    let programs = [
        (PathBuf::from(env!("CARGO_BIN_EXE_slackwater")), "slackwater"),
        (std::env::current_exe()?, "reference"),
    ];
    // Of a comparison that was stopped.
    let _ = fs::remove_dir_all(installed_as(RUNNING));
    fs::create_dir_all(installed_as(RUNNING))?;
    for (program, name) in programs {
        fs::copy(program, installed_as(name))?;
    }
    Ok(())
}

/// Where the folders of running relays are, among what is installed.
const RUNNING: &str = "running";

fn installed_as(name: &str) -> PathBuf {
    repository().join("target/compare").join(name)
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A port that nobody has at this moment.
fn free_address(is_udp: bool) -> std::io::Result<SocketAddr> {
    match is_udp {
        true => UdpSocket::bind("127.0.0.1:0")?.local_addr(),
        false => TcpListener::bind("127.0.0.1:0")?.local_addr(),
    }
}

/// Whether somebody listens at a port of this machine (proc_net_tcp(5): state 0A; an unconnected UDP socket is in state 07).
fn listens(port: u16, is_udp: bool) -> bool {
    let (table, state) = if is_udp { ("/proc/net/udp", "07") } else { ("/proc/net/tcp", "0A") };
    let ends = format!(":{port:04X}");
    let table = fs::read_to_string(table).unwrap_or_default();
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&ends)) && words.nth(1) == Some(state)
    })
}
