//! What is measured: a load, and the relays that it goes through.
//!
//! Lives here: two tables. Never here: how anything is measured.

use std::time::Duration;

use slackwater::load::Style;
use slackwater::message::Framing;

use crate::relays::{
    BYTE_PIPE, BYTE_PIPE_IN_TURN, CARBON, FOUR_LINKS, GATHER, HAPROXY, HAPROXY_SPLICE, NGINX, NGINX_UDP,
    OCTET, QUICK, RSYSLOG, RSYSLOG_UDP, Relay, SLACKWATER, SLACKWATER_UDP, SLEEP, SOCAT, SOCAT_UDP,
    SYSLOG_NG, TOKIO, TWO_CORES, WRITTEN,
};

/// A load on one relay after the other.
pub struct Case {
    pub name: &'static str,
    pub relays: &'static [Relay],
    pub connections: u32,
    /// Bytes of each message.
    pub size: usize,
    pub style: Style,
    /// What each sender may hold in the kernel ([`slackwater::load::SendPlan::send_buffer`]).
    pub send_buffer: Option<usize>,
    /// What goes through before the measurement begins.
    pub warm_up: Duration,
    /// Whether it is waited for that the kernel has memory for TCP again, which the start of the senders used up.
    pub settles: bool,
}

/// Buffers have grown, windows are open.
const WARM: Duration = Duration::from_millis(700);
/// Until the windows of 64 senders that write one message at a time are full, none of them waits, and the relay hardly runs.
const WINDOWS_FULL: Duration = Duration::from_secs(2);

/// What a sender that stands for one on another host may hold in the kernel, which makes 128 KiB of it (socket(7), SO_SNDBUF).
const HELD_BACK: usize = 64 * 1024;

/// What most cases have in common: messages of 256 B as fast as they are taken.
const FLOOD: Case = Case {
    name: "",
    relays: &[],
    connections: 16,
    size: 256,
    style: Style::Bulk,
    send_buffer: None,
    warm_up: WARM,
    settles: false,
};

impl Case {
    /// How the sink's messages are told apart.
    pub fn framing_out(&self, relay: Relay) -> Framing {
        if relay == OCTET { Framing::Octet } else { Framing::Line }
    }
}

pub const BULK: &str = "bulk, 256 B, 16 connections";
pub const BULK_1K: &str = "bulk, 1 KiB, 16 connections";
pub const BULK_BOUNDED: &str = "bulk, 256 B, 16 connections of 128 KiB each";
pub const CROWD: &str = "bulk, 256 B, 1,000 connections";
pub const CROWD_SETTLED: &str = "bulk, 256 B, 1,000 connections, settled";
pub const CROWD_BOUNDED: &str = "bulk, 256 B, 1,000 connections of 128 KiB each";
pub const PACED: &str = "paced 50,000/s, 256 B, 16 connections";
pub const FEW: &str = "paced 2,000/s, 256 B, 4 connections";
pub const SINGLE: &str = "one message a write, 256 B, 64 connections";
pub const UDP: &str = "datagrams, 256 B, 20,000/s";
pub const UDP_FLOOD: &str = "datagrams, 256 B, as fast as they are sent";
pub const IDLE: &str = "9,000 idle connections";

pub const CASES: &[Case] = &[
    Case {
        name: BULK,
        relays: &[
            SLACKWATER,
            BYTE_PIPE,
            BYTE_PIPE_IN_TURN,
            TOKIO,
            HAPROXY,
            HAPROXY_SPLICE,
            NGINX,
            SOCAT,
            RSYSLOG,
            SYSLOG_NG,
            CARBON,
            OCTET,
            WRITTEN,
            TWO_CORES,
        ],
        ..FLOOD
    },
    Case {
        name: BULK_1K,
        relays: &[SLACKWATER, BYTE_PIPE, BYTE_PIPE_IN_TURN, TOKIO, HAPROXY, NGINX, RSYSLOG, SYSLOG_NG],
        size: 1024,
        ..FLOOD
    },
    // As senders on hosts of their own: what these hold back does not pass through the relay's caches. Of the bulk above, up to 4 MiB of
    // each wait in the kernel, and who reads the same few senders again and again reads what is still near.
    Case {
        name: BULK_BOUNDED,
        relays: &[SLACKWATER, BYTE_PIPE, BYTE_PIPE_IN_TURN, TOKIO, HAPROXY, NGINX],
        send_buffer: Some(HELD_BACK),
        ..FLOOD
    },
    Case {
        name: CROWD,
        relays: &[SLACKWATER, BYTE_PIPE, TOKIO, HAPROXY, NGINX, FOUR_LINKS],
        connections: 1000,
        ..FLOOD
    },
    // The same, later: with what a thousand senders on one host have yet to send, the kernel's memory for TCP is short, and then it drops
    // what comes for whoever has more than a fair share of it (`__sk_mem_raise_allocated` in net/core/sock.c), until less is unsent.
    // With nginx it stays short (90 s were waited for), yet its rate does not suffer; the case above has it.
    Case {
        name: CROWD_SETTLED,
        relays: &[SLACKWATER, BYTE_PIPE, TOKIO, HAPROXY],
        connections: 1000,
        settles: true,
        ..FLOOD
    },
    // As senders on hosts of their own: there, what they hold takes nothing from the memory of the relay's kernel.
    Case {
        name: CROWD_BOUNDED,
        relays: &[SLACKWATER, BYTE_PIPE, TOKIO, HAPROXY, NGINX],
        connections: 1000,
        send_buffer: Some(HELD_BACK),
        ..FLOOD
    },
    Case {
        name: PACED,
        relays: &[
            SLACKWATER,
            BYTE_PIPE,
            TOKIO,
            HAPROXY,
            HAPROXY_SPLICE,
            NGINX,
            SOCAT,
            RSYSLOG,
            SYSLOG_NG,
            CARBON,
            GATHER,
        ],
        style: Style::Paced { per_second: 50_000 },
        ..FLOOD
    },
    // What a message costs that comes alone: most of it is to be woken.
    Case {
        name: FEW,
        relays: &[SLACKWATER, WRITTEN, TOKIO, HAPROXY, NGINX],
        connections: 4,
        style: Style::Paced { per_second: 2000 },
        ..FLOOD
    },
    Case {
        name: SINGLE,
        relays: &[SLACKWATER, BYTE_PIPE, BYTE_PIPE_IN_TURN, TOKIO, HAPROXY, NGINX],
        connections: 64,
        style: Style::Single,
        warm_up: WINDOWS_FULL,
        ..FLOOD
    },
    Case {
        name: UDP,
        relays: &[SLACKWATER_UDP, SOCAT_UDP, NGINX_UDP, RSYSLOG_UDP],
        connections: 4,
        style: Style::Paced { per_second: 20_000 },
        ..FLOOD
    },
    Case {
        name: UDP_FLOOD,
        relays: &[SLACKWATER_UDP, SOCAT_UDP, NGINX_UDP, RSYSLOG_UDP],
        connections: 4,
        ..FLOOD
    },
    // Its messages are what shows that the relay still works.
    Case {
        name: IDLE,
        relays: &[SLACKWATER],
        connections: 9000,
        style: Style::Paced { per_second: 9000 },
        ..FLOOD
    },
];

/// A stop in the midst of a load.
pub struct Stop {
    pub name: &'static str,
    pub relays: &'static [Relay],
    pub under: Under,
}

/// What goes on when the signal comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Under {
    /// 16 connections, silent.
    Idle,
    /// 16 connections, 50,000 messages a second.
    Paced,
    /// 16 connections, as fast as they are read, which stop for nothing but a reset.
    Flood,
}

pub const STOP_IDLE: &str = "TERM, idle with 16 connections";
pub const STOP_PACED: &str = "TERM, paced 50,000/s";
pub const STOP_FLOOD: &str = "TERM, flooded";

// Without socat: it has a process for each connection, and a signal to the first ends none of these.
pub const STOPS: &[Stop] = &[
    Stop {
        name: STOP_IDLE,
        relays: &[SLEEP, SLACKWATER, TOKIO, HAPROXY, NGINX, RSYSLOG, SYSLOG_NG, CARBON],
        under: Under::Idle,
    },
    Stop {
        name: STOP_PACED,
        relays: &[SLACKWATER, TOKIO, HAPROXY, NGINX, RSYSLOG, SYSLOG_NG, CARBON],
        under: Under::Paced,
    },
    Stop {
        name: STOP_FLOOD,
        relays: &[SLACKWATER, QUICK, TOKIO, HAPROXY, NGINX, RSYSLOG, SYSLOG_NG, CARBON],
        under: Under::Flood,
    },
];
