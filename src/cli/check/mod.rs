//! A plan as a human reads it.
//!
//! Lives here: every value of it, by name. Never here: whether it is right (only a right one gets here).

mod services;

use std::fmt::{self, Display};
use std::time::Duration;

use bytesize::ByteSize;

use crate::config::plan::{
    Balance, Confirm, Cores, Key, Listen, Overflow, Plan, Sink, SocketFile, Source, Target,
};
use crate::framing::{Oversize, SourceFraming};
use crate::limits::GATHER_DATAGRAMS;
use crate::message::Framing;

/// Shows everything that would run.
pub(super) struct Shown<'a>(pub(super) &'a Plan);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { cores, drain_timeout, max_in_flight, gather, sources, sinks, ledger_file } = self.0;
        writeln!(f, "relay")?;
        row(f, "cores", shown_cores(cores))?;
        row(f, "max_in_flight", format_args!("{} for each core", size(*max_in_flight)))?;
        row(f, "drain_timeout", time(*drain_timeout))?;
        match gather {
            Some(gather) => row(f, "gather", time(*gather))?,
            None if sources.iter().any(|source| matches!(source.listen, Listen::Udp(_))) => {
                row(f, "gather", format_args!("{} for datagrams by UDP", time(GATHER_DATAGRAMS)))?;
            }
            None => {}
        }
        if let Some(file) = ledger_file {
            row(f, "ledger", file.display())?;
        }
        for source in sources {
            show_source(f, source, sinks)?;
        }
        sinks.iter().try_for_each(|sink| show_sink(f, sink, sinks))?;
        let totals = (sources.len(), sinks.len());
        write!(f, "\n{} and {}: this would run", counted(totals.0, "source"), counted(totals.1, "sink"))
    }
}

fn show_source(f: &mut fmt::Formatter<'_>, source: &Source, sinks: &[Sink]) -> fmt::Result {
    writeln!(f, "\nsource {}", source.name)?;
    let how = if matches!(source.listen, Listen::Pull(_)) { "pull" } else { "listen" };
    row(f, how, &source.listen)?;
    let to: Vec<&str> = source.to.iter().map(|&sink| sinks[sink].name.as_str()).collect();
    row(f, "to", to.join(", "))?;
    match &source.listen {
        Listen::Pull(pull) => return services::show_pull(f, pull),
        Listen::Http(listen) => return services::show_listen(f, listen, source),
        Listen::Tcp(_) | Listen::Udp(_) | Listen::Unix(_) | Listen::Unixgram(_) => {}
    }
    row(f, "framing", source_framing(source.framing))?;
    row(
        f,
        "max_message",
        format_args!("{}, longer: {}", size(source.max_message), oversize(source.oversize)),
    )?;
    row(f, "overflow", overflow(source.overflow))?;
    row(f, "receive_buffer", source.receive_buffer.map_or_else(|| "the system's".to_owned(), size))?;
    match &source.listen {
        Listen::Tcp(_) => {
            show_allow(f, source)?;
            row(f, "max_connections", source.max_connections)?;
            row(f, "per client", or_none(source.max_connections_per_client))?;
            show_manners(f, source)
        }
        Listen::Udp(_) => show_allow(f, source),
        Listen::Unix(file) => {
            show_mode(f, file)?;
            row(f, "max_connections", source.max_connections)?;
            show_manners(f, source)
        }
        Listen::Unixgram(file) => show_mode(f, file),
        Listen::Http(_) | Listen::Pull(_) => unreachable!("shown by itself"),
    }
}

fn show_allow(f: &mut fmt::Formatter<'_>, source: &Source) -> fmt::Result {
    let blocks: Vec<String> = source.allow.iter().map(ToString::to_string).collect();
    row(f, "allow", if blocks.is_empty() { "everyone".to_owned() } else { blocks.join(", ") })
}

fn show_mode(f: &mut fmt::Formatter<'_>, file: &SocketFile) -> fmt::Result {
    row(f, "mode", file.mode.map_or_else(|| "by the umask".to_owned(), |mode| format!("{mode:04o}")))
}

fn show_manners(f: &mut fmt::Formatter<'_>, source: &Source) -> fmt::Result {
    row(f, "idle_timeout", source.idle_timeout.map_or_else(|| "never".to_owned(), time))?;
    let tells = if source.half_close { ", after FIN" } else { "" };
    row(f, "linger", format_args!("{}{tells}", time(source.linger)))
}

fn show_sink(f: &mut fmt::Formatter<'_>, sink: &Sink, sinks: &[Sink]) -> fmt::Result {
    writeln!(f, "\nsink {}", sink.name)?;
    row(f, "send", &sink.target)?;
    if let Some(letters) = sink.dead_letter {
        row(f, "dead_letter", &sinks[letters].name)?;
    }
    row(f, "framing", sink.framing.map_or("as it came in", Framing::name))?;
    let confirm = match sink.confirm {
        Confirm::Written => "written: our kernel took the last byte",
        Confirm::Acked => "acked: the receiving host's TCP acknowledged the last byte",
        Confirm::Replied => "replied: the service said that it has it",
    };
    row(f, "confirm", confirm)?;
    match &sink.target {
        Target::Tcp(_) | Target::Unix(_) => {
            row(f, "connections", format_args!("{} to each endpoint, for each core", sink.connections))?;
            row(f, "balance", balance(&sink.balance))
        }
        Target::Udp(_) | Target::Unixgram(_) => row(f, "balance", balance(&sink.balance)),
        Target::Service(push) => services::show_push(f, push),
        Target::Stdout | Target::File(_) => Ok(()),
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<15}  {value}")
}

fn shown_cores(cores: &Cores) -> String {
    match cores {
        Cores::All => "all that there are".to_owned(),
        Cores::Count(count) => count.to_string(),
        Cores::List(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            format!("number {}", numbers.join(" and "))
        }
    }
}

fn size(bytes: usize) -> String {
    ByteSize(bytes as u64).display().iec().to_string()
}

fn time(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn or_none(limit: Option<usize>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string())
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn source_framing(framing_of: SourceFraming) -> &'static str {
    match framing_of {
        SourceFraming::Auto => "auto: octet or line, by the first byte of a connection",
        SourceFraming::Always(framing) => framing.name(),
    }
}

fn oversize(oversize: Oversize) -> &'static str {
    match oversize {
        Oversize::Truncate => "truncated",
        Oversize::Drop => "dropped, as failed",
        Oversize::Close => "the connection is closed",
    }
}

fn overflow(overflow: Overflow) -> &'static str {
    match overflow {
        Overflow::Block => "block: the sender waits",
        Overflow::DropNewest => "drop_newest: thrown away, as failed",
    }
}

fn balance(balance: &Balance) -> String {
    match balance {
        Balance::Spread => "spread: a source link keeps to the least loaded".to_owned(),
        Balance::Failover => "failover: the first that is healthy".to_owned(),
        Balance::Copy => "copy: to each".to_owned(),
        Balance::Hash(Key::Message) => "hash of the whole message".to_owned(),
        Balance::Hash(Key::Until(byte)) => {
            format!("hash of what stands before the first `{}`", byte.escape_ascii())
        }
        Balance::Hash(Key::Pattern(pattern)) => format!("hash of what `{}` matches", pattern.0.as_str()),
    }
}
