//! A connection that a test drives by hand: numbered messages like those of the generator, and what was acknowledged of them.
//!
//! Lives here: writing, closing, asking the kernel. Never here: when to do it.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use slackwater::load::{End, SendReport, Sent, Stamp};
use slackwater::message::Framing;
use slackwater::socket::seal::reset_on_close;
use slackwater::socket::tcp_info::tcp_info;

/// Messages of one connection: which run and connection they name, how long they are, how they are framed.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    pub run: u32,
    pub connection: u32,
    pub size: usize,
    pub framing: Framing,
}

/// A connection, and how much of its series our kernel took.
#[derive(Debug)]
pub struct Sender {
    series: Series,
    stream: TcpStream,
    baseline: u64,
    written: u64,
}

impl Series {
    /// Message `sequence` on the wire.
    pub fn wire(&self, sequence: u64) -> Vec<u8> {
        let mut payload = vec![b'x'; self.size];
        Stamp { run: self.run, connection: self.connection, sequence }.write_into(&mut payload);
        if let Some(separator) = payload.get_mut(Stamp::LEN) {
            *separator = b' ';
        }
        match self.framing {
            Framing::Line => [&payload[..], b"\n"].concat(),
            Framing::Octet => [format!("{} ", self.size).as_bytes(), &payload].concat(),
            Framing::U32 => [&(self.size as u32).to_be_bytes()[..], &payload].concat(),
            Framing::Nul => [&payload[..], b"\0"].concat(),
            Framing::Datagram => payload,
        }
    }

    fn stride(&self) -> u64 {
        self.wire(0).len() as u64
    }
}

impl Sender {
    /// Connects, or gives up after `patience`.
    pub fn connect(to: SocketAddr, series: Series, patience: Duration) -> io::Result<Sender> {
        let stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_nodelay(true)?;
        let baseline = tcp_info(stream.as_fd())?.bytes_acked;
        Ok(Sender { series, stream, baseline, written: 0 })
    }

    /// Writes whole messages, waiting for room.
    pub fn write_messages(&mut self, count: u64) -> io::Result<()> {
        let first = self.written.div_ceil(self.series.stride());
        let bytes: Vec<u8> = (first..first + count).flat_map(|sequence| self.series.wire(sequence)).collect();
        self.write_all(&bytes)
    }

    /// Writes whole messages until our kernel takes no more, or that many. Waits only to finish the last one.
    pub fn fill(&mut self, at_most: u64) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let filled = self.write_until_full(at_most);
        self.stream.set_nonblocking(false)?;
        filled?;
        self.write_rest()
    }

    /// Writes the rest of a message that was begun, waiting for room.
    pub fn write_rest(&mut self) -> io::Result<()> {
        let whole = self.series.wire(self.written / self.series.stride());
        let begun = (self.written % self.series.stride()) as usize;
        if begun > 0 { self.write_all(&whole[begun..]) } else { Ok(()) }
    }

    fn write_until_full(&mut self, at_most: u64) -> io::Result<()> {
        for sequence in 0..at_most {
            let message = self.series.wire(sequence);
            match self.stream.write(&message) {
                Ok(bytes) => self.written += bytes as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if !self.written.is_multiple_of(self.series.stride()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes the first `bytes` of the next message.
    pub fn write_beginning(&mut self, bytes: usize) -> io::Result<()> {
        let message = self.series.wire(self.written / self.series.stride());
        self.write_all(&message[..bytes])
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.stream.write(rest)?;
            self.written += taken as u64;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Closes it cleanly, with whatever is still in our kernel; returns how many whole messages were written.
    pub fn close(self) -> u64 {
        self.written / self.series.stride()
    }

    /// Sends FIN, and keeps the descriptor so that [`Sender::sent`] can still ask.
    pub fn finish_writing(&self) {
        // It fails only when the peer has gone already, which `sent` shows.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes it with RST.
    pub fn reset(self) {
        reset_on_close(&self.stream).expect("a socket takes the option");
    }

    /// What the peer's TCP has acknowledged by now.
    pub fn sent(&self) -> Sent {
        let acked = tcp_info(self.stream.as_fd()).map_or(0, |info| info.bytes_acked - self.baseline);
        // Our FIN counts as one more.
        let acked_bytes = acked.min(self.written);
        Sent {
            connection: self.series.connection,
            written_messages: self.written / self.series.stride(),
            written_bytes: self.written,
            acked_messages: acked_bytes / self.series.stride(),
            acked_bytes,
            end: End::Reset,
        }
    }

    /// Whether every byte written was acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        self.sent().acked_bytes == self.written
    }
}

/// What all of them were promised; they share a run.
pub fn report<'a>(run: u32, senders: impl IntoIterator<Item = &'a Sender>) -> SendReport {
    let mut connections: Vec<Sent> = senders.into_iter().map(Sender::sent).collect();
    connections.sort_unstable_by_key(|sent| sent.connection);
    SendReport { run, micros: 0, connections }
}
