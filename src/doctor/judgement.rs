//! Facts to findings. Pure.
//!
//! Lives here: what is enough, what a shortage costs, and what mends it. Never here: reading.

use super::Facts;
use crate::config::plan::{Cores, HostPort, Listen, Plan};
use crate::limits::{BACKLOG, DESCRIPTOR_RESERVE};

const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
/// Below that a datagram socket loses bursts that a busy sender makes by itself.
const DATAGRAM_BUFFER: u64 = 1024 * 1024;
/// Memory of a relay beside what is in flight: its program, its rings, its stacks.
const OVERHEAD: u64 = 16 * 1024 * 1024;
/// Datagrams that a unix socket should hold while its reader is busy.
const UNIX_QUEUE: u64 = 128;

/// What a plan demands of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The largest `receive_buffer`, in bytes.
    pub receive_buffer: u64,
    /// Connections of all sources together.
    pub connections: u64,
    /// Reactors; `None`: one for each core there is.
    pub reactors: Option<usize>,
    /// `max_in_flight`, in bytes, of one reactor.
    pub in_flight: u64,
    /// Whether a source listens on a port below 1024.
    pub low_ports: bool,
    /// Whether there are datagram sources: over UDP, over unix sockets.
    pub datagrams: [bool; 2],
}

impl Demand {
    /// Of `plan`.
    pub fn of(plan: &Plan) -> Demand {
        let is_low = |at: &HostPort| (1..1024).contains(&at.port);
        let any = |wanted: fn(&Listen) -> bool| plan.sources.iter().any(|source| wanted(&source.listen));
        let receive_buffers = plan.sources.iter().filter_map(|source| source.receive_buffer);
        Demand {
            receive_buffer: receive_buffers.max().unwrap_or(0) as u64,
            connections: plan.max_connections(),
            reactors: match &plan.cores {
                Cores::All => None,
                Cores::Count(count) => Some(*count),
                Cores::List(list) => Some(list.len()),
            },
            in_flight: plan.max_in_flight as u64,
            low_ports: plan.sources.iter().any(|source| match &source.listen {
                Listen::Tcp(at) | Listen::Udp(at) => is_low(at),
                Listen::Http(listen) => is_low(&listen.at),
                Listen::Unix(_) | Listen::Unixgram(_) | Listen::Pull(_) => false,
            }),
            datagrams: [
                any(|listen| matches!(listen, Listen::Udp(_))),
                any(|listen| matches!(listen, Listen::Unixgram(_))),
            ],
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is called.
    pub what: String,
    /// What it is here.
    pub value: String,
    /// What that means.
    pub verdict: Verdict,
}

/// What a fact means for the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough.
    Fine,
    /// It runs, at a cost.
    Limits {
        /// What that is.
        cost: String,
        /// The command that mends it.
        remedy: String,
    },
    /// It cannot run.
    Missing {
        /// Why.
        cost: String,
        /// The command that mends it.
        remedy: String,
    },
}

/// All findings, in the order in which a relay meets them when it starts.
pub fn judge(facts: &Facts, demand: &Demand) -> Vec<Finding> {
    let mut findings = ring(facts);
    findings.extend([
        memory_lock(facts),
        open_files(facts, demand),
        memory(facts, demand),
        cores(facts, demand),
        backlog(facts),
        receive_buffer(facts, demand),
        udp_buffer(facts, demand),
        unix_queue(facts, demand),
        ports(facts, demand),
        filters(facts),
    ]);
    findings
}

fn finding(what: &str, value: impl Into<String>, verdict: Verdict) -> Finding {
    Finding { what: what.to_owned(), value: value.into(), verdict }
}

fn limits(cost: impl Into<String>, remedy: impl Into<String>) -> Verdict {
    Verdict::Limits { cost: cost.into(), remedy: remedy.into() }
}

/// The kernel and its io_uring, feature by feature.
fn ring(facts: &Facts) -> Vec<Finding> {
    let allowed = match facts.io_uring_disabled {
        Some(0) | None => "allowed".to_owned(),
        Some(value) => format!("kernel.io_uring_disabled = {value}"),
    };
    let features = match &facts.ring {
        Ok(features) => features,
        Err(error) => {
            let (cost, remedy) = error.split_once("\nremedy: ").unwrap_or((error, "see io_uring_setup(2)"));
            let verdict = Verdict::Missing { cost: cost.replace('\n', " "), remedy: remedy.to_owned() };
            return vec![
                finding("kernel", facts.kernel.as_str(), Verdict::Fine),
                finding("io_uring", allowed, verdict),
            ];
        }
    };
    let newer = "boot a newer kernel";
    let each = features.iter().map(|feature| {
        let verdict = match (feature.works, feature.cost) {
            (true, _) => Verdict::Fine,
            (false, "") => {
                Verdict::Missing { cost: "a reactor needs it".to_owned(), remedy: newer.to_owned() }
            }
            (false, cost) => limits(cost, newer),
        };
        let value = if feature.works { "works" } else { "does not work" };
        finding(feature.name, format!("{value} (kernel {})", feature.since), verdict)
    });
    let first = [
        finding("kernel", facts.kernel.as_str(), Verdict::Fine),
        finding("io_uring", allowed, Verdict::Fine),
    ];
    first.into_iter().chain(each).collect()
}

/// The rings' own memory is charged to the control group since 5.12; a kernel that charges this limit refuses the ring.
fn memory_lock(facts: &Facts) -> Finding {
    let value = facts.memory_lock.map_or_else(|| "unlimited".to_owned(), size);
    let verdict = match facts.memory_lock {
        Some(0) => limits(
            "some kernels refuse a ring without it",
            "ulimit -l 8192, or LimitMEMLOCK=8M in the systemd unit",
        ),
        Some(_) | None => Verdict::Fine,
    };
    finding("locked memory (ulimit -l)", value, verdict)
}

fn open_files(facts: &Facts, demand: &Demand) -> Finding {
    let what = "open files (ulimit -Hn)";
    let Some(limit) = facts.open_files else { return finding(what, "unlimited", Verdict::Fine) };
    let room = limit.saturating_sub(8 * DESCRIPTOR_RESERVE);
    let verdict = if room == 0 {
        Verdict::Missing {
            cost: "none is left for connections".to_owned(),
            remedy: "ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit".to_owned(),
        }
    } else if room < demand.connections {
        limits(
            format!(
                "connections beyond some {room} wait, though max_connections allows {}",
                demand.connections
            ),
            format!("LimitNOFILE={} in the systemd unit", (demand.connections + 1024).next_power_of_two()),
        )
    } else {
        Verdict::Fine
    };
    finding(what, limit.to_string(), verdict)
}

fn memory(facts: &Facts, demand: &Demand) -> Finding {
    let reactors = reactors(facts, demand);
    let wanted = (demand.in_flight + OVERHEAD).saturating_mul(reactors);
    let what = "memory of the control group";
    let Some(limit) = facts.memory_max else { return finding(what, "no limit", Verdict::Fine) };
    let verdict = if limit < wanted {
        limits(
            format!(
                "a stalled sink lets {reactors} reactors take up to {}, and the kernel kills what takes more",
                size(wanted)
            ),
            format!("MemoryMax={wanted} in the systemd unit, or a smaller --max-in-flight"),
        )
    } else {
        Verdict::Fine
    };
    finding(what, size(limit), verdict)
}

/// How many there will be: never more than cores.
fn reactors(facts: &Facts, demand: &Demand) -> u64 {
    demand.reactors.map_or(facts.cores, |asked| asked.min(facts.cores)) as u64
}

fn cores(facts: &Facts, demand: &Demand) -> Finding {
    let value = match facts.cpu_max {
        Some(quota) => {
            format!("{}, with a quota of {}.{:03} of them", facts.cores, quota / 1000, quota % 1000)
        }
        None => facts.cores.to_string(),
    };
    let verdict = match facts.cpu_max {
        Some(quota) if quota < 1000 * reactors(facts, demand) => limits(
            "with less than a core for each reactor all are throttled together, and latency suffers",
            match (quota / 1000, reactors(facts, demand)) {
                (_, 1) => "a larger CPUQuota= in the systemd unit".to_owned(),
                (whole, _) => format!("--cores {}, or a larger CPUQuota= in the systemd unit", whole.max(1)),
            },
        ),
        Some(_) | None => Verdict::Fine,
    };
    finding("cores", value, verdict)
}

fn backlog(facts: &Facts) -> Finding {
    let wanted = BACKLOG as u64;
    let verdict = match facts.somaxconn {
        Some(most) if most < wanted => limits(
            format!("bursts of more than {most} new connections are turned away"),
            format!("sysctl -w net.core.somaxconn={wanted}"),
        ),
        Some(_) | None => Verdict::Fine,
    };
    finding("net.core.somaxconn", figure(facts.somaxconn), verdict)
}

fn receive_buffer(facts: &Facts, demand: &Demand) -> Finding {
    let forces = has(facts, CAP_NET_ADMIN);
    let verdict = match facts.rmem_max {
        Some(most) if most < demand.receive_buffer && !forces => limits(
            format!("receive_buffer is {} instead of {}", size(most), size(demand.receive_buffer)),
            format!("sysctl -w net.core.rmem_max={}", demand.receive_buffer),
        ),
        Some(_) | None => Verdict::Fine,
    };
    finding("net.core.rmem_max", facts.rmem_max.map_or_else(|| "unknown".to_owned(), size), verdict)
}

fn udp_buffer(facts: &Facts, demand: &Demand) -> Finding {
    let [over_udp, _] = demand.datagrams;
    let verdict = match facts.rmem_default {
        Some(default) if over_udp && demand.receive_buffer == 0 && default < DATAGRAM_BUFFER => limits(
            "bursts of datagrams are dropped by the kernel (counted as kernel_drops)",
            format!("receive_buffer={} on udp sources, and sysctl -w net.core.rmem_max={}", "8MiB", 8 << 20),
        ),
        Some(_) | None => Verdict::Fine,
    };
    finding("net.core.rmem_default", facts.rmem_default.map_or_else(|| "unknown".to_owned(), size), verdict)
}

fn unix_queue(facts: &Facts, demand: &Demand) -> Finding {
    let [_, over_unix] = demand.datagrams;
    let verdict = match facts.max_dgram_qlen {
        Some(length) if over_unix && length < UNIX_QUEUE => limits(
            format!(
                "senders to a unixgram source wait after {length} datagrams, and those that do not wait lose some"
            ),
            "sysctl -w net.unix.max_dgram_qlen=512",
        ),
        Some(_) | None => Verdict::Fine,
    };
    finding("net.unix.max_dgram_qlen", figure(facts.max_dgram_qlen), verdict)
}

fn ports(facts: &Facts, demand: &Demand) -> Finding {
    let may = has(facts, CAP_NET_BIND_SERVICE);
    let verdict = if demand.low_ports && !may {
        Verdict::Missing {
            cost: "a source listens on a port below 1024".to_owned(),
            remedy: "AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or a higher port"
                .to_owned(),
        }
    } else {
        Verdict::Fine
    };
    finding("CAP_NET_BIND_SERVICE", if may { "yes" } else { "no" }, verdict)
}

/// Without it connections are frozen in another way, which loses nothing.
fn filters(facts: &Facts) -> Finding {
    let value = if has(facts, CAP_NET_ADMIN) { "yes" } else { "no: connections are frozen without filters" };
    finding("CAP_NET_ADMIN", value, Verdict::Fine)
}

fn has(facts: &Facts, capability: u32) -> bool {
    facts.capabilities & 1 << capability != 0
}

fn figure(value: Option<u64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunArgs;
    use crate::doctor::Diagnosis;
    use crate::ring::Feature;

    fn rich() -> Facts {
        Facts {
            kernel: "6.18.0".to_owned(),
            ring: Ok(vec![Feature { name: "multishot receive", since: "6.0", works: true, cost: "time" }]),
            io_uring_disabled: Some(0),
            memory_lock: Some(8 << 20),
            open_files: Some(1 << 20),
            rmem_max: Some(16 << 20),
            rmem_default: Some(2 << 20),
            somaxconn: Some(4096),
            max_dgram_qlen: Some(512),
            capabilities: 1 << CAP_NET_BIND_SERVICE,
            memory_max: None,
            cpu_max: None,
            cores: 2,
        }
    }

    fn demand() -> Demand {
        Demand {
            receive_buffer: 0,
            connections: 1000,
            reactors: None,
            in_flight: 64 << 20,
            low_ports: true,
            datagrams: [true, true],
        }
    }

    /// The one finding that is not fine.
    fn complaint(facts: &Facts, demand: &Demand) -> (String, Verdict) {
        let mut findings = judge(facts, demand);
        findings.retain(|finding| finding.verdict != Verdict::Fine);
        let [Finding { what, verdict, .. }] = &findings[..] else { panic!("{findings:#?}") };
        (what.clone(), verdict.clone())
    }

    #[test]
    fn a_rich_machine_has_nothing_to_mend() {
        let diagnosis = Diagnosis::of(&rich(), &demand());
        assert!(diagnosis.is_healthy());
        assert!(diagnosis.to_string().ends_with("without a limit that matters to it."), "{diagnosis}");
    }

    #[test]
    fn each_shortage_has_its_cost_and_its_remedy() {
        let cases = [
            (Facts { memory_lock: Some(0), ..rich() }, "ulimit -l"),
            (Facts { open_files: Some(500), ..rich() }, "LimitNOFILE=2048"),
            (Facts { memory_max: Some(100 << 20), ..rich() }, "MemoryMax="),
            (Facts { cpu_max: Some(1500), ..rich() }, "--cores 1, or"),
            (Facts { cpu_max: Some(500), cores: 1, ..rich() }, "a larger CPUQuota="),
            (Facts { somaxconn: Some(128), ..rich() }, "net.core.somaxconn=4096"),
            (Facts { rmem_default: Some(212_992), ..rich() }, "receive_buffer=8MiB"),
            (Facts { max_dgram_qlen: Some(10), ..rich() }, "net.unix.max_dgram_qlen=512"),
        ];
        for (facts, remedy) in cases {
            let (what, Verdict::Limits { cost, remedy: said }) = complaint(&facts, &demand()) else {
                panic!("not a limit: {remedy}")
            };
            assert!(said.contains(remedy) && !cost.is_empty(), "{what}: {said}");
            assert!(Diagnosis::of(&facts, &demand()).is_healthy());
        }
        let asks = Demand { receive_buffer: 32 << 20, ..demand() };
        assert!(
            matches!(complaint(&rich(), &asks).1, Verdict::Limits { remedy, .. } if remedy.contains("rmem_max=33554432"))
        );
    }

    #[test]
    fn without_what_it_needs_the_relay_cannot_run() {
        let feature = Feature { name: "IORING_OP_SENDMSG", since: "5.3", works: false, cost: "" };
        let error = "io_uring is disabled on this machine\nremedy: as root, `sysctl -w x=0`".to_owned();
        for facts in [
            Facts { ring: Ok(vec![feature]), ..rich() },
            Facts { ring: Err(error), io_uring_disabled: Some(2), ..rich() },
            Facts { capabilities: 0, ..rich() },
            Facts { open_files: Some(20), ..rich() },
        ] {
            assert!(matches!(complaint(&facts, &demand()).1, Verdict::Missing { .. }));
            let diagnosis = Diagnosis::of(&facts, &demand());
            assert!(!diagnosis.is_healthy() && diagnosis.to_string().contains("cannot run here"));
        }
    }

    #[test]
    fn what_a_plan_does_not_ask_for_is_no_shortage() {
        let poor = Facts { max_dgram_qlen: Some(10), rmem_default: Some(1), capabilities: 0, ..rich() };
        let modest = Demand { low_ports: false, datagrams: [false, false], ..demand() };
        assert!(judge(&poor, &modest).iter().all(|finding| finding.verdict == Verdict::Fine));
        let tight = Facts { memory_max: Some(100 << 20), cpu_max: Some(1500), ..rich() };
        let one_reactor = Demand { reactors: Some(1), ..demand() };
        assert!(judge(&tight, &one_reactor).iter().all(|finding| finding.verdict == Verdict::Fine));
    }

    #[test]
    fn the_demand_of_a_plan_is_that_of_its_sources() {
        let from = vec!["tcp://127.0.0.1:514?max_connections=10&receive_buffer=1MiB".to_owned()];
        let plan = RunArgs { from, ..RunArgs::default() }.plan().unwrap();
        let expected = Demand {
            receive_buffer: 1 << 20,
            connections: 10,
            // Standard output is one stream.
            reactors: Some(1),
            in_flight: 64 << 20,
            low_ports: true,
            datagrams: [false, false],
        };
        assert_eq!(Demand::of(&plan), expected);
        let to = vec!["tcp://127.0.0.1:5514".to_owned()];
        let from =
            ["tcp://127.0.0.1:5140", "udp://127.0.0.1:5140", "http://127.0.0.1:5141"].map(str::to_owned);
        let plan = RunArgs { from: from.to_vec(), to, cores: Some("3".to_owned()), ..RunArgs::default() }
            .plan()
            .unwrap();
        let Demand { connections, reactors, .. } = Demand::of(&plan);
        assert_eq!(
            (connections, reactors),
            (65_536 + 1024, Some(3)),
            "a datagram socket holds no connections"
        );
    }
}
