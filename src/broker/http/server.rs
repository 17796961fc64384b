//! The listener.
//!
//! ```text
//! serve: accept │ verdicts ──→ (a drain) refuse, settle the rest ──→ every answer has left ──→ connections end ──→ gone
//!                                           └─ (time is up) what is left is refused ─┘
//! ```
//! Lives here: connections from their first byte to the listener's end, and the drain. Never here: what a request is answered.

use std::convert::Infallible;
use std::io;
use std::net::{self, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, warn};

use super::exchange::{Desk, Stage};
use super::pending::Pending;
use super::stream::{Answers, Watched};
use super::{ALPN, Credentials};
use crate::broker::error::{Doing, Error};
use crate::broker::tls;
use crate::config::services::{HttpListen, Login};
use crate::endpoint::Feed;
use crate::limits::{
    ACCEPT_RETRY, GOODBYE_TIMEOUT, HTTP_CONNECTIONS_MAX, KEEPALIVE_AFTER, KEEPALIVE_EVERY, NOTICE_EVERY,
    RETURN_TIMEOUT,
};

/// Bytes of a request's head at most, about: several of the longest lines that common servers take (nginx, Apache: 8 KiB).
const HEAD_MAX: usize = 64 * 1024;
/// Turns of the runtime that an ending listener gives to what has arrived by then: to accept it, to receive it, to answer it.
const LAST_TURNS: usize = 8;

/// Takes messages in until a drain, and answers until everything is settled.
pub(in crate::broker) async fn run(
    name: String,
    plan: HttpListen,
    max_message: usize,
    lines: bool,
    listener: net::TcpListener,
    feed: Feed,
) {
    let (listener, tls, credentials) = match open(&plan, listener) {
        Ok(opened) => opened,
        Err(error) => return error!(source = name, %error, "this source takes nothing"),
    };
    let pending = Rc::new(Pending::new(feed));
    let (stage, reached) = watch::channel(Stage::Serving);
    let desk = Desk::new(&plan, credentials, (max_message, lines), Rc::clone(&pending), reached);
    let mut door = Door {
        name,
        listener,
        tls,
        desk: Rc::new(desk),
        connections: JoinSet::new(),
        resting: None,
        complained: None,
    };
    door.serve(&stage).await;
    let _ = timeout(RETURN_TIMEOUT, settle(&pending)).await;
    pending.give_up();
    door.leave(&stage).await;
}

fn open(
    plan: &HttpListen,
    listener: net::TcpListener,
) -> Result<(TcpListener, Option<TlsAcceptor>, Option<Credentials>), Error> {
    listener.set_nonblocking(true).doing("listening")?;
    let listener = TcpListener::from_std(listener).doing("listening")?;
    let tls = plan.tls.then(|| acceptor(&plan.login)).transpose()?;
    // A user without a password is nobody who could be known.
    let asks = plan.login.secret.is_some();
    let credentials = if asks { Credentials::of(&plan.login)? } else { None };
    Ok((listener, tls, credentials))
}

fn acceptor(login: &Login) -> Result<TlsAcceptor, Error> {
    let mut config = tls::server(login)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Time is up: everything has its verdict by now, and clients hear of it if they listen.
async fn settle(pending: &Rc<Pending>) {
    while pending.feed().outstanding() > 0 {
        tokio::select! {
            verdicts = pending.feed().verdicts() => pending.note(verdicts),
            () = pending.idle() => {}
        }
    }
}

/// The way in, and who is inside.
struct Door {
    name: String,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    desk: Rc<Desk>,
    connections: JoinSet<()>,
    /// Until when nobody is let in, after that failed.
    resting: Option<Instant>,
    /// When that was last told.
    complained: Option<Instant>,
}

impl Door {
    /// Until a drain has settled everything and its clients are quiet, or time is up.
    async fn serve(&mut self, stage: &watch::Sender<Stage>) {
        let pending = Rc::clone(&self.desk.pending);
        let feed = pending.feed();
        let mut is_draining = false;
        loop {
            let is_settled = is_draining && feed.outstanding() == 0;
            let quiet = self.desk.quiet_at().unwrap_or_else(Instant::now);
            if is_settled && quiet <= Instant::now() {
                return;
            }
            let resting = self.resting.unwrap_or_else(Instant::now);
            let lets_in = self.resting.is_none() && self.connections.len() < HTTP_CONNECTIONS_MAX;
            tokio::select! {
                biased;
                () = feed.sealing(), if !is_draining => {
                    is_draining = true;
                    stage.send_replace(Stage::Draining);
                    // A request looks whether a drain has begun right before it hands something in: from here on none does.
                    feed.finish();
                }
                () = feed.expiring() => return,
                () = sleep_until(quiet), if is_settled => {}
                verdicts = feed.verdicts() => pending.note(verdicts),
                () = pending.idle() => {}
                Some(ended) = self.connections.join_next() => self.note_end(ended),
                () = sleep_until(resting), if self.resting.is_some() => self.resting = None,
                accepted = self.listener.accept(), if lets_in => self.let_in(accepted),
            }
        }
    }

    fn let_in(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, _)) => {
                self.connections.spawn_local(connection(stream, self.tls.clone(), Rc::clone(&self.desk)));
            }
            Err(error) => {
                let now = Instant::now();
                self.resting = Some(now + ACCEPT_RETRY);
                if self.complained.is_none_or(|at| at.elapsed() > NOTICE_EVERY) {
                    self.complained = Some(now);
                    warn!(source = self.name, %error, "cannot accept; trying again");
                }
            }
        }
    }

    fn note_end(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            error!(source = self.name, %error, "a connection ended by a bug; its client still has what it had sent");
        }
    }

    /// Answers whoever has come by now, and ends all connections once what they were told has left.
    async fn leave(mut self, stage: &watch::Sender<Stage>) {
        stage.send_replace(Stage::Draining);
        for _ in 0..LAST_TURNS {
            while self.connections.len() < HTTP_CONNECTIONS_MAX
                && let Some(Ok(accepted)) = self.listener.accept().now_or_never()
            {
                self.let_in(Ok(accepted));
            }
            yield_now().await;
        }
        drop(self.listener);
        stage.send_replace(Stage::Leaving);
        let ended = async { while self.connections.join_next().await.is_some() {} };
        if timeout(GOODBYE_TIMEOUT, ended).await.is_err() {
            debug!(source = self.name, connections = self.connections.len(), "cut off: no end in time");
        }
        self.connections.shutdown().await;
    }
}

/// One client, from its first byte to its last.
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, desk: Rc<Desk>) {
    let spoken = async {
        configure(&stream, desk.timeout).doing("setting up a connection")?;
        match tls {
            None => speak(stream, &desk).await,
            Some(acceptor) => {
                let shaken = tokio::select! {
                    shaken = timeout(desk.timeout, acceptor.accept(stream)) => shaken,
                    () = desk.reached(Stage::Leaving) => return Ok(()),
                };
                let stream = shaken.doing("shaking hands")?.doing("shaking hands")?;
                speak(stream, &desk).await
            }
        }
    };
    if let Err(error) = spoken.await {
        debug!(%error, "a connection broke off");
    }
}

/// A client that has vanished, or that does not read its answers, does not hold its seat for ever.
fn configure(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY))?;
    socket.set_tcp_user_timeout(Some(patience))
}

async fn speak<S>(stream: S, desk: &Desk) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answers = Rc::new(Answers::default());
    let stream = TokioIo::new(Watched::new(stream, Rc::clone(&answers)));
    let service = service_fn(|request| {
        let answers = Rc::clone(&answers);
        async move { Ok::<_, Infallible>(desk.answer(request, &answers).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // It also runs while a client says nothing between two requests.
        .header_read_timeout(desk.timeout)
        .max_buf_size(HEAD_MAX)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended.doing("serving"),
        () = desk.reached(Stage::Leaving) => connection.as_mut().graceful_shutdown(),
    }
    if answers.are_due() {
        return connection.await.doing("serving");
    }
    // Nothing is owed to a client between two requests, also if it has begun to send the next.
    connection.now_or_never().unwrap_or(Ok(())).doing("serving")
}
