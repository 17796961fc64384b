//! Which core each reactor runs on.
//!
//! Lives here: choosing cores and pinning a thread. Never here: what runs there.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use thiserror::Error;

use crate::config::plan::Cores;

/// Why reactors cannot be placed as asked.
#[derive(Debug, Error)]
pub enum PlacementError {
    /// A core that this process may not run on.
    #[error(
        "core {core} is not among the cores that this process may run on ({allowed:?})\nremedy: choose others with --cores, or widen the affinity (taskset, CPUAffinity=, cpuset)"
    )]
    NotAllowed {
        /// The core asked for.
        core: usize,
        /// The cores there are.
        allowed: Vec<usize>,
    },
    /// The kernel does not say which cores there are.
    #[error("cannot learn which cores there are (sched_getaffinity): {0}")]
    Unknown(#[from] nix::Error),
}

/// The cores to run on, in order; at least one. A count beyond the cores that there are gives one reactor a core.
///
/// # Errors
/// [`PlacementError`].
pub fn place(cores: &Cores) -> Result<Vec<usize>, PlacementError> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let allowed: Vec<usize> = (0..CpuSet::count()).filter(|&core| set.is_set(core) == Ok(true)).collect();
    match cores {
        Cores::All => Ok(allowed),
        Cores::Count(count) => Ok(allowed.into_iter().take(*count).collect()),
        Cores::List(list) => match list.iter().find(|core| !allowed.contains(core)) {
            None => Ok(list.clone()),
            Some(&core) => Err(PlacementError::NotAllowed { core, allowed }),
        },
    }
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// As sched_setaffinity(2).
pub fn pin(core: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_placed_as_asked_or_refused() {
        let all = place(&Cores::All).unwrap();
        assert!(!all.is_empty());
        assert_eq!(place(&Cores::Count(1)).unwrap(), all[..1]);
        assert_eq!(place(&Cores::Count(1000)).unwrap(), all);
        assert_eq!(place(&Cores::List(vec![all[0]])).unwrap(), all[..1]);
        let refused = place(&Cores::List(vec![CpuSet::count() + 1])).unwrap_err();
        assert!(refused.to_string().contains("--cores"));
    }
}
