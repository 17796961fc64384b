//! Makes a system call fail, or do nothing, in a spawned program: no switch in the product.
//!
//! A seccomp(2) filter is inherited by what the thread starts that installed it. Lives here: such filters. Never here: what
//! they are to show.

use std::collections::BTreeMap;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

use super::relay::{Order, Relay};

/// The same order with a millisecond before each setsockopt(2): it makes the moment long that lies between the last read of a
/// connection and its close.
pub fn with_slow_closes(mut order: Order) -> Order {
    let mut command = Command::new("strace");
    // The tracer detaches (-D), so that the relay is our child and gets our signals.
    command.args(["-D", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null"]);
    command.args(["-e", "trace=setsockopt", "-e", "inject=setsockopt:delay_enter=1000"]);
    command.arg(order.command.get_program()).args(order.command.get_args());
    order.command = command;
    order
}

/// Starts `order` with a setsockopt(2) that says yes to SO_ATTACH_FILTER and does nothing: no socket is ever frozen.
pub fn start_without_freeze(order: Order) -> Relay {
    let filter =
        || SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::SO_ATTACH_FILTER as u64);
    let rule = SeccompRule::new(vec![filter().expect("an argument that the call has")]).expect("a condition");
    // An error of 0 is success.
    start_confined(order, libc::SYS_setsockopt, vec![rule], 0)
}

fn start_confined(order: Order, call: i64, rules: Vec<SeccompRule>, errno: u32) -> Relay {
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
        order.start()
    };
    std::thread::spawn(start).join().expect("the relay starts")
}
