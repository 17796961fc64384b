//! What a reactor uses of io_uring, one by one, and whether this kernel has it.
//!
//! Lives here: the list, for whoever asks what a machine lacks. Never here: the decision what to do without (`support`).

use io_uring::{Probe, opcode};

use super::support::{SetupError, Support};

/// One part of io_uring that a reactor uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name in the manual pages.
    pub name: &'static str,
    /// The kernel that it came with.
    pub since: &'static str,
    /// Whether it works here.
    pub works: bool,
    /// What its absence costs; empty where the relay cannot run without it.
    pub cost: &'static str,
}

/// Operations that nothing can replace, each with the kernel that it came with.
const OPERATIONS: [(&str, u8, &str); 9] = [
    ("IORING_OP_ACCEPT", opcode::Accept::CODE, "5.5"),
    ("IORING_OP_CONNECT", opcode::Connect::CODE, "5.5"),
    ("IORING_OP_RECV", opcode::Recv::CODE, "5.6"),
    ("IORING_OP_RECVMSG", opcode::RecvMsg::CODE, "5.3"),
    ("IORING_OP_SENDMSG", opcode::SendMsg::CODE, "5.3"),
    ("IORING_OP_READ", opcode::Read::CODE, "5.6"),
    ("IORING_OP_WRITEV", opcode::Writev::CODE, "5.1"),
    ("IORING_OP_POLL_ADD", opcode::PollAdd::CODE, "5.1"),
    ("IORING_OP_ASYNC_CANCEL", opcode::AsyncCancel::CODE, "5.5"),
];

impl Support {
    /// What a reactor uses, and whether it works; `self` is what [`Support::detect`] found.
    ///
    /// # Errors
    /// As [`Support::detect`].
    pub fn features(self) -> Result<Vec<Feature>, SetupError> {
        let uring = self.build()?;
        let mut probe = Probe::new();
        // A kernel that cannot be asked has none of them, as far as anyone can tell.
        let _ = uring.submitter().register_probe(&mut probe);
        let operations = OPERATIONS.into_iter().map(|(name, code, since)| Feature {
            name,
            since,
            works: probe.is_supported(code),
            cost: "",
        });
        let setup = [
            Feature {
                name: "IORING_SETUP_SINGLE_ISSUER | DEFER_TASKRUN",
                since: "6.1",
                works: self.deferred,
                cost: "completions interrupt the reactor: more processor time for each message",
            },
            Feature {
                name: "multishot accept and receive",
                since: "6.0",
                works: self.multishot,
                cost: "each is asked for again after every completion: more processor time, and no datagram sources",
            },
            Feature {
                name: "receives of several buffers (IORING_RECVSEND_BUNDLE without its early faults)",
                since: "6.17",
                works: self.bundles,
                cost: "each receive fills one buffer: more processor time under load",
            },
            Feature {
                name: "IORING_FEAT_MIN_TIMEOUT",
                since: "6.12",
                works: self.gathers,
                cost: "`gather` has no effect",
            },
            Feature { name: "provided buffer rings", since: "5.19", works: true, cost: "" },
        ];
        Ok(setup.into_iter().chain(operations).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tests_run_with_is_there() {
        let features = Support::detect().unwrap().features().unwrap();
        assert!(features.iter().filter(|feature| feature.cost.is_empty()).all(|feature| feature.works));
        let without =
            Support { deferred: false, multishot: false, bundles: false, gathers: false }.features().unwrap();
        let missing = without.iter().filter(|feature| !feature.works).map(|feature| feature.name);
        assert_eq!(
            missing.collect::<Vec<_>>(),
            [
                "IORING_SETUP_SINGLE_ISSUER | DEFER_TASKRUN",
                "multishot accept and receive",
                "receives of several buffers (IORING_RECVSEND_BUNDLE without its early faults)",
                "IORING_FEAT_MIN_TIMEOUT"
            ]
        );
    }
}
