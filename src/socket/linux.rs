//! The kernel that the relay runs on: the ring, and plain system calls on its descriptors.
//!
//! Lives here: which call answers which question of [`Kernel`] and [`Socket`]. Never here: who asks, or why.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recv, recvmsg};
use socket2::{SockAddr, SockRef};

use super::address;
use super::descriptors::{has_descriptors, is_shortage};
use super::seal;
use super::tcp_info::{dropped_segments, tcp_info};
use super::window;
use crate::kernel::{
    Accepted, Address, CompletionOf, Datagram, Gather, Input, Kernel, Medium, Socket, Token, Waits,
};
use crate::limits::{ANSWER_BUFFER, PARTING_READS};
use crate::ring::{Lease, Ring, ring, trim_heap};

impl<O: Copy> Kernel for Ring<O> {
    type Owner = O;
    type Socket = Rc<OwnedFd>;
    type Lease = Lease;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn accept(&mut self, owner: O, listener: &Rc<OwnedFd>) -> Token {
        self.accept(owner, listener)
    }

    fn receive(&mut self, owner: O, socket: &Rc<OwnedFd>) -> Token {
        self.receive(owner, socket)
    }

    fn receive_datagrams(&mut self, owner: O, socket: &Rc<OwnedFd>) -> Token {
        self.receive_datagrams(owner, socket)
    }

    fn watch(&mut self, owner: O, socket: &Rc<OwnedFd>) -> Token {
        self.watch(owner, socket)
    }

    fn send(&mut self, owner: O, socket: &Rc<OwnedFd>, gather: Gather) -> Token {
        self.send(owner, socket, gather)
    }

    fn send_datagrams(&mut self, owner: O, socket: &Rc<OwnedFd>, datagrams: Vec<Gather>) -> Vec<Token> {
        self.send_datagrams(owner, socket, datagrams)
    }

    fn await_room(&mut self, owner: O, socket: &Rc<OwnedFd>) -> Token {
        self.await_room(owner, socket)
    }

    fn write(&mut self, owner: O, file: &Rc<OwnedFd>, gather: Gather, waits: Waits) -> Token {
        self.write(owner, file, gather, waits)
    }

    fn connect(&mut self, owner: O, socket: &Rc<OwnedFd>, to: &Address) -> Token {
        self.connect(owner, socket, sock_addr(to))
    }

    fn wake(&mut self, owner: O, bell: &Rc<OwnedFd>) -> Token {
        self.wake(owner, bell)
    }

    fn cancel(&mut self, owner: O, target: Token) {
        self.cancel(owner, target);
    }

    fn park(&mut self, timeout: Option<Duration>, gather: Duration, beside: usize) -> io::Result<()> {
        self.park(timeout, gather, beside)
    }

    fn completion_bell(&mut self) -> io::Result<OwnedFd> {
        self.completion_bell()
    }

    fn reap(&mut self, completions: &mut Vec<CompletionOf<Self>>) {
        self.reap(completions);
    }

    fn offered_bytes(&self) -> usize {
        self.offered_bytes()
    }

    fn offer(&mut self, bytes: usize) {
        self.offer(bytes);
    }

    fn leased_bytes(&self) -> usize {
        self.leased_bytes()
    }

    fn keep(&mut self, bytes: usize) {
        self.keep(bytes);
    }

    fn trim_heap(&mut self) {
        trim_heap();
    }

    fn receive_now(&mut self, socket: &Rc<OwnedFd>) -> Input<Lease> {
        let Some(mut blank) = self.take_buffer() else { return Input::NoBuffer };
        match recv(socket.as_raw_fd(), blank.as_mut_slice(), MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Input::End,
            Ok(bytes) => Input::Data(blank.filled(bytes)),
            Err(Errno::EAGAIN) => Input::Empty,
            Err(errno) => Input::Failed(errno),
        }
    }

    fn receive_datagram_now(&mut self, socket: &Rc<OwnedFd>) -> Input<Datagram<Lease>> {
        let Some(mut blank) = self.take_buffer() else { return Input::NoBuffer };
        let mut control = cmsg_space!(u32);
        let mut buffer = [IoSliceMut::new(blank.as_mut_slice())];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer, Some(&mut control), flags);
        match received.map(|message| Received::of(&message)) {
            Ok(received) => Input::Data(received.datagram(blank.filled(received.bytes))),
            Err(Errno::EAGAIN) => Input::Empty,
            Err(errno) => Input::Failed(errno),
        }
    }

    fn open(&mut self, to: &Address) -> io::Result<Rc<OwnedFd>> {
        address::sink_socket(to).map(Rc::new)
    }
}

fn sock_addr(address: &Address) -> SockAddr {
    match address {
        Address::Tcp(address) | Address::Udp(address) => (*address).into(),
        // Configuration lets no path pass that is too long for one.
        Address::Unix(path) | Address::Unixgram(path) => {
            SockAddr::unix(path).unwrap_or_else(|_| SockAddr::unix("").expect("no path is an address"))
        }
    }
}

/// What recvmsg(2) told beside the bytes.
struct Received {
    bytes: usize,
    cut: bool,
    from: Option<IpAddr>,
    dropped: Option<u32>,
}

impl Received {
    fn of(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Received {
        let name = message.address;
        let four = || name?.as_sockaddr_in().map(|name| IpAddr::from(name.ip()));
        let six = || name?.as_sockaddr_in6().map(|name| IpAddr::from(name.ip()));
        let dropped = message.cmsgs().ok().into_iter().flatten().find_map(|control| match control {
            ControlMessageOwned::RxqOvfl(count) => Some(count),
            _ => None,
        });
        let cut = message.flags.contains(MsgFlags::MSG_TRUNC);
        Received { bytes: message.bytes, cut, from: four().or_else(six), dropped }
    }

    fn datagram(&self, lease: Lease) -> Datagram<Lease> {
        let payload = 0..self.bytes;
        Datagram { lease, payload, cut: self.cut, from: self.from, dropped: self.dropped }
    }
}

/// 1 if one of the events is so now, an error or a hang-up, else 0 (poll(2)).
fn poll_now(socket: &Rc<OwnedFd>, events: PollFlags) -> nix::Result<libc::c_int> {
    poll(&mut [PollFd::new(socket.as_fd(), events)], PollTimeout::ZERO)
}

impl Socket for Rc<OwnedFd> {
    fn freeze(&self, medium: Medium) -> io::Result<()> {
        match medium {
            Medium::Tcp | Medium::Udp => seal::freeze(self),
            // What was sent is in our queue already; from here on the kernel refuses more (`unix_stream_connect`,
            // `unix_stream_sendmsg` and `unix_dgram_sendmsg` in net/unix/af_unix.c).
            Medium::Unix | Medium::Unixgram => SockRef::from(self).shutdown(Shutdown::Read),
        }
    }

    fn half_close(&self) {
        let _ = SockRef::from(self).shutdown(Shutdown::Write);
    }

    fn reset_on_close(&self) -> io::Result<()> {
        seal::reset_on_close(self)
    }

    fn say_goodbye(&self) {
        self.half_close();
        let mut answer = [0; ANSWER_BUFFER];
        for _ in 0..PARTING_READS {
            if !recv(self.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).is_ok_and(|bytes| bytes > 0) {
                break;
            }
        }
    }

    fn accept(&self) -> Accepted<Self> {
        // accept(2) makes the new socket before it looks whether somebody is there, and takes some 10 µs to find out that nobody is;
        // poll(2) says so in one or two (`inet_csk_listen_poll`, Zen 4). Where it cannot tell, accept(2) does.
        if poll_now(self, PollFlags::POLLIN) == Ok(0) {
            return Accepted::Nothing;
        }
        let socket = SockRef::from(self);
        match socket.set_nonblocking(true).and_then(|()| socket.accept()) {
            Ok((connection, _)) => Accepted::Connection(Rc::new(connection.into())),
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EAGAIN => Accepted::Nothing,
                Errno::ECONNABORTED | Errno::EINTR => self.accept(),
                errno if is_shortage(errno) => Accepted::NotNow,
                _ => Accepted::Nothing,
            },
        }
    }

    fn is_empty(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.as_raw_fd(), &mut [0; 1], flags) == Err(Errno::EAGAIN)
    }

    fn peer_has_finished(&self) -> bool {
        poll_now(self, PollFlags::from_bits_retain(libc::POLLRDHUP)).is_ok_and(|ready| ready > 0)
    }

    fn peer(&self) -> Option<IpAddr> {
        Some(SockRef::from(self).peer_addr().ok()?.as_socket()?.ip())
    }

    fn round_trip(&self) -> Duration {
        tcp_info(self.as_fd()).map_or(Duration::ZERO, |info| Duration::from_micros(info.rtt_micros.into()))
    }

    fn bound_send_buffer(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self).set_send_buffer_size(bytes)
    }

    fn bound_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self).set_recv_buffer_size(bytes)
    }

    fn bound_segments(&self, bytes: u32) -> io::Result<()> {
        SockRef::from(self).set_tcp_mss(bytes)
    }

    fn open_window(&self, bytes: usize) -> io::Result<()> {
        window::open(self, bytes)
    }

    fn acknowledged(&self) -> u64 {
        tcp_info(self.as_fd()).map_or(0, |info| info.bytes_acked)
    }

    fn unsent(&self) -> u64 {
        tcp_info(self.as_fd()).map_or(0, |info| info.notsent_bytes.into())
    }

    fn dropped(&self) -> u32 {
        dropped_segments(self.as_fd()).unwrap_or(0)
    }

    fn is_connected_to_itself(&self) -> bool {
        address::is_connected_to_itself(self)
    }

    fn leaves_descriptors(&self) -> bool {
        has_descriptors(self)
    }

    fn ring(&self) {
        ring(self);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use super::*;

    /// What nix's poll calls.
    #[cfg(target_arch = "x86_64")]
    const POLL: libc::c_long = libc::SYS_poll;
    #[cfg(not(target_arch = "x86_64"))]
    const POLL: libc::c_long = libc::SYS_ppoll;

    /// Leaves this thread without it, for as long as it lives; others keep it (seccomp(2)).
    fn refuse_poll() {
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let (rules, refused) =
            (BTreeMap::from([(POLL, Vec::new())]), SeccompAction::Errno(libc::ENOMEM as u32));
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    }

    #[test]
    fn who_waits_is_accepted_where_poll_cannot_tell() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let waits = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepts_without_poll = thread::spawn(move || {
            refuse_poll();
            let listener = Rc::new(OwnedFd::from(listener));
            assert_eq!(poll_now(&listener, PollFlags::POLLIN), Err(Errno::ENOMEM));
            let first = matches!(Socket::accept(&listener), Accepted::Connection(_));
            (first, matches!(Socket::accept(&listener), Accepted::Nothing))
        });
        assert_eq!(accepts_without_poll.join().unwrap(), (true, true));
        drop(waits);
    }
}
