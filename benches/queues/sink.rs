//! Where the relay sends to: counts bytes, which costs next to nothing beside the relay.
//!
//! Lives here: one connection. Never here: what is in the bytes; that nothing is missing or comes twice is shown by the tests.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::spawn;
use std::time::{Duration, Instant};

use crate::support::HANG;

/// A listener.
pub struct Sink(TcpListener);

impl Sink {
    pub fn listen() -> io::Result<Sink> {
        Ok(Sink(TcpListener::bind(("127.0.0.1", 0))?))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }

    /// Reads so many bytes, calls `begins` at the first of them, and returns the time from then to the last. The connection stays
    /// open behind that, until the other side ends it.
    pub fn receive(self, bytes: usize, begins: impl FnOnce()) -> io::Result<Duration> {
        let (mut stream, _) = self.0.accept()?;
        stream.set_read_timeout(Some(HANG))?;
        let mut buffer = vec![0; 1 << 20];
        let mut got = read(&mut stream, &mut buffer)?;
        let begun = Instant::now();
        begins();
        while got < bytes {
            got += read(&mut stream, &mut buffer)?;
        }
        let span = begun.elapsed();
        drop(spawn(move || io::copy(&mut stream, &mut io::sink())));
        Ok(span)
    }
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        some => Ok(some),
    }
}
