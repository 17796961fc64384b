//! What the benchmarks that write into `benches/results` have in common.
//!
//! Lives here: what each can be told, the machine and the commit that it names, the median that it takes. Never here: what is
//! measured, or how a result is shown.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

/// What is measured, and where the results go.
#[derive(Args)]
pub struct Choice {
    /// Only what has this in its name.
    #[arg(long, default_value = "")]
    pub only: String,
    /// Folder for the results.
    #[arg(long, default_value = "benches/results")]
    pub into: PathBuf,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

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

/// The middle one, or of two the greater; `None` of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
