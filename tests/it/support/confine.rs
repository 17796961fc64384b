//! Denies something to a spawned program: descriptors, memory, privileges, system calls. No switch in the product.
//!
//! A seccomp(2) filter is inherited by what the thread starts that installed it. Lives here: such filters, and the system's other
//! means. Never here: what they are to show.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::errno::Errno;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use super::peer::program;
use super::relay::{Order, Relay};

/// `nobody` and `nogroup`, as every distribution numbers them.
const NOBODY: u32 = 65_534;

/// The same order with a millisecond before each setsockopt(2): it makes the moment long that lies between the last read of a
/// connection and its close.
pub fn with_slow_closes(order: Order) -> Order {
    // The tracer detaches (-D), so that the relay is our child and gets our signals.
    let quietly = ["strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null"];
    let slowly = ["-e", "trace=setsockopt", "-e", "inject=setsockopt:delay_enter=1000"];
    through(order, &[&quietly[..], &slowly[..]].concat())
}

/// Starts `order` with a setsockopt(2) that says yes to every filter and attaches none: no socket is ever frozen.
pub fn start_without_freeze(order: Order) -> Relay {
    let rule = |option: i32| {
        let filter = SeccompCondition::new(
            2,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            option.cast_unsigned().into(),
        );
        SeccompRule::new(vec![filter.expect("an argument that the call has")]).expect("a condition")
    };
    let rules = [libc::SO_ATTACH_FILTER, libc::SO_ATTACH_BPF].map(rule).into();
    // An error of 0 is success.
    let relay = spawn_confined(order, libc::SYS_setsockopt, rules, 0);
    relay.expect_log("\"relaying\"");
    relay
}

/// Starts `order` where the kernel answers `call` with `errno`, without waiting for anything.
pub fn spawn_refused(order: Order, call: i64, errno: Errno) -> Relay {
    spawn_confined(order, call, Vec::new(), errno as u32)
}

fn spawn_confined(order: Order, call: i64, rules: Vec<SeccompRule>, errno: u32) -> Relay {
    let architecture = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        architecture,
    );
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    // A filter stays on its thread for good, so the thread is one that ends.
    let start = move || {
        apply_filter(&program).expect("an unprivileged filter is allowed");
        order.spawn()
    };
    std::thread::spawn(start).join().expect("the relay starts")
}

/// Under a limit of its own, soft and hard, as ulimit of the shell takes it: `-n 64`.
pub fn limited(order: Order, limit: &str) -> Order {
    through(order, &["sh", "-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")])
}

/// As a user without any privilege. That needs a copy of the program where such a user can reach it.
pub fn unprivileged(mut order: Order) -> Order {
    if !is_root() {
        return order;
    }
    let ledger = order.ledger();
    let folder = ledger.parent().expect("a file in a folder");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("our own folder");
    let copy = folder.join("slackwater");
    fs::copy(env!("CARGO_BIN_EXE_slackwater"), &copy).expect("room for a copy");
    order.command = with_program(&order.command, &[], copy.to_str().expect("a path in UTF-8"));
    order.command.uid(NOBODY).gid(NOBODY);
    order
}

/// Without capabilities(7), named as setpriv(1) takes them: `net_admin`.
pub fn without_capabilities(order: Order, names: &[&str]) -> Order {
    if !is_root() || names.is_empty() {
        return order;
    }
    let dropped: Vec<String> = names.iter().map(|name| format!("-{name}")).collect();
    let dropped = dropped.join(",");
    through(order, &["setpriv", "--bounding-set", &dropped, "--inh-caps", &dropped])
}

/// Where `/proc/sys/kernel/io_uring_disabled` shows `value`. Only shows: the kernel's own setting is the whole machine's, and
/// other tests run on it.
pub fn shown_disabled(order: Order, value: u8) -> Order {
    let shown = order.ledger().with_file_name("io_uring_disabled");
    fs::write(&shown, format!("{value}\n")).expect("our own folder");
    let mount =
        format!("mount --bind {} /proc/sys/kernel/io_uring_disabled && exec \"$0\" \"$@\"", shown.display());
    // A user who is not root becomes one in a namespace of its own.
    let unshare = if is_root() { "-m" } else { "-rm" };
    through(order, &["unshare", unshare, "sh", "-c", &mount])
}

/// What a shell script gives in a network namespace of its own, with nothing but a loopback that is down. Whatever it starts ends with
/// it, and it ends before a test counts as hung.
pub fn in_a_network_of_its_own(script: &str) -> Output {
    let (namespace, patience) = (["--user", "--map-root-user", "--net", "--kill-child"], ["timeout", "50"]);
    let mut command = program("unshare");
    command.args(namespace).args(patience).args(["sh", "-c", script]).stderr(Stdio::null());
    command.output().expect("unshare(1) runs")
}

/// The same order, carried out by another program that then becomes ours.
fn through(mut order: Order, words: &[&str]) -> Order {
    let program = order.command.get_program().to_owned();
    order.command = with_program(&order.command, words, program.to_str().expect("a path in UTF-8"));
    order
}

/// The arguments of `command` for `program`, with `words` before it.
fn with_program(command: &Command, words: &[&str], program: &str) -> Command {
    let mut line = words.iter().copied().chain([program]);
    let mut new = Command::new(line.next().expect("at least the program"));
    new.args(line).args(command.get_args());
    new
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("proc(5) is mounted").uid() == 0
}

/// What is in the folder of a ledger, by name.
pub fn files_beside(ledger: &Path) -> Vec<String> {
    let folder = fs::read_dir(ledger.parent().expect("a file in a folder")).expect("a folder");
    folder.map(|file| file.expect("an entry").file_name().into_string().expect("a name in UTF-8")).collect()
}
