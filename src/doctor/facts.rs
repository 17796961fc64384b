//! What this machine says of itself.
//!
//! Lives here: reading /proc, /sys and limits, and trying io_uring. Never here: whether what they say is enough.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::Pid;

use crate::ring::{Feature, Support};

/// Figures as read; `None` where the machine does not say, or sets no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `uname -r`.
    pub kernel: String,
    /// What a reactor uses of io_uring, or why it cannot be used, with the remedy.
    pub ring: Result<Vec<Feature>, String>,
    /// `kernel.io_uring_disabled`: 0 allowed, 1 for a group, 2 for nobody.
    pub io_uring_disabled: Option<u64>,
    /// Soft limit of locked memory, in bytes.
    pub memory_lock: Option<u64>,
    /// Hard limit of open files, to which the relay raises its own.
    pub open_files: Option<u64>,
    /// `net.core.rmem_max`, in bytes.
    pub rmem_max: Option<u64>,
    /// `net.core.rmem_default`, in bytes: what a datagram socket has without `receive_buffer`.
    pub rmem_default: Option<u64>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.unix.max_dgram_qlen`.
    pub max_dgram_qlen: Option<u64>,
    /// Effective capabilities, as bits (capabilities(7)).
    pub capabilities: u64,
    /// Memory that the control group allows, in bytes.
    pub memory_max: Option<u64>,
    /// Processor time that the control group allows, in thousandths of a core.
    pub cpu_max: Option<u64>,
    /// Cores that this process may run on (sched_getaffinity(2)), whatever time it may have on them.
    pub cores: usize,
}

impl Facts {
    /// Of this machine, as this process sees it. Tries io_uring, and leaves nothing open.
    pub fn read() -> Facts {
        let sysctl = |name: &str| read_figure(&format!("/proc/sys/{}", name.replace('.', "/")));
        Facts {
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            ring: Support::detect().and_then(Support::features).map_err(|error| error.to_string()),
            io_uring_disabled: sysctl("kernel.io_uring_disabled"),
            memory_lock: limit(Resource::RLIMIT_MEMLOCK, |soft, _| soft),
            open_files: limit(Resource::RLIMIT_NOFILE, |_, hard| hard),
            rmem_max: sysctl("net.core.rmem_max"),
            rmem_default: sysctl("net.core.rmem_default"),
            somaxconn: sysctl("net.core.somaxconn"),
            max_dgram_qlen: sysctl("net.unix.max_dgram_qlen"),
            capabilities: capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
            memory_max: Group::of_this_process().memory_max(),
            cpu_max: Group::of_this_process().cpu_max(),
            cores: cores(),
        }
    }
}

/// The number in a file of one line.
fn read_figure(path: &str) -> Option<u64> {
    line(path)?.parse().ok()
}

fn line(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn limit(resource: Resource, which: fn(u64, u64) -> u64) -> Option<u64> {
    let (soft, hard) = getrlimit(resource).ok()?;
    Some(which(soft, hard)).filter(|limit| *limit != RLIM_INFINITY)
}

/// Not `available_parallelism`, which takes the control group's quota into account: a reactor runs on each of these.
fn cores() -> usize {
    let allowed = |set: CpuSet| (0..CpuSet::count()).filter(|&core| set.is_set(core) == Ok(true)).count();
    sched_getaffinity(Pid::from_raw(0)).map_or(1, allowed)
}

fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

/// The control groups of a process (cgroups(7)): of version 2, and the one of version 1 that holds its memory.
struct Group {
    unified: Option<PathBuf>,
    memory: Option<PathBuf>,
}

impl Group {
    fn of_this_process() -> Group {
        Group::parse(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
    }

    /// Each line is `ID:CONTROLLERS:PATH`; version 2 has no controllers there.
    fn parse(table: &str) -> Group {
        let path = |wanted: &str| {
            table.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controllers, path) = (fields.next()?, fields.next()?);
                controllers
                    .split(',')
                    .any(|one| one == wanted)
                    .then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let below = |root: &str, path: String| Path::new(root).join(path);
        Group {
            unified: path("").map(|path| below("/sys/fs/cgroup", path)),
            memory: path("memory").map(|path| below("/sys/fs/cgroup/memory", path)),
        }
    }

    /// The least that the group or any above it allows.
    fn memory_max(&self) -> Option<u64> {
        let least = |group: &Option<PathBuf>, file: &str| {
            let above = group.iter().flat_map(|group| group.ancestors());
            above.filter_map(|group| u64::from_str(&line(group.join(file))?).ok()).min()
        };
        // Version 1 writes a number near 2^63 for "no limit".
        let limits = [least(&self.unified, "memory.max"), least(&self.memory, "memory.limit_in_bytes")];
        limits.into_iter().flatten().filter(|limit| *limit < 1 << 60).min()
    }

    /// `cpu.max` is `QUOTA PERIOD` in microseconds, or `max PERIOD`.
    fn cpu_max(&self) -> Option<u64> {
        let quota = |group: &Path| thousandths(&line(group.join("cpu.max"))?);
        self.unified.as_ref()?.ancestors().filter_map(quota).min()
    }
}

fn thousandths(quota: &str) -> Option<u64> {
    let (quota, period) = quota.split_once(' ')?;
    let (quota, period) = (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?);
    quota.saturating_mul(1000).checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_something_of_itself() {
        let facts = Facts::read();
        assert!(facts.ring.is_ok() && facts.cores > 0 && facts.rmem_max > Some(0), "{facts:?}");
        assert!(facts.kernel.contains('.') && facts.somaxconn.is_some());
    }

    #[test]
    fn control_groups_of_both_versions_are_found() {
        let group = Group::parse("4:cpu,memory:/a/b\n0::/user.slice/c\n");
        assert_eq!(group.unified, Some(PathBuf::from("/sys/fs/cgroup/user.slice/c")));
        assert_eq!(group.memory, Some(PathBuf::from("/sys/fs/cgroup/memory/a/b")));
        assert!(Group::parse("").memory_max().is_none());
    }

    #[test]
    fn a_quota_is_a_part_of_a_core() {
        assert_eq!(thousandths("150000 100000"), Some(1500));
        assert_eq!((thousandths("max 100000"), thousandths("1 0")), (None, None));
    }

    #[test]
    fn capabilities_are_read_from_their_line() {
        assert_eq!(capabilities("CapPrm:\tff\nCapEff:\t0000000000001000\n"), 1 << 12);
        assert_eq!(capabilities("nothing"), 0);
    }
}
