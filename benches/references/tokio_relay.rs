//! A plain relay on tokio: lines of many connections onto one.
//!
//! One thread, as one of our reactors is. It counts the lines that it forwards, since a relay must know its messages; it has no
//! books, confirms nothing and drains nothing. Tuned: large reads into a buffer that is handed on without a copy, a bounded
//! queue, vectored writes of all that waits.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr_iter, memrchr};
use slackwater::limits::SEND_BUFFER_NEAR;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Room of one read: larger ones were not faster here.
const READ: usize = 64 * 1024;
/// Pieces that wait for the sink: bounds the memory, and lets writes grow with the load.
const QUEUE: usize = 64;
/// Pieces of one vectored write.
const GATHER: usize = 64;

/// Relays from `from` to `to` until the process is stopped.
///
/// Errors: as bind(2) and connect(2).
pub fn run(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    runtime::Builder::new_current_thread().enable_io().build()?.block_on(relay(from, to))
}

async fn relay(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(from).await?;
    let sink = TcpStream::connect(to).await?;
    SockRef::from(&sink).set_send_buffer_size(SEND_BUFFER_NEAR)?;
    let (queue, queued) = channel(QUEUE);
    tokio::spawn(write(sink, queued));
    loop {
        let (source, _) = listener.accept().await?;
        tokio::spawn(read(source, queue.clone()));
    }
}

async fn read(mut source: TcpStream, queue: Sender<Bytes>) -> io::Result<u64> {
    let (mut buffer, mut lines) = (BytesMut::new(), 0);
    loop {
        buffer.reserve(READ);
        if source.read_buf(&mut buffer).await? == 0 {
            return Ok(lines);
        }
        if let Some(last) = memrchr(b'\n', &buffer) {
            let whole = buffer.split_to(last + 1).freeze();
            lines += memchr_iter(b'\n', &whole).count() as u64;
            if queue.send(whole).await.is_err() {
                return Ok(lines);
            }
        }
    }
}

async fn write(mut sink: TcpStream, mut queued: Receiver<Bytes>) -> io::Result<()> {
    let mut pieces = Vec::with_capacity(GATHER);
    while queued.recv_many(&mut pieces, GATHER).await > 0 {
        let mut next = 0;
        while next < pieces.len() {
            let slices: Vec<_> = pieces[next..].iter().map(|piece| io::IoSlice::new(piece)).collect();
            let mut written = sink.write_vectored(&slices).await?;
            while next < pieces.len() && written >= pieces[next].len() {
                written -= pieces[next].len();
                next += 1;
            }
            if written > 0 {
                pieces[next].advance(written);
            }
        }
        pieces.clear();
    }
    Ok(())
}
