//! What is aimed at.
//!
//! Lives here: each target, and the rows that explain others. Never here: how a figure is measured, or shown.

use crate::cases::{
    BULK, BULK_1K, BULK_BOUNDED, CROWD, CROWD_BOUNDED, CROWD_SETTLED, IDLE, PACED, SINGLE, STOP_FLOOD,
    STOP_IDLE, STOP_PACED, UDP, UDP_FLOOD,
};
use crate::relays::{
    BYTE_PIPE, BYTE_PIPE_IN_TURN, GATHER, HAPROXY, NGINX, NGINX_UDP, OCTET, QUICK, RSYSLOG, RSYSLOG_UDP,
    Relay, SLACKWATER, SLACKWATER_UDP, SLEEP, SOCAT_UDP, SYSLOG_NG, TOKIO, TWO_CORES, WRITTEN,
};
use crate::results::{CPU, EXIT, P50, P99, RSS, Results};

/// Of ours, or of the byte pipe in its place.
type Value = fn(&Results, Relay) -> Option<f64>;

/// What a ratio or a figure may be at most.
pub struct Target {
    pub at_most: f64,
    pub what: &'static str,
    pub value: Value,
    /// Whether the byte pipe's says what the kernel alone takes of it.
    pub has_floor: bool,
    /// Whether it is one that the project set itself, and no row that explains another.
    pub counts: bool,
}

const fn at_most(at_most: f64, what: &'static str, value: Value) -> Target {
    Target { at_most, what, value, has_floor: false, counts: true }
}

impl Target {
    const fn beside_the_pipe(self) -> Target {
        Target { has_floor: true, ..self }
    }

    const fn explaining(self) -> Target {
        Target { counts: false, ..self }
    }
}

/// In the order in which they are shown.
pub const TARGETS: &[Target] = &[
    at_most(1.15, "bulk 256 B, CPU a message / byte pipe", |of, ours| of.between(BULK, CPU, ours, BYTE_PIPE)),
    at_most(1.15, "bulk 256 B, CPU a message / byte pipe in turn", |of, ours| {
        of.between(BULK, CPU, ours, BYTE_PIPE_IN_TURN)
    })
    .explaining(),
    at_most(1.15, "bulk 1 KiB, CPU a message / byte pipe", |of, ours| {
        of.between(BULK_1K, CPU, ours, BYTE_PIPE)
    }),
    at_most(1.15, "bulk 1 KiB, CPU a message / byte pipe in turn", |of, ours| {
        of.between(BULK_1K, CPU, ours, BYTE_PIPE_IN_TURN)
    })
    .explaining(),
    at_most(1.15, "bulk 256 B of 128 KiB each, CPU a message / byte pipe", |of, ours| {
        of.between(BULK_BOUNDED, CPU, ours, BYTE_PIPE)
    })
    .explaining(),
    at_most(0.62, "bulk 256 B, CPU a message / tokio", |of, ours| of.best_ratio(BULK, CPU, ours, &[TOKIO]))
        .beside_the_pipe(),
    at_most(0.62, "bulk 1 KiB, CPU a message / tokio", |of, ours| {
        of.best_ratio(BULK_1K, CPU, ours, &[TOKIO])
    })
    .beside_the_pipe(),
    at_most(0.85, "bulk 256 B, CPU a message / haproxy, nginx", |of, ours| {
        of.best_ratio(BULK, CPU, ours, &[HAPROXY, NGINX])
    })
    .beside_the_pipe(),
    at_most(0.85, "bulk 1 KiB, CPU a message / haproxy, nginx", |of, ours| {
        of.best_ratio(BULK_1K, CPU, ours, &[HAPROXY, NGINX])
    })
    .beside_the_pipe(),
    at_most(0.08, "bulk 256 B, CPU a message / rsyslog, syslog-ng", |of, ours| {
        of.best_ratio(BULK, CPU, ours, &[RSYSLOG, SYSLOG_NG])
    })
    .beside_the_pipe(),
    at_most(0.08, "bulk 1 KiB, CPU a message / rsyslog, syslog-ng", |of, ours| {
        of.best_ratio(BULK_1K, CPU, ours, &[RSYSLOG, SYSLOG_NG])
    })
    .beside_the_pipe(),
    at_most(1.6, "line to octet / line to line, CPU a message", |of, _| {
        of.between(BULK, CPU, OCTET, SLACKWATER)
    }),
    at_most(1.05, "paced, p50 / best of haproxy, nginx, tokio", |of, ours| {
        of.best_ratio(PACED, P50, ours, &[HAPROXY, NGINX, TOKIO])
    })
    .beside_the_pipe(),
    at_most(1.05, "paced, p99 / best of haproxy, nginx, tokio", |of, ours| {
        of.best_ratio(PACED, P99, ours, &[HAPROXY, NGINX, TOKIO])
    })
    .beside_the_pipe(),
    at_most(0.5, "paced with gather = 200us, CPU a message / haproxy", |of, _| {
        of.between(PACED, CPU, GATHER, HAPROXY)
    }),
    at_most(0.8, "one message a write, CPU a message / best of haproxy, nginx, tokio", |of, ours| {
        of.best_ratio(SINGLE, CPU, ours, &[HAPROXY, NGINX, TOKIO])
    })
    .beside_the_pipe(),
    at_most(1.03, "acked / written, CPU a message", |of, _| of.between(BULK, CPU, SLACKWATER, WRITTEN)),
    at_most(1.05, "two reactors / one, CPU a message", |of, _| of.between(BULK, CPU, TWO_CORES, SLACKWATER)),
    at_most(1.15, "1,000 connections / 16, CPU a message", |of, ours| {
        Some(of.median(CROWD, ours, CPU)? / of.median(BULK, ours, CPU)?)
    })
    .beside_the_pipe(),
    at_most(1.15, "1,000 connections, settled / 16, CPU a message", |of, ours| {
        Some(of.median(CROWD_SETTLED, ours, CPU)? / of.median(BULK, ours, CPU)?)
    })
    .beside_the_pipe()
    .explaining(),
    at_most(1.15, "1,000 connections of 128 KiB each / 16, CPU a message", |of, ours| {
        Some(of.median(CROWD_BOUNDED, ours, CPU)? / of.median(BULK, ours, CPU)?)
    })
    .beside_the_pipe()
    .explaining(),
    at_most(14.0, "peak RSS, bulk over 1,000 connections, MB", |of, _| of.median(CROWD, SLACKWATER, RSS)),
    at_most(24.0, "peak RSS, 9,000 idle connections, MB", |of, _| of.median(IDLE, SLACKWATER, RSS)),
    at_most(0.5, "datagrams 256 B, CPU each / best of socat, nginx, rsyslog", |of, _| {
        of.best_ratio(UDP, CPU, SLACKWATER_UDP, &[SOCAT_UDP, NGINX_UDP, RSYSLOG_UDP])
    }),
    at_most(0.5, "datagrams 256 B in full flow, CPU each / best of socat, nginx, rsyslog", |of, _| {
        of.best_ratio(UDP_FLOOD, CPU, SLACKWATER_UDP, &[SOCAT_UDP, NGINX_UDP, RSYSLOG_UDP])
    }),
    at_most(1.0, "TERM to exit, idle, beyond that of sleep, ms", |of, _| {
        Some(of.median(STOP_IDLE, SLACKWATER, EXIT)? - of.median(STOP_IDLE, SLEEP, EXIT)?)
    }),
    at_most(2.0, "TERM to exit, paced, ms", |of, _| of.median(STOP_PACED, SLACKWATER, EXIT)),
    at_most(25.0, "TERM to exit, flooded, receive_buffer 256 KiB, linger 0s, ms", |of, _| {
        of.median(STOP_FLOOD, QUICK, EXIT)
    }),
    at_most(0.0, "acknowledged messages lost at TERM, in all", |of, _| of.lost()),
];
