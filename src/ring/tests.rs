//! The ring against the real kernel, over socket pairs and loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::*;
use crate::limits::BUFFERS_OFFERED_MAX;

const HANG: Duration = Duration::from_secs(10);
const PLAIN: Support = Support { deferred: false, multishot: false, bundles: false, gathers: false };

fn ring(support: Support) -> Ring<u8> {
    Ring::new(support, 8 * BUFFER_SIZE).expect("a ring")
}

fn detected() -> Support {
    Support::detect().expect("io_uring works on the machine that runs the tests")
}

/// Parks and reaps until `enough`, or a hang.
fn reap_until(ring: &mut Ring<u8>, enough: impl Fn(&[Completion<u8>]) -> bool) -> Vec<Completion<u8>> {
    let (mut completions, deadline) = (Vec::new(), Instant::now() + HANG);
    while !enough(&completions) {
        assert!(Instant::now() < deadline, "hangs with {} completions", completions.len());
        ring.park(Some(Duration::from_millis(100)), Duration::ZERO, 0).unwrap();
        ring.reap(&mut completions);
    }
    completions
}

fn received(completions: &[Completion<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for completion in completions {
        if let Event::Received(lease) = &completion.event {
            bytes.extend_from_slice(lease.as_ref());
        }
    }
    bytes
}

#[test]
fn a_multishot_receive_stays_armed_until_the_end_of_the_stream() {
    let mut ring = ring(detected());
    let (mut sender, receiver) = UnixStream::pair().unwrap();
    ring.offer(4 * BUFFER_SIZE);
    ring.receive(1, &Rc::new(receiver.into()));
    sender.write_all(b"one ").unwrap();
    let first = reap_until(&mut ring, |all| !all.is_empty());
    assert_eq!((received(&first).as_slice(), first[0].last), (&b"one "[..], false));
    sender.write_all(b"two").unwrap();
    drop(sender);
    let rest = reap_until(&mut ring, |all| all.iter().any(|one| one.last));
    assert_eq!(received(&rest), b"two");
    assert!(matches!(rest.last().unwrap().event, Event::EndOfStream));
    assert_eq!(ring.in_flight(), 0);
}

/// Both ends of a TCP connection over loopback, the receiving one with room for `bytes`.
fn tcp_pair(bytes: usize) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener).set_recv_buffer_size(bytes).unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (sender, listener.accept().unwrap().0)
}

/// Bytes of which no two near each other are followed by the same ones.
fn pattern(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

/// What a receiver that is ready gets in one park, and by how many completions of the kernel.
fn received_at_once(ring: &mut Ring<u8>, sent: &[u8]) -> (Vec<Completion<u8>>, usize) {
    let (mut sender, receiver) = tcp_pair(2 * sent.len());
    sender.write_all(sent).unwrap();
    let (mut there, deadline) = (vec![0; sent.len()], Instant::now() + HANG);
    while receiver.peek(&mut there).unwrap() < sent.len() {
        assert!(Instant::now() < deadline, "loopback is stuck");
    }
    ring.receive(1, &Rc::new(receiver.into()));
    ring.park(Some(HANG), Duration::ZERO, 0).unwrap();
    let entries = ring.uring.completion().len();
    let mut completions = Vec::new();
    ring.reap(&mut completions);
    (completions, entries)
}

#[test]
fn one_completion_brings_several_buffers_in_their_order() {
    let mut ring = ring(detected());
    let sent = pattern(2 * BUFFER_SIZE + BUFFER_SIZE / 2);
    // The ring's entries are used in turns: from each of them on.
    for _ in 0..BUFFERS_OFFERED_MAX {
        ring.offer(3 * BUFFER_SIZE);
        let (completions, entries) = received_at_once(&mut ring, &sent);
        assert!(received(&completions) == sent, "they are mixed up");
        assert!(!detected().bundles || entries < completions.len(), "{entries} entries");
        assert_eq!(ring.offered_bytes(), 0);
    }
}

#[test]
fn a_buffer_that_the_kernel_shortened_is_as_long_as_it_says() {
    let mut ring = ring(detected());
    let sent = pattern(2 * BUFFER_SIZE);
    ring.offer(3 * BUFFER_SIZE);
    ring.pool.shorten_first(1000);
    let (completions, _) = received_at_once(&mut ring, &sent);
    assert!(received(&completions) == sent, "they are mixed up");
    assert_eq!(ring.offered_bytes(), 0);
}

#[test]
fn a_stream_is_received_as_it_was_sent_however_it_is_cut() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..40 {
        let (mut sender, receiver) = tcp_pair(random.usize(4096..4 * BUFFER_SIZE));
        let receiver = Rc::new(OwnedFd::from(receiver));
        let sent = pattern(random.usize(1..40 * BUFFER_SIZE));
        let writes = random.usize(1..3 * BUFFER_SIZE);
        let (mut got, mut ring) = (Vec::new(), ring(detected()));
        std::thread::scope(|scope| {
            let sent = &sent;
            scope.spawn(move || {
                sent.chunks(writes).for_each(|part| sender.write_all(part).unwrap());
                drop(sender);
            });
            let mut over = false;
            while !over {
                ring.offer(random.usize(1..9) * BUFFER_SIZE);
                ring.receive(1, &receiver);
                let part = reap_until(&mut ring, |all| all.iter().any(|one| one.last));
                got.extend(received(&part));
                over = matches!(part.last().unwrap().event, Event::EndOfStream);
            }
        });
        assert!(got == sent, "round {round}: {} bytes of {} that were sent", got.len(), sent.len());
    }
}

#[test]
fn a_plain_receive_ends_with_each_completion() {
    let mut ring = ring(PLAIN);
    let (mut sender, receiver) = UnixStream::pair().unwrap();
    ring.offer(4 * BUFFER_SIZE);
    ring.receive(1, &Rc::new(receiver.into()));
    sender.write_all(b"one").unwrap();
    let first = reap_until(&mut ring, |all| !all.is_empty());
    assert_eq!((received(&first).as_slice(), first[0].last), (&b"one"[..], true));
}

#[test]
fn without_a_buffer_on_offer_a_receive_says_so_and_loses_nothing() {
    let mut ring = ring(detected());
    let (mut sender, receiver) = UnixStream::pair().unwrap();
    let receiver = Rc::new(OwnedFd::from(receiver));
    ring.receive(1, &receiver);
    sender.write_all(b"kept").unwrap();
    let dry = reap_until(&mut ring, |all| !all.is_empty());
    assert!(matches!(dry[0].event, Event::ReceiveFailed(Errno::ENOBUFS)) && dry[0].last);
    ring.offer(BUFFER_SIZE);
    ring.receive(1, &receiver);
    assert_eq!(received(&reap_until(&mut ring, |all| !all.is_empty())), b"kept");
}

#[test]
fn a_lease_returns_its_buffer_on_drop_from_any_thread() {
    let mut ring = ring(detected());
    ring.offer(usize::MAX);
    assert_eq!(ring.offered_bytes(), 8.min(BUFFERS_OFFERED_MAX) * BUFFER_SIZE);
    assert!(ring.take_buffer().is_none(), "the kernel has them all");
    let (mut sender, receiver) = UnixStream::pair().unwrap();
    ring.receive(1, &Rc::new(receiver.into()));
    sender.write_all(b"x").unwrap();
    let completions = reap_until(&mut ring, |all| !all.is_empty());
    assert!(ring.take_buffer().is_none(), "leased");
    let leases: Vec<Bytes> = completions.into_iter().map(|one| one.event.into_bytes()).collect();
    std::thread::spawn(move || drop(leases)).join().unwrap();
    assert!(ring.take_buffer().is_some());
}

#[test]
fn free_buffers_keep_their_memory_only_as_far_as_they_are_told_to() {
    let mut ring = ring(detected());
    let used: Vec<_> = std::iter::from_fn(|| ring.take_buffer())
        .map(|mut buffer| {
            buffer.as_mut_slice().fill(7);
            buffer
        })
        .collect();
    assert_eq!(used.len(), 8);
    drop(used);
    ring.offer(0);
    ring.keep(2 * BUFFER_SIZE);
    let mut kept: Vec<_> = std::iter::from_fn(|| ring.take_buffer()).collect();
    let firsts: Vec<u8> = kept.iter_mut().map(|buffer| buffer.as_mut_slice()[0]).collect();
    assert_eq!(firsts, [7, 7, 0, 0, 0, 0, 0, 0], "those that were used last first");
}

/// What one park gathers that begins with a bell that rings already, or without one, and meets a timer.
fn gathered(rings: bool, timeout: Option<Duration>, gather: Duration, timer_after: Duration) -> usize {
    let mut ring = ring(detected());
    let bell = EventFd::new().unwrap();
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty()).unwrap();
    timer.set(Expiration::OneShot(timer_after.into()), TimerSetTimeFlags::empty()).unwrap();
    for fd in [bell.as_fd(), timer.as_fd()] {
        ring.wake(1, &Rc::new(fd.try_clone_to_owned().unwrap()));
    }
    if rings {
        bell.write(1).unwrap();
    }
    ring.park(timeout, gather, 0).unwrap();
    let mut completions = Vec::new();
    ring.reap(&mut completions);
    completions.len()
}

#[test]
fn a_park_that_gathers_waits_for_more_than_the_first_completion() {
    let (gather, timer) = (Duration::from_millis(300), Duration::from_millis(100));
    if detected().gathers {
        assert_eq!(gathered(true, None, gather, timer), 2);
        let shorter = Duration::from_millis(1);
        assert_eq!(gathered(true, Some(shorter), gather, timer), 2, "beyond a shorter timeout");
    }
    assert_eq!(gathered(true, None, Duration::ZERO, timer), 1);
}

#[test]
fn a_park_that_gathers_sleeps_on_while_nothing_comes() {
    assert_eq!(gathered(false, None, Duration::from_millis(1), Duration::from_millis(50)), 1);
}

#[test]
fn a_park_that_gathers_ends_with_as_many_completions_as_there_are_buffers() {
    let mut ring = ring(detected());
    for _ in 0..BUFFERS_OFFERED_MAX {
        ring.wake(1, &Rc::new(EventFd::from_value(1).unwrap().into()));
    }
    let began = Instant::now();
    ring.park(None, 2 * HANG, 0).unwrap();
    let mut completions = Vec::new();
    ring.reap(&mut completions);
    assert_eq!((completions.len(), began.elapsed() < HANG), (BUFFERS_OFFERED_MAX, true));
}

#[test]
fn a_send_that_nobody_waits_for_does_not_end_a_park() {
    for support in [PLAIN, detected()] {
        let mut ring = ring(support);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let ours = Rc::new(OwnedFd::from(ours));
        let mut park_after_a_send = |bell: Option<EventFd>, timeout| {
            let mut gather = Gather::default();
            gather.push(Bytes::from_static(b"a"));
            ring.send(1, &ours, gather);
            if let Some(bell) = bell {
                ring.wake(2, &Rc::new(bell.into()));
            }
            let (mut completions, begun) = (Vec::new(), Instant::now());
            ring.park(Some(timeout), Duration::ZERO, 1).unwrap();
            ring.reap(&mut completions);
            (completions.len(), begun.elapsed() >= timeout)
        };
        assert_eq!(park_after_a_send(None, Duration::from_millis(20)), (1, true));
        let rings = EventFd::from_value(1).unwrap();
        assert_eq!(park_after_a_send(Some(rings), HANG), (2, false));
    }
}

impl Event {
    fn into_bytes(self) -> Bytes {
        match self {
            Event::Received(lease) => Bytes::from_owner(lease),
            _ => Bytes::new(),
        }
    }
}

#[test]
fn accept_connect_and_a_gathered_send_move_bytes_over_loopback() {
    let mut ring = ring(detected());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    ring.accept(1, &Rc::new(listener.into()));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let socket = Rc::new(OwnedFd::from(socket));
    ring.connect(2, &socket, address.into());
    let opened = reap_until(&mut ring, |all| all.len() == 2);
    let mut peer = opened.into_iter().find_map(|one| match one.event {
        Event::Accepted(Ok(fd)) => Some(TcpStream::from(Rc::into_inner(fd).expect("nobody else has it"))),
        _ => None,
    });
    let mut gather = Gather::default();
    gather.push(Bytes::from_static(b"hello "));
    gather.push(Bytes::from(vec![b'x'; 5]));
    ring.send(2, &socket, gather);
    let sent = reap_until(&mut ring, |all| !all.is_empty());
    assert!(matches!(&sent[0].event, Event::Sent(Ok(11), gather) if gather.pieces() == 2));
    let mut got = [0; 11];
    peer.as_mut().unwrap().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello xxxxx");
}

#[test]
fn one_send_is_cut_into_datagrams_where_they_end() {
    let mut ring = ring(detected());
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(HANG)).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(peer.local_addr().unwrap()).unwrap();
    let mut group = Gather::default();
    group.push_datagram(Bytes::from_static(b"on"), Bytes::from_static(b"e"));
    group.push_datagram(Bytes::new(), Bytes::from_static(b"two"));
    group.push_datagram(Bytes::new(), Bytes::from_static(b"3"));
    let mut single = Gather::default();
    single.push_datagram(Bytes::new(), Bytes::from_static(b"single"));
    ring.send_datagrams(1, &Rc::new(sender.into()), vec![group, single]);
    let sent = reap_until(&mut ring, |all| all.len() == 2);
    assert!(matches!(&sent[0].event, Event::Sent(Ok(7), gather) if gather.datagrams() == 3));
    let mut datagram = [0; 99];
    let received = [(); 4].map(|()| {
        let bytes = peer.recv(&mut datagram).unwrap();
        String::from_utf8_lossy(&datagram[..bytes]).into_owned()
    });
    assert_eq!(received, ["one", "two", "3", "single"]);
}

#[test]
fn a_cancelled_operation_still_completes_and_frees_its_slot() {
    let mut ring = ring(detected());
    let (_sender, receiver) = UnixStream::pair().unwrap();
    ring.offer(BUFFER_SIZE);
    let token = ring.receive(1, &Rc::new(receiver.into()));
    ring.cancel(1, token);
    let over = reap_until(&mut ring, |all| all.len() == 2);
    assert!(over.iter().any(|one| matches!(one.event, Event::ReceiveFailed(Errno::ECANCELED)) && one.last));
    assert!(over.iter().any(|one| matches!(one.event, Event::Canceled)));
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn more_operations_than_the_submission_queue_holds_are_all_submitted() {
    let mut ring = ring(detected());
    let pairs: Vec<_> = (0..1500).map(|_| UnixStream::pair().unwrap()).collect();
    let (senders, receivers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    for receiver in receivers {
        ring.watch(1, &Rc::new(receiver.into()));
    }
    assert_eq!(ring.in_flight(), 1500);
    drop(senders);
    let over = reap_until(&mut ring, |all| all.len() == 1500);
    assert!(over.iter().all(|one| matches!(one.event, Event::Watched(Ok(0)))));
}

#[test]
fn a_ring_dropped_with_operations_in_flight_takes_them_back_first() {
    let mut ring = ring(detected());
    let (sender, receiver) = UnixStream::pair().unwrap();
    let receiver = Rc::new(OwnedFd::from(receiver));
    ring.offer(2 * BUFFER_SIZE);
    ring.receive(1, &receiver);
    ring.watch(1, &receiver);
    ring.park(Some(Duration::from_millis(1)), Duration::ZERO, 0).unwrap();
    drop(ring);
    assert_eq!(Rc::strong_count(&receiver), 1, "no slot holds the socket any more");
    drop(sender);
}
