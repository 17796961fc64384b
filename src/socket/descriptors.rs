//! How many descriptors this process may still open.
//!
//! Lives here: the limit, the reserve, the room for them, and what to tell the user. Never here: what they are for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::close;

use crate::limits::DESCRIPTOR_RESERVE;

/// Whether a new connection would leave the reserve of descriptors alone. `any` is one that is open.
pub fn has_descriptors(any: &impl AsFd) -> bool {
    // The lowest free number is the one that a duplicate gets.
    any.as_fd().try_clone_to_owned().is_ok_and(|lowest| is_below_reserve(&lowest, descriptor_limit()))
}

/// The most descriptors that this process may have open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Makes room for so many descriptors in this process's table of them, or for as many as the limit allows. `any` is one that is open.
///
/// The kernel enlarges the table as it fills, and a process of several threads waits for an RCU grace period each time (`expand_files`
/// in fs/file.c, Linux 6.18). A reactor that accepts would stand still as long, with all that it relays. The room is the kernel's
/// memory, 8 bytes a descriptor.
///
/// # Errors
/// As fcntl(2), ENOMEM among them. Then the table grows as it fills.
pub fn make_room(any: &impl AsFd, descriptors: u64) -> io::Result<()> {
    let last = descriptors.min(descriptor_limit()).saturating_sub(1);
    let there = fcntl(any, FcntlArg::F_DUPFD_CLOEXEC(last.try_into().unwrap_or(i32::MAX)))?;
    Ok(close(there)?)
}

fn is_below_reserve(descriptor: &OwnedFd, limit: u64) -> bool {
    u64::try_from(descriptor.as_raw_fd()).is_ok_and(|number| number + DESCRIPTOR_RESERVE < limit)
}

/// What to do about an error, where that is to have more descriptors or threads; empty otherwise. For the end of a message.
pub fn shortage_remedy(error: &io::Error) -> &'static str {
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::EMFILE | Errno::ENFILE => {
            "\nremedy: raise the limit (`ulimit -n`, or LimitNOFILE= in the unit)"
        }
        Errno::EAGAIN => "\nremedy: raise the limit of threads (`ulimit -u`, or TasksMax= in the unit)",
        _ => "",
    }
}

/// Whether accepting failed for want of something that comes back: descriptors or memory (accept(2)).
pub fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
}
