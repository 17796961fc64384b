//! Where and of what a benchmark was run.
//!
//! Lives here: the machine, with what its kernel sends by, and the commit. Never here: what is measured.

use std::fs;
use std::process::Command;

/// The kernel, how many processors, and which: by name, family and model, since hypervisors give one name to many. With it TCP's
/// congestion control (tcp(7)): bbr sends by a timer, which costs whoever runs when it fires.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let said_of = |what: &str| {
        let of_it = |line: &str| Some(line.strip_prefix(what)?.trim_start().strip_prefix(": ")?.to_owned());
        cpu.lines().find_map(of_it).unwrap_or_default()
    };
    let (name, family, model) = (said_of("model name"), said_of("cpu family"), said_of("model"));
    let (kernel, processors) = (said("uname", &["-sr"]), said("nproc", &[]));
    let congestion = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    let congestion = congestion.trim_end();
    format!(
        "{kernel}, {processors} processors, {name} (family {family}, model {model}), congestion control {congestion}"
    )
}

/// What was measured; `-dirty` if it is not what was committed.
pub fn commit() -> String {
    said("git", &["describe", "--always", "--dirty"])
}

/// What a program says; nothing if it cannot be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
