//! What this kernel's io_uring can do, and what to tell the user when it cannot do enough.
//!
//! Lives here: detection by trying, not by version tables, and the messages. Never here: which operation is built (that is
//! `operation`, which asks this).

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use io_uring::IoUring;
use nix::errno::Errno;
use nix::sys::utsname::uname;
use thiserror::Error;

use super::{Event, Ring};
use crate::limits::{BUFFER_SIZE, COMPLETION_ENTRIES, SUBMISSION_ENTRIES};

/// The oldest kernel that is supported: the first with `IORING_SETUP_DEFER_TASKRUN`.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// The first kernel whose bundles lose no byte. Those from 6.13.11 to 6.16 may leave a gap, or take buffers out of order, where a receive
/// went on in a second step ("io_uring/net: only retry recv bundle for a full transfer", 6.15; "io_uring/kbuf: flag partial buffer
/// mappings", 6.16; "io_uring/net: commit partial buffers on retry", 6.17). No trial shows that, so this one asks for the version.
const SOUND_BUNDLES: (u32, u32) = (6, 17);
/// Generous bound on the self-test's one byte over a socket pair.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What this kernel's io_uring can do beyond what is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// `IORING_SETUP_SINGLE_ISSUER | DEFER_TASKRUN` (kernel 6.1); without them completions interrupt the reactor.
    pub deferred: bool,
    /// Multishot accept (5.19) and receive (6.0); without them each is armed again after every completion.
    pub multishot: bool,
    /// Multishot receives that fill several buffers at once (`IORING_RECVSEND_BUNDLE`, 6.10, used from 6.17 on); without them each fills
    /// one.
    pub bundles: bool,
    /// Waits for several completions that end early when one is there (`IORING_FEAT_MIN_TIMEOUT`, 6.12); without them `gather` has no
    /// effect.
    pub gathers: bool,
}

/// Why io_uring cannot be used here, and what to do about it.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The sysctl forbids it.
    #[error(
        "io_uring is disabled on this machine: sysctl kernel.io_uring_disabled is {0}\n\
         remedy: as root, `sysctl -w kernel.io_uring_disabled=0`{hint}",
        hint = if *.0 == 1 { ", or run slackwater in the group of kernel.io_uring_group or with CAP_SYS_ADMIN" } else { "" }
    )]
    DisabledBySysctl(u8),
    /// A seccomp filter answers `EPERM`.
    #[error(
        "io_uring is forbidden (EPERM) though sysctl kernel.io_uring_disabled allows it: a seccomp filter, as container \
         runtimes install one, refuses it\n\
         remedy: allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile \
         (docker: --security-opt seccomp=PROFILE), or in SystemCallFilter= of the systemd unit"
    )]
    Forbidden,
    /// The kernel does not know it, or a seccomp filter answers `ENOSYS`.
    #[error(
        "io_uring does not exist here (ENOSYS), kernel {0}: either a seccomp filter hides it, or the kernel was built \
         without CONFIG_IO_URING\n\
         remedy: allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, or boot a kernel 6.1 or \
         newer with io_uring"
    )]
    Missing(String),
    /// `ENOMEM`: the memory lock limit or the memory cgroup.
    #[error(
        "the kernel has no memory for an io_uring (ENOMEM): the memory lock limit is {0}\n\
         remedy: raise it (`ulimit -l unlimited`, or LimitMEMLOCK=infinity in the systemd unit), or, if that is \
         not it, the memory cgroup's, or the limit of the address space (`ulimit -v`)"
    )]
    MemoryLock(String),
    /// The process or the system has no descriptor left.
    #[error(
        "no file descriptor is left for an io_uring ({0})\nremedy: raise the limit (`ulimit -n`, or LimitNOFILE= in the unit)"
    )]
    Descriptors(Errno),
    /// Older than the oldest supported kernel.
    #[error("kernel {0} is too old: slackwater needs 6.1 or newer\nremedy: boot a newer kernel")]
    TooOld(String),
    /// Something that is required and has no replacement.
    #[error(
        "this kernel's io_uring lacks {feature} ({error})\nremedy: boot a kernel 6.1 or newer; this is {release}"
    )]
    Lacks {
        /// What is missing.
        feature: &'static str,
        /// What the kernel said.
        error: io::Error,
        /// What `uname -r` says.
        release: String,
    },
}

impl SetupError {
    fn from_setup(error: io::Error) -> SetupError {
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EPERM => from_permission(disabled_by_sysctl()),
            Errno::ENOSYS => SetupError::Missing(release()),
            Errno::ENOMEM => SetupError::MemoryLock(memory_lock_limit()),
            errno @ (Errno::EMFILE | Errno::ENFILE) => SetupError::Descriptors(errno),
            _ => SetupError::Lacks { feature: "what a reactor needs", error, release: release() },
        }
    }

    /// A filter may let io_uring_setup(2) pass and refuse the calls that follow.
    fn from_probe(error: io::Error) -> SetupError {
        match SetupError::from_setup(error) {
            SetupError::Lacks { error, release, .. } => {
                SetupError::Lacks { feature: "a working receive", error, release }
            }
            known => known,
        }
    }

    pub(super) fn from_buffers(error: io::Error) -> SetupError {
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::EINVAL => SetupError::Lacks {
                feature: "provided buffer rings (kernel 5.19)",
                error,
                release: release(),
            },
            _ => SetupError::from_setup(error),
        }
    }
}

fn from_permission(disabled: u8) -> SetupError {
    if disabled == 0 { SetupError::Forbidden } else { SetupError::DisabledBySysctl(disabled) }
}

/// 0: allowed; 1: for a group and the privileged; 2: for nobody (Documentation/admin-guide/sysctl/kernel.rst, kernel 6.6).
fn disabled_by_sysctl() -> u8 {
    let value = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    value.trim().parse().unwrap_or(0)
}

fn memory_lock_limit() -> String {
    match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK) {
        Ok((soft, _)) if soft == nix::sys::resource::RLIM_INFINITY => "unlimited".to_owned(),
        Ok((soft, _)) => format!("{} KiB", soft / 1024),
        Err(errno) => format!("unknown ({errno})"),
    }
}

fn release() -> String {
    uname().map_or_else(|errno| errno.to_string(), |name| name.release().to_string_lossy().into_owned())
}

/// Major and minor number of a release, if it begins with them.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

fn is_too_old(release: &str) -> bool {
    version(release).is_some_and(|version| version < OLDEST_KERNEL)
}

fn has_sound_bundles(release: &str) -> bool {
    version(release).is_some_and(|version| version >= SOUND_BUNDLES)
}

impl Support {
    /// Everything that a supported kernel has.
    const FULL: Support = Support { deferred: true, multishot: true, bundles: true, gathers: true };

    /// Finds out what works by using it once.
    ///
    /// # Errors
    /// [`SetupError`] when the kernel is too old, or io_uring is disabled, forbidden, missing or out of memory.
    pub fn detect() -> Result<Support, SetupError> {
        let release = release();
        if is_too_old(&release) {
            return Err(SetupError::TooOld(release));
        }
        let (uring, deferred) = match Support::FULL.build() {
            Ok(uring) => (uring, true),
            Err(SetupError::Lacks { error, .. }) if error.raw_os_error() == Some(libc::EINVAL) => {
                (Support { deferred: false, ..Support::FULL }.build()?, false)
            }
            Err(error) => return Err(error),
        };
        let gathers = uring.params().is_feature_min_timeout();
        let bundles = uring.params().is_feature_recvsend_bundle() && has_sound_bundles(&release);
        let multishot = receives_one_byte(Support { deferred, multishot: true, bundles, gathers })?;
        Ok(Support { deferred, multishot, bundles: multishot && bundles, gathers })
    }

    /// A ring without buffers.
    pub(super) fn build(self) -> Result<IoUring, SetupError> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(COMPLETION_ENTRIES);
        if self.deferred {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        }
        let uring = builder.build(SUBMISSION_ENTRIES).map_err(SetupError::from_setup)?;
        require_features(&uring)?;
        Ok(uring)
    }
}

fn require_features(uring: &IoUring) -> Result<(), SetupError> {
    let parameters = uring.params();
    let required = [
        (parameters.is_feature_nodrop(), "IORING_FEAT_NODROP (kernel 5.5)"),
        (parameters.is_feature_ext_arg(), "IORING_FEAT_EXT_ARG (kernel 5.11)"),
    ];
    match required.iter().find(|(there, _)| !there) {
        None => Ok(()),
        Some((_, feature)) => {
            Err(SetupError::Lacks { feature, error: Errno::EOPNOTSUPP.into(), release: release() })
        }
    }
}

/// Whether a receive into provided buffers works as `support` says: one byte over a socket pair.
fn receives_one_byte(support: Support) -> Result<bool, SetupError> {
    let lacks = SetupError::from_probe;
    let mut ring = Ring::<()>::new(support, 2 * BUFFER_SIZE)?;
    let (mut sender, receiver) = UnixStream::pair().map_err(lacks)?;
    sender.write_all(b"!").map_err(lacks)?;
    ring.offer(BUFFER_SIZE);
    ring.receive((), &Rc::new(receiver.into()));
    ring.park(Some(PROBE_TIMEOUT), Duration::ZERO, 0).map_err(lacks)?;
    let mut completions = Vec::new();
    ring.reap(&mut completions);
    let received = match completions.into_iter().next().map(|completion| completion.event) {
        Some(Event::Received(lease)) if lease.as_ref() == b"!" => Ok(()),
        Some(Event::ReceiveFailed(errno)) => Err(errno),
        _ => Err(Errno::ETIMEDOUT),
    };
    does_multishot(support, received)
}

/// What the self-test's result says about multishot operations. A kernel that does not know them calls them invalid.
fn does_multishot(tried: Support, received: Result<(), Errno>) -> Result<bool, SetupError> {
    match received {
        Ok(()) => Ok(tried.multishot),
        Err(Errno::EINVAL) if tried.multishot => Ok(false),
        Err(errno) => Err(SetupError::from_probe(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_6_1_are_too_old() {
        for (release, too_old) in [
            ("5.15.0-91-generic", true),
            ("6.0.19", true),
            ("6.1.0", false),
            ("6.18.44-vm", false),
            ("7.0-rc1", false),
            ("unknown", false),
        ] {
            assert_eq!(is_too_old(release), too_old, "{release}");
        }
    }

    #[test]
    fn bundles_are_used_from_6_17_on() {
        for (release, sound) in [
            ("6.16.12", false),
            ("6.17.0", true),
            ("6.18.44-vm", true),
            ("7.0-rc1", true),
            ("unknown", false),
        ] {
            assert_eq!(has_sound_bundles(release), sound, "{release}");
        }
    }

    #[test]
    fn a_kernel_without_multishot_is_used_without_it() {
        let (with, without) = (Support::FULL, Support { multishot: false, ..Support::FULL });
        assert!(does_multishot(with, Ok(())).unwrap());
        assert!(!does_multishot(with, Err(Errno::EINVAL)).unwrap());
        assert!(
            does_multishot(without, Err(Errno::EINVAL))
                .unwrap_err()
                .to_string()
                .contains("a working receive")
        );
        assert!(
            does_multishot(with, Err(Errno::ETIMEDOUT))
                .unwrap_err()
                .to_string()
                .contains("a working receive")
        );
    }

    #[test]
    fn each_refusal_has_its_own_remedy() {
        let texts: Vec<String> = [
            from_permission(2),
            from_permission(1),
            from_permission(0),
            SetupError::from_setup(Errno::ENOSYS.into()),
            SetupError::from_setup(Errno::ENOMEM.into()),
            SetupError::from_setup(Errno::EMFILE.into()),
            SetupError::from_buffers(Errno::EINVAL.into()),
            SetupError::from_probe(Errno::EMFILE.into()),
            SetupError::from_probe(Errno::ENOSYS.into()),
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        assert!(texts[0].contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(texts[1].contains("kernel.io_uring_group"));
        assert!(texts[2].contains("seccomp"));
        assert!(texts[3].contains("ENOSYS") && texts[3].contains("seccomp"));
        assert!(texts[4].contains("ulimit -l"));
        assert!(texts[5].contains("ulimit -n"));
        assert!(texts[6].contains("5.19"));
        assert!(texts[7].contains("ulimit -n"));
        assert!(texts[8].contains("ENOSYS") && texts[8].contains("seccomp"));
        assert!(texts.iter().all(|text| text.contains("remedy:")));
    }
}
