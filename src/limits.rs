//! Every bound that more than one file, or a user, meets, each with its reason. Sums that depend on each other are checked when compiled.
//!
//! Lives here: constants only. Never here: what a user may set (that is `config`, whose defaults are taken from here).

use std::time::Duration;

/// Longest message by default, in bytes of payload; what syslog receivers commonly take (rsyslog: 8 KiB, syslog-ng: 64 KiB).
pub const MAX_MESSAGE_DEFAULT: usize = 64 * 1024;
/// Longest message that may be configured, in bytes; and half of `max_in_flight` at most.
pub const MAX_MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// Most digits of an octet count. Nine reach 1 GB; a tenth is garbage or an attack, never a message.
pub const OCTET_COUNT_DIGITS: usize = 9;

/// Received and not yet settled bytes per core by default.
pub const MAX_IN_FLIGHT_DEFAULT: usize = 64 * 1024 * 1024;
/// Least that `max_in_flight` may be: a few dozen receive buffers, or nothing would flow.
pub const MAX_IN_FLIGHT_MIN: usize = 1024 * 1024;
/// Most that `max_in_flight` may be: beyond any core's memory, and far below where sums of it overflow.
pub const MAX_IN_FLIGHT_MAX: usize = 1 << 40;

/// Connections that one TCP source holds by default; more wait in the kernel's backlog.
pub const MAX_CONNECTIONS_DEFAULT: usize = 65_536;
/// Connections of one source that may be configured: descriptors that one process may open (`fs.nr_open`, proc(5)).
pub const MAX_CONNECTIONS_MAX: usize = 1 << 20;
/// Connections of one HTTP listener at most; more wait in the kernel's backlog. Many more than clients that wait for an answer at a
/// time, and few enough that what hyper holds for each of them, 64 KiB of a request's head at most, fits beside what is in flight.
pub const HTTP_CONNECTIONS_MAX: usize = 1024;
/// Least `receive_buffer` of a source in bytes; the kernel takes little less (SO_RCVBUF, socket(7)).
pub const RECEIVE_BUFFER_MIN: usize = 4 * 1024;
/// Largest `receive_buffer` of a source in bytes: the kernel doubles it, in an `int`.
pub const RECEIVE_BUFFER_MAX: usize = 512 * 1024 * 1024;
/// Links of one sink per reactor that may be configured.
pub const SINK_CONNECTIONS_MAX: usize = 64;

/// Endpoints of one sink: a hash has a link for each pair of them, on every core.
pub const SINK_ENDPOINTS_MAX: usize = 16;
/// Largest configuration file that is read, in bytes: what is larger is some other file.
pub const CONFIG_FILE_MAX: u64 = 1024 * 1024;
/// Least `idle_timeout`: a client that pauses between two messages is not idle.
pub const IDLE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// How long a start that is told to end may take to come up: it then drains and writes its books, like every other.
pub const START_GRACE: Duration = Duration::from_secs(1);
/// How long a drain may take by default; below systemd's stop timeout of 90 s and Kubernetes' 30 s.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(25);
/// How long a drain reads on from a sender that goes on sending.
pub const LINGER_DEFAULT: Duration = Duration::from_secs(5);
/// Longest that a drain or a linger may be set to: a day. More is a slip of the pen, and could overflow the clock.
pub const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest that messages may be made to wait for others: a tenth of a second is felt.
pub const GATHER_MAX: Duration = Duration::from_millis(100);
/// How long datagrams wait for others by default, where they come closer to each other than that.
pub const GATHER_DATAGRAMS: Duration = Duration::from_micros(150);
/// Datagrams of a turn, in the mean of the last ones, up to which others are waited for. Beyond it there is enough to do together, and
/// whoever sends so many would overrun what the kernel holds meanwhile (`net.core.rmem_default`, some 270 short ones).
pub const GATHER_DATAGRAMS_MAX: usize = 8;
/// Completions that end such a wait: with as many receives no buffer is left for another.
pub const GATHER_COMPLETIONS: usize = BUFFERS_OFFERED_MAX;

/// What stands for a wait without end where the kernel needs one.
pub const LONGEST_PARK: Duration = Duration::from_secs(24 * 60 * 60);

/// Cores that may be asked for, and above every core's number: what a `cpu_set_t` holds (sched_setaffinity(2)).
pub const CORES_MAX: usize = 1024;
/// Longest name that may be given to a source or a sink, in bytes: it stands in every log line about it.
pub const NAME_MAX: usize = 64;

const _: () = assert!(MAX_MESSAGE_DEFAULT <= MAX_MESSAGE_MAX);
const _: () = assert!(MAX_MESSAGE_DEFAULT <= MAX_IN_FLIGHT_MIN / 2);
const _: () =
    assert!(MAX_IN_FLIGHT_MIN <= MAX_IN_FLIGHT_DEFAULT && MAX_IN_FLIGHT_DEFAULT <= MAX_IN_FLIGHT_MAX);

/// One receive buffer, in bytes: a page more than the largest datagram, which is preceded by what the kernel tells of it. Large
/// reads are most of what makes bulk traffic cheap; a lone short message is copied out so that it does not hold one
/// (`COPY_BELOW`).
pub const BUFFER_SIZE: usize = DATAGRAM_MAX + 4 * 1024;
/// Longest datagram that is received whole, in bytes; UDP carries a little less (RFC 768).
pub const DATAGRAM_MAX: usize = 64 * 1024;
/// Most buffers that the kernel may hold for receives at once; the entries of the buffer ring, a power of two. What is received in one
/// turn is looked at, sent and confirmed while it is still in the processor's caches: twice as many cost an eighth more over 16
/// connections, and no less over a thousand. Half as many were dearer over a thousand, most of which find none and are armed again.
pub const BUFFERS_OFFERED_MAX: usize = 32;
/// Most buffers of one ring: the kernel's bound on buffer ids (io_uring_register_buf_ring(3)).
pub const BUFFERS_MAX: usize = 32_768 - 1;
/// Buffers that one link may take before another that waits for some has its turn.
pub const BUFFERS_A_TURN: usize = 4;
/// Buffers that a socket for datagrams may take before another link that waits for some has its turn: one for each, however short.
pub const DATAGRAMS_A_TURN: usize = 64;
/// Part of `max_in_flight` that is kept for reading what is thrown away then, where a source drops what it has no room for; an
/// eighth, and at least a few buffers.
pub const DROP_RESERVE_MIN: usize = 7 * BUFFER_SIZE;
/// Free buffers that keep their memory however much is in flight: those that a reactor which is always full uses again and again.
pub const BUFFERS_KEPT: usize = 32;
/// What is received in fewer bytes is copied, and its buffer returned at once: an eighth of a buffer bounds the memory that
/// short messages can pin to eight times their size.
pub const COPY_BELOW: usize = BUFFER_SIZE / 8;
/// Short receives are copied into blocks of this size, in bytes.
pub const COPY_BLOCK: usize = 64 * 1024;
/// What a run of messages that waits for its sink takes beside its own bytes: its place in a queue that doubles when it is full,
/// and what tells how many still refer to those bytes.
pub const RUN_OVERHEAD: usize = 512;

/// Submission queue entries; more operations at once are submitted in several calls.
pub const SUBMISSION_ENTRIES: u32 = 1024;
/// Completion queue entries: every buffer on offer, one end for each of some thousand links, and room. More than that the
/// kernel keeps and hands over later (IORING_FEAT_NODROP).
pub const COMPLETION_ENTRIES: u32 = 8192;
/// Most pieces of one gathered send (UIO_MAXIOV, writev(2)).
pub const GATHER_PIECES: usize = 1024;
/// Most bytes of one gathered send: more than a socket takes at once only makes the kernel walk it twice.
pub const GATHER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that wait for a sink link, beyond which senders wait as long as it takes what it is sent: more would only take
/// memory, and leave the processor's caches before it is sent.
pub const UNSENT_HIGH_WATER: usize = 512 * 1024;
/// Round trip up to which a sink is near, on this host or in the same network.
pub const NEAR_ROUND_TRIP: Duration = Duration::from_micros(500);
/// What our kernel may hold of what is sent to a sink that is near, in bytes (`SO_SNDBUF`, of which it makes twice as much): with a round
/// trip of [`NEAR_ROUND_TRIP`] that is at least half a gigabyte a second. What is not confirmed is kept here as well, so more, up to 4 MiB
/// (`tcp_wmem`), takes both out of the processor's caches.
pub const SEND_BUFFER_NEAR: usize = 256 * 1024;
/// What a sender over TCP may have under way from the start, in bytes: more than one turn takes ([`BUFFERS_OFFERED_MAX`]), so that those
/// which flood have the same of each turn, and no more than every kernel gives (half of the 6 MiB of `tcp_rmem`).
pub const RECEIVE_WINDOW: usize = 3 * 1024 * 1024;
/// Connections of a reactor beyond which each that comes may leave less unread.
pub const CROWD: usize = 64;
/// What our kernel may hold of what a connection in a crowd has sent, in bytes (`SO_RCVBUF`). It lets each grow to 6 MiB (`tcp_rmem`),
/// but a thousand together have no more than `tcp_mem`, beyond which it drops what comes, on the way to sinks too.
pub const RECEIVE_BUFFER_IN_CROWD: usize = 256 * 1024;
/// Connections of a reactor beyond which each that comes, and is near ([`NEAR_ROUND_TRIP`]), may have less under way: it is most likely on this host,
/// where what it has not sent yet comes out of the same `tcp_mem`, up to 4 MiB of each (`tcp_wmem`).
pub const NEIGHBOURS: usize = 16;
/// What our kernel may hold of what a connection beyond [`NEIGHBOURS`] has sent, in bytes (`SO_RCVBUF`): so much divided by the connections that
/// there were before it, 1 MiB of the first. The window that this leaves bounds what the sender's kernel lets it hold, too.
pub const RECEIVE_BUFFERS_OF_NEIGHBOURS: usize = 16 * 1024 * 1024;
/// What our kernel may hold at least of what a neighbour has sent, in bytes. With a round trip of [`NEAR_ROUND_TRIP`] it is still a hundred megabytes a second.
pub const RECEIVE_BUFFER_OF_NEIGHBOUR: usize = 64 * 1024;
/// The largest segment that those which connect are asked for, in bytes (`TCP_MAXSEG`, tcp(7)), once there are so many: our loopback's
/// have 64 KiB. A sender's kernel begins with room for twenty, or for twice as many as it once saw to be reordered (`tcp_sndbuf_expand`
/// in net/ipv4/tcp_input.c), each with what is kept beside it rounded up to a power of two: 2.6 MB by the loopback's, and 0.17 by these.
/// Of networks only jumbo frames, of 9,000 bytes, are bounded by it.
pub const SEGMENT_OF_NEIGHBOUR: u32 = 7 * 1024;
/// How long a sink link takes nothing before it counts as stalled, and `max_in_flight` is used to its end.
pub const STALL: Duration = Duration::from_secs(1);
/// Bytes read at once from a sink that answers; the answer is thrown away.
pub const ANSWER_BUFFER: usize = 512;
/// Reads at most that are made of a sink's answers before its connection is closed: together more than a receive buffer holds
/// (tcp_rmem, 6 MiB). A sink that answers without end must not keep the relay from its own.
pub const PARTING_READS: usize = 16 * 1024;
/// How long an ending ring waits for the kernel to give back its last operation before it leaks their buffers instead.
pub const RING_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

const _: () = assert!(PARTING_READS * ANSWER_BUFFER >= 6 * 1024 * 1024);
const _: () = assert!(BUFFERS_OFFERED_MAX.is_power_of_two());
const _: () = assert!(RECEIVE_WINDOW >= BUFFERS_OFFERED_MAX * BUFFER_SIZE);
const _: () = assert!(MAX_IN_FLIGHT_MIN / BUFFER_SIZE >= 8, "the kernel and a drain each need some buffers");
const _: () = assert!(COMPLETION_ENTRIES as usize >= 2 * BUFFERS_OFFERED_MAX);
const _: () = assert!(GATHER_PIECES <= 1024);
const _: () = assert!(DATAGRAMS_AT_ONCE <= SUBMISSION_ENTRIES as usize);

/// First wait before a sink link connects again; doubles, with full jitter.
pub const RECONNECT_MIN: Duration = Duration::from_millis(10);
/// Longest wait before a sink link connects again.
pub const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait before a sink link connects again while draining: a sink that comes back must be noticed well within the drain's own time.
pub const RECONNECT_MAX_DRAINING: Duration = Duration::from_millis(100);
/// Entries of the ring of a runtime that hosts services: their clients use epoll, so it has little to do.
pub const RUNTIME_ENTRIES: u32 = 64;
/// Messages that a queue is asked for, or sent, at once: enough to hide a round trip, few enough to hand back quickly.
pub const BATCH_DEFAULT: usize = 512;
/// Most messages that a queue may be asked for, or sent, at once: what a drain may have to hand back.
pub const BATCH_MAX: usize = 65_535;
/// Bytes of payload of a batch that is sent, at most, by default.
pub const BATCH_BYTES_DEFAULT: usize = 1 << 20;
/// Requests of one sink at the same time: each has a connection.
pub const CONCURRENCY_MAX: usize = 256;
/// How long another relay's messages are unacknowledged before they are claimed, by default.
pub const CLAIM_IDLE_DEFAULT: Duration = Duration::from_secs(30);
/// Least `claim_idle`: our own claim is renewed three times in it.
pub const CLAIM_IDLE_MIN: Duration = Duration::from_millis(100);
/// How long a request may take by default.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Least that a request's time may be set to.
pub const REQUEST_TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// What of a service's own Retry-After is heeded while draining: it may be longer than the drain's time.
pub const RETRY_AFTER_MAX_DRAINING: Duration = Duration::from_secs(1);
/// How long a service may take to say goodbye once everything is settled: the exit waits for that.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a queue may take, once time is up, to take back what is returned.
pub const RETURN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long one attempt to connect may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait before a look at what the peer's TCP has acknowledged while nobody waits for that: longer than acknowledgements that are put off
/// mostly take (40 ms, TCP_DELACK_MIN), so that one look mostly finds all.
pub const CONFIRM_WAIT_LAZY: Duration = Duration::from_millis(50);
/// Bytes that a sink link may keep unconfirmed without a look before [`CONFIRM_WAIT_LAZY`]: even of as many links as may go to one
/// endpoint, it is less than the least that may be in flight. It is less, too, than what our kernel gives a connection to send from (16 KiB, `tcp_wmem`).
pub const CONFIRM_LAZY_BYTES: usize = MAX_IN_FLIGHT_MIN / (2 * SINK_CONNECTIONS_MAX);
/// First wait before a look at what the peer's TCP has acknowledged where somebody waits for it, or more is kept, when nothing else wakes the loop; doubles.
pub const CONFIRM_WAIT_MIN: Duration = Duration::from_millis(1);
/// First wait before such a look ([`CONFIRM_WAIT_MIN`]) while draining: the exit waits for it.
pub const CONFIRM_WAIT_MIN_DRAINING: Duration = Duration::from_micros(50);
/// How long none of what a sink was sent is acknowledged, beyond a round trip, before FIN follows the last of it: longer than a sink
/// that reads takes to.
pub const FIN_AFTER: Duration = Duration::from_micros(500);
/// Wait before the next attempt at a send for which our kernel had no memory (ENOBUFS, ENOMEM).
pub const SEND_RETRY: Duration = Duration::from_millis(1);
/// Longest wait between two looks at what the peer's TCP has acknowledged.
pub const CONFIRM_WAIT_MAX: Duration = Duration::from_millis(10);
/// How long a link uses another endpoint at least before it tries a better one again: what comes and goes is not followed.
pub const RETURN_AFTER: Duration = Duration::from_secs(1);
/// How long a link that goes back to a better endpoint waits for what it sent to the other to be confirmed.
pub const RETURN_GRACE: Duration = Duration::from_secs(1);
/// Datagrams of one link that are handed to the kernel at once, in one chain: a failure sends those behind it again.
pub const DATAGRAMS_AT_ONCE: usize = 64;
/// Datagrams that one call of sendmsg(2) puts out (`UDP_MAX_SEGMENTS` in include/linux/udp.h; later kernels take 128).
pub const SEGMENTS_MAX: u32 = 64;
/// Bytes of the datagrams that one call puts out, at most: as if it were one datagram, an IPv4 packet without options (`ip_append_data` in net/ipv4/ip_output.c).
pub const SEGMENTED_BYTES_MAX: usize = 65_535 - 20 - 8;
/// How long a sink that sent FIN may take to acknowledge what was sent before that.
pub const PEER_CLOSE_GRACE: Duration = Duration::from_millis(200);
/// A sink connection that lasted so long counts as proven even if it delivered nothing: the next attempt is made at once.
pub const PROVEN_AFTER: Duration = Duration::from_secs(1);
/// TCP keep-alive on every connection: probes after this much silence, so that a dead peer does not hold a descriptor for ever.
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between two keep-alive probes.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// Connections that the kernel holds ready for us; the kernel caps it at net.core.somaxconn.
pub const BACKLOG: i32 = 4096;
/// How long a port that is taken is tried again at the start: a relay that was killed leaves its listeners to its rings, which
/// the kernel takes apart in the background (`io_ring_exit_work` in io_uring/io_uring.c), some 5 to 20 ms after its end.
pub const BIND_PATIENCE: Duration = Duration::from_secs(1);
/// Wait between two attempts at a port that is taken.
pub const BIND_RETRY: Duration = Duration::from_millis(2);
/// How often a paused listener looks whether a descriptor or a seat is free.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How often a paused listener looks while draining: the exit waits for the connections that are still to be accepted.
pub const ACCEPT_RETRY_DRAINING: Duration = Duration::from_millis(5);
/// Descriptors that are free before accepting goes on after the limit was reached, so that it does not pause again at once.
pub const DESCRIPTOR_RESERVE: u64 = 8;
/// Into how many looks `idle_timeout` is divided at most: links that fall silent one after another are looked at together.
pub const IDLE_LOOKS: u32 = 16;
/// What happens again and again (a listener pauses, clients are refused, datagrams are dropped or too large) is logged this often at most.
pub const NOTICE_EVERY: Duration = Duration::from_secs(60);
/// A sink that refuses messages again and again, or will have them later, is told of this often at most.
pub const REFUSED_LOG_EVERY: Duration = Duration::from_secs(10);
/// How long one side of a drain waits awake for the other: to fall asleep and be woken takes as long as most of what it waits for.
pub const SPIN_MAX: Duration = Duration::from_millis(1);
/// A link that has been silent for this long, and for two round trips, holds nothing that is under way.
pub const QUIET: Duration = Duration::from_millis(1);
/// How long a link is silent after FIN was sent to it before it holds nothing that is under way: its sender, and the kernel's own threads, must get a processor before its silence means
/// anything. Longer would make senders that heed no FIN and send at a moderate pace hold the drain for the whole linger.
pub const QUIET_AFTER_FIN: Duration = Duration::from_millis(50);
/// Least wait before the next look at a sender that a drain reads on from: longer than a turn takes, so that it is looked at by turns.
pub const LINGER_LOOK_MIN: Duration = Duration::from_millis(1);
/// How long a reactor may take to count what it abandons; past that the process ends without it, with the books as published.
pub const EXPIRE_GRACE: Duration = Duration::from_secs(10);

/// Threads of the load generator; beyond so many connections they share. More only adds switches between them.
pub const LOAD_THREADS_MAX: u32 = 64;
/// What the load generator hands to one bulk write, in bytes: large enough to hide the call, small enough to stay in the cache.
pub const LOAD_WRITE: usize = 64 * 1024;
/// What the counting sink reads at once, in bytes; a larger message makes its buffer grow.
pub const LOAD_READ: usize = 128 * 1024;
/// How long a load connection waits for its peer (to accept, to read, to acknowledge) before it is given up.
pub const LOAD_PATIENCE_DEFAULT: Duration = Duration::from_secs(30);
/// How long a load connection that was told to stop waits for its message in progress and for the last acknowledgement.
pub const LOAD_STOP_PATIENCE: Duration = Duration::from_secs(2);
