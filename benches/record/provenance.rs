//! Where and of what a benchmark was run.
//!
//! Lives here: the machine and the commit. Never here: what is measured.

use std::fs;
use std::process::Command;

/// The kernel, how many processors, and which.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("");
    format!("{}, {} processors, {model}", said("uname", &["-sr"]), said("nproc", &[]))
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
