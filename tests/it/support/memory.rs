//! How much memory a relay takes at most, and how much it may take.
//!
//! Lives here: the peak, seen from outside, and the bound by what the relay was told. Never here: what fills the memory.

use std::fs;
use std::process::Command;
use std::thread;

use nix::unistd::Pid;

/// What a relay may take beside what is in flight: its rings, its stacks, its connections.
const OVERHEAD_KIB: u64 = 12 * 1024;
/// `--max-in-flight` where it is not given.
const USUAL_IN_FLIGHT_KIB: u64 = 64 * 1024;

/// The most resident memory that a process had so far; `None` once it has ended.
///
/// `VmHWM` less `RssFile` (proc_pid_status(5)): the pages of its program are not what it takes; a test's build has several
/// times as many of them as the one that is shipped, and the kernel drops them at will.
pub fn peak_kib(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let figure = |key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(figure("VmHWM:")?.saturating_sub(figure("RssFile:")?))
}

/// What `slackwater run` may take with these arguments; `None` for other programs.
pub fn bound_kib(command: &Command) -> Option<u64> {
    let args: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
    if args.first() != Some(&"run") {
        return None;
    }
    let value = |name: &str| args.iter().position(|arg| *arg == name).map(|at| args[at + 1]);
    let reactors = match value("--cores") {
        None | Some("all") => thread::available_parallelism().expect("a number of cores").get() as u64,
        Some(list) if list.contains(',') => list.split(',').count() as u64,
        Some(count) => count.parse().unwrap_or(1),
    };
    Some(reactors * value("--max-in-flight").map_or(USUAL_IN_FLIGHT_KIB, kib_of) + OVERHEAD_KIB)
}

fn kib_of(size: &str) -> u64 {
    let (number, unit) = size.split_at(size.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(size.len()));
    let number: u64 = number.parse().expect("a size");
    match unit {
        "B" => number.div_ceil(1024),
        "KiB" => number,
        "MiB" => number * 1024,
        "GiB" => number * 1024 * 1024,
        other => panic!("no such unit in a test: {other}"),
    }
}
