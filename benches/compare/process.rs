//! A running relay as the system sees it: its processor time, its memory, its end.
//!
//! Lives here: /proc, signals, and waiting for a condition. Never here: which relay it is.

use std::error::Error;
use std::fs;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tempfile::TempDir;

/// How long anything may take that should be there at once.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits for a condition, for a bounded time.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() >= deadline {
            return Err(format!("not within {PATIENCE:?}: {what}"));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// This process ends when cargo does, which does not pass a signal on (PR_SET_PDEATHSIG, prctl(2)).
pub fn end_with_parent() -> io::Result<()> {
    Ok(set_pdeathsig(Signal::SIGTERM)?)
}

/// Nine thousand connections need more descriptors than a shell gives.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Whether the kernel is short of memory for TCP ("press" in /proc/net/protocols, `proto_seq_printf` in net/core/sock.c).
pub fn is_short_of_tcp_memory() -> io::Result<bool> {
    const PRESS: usize = 4;
    let protocols = fs::read_to_string("/proc/net/protocols")?;
    let tcp = protocols.lines().map(str::split_whitespace).find(|line| line.clone().next() == Some("TCP"));
    let press = tcp.and_then(|mut line| line.nth(PRESS));
    press.map(|press| press == "yes").ok_or_else(|| io::Error::other("no TCP in /proc/net/protocols"))
}

/// What the kernel holds for TCP, in bytes ("mem" in /proc/net/sockstat, in pages: `sockstat_seq_show` in net/ipv4/proc.c).
pub fn tcp_memory_bytes() -> Option<u64> {
    let sockets = fs::read_to_string("/proc/net/sockstat").ok()?;
    let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let pages: u64 = tcp.split_whitespace().skip_while(|word| *word != "mem").nth(1)?.parse().ok()?;
    Some(pages * sysconf(SysconfVar::PAGE_SIZE).ok().flatten()? as u64)
}

/// Has the kernel forget what it learned of earlier connections, ip-tcp_metrics(8), as only root may: by how many segments it once saw to
/// be reordered over the loopback, it decides how much each sender may hold back (`tcp_sndbuf_expand` in net/ipv4/tcp_input.c), so that what
/// one relay's connections went through would be another's load. Whether it did.
pub fn forget_connections() -> bool {
    let forgotten = Command::new("ip").args(["tcp_metrics", "flush"]).stderr(Stdio::null()).status();
    forgotten.is_ok_and(|status| status.success())
}

/// Does `work` on that processor, if any, and leaves there the threads that it begins (they inherit the affinity, pthread_create(3)).
///
/// Errors: as `work`, or that there is no such processor (`EINVAL`, sched_setaffinity(2)).
pub fn begin_on<T>(processor: Option<usize>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(processor) = processor else { return work() };
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this)?;
    let mut only = CpuSet::new();
    only.set(processor)
        .and_then(|()| sched_setaffinity(this, &only))
        .map_err(|errno| io::Error::other(format!("cannot run on processor {processor}: {errno}")))?;
    let begun = work();
    sched_setaffinity(this, &all)?;
    begun
}

/// A relay and its folder; killed when it is dropped.
pub struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    pub fn new(child: Child, folder: TempDir) -> Running {
        Running { child, folder }
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Processor time of the process, its threads and its children so far, in nanoseconds (`/proc/PID/task/TID/schedstat`).
    pub fn cpu_nanos(&self) -> u64 {
        self.family().iter().flat_map(|pid| tasks(*pid)).filter_map(|task| run_time(&task)).sum()
    }

    /// The part of that which they spent in their own code, as far as the kernel tells (`utime` in `/proc/PID/stat`, by ticks).
    pub fn user_nanos(&self) -> u64 {
        let tick = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let ticks: u64 = self.family().iter().filter_map(|pid| user_ticks(*pid)).sum();
        ticks * (1_000_000_000 / tick as u64)
    }

    /// The most memory that each of them had resident, in KiB, together.
    pub fn peak_rss_kib(&self) -> u64 {
        self.family().iter().filter_map(|pid| status(*pid, "VmHWM:")).sum()
    }

    /// Descriptors that they have open.
    pub fn descriptors(&self) -> usize {
        self.family()
            .iter()
            .map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count))
            .sum()
    }

    fn family(&self) -> Vec<i32> {
        let mut family = vec![self.pid().as_raw()];
        let others: Vec<(i32, i32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, status(pid, "PPid:")? as i32)))
            .collect();
        // Parents have lower numbers nearly always; a child that is missed has hardly run.
        for (pid, parent) in others {
            if family.contains(&parent) {
                family.push(pid);
            }
        }
        family
    }

    /// System calls that it makes in `duration`, counted by strace(1), which slows it down; `None` where that cannot be had.
    pub fn system_calls(&self, duration: Duration) -> Option<u64> {
        let report = self.folder.path().join("strace");
        let pids =
            self.family().iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]).collect::<Vec<_>>();
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-c", "-q", "-o"])
            .arg(&report)
            .args(pids)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut strace = strace.spawn().ok()?;
        thread::sleep(duration);
        kill(Pid::from_raw(strace.id() as i32), Signal::SIGINT).ok()?;
        strace.wait().ok()?;
        // The last line: "100.00  0.123  12  3456  7 total".
        let report = fs::read_to_string(report).ok()?;
        report.lines().last()?.split_whitespace().nth(3)?.parse().ok()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends TERM and waits for the end; `None` if it did not come.
    pub fn terminate(&mut self) -> Result<Option<Duration>, Box<dyn Error>> {
        let begun = Instant::now();
        kill(self.pid(), Signal::SIGTERM)?;
        let pid = self.pid();
        let (ended, has_ended) = channel::<()>();
        let watchdog = thread::spawn(move || {
            if has_ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // It is still our child: nobody waited for it.
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        self.child.wait()?;
        let took = begun.elapsed();
        drop(ended);
        watchdog.join().map_err(|_| "the watchdog panicked")?;
        Ok((took < PATIENCE).then_some(took))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tasks(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    tasks.filter_map(|task| Some(task.ok()?.path().display().to_string())).collect()
}

/// The first figure of proc_pid_schedstat: time on a processor, in nanoseconds.
fn run_time(task: &str) -> Option<u64> {
    fs::read_to_string(format!("{task}/schedstat")).ok()?.split_whitespace().next()?.parse().ok()
}

/// Field 14 of proc_pid_stat(5); a name may have spaces in it, and ends with the last parenthesis.
fn user_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split_whitespace().nth(11)?.parse().ok()
}

fn status(pid: i32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}
