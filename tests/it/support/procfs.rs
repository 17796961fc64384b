//! What /proc tells of a process.
//!
//! Lives here: reading and parsing proc(5). Never here: what a figure should be.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Whether the process's first thread blocks `signal`, and so keeps it until it asks for it.
pub fn blocks(pid: Pid, signal: Signal) -> bool {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a mask");
    let mask = u64::from_str_radix(line.trim(), 16).expect("a mask in hexadecimal");
    mask & 1 << (signal as i32 - 1) != 0
}

/// The state of the process: `R`, `S`, `T` when it is stopped, …
pub fn state(pid: Pid) -> char {
    stat(pid)[0].chars().next().expect("a state")
}

/// Whether every thread is stopped by a signal.
pub fn is_stopped(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    threads.map_while(Result::ok).all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

/// The processor time that the process has used, with what the kernel did for it.
pub fn cpu_time(pid: Pid) -> Duration {
    let stat = stat(pid);
    let ticks = |field: usize| stat[field - FIRST_AFTER_NAME].parse::<u64>().expect("a number of ticks");
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("a clock") as u64;
    Duration::from_millis((ticks(UTIME) + ticks(STIME)) * 1000 / per_second)
}

/// How many descriptors the process has open.
pub fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there").count()
}

/// Their numbers.
pub fn descriptor_numbers(pid: Pid) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
    entries
        .map(|entry| {
            entry.expect("an entry").file_name().to_str().and_then(|n| n.parse().ok()).expect("a number")
        })
        .collect()
}

/// Numbers of fields in /proc/PID/stat, as proc(5) counts them.
const FIRST_AFTER_NAME: usize = 3;
const UTIME: usize = 14;
const STIME: usize = 15;

/// The fields after the name, which may itself hold blanks and brackets.
fn stat(pid: Pid) -> Vec<String> {
    let stat = read(pid, "stat");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    fields.split_whitespace().map(str::to_owned).collect()
}

fn read(pid: Pid, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process is there")
}
