//! Every medium to every other, with messages of all sizes.

use std::fmt::Write as _;
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, RxqOvfl};

use super::*;
use crate::config::plan::{HostPort, Listen, Overflow, SocketFile};
use crate::framing::SourceFraming;
use crate::kernel::Medium;
use crate::limits::GATHER_DATAGRAMS;

const MEDIA: [Medium; 4] = [Medium::Tcp, Medium::Udp, Medium::Unix, Medium::Unixgram];
/// Few enough for every queue of the kernel: nobody reads before all are sent.
const MESSAGES: usize = 60;

/// Where a test sends to.
enum Entrance {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
    Unixgram(PathBuf),
}

fn socket_file(path: &Path) -> SocketFile {
    SocketFile { path: path.to_owned(), mode: None }
}

fn inlet(medium: Medium, folder: &Path) -> (SourceSetup<OwnedFd>, Entrance) {
    let path = folder.join("in");
    let any = HostPort { host: "127.0.0.1".to_owned(), port: 0 };
    let (listen, socket, entrance) = match medium {
        Medium::Tcp => {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let entrance = Entrance::Tcp(socket.local_addr().unwrap());
            (Listen::Tcp(any), OwnedFd::from(socket), entrance)
        }
        Medium::Udp => {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            setsockopt(&socket, RxqOvfl, &1).unwrap();
            let entrance = Entrance::Udp(socket.local_addr().unwrap());
            (Listen::Udp(any), socket.into(), entrance)
        }
        Medium::Unix => {
            let socket = UnixListener::bind(&path).unwrap();
            (Listen::Unix(socket_file(&path)), socket.into(), Entrance::Unix(path))
        }
        Medium::Unixgram => {
            let socket = UnixDatagram::bind(&path).unwrap();
            (Listen::Unixgram(socket_file(&path)), socket.into(), Entrance::Unixgram(path))
        }
    };
    let framing = SourceFraming::Always(Framing::Line);
    let source = Source { listen, framing, overflow: Overflow::Block, ..plan().0 };
    (
        SourceSetup { plan: source, seats: Arc::new(Seats::new(9, None)), sockets: vec![socket], http: None },
        entrance,
    )
}

impl Entrance {
    /// Sends every message, on one connection.
    fn send(&self, messages: &[String]) {
        match self {
            Entrance::Tcp(to) => {
                TcpStream::connect(to).unwrap().write_all(messages.concat().as_bytes()).unwrap();
            }
            Entrance::Unix(to) => {
                UnixStream::connect(to).unwrap().write_all(messages.concat().as_bytes()).unwrap();
            }
            Entrance::Udp(to) => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                for message in messages {
                    socket.send_to(message.as_bytes(), to).unwrap();
                }
            }
            Entrance::Unixgram(to) => {
                let socket = UnixDatagram::unbound().unwrap();
                for message in messages {
                    socket.send_to(message.as_bytes(), to).unwrap();
                }
            }
        }
    }
}

/// Where a test receives at.
enum Exit {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener),
    Unixgram(UnixDatagram),
}

impl Exit {
    fn open(medium: Medium, folder: &Path) -> (Exit, Address, Target) {
        let path = folder.join("out");
        match medium {
            Medium::Tcp => {
                let socket = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = Address::Tcp(socket.local_addr().unwrap());
                (Exit::Tcp(socket), address, Target::Tcp(Vec::new()))
            }
            Medium::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let address = Address::Udp(socket.local_addr().unwrap());
                (Exit::Udp(socket), address, Target::Udp(Vec::new()))
            }
            Medium::Unix => {
                let socket = UnixListener::bind(&path).unwrap();
                (Exit::Unix(socket), Address::Unix(path), Target::Unix(Vec::new()))
            }
            Medium::Unixgram => {
                let socket = UnixDatagram::bind(&path).unwrap();
                (Exit::Unixgram(socket), Address::Unixgram(path), Target::Unixgram(Vec::new()))
            }
        }
    }

    /// All that comes until the relay has gone; datagrams that are there by then, each as a line.
    fn receive(self, count: usize) -> String {
        let mut text = String::new();
        let mut datagram = vec![0; 100_000];
        match self {
            Exit::Tcp(listener) => drop(listener.accept().unwrap().0.read_to_string(&mut text).unwrap()),
            Exit::Unix(listener) => drop(listener.accept().unwrap().0.read_to_string(&mut text).unwrap()),
            Exit::Udp(socket) => (0..count).for_each(|_| {
                socket.set_read_timeout(Some(HANG)).unwrap();
                let bytes = socket.recv(&mut datagram).unwrap();
                writeln!(text, "{}", String::from_utf8_lossy(&datagram[..bytes])).unwrap();
            }),
            Exit::Unixgram(socket) => (0..count).for_each(|_| {
                socket.set_read_timeout(Some(HANG)).unwrap();
                let bytes = socket.recv(&mut datagram).unwrap();
                writeln!(text, "{}", String::from_utf8_lossy(&datagram[..bytes])).unwrap();
            }),
        }
        text
    }
}

fn relay(from: Medium, to: Medium, messages: &[String]) -> (Books, String) {
    let folder = tempfile::tempdir().unwrap();
    let (inlet, entrance) = inlet(from, folder.path());
    let (exit, address, target) = Exit::open(to, folder.path());
    let confirm = if to == Medium::Tcp { Confirm::Acked } else { Confirm::Written };
    let framing = Some(if to.is_datagrams() { Framing::Datagram } else { Framing::Line });
    let sink = Sink { target, confirm, framing, ..plan().1 };
    let endpoint = Endpoint { name: "out".to_owned(), addresses: vec![address] };
    let started = start(Support::detect().unwrap(), inlet, sink, vec![endpoint]);
    let count = messages.len();
    let received = std::thread::spawn(move || exit.receive(count));
    entrance.send(messages);
    let books = started.drain();
    (books, received.join().unwrap())
}

#[test]
fn from_every_medium_to_every_other_whole_and_in_order() {
    for (from, to) in MEDIA.iter().flat_map(|from| MEDIA.iter().map(move |to| (*from, *to))) {
        let messages: Vec<String> =
            (0..MESSAGES).map(|n| format!("message {n} {}\n", "x".repeat(n * n))).collect();
        let (books, received) = relay(from, to, &messages);
        let Totals { received: taken, delivered, torn, in_flight, .. } = books.totals;
        let all = MESSAGES as u64;
        assert_eq!((taken, delivered, torn, in_flight), (all, all, 0, 0), "{from:?} to {to:?}");
        let wrong =
            received.lines().zip(&messages).find(|(line, message)| line != &message.trim_end_matches('\n'));
        assert_eq!((wrong, received.lines().count()), (None, MESSAGES), "{from:?} to {to:?}");
    }
}

#[test]
fn the_largest_datagram_is_received_whole_and_sent_whole() {
    // The largest over IPv4 (RFC 768, RFC 791), with its line feed.
    let message = vec![format!("{}\n", "x".repeat(65_506))];
    for (from, to) in
        [(Medium::Udp, Medium::Tcp), (Medium::Unix, Medium::Udp), (Medium::Unixgram, Medium::Unixgram)]
    {
        let (books, received) = relay(from, to, &message);
        assert_eq!((books.totals.delivered, received == message[0]), (1, true), "{from:?} to {to:?}");
    }
}

#[test]
fn what_is_too_large_for_a_datagram_fails_and_holds_up_nothing() {
    let messages = ["small\n".to_owned(), format!("{}\n", "x".repeat(65_530)), "small too\n".to_owned()];
    let folder = tempfile::tempdir().unwrap();
    let (inlet, entrance) = inlet(Medium::Unix, folder.path());
    let (exit, address, target) = Exit::open(Medium::Udp, folder.path());
    let sink = Sink { target, confirm: Confirm::Written, framing: Some(Framing::Datagram), ..plan().1 };
    let endpoint = Endpoint { name: "out".to_owned(), addresses: vec![address] };
    let started = start(Support::detect().unwrap(), inlet, sink, vec![endpoint]);
    entrance.send(&messages);
    let books = started.drain();
    assert_eq!((books.totals.received, books.totals.delivered, books.totals.failed), (3, 2, 1));
    assert_eq!(exit.receive(2), "small\nsmall too\n");
}

#[test]
fn a_datagram_before_which_many_were_dropped_is_one_of_many() {
    let folder = tempfile::tempdir().unwrap();
    let (inlet, entrance) = inlet(Medium::Udp, folder.path());
    // The kernel grants its least (socket(7)), which is room for a few.
    setsockopt(&inlet.sockets[0], RcvBuf, &1).unwrap();
    let (mut reactor, _control) = reactor_of(inlet);
    reactor.replenish(Instant::now());
    let mut relay = |messages: usize| {
        entrance.send(&vec!["message\n".to_owned(); messages]);
        let all = reactor.ledger.totals().received + 1;
        while reactor.ledger.totals().received < all {
            reactor.turn().unwrap();
        }
        (reactor.ledger.totals().kernel_drops, reactor.gathering.next())
    };
    let none_known = relay(1000);
    let all_known = relay(1);
    assert_eq!(none_known, (0, GATHER_DATAGRAMS), "none came after those that were dropped");
    assert!(all_known.0 > 900 && all_known.1.is_zero(), "{all_known:?}");
}
