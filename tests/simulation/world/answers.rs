//! What the kernel answers, out of what senders and receivers did.

use super::*;

impl World {
    pub fn close(&mut self, id: Id) {
        match std::mem::replace(&mut self.sockets[id], Sock::Closed) {
            Sock::Out(Out {
                endpoint: Some(endpoint),
                mut unacknowledged,
                broken: None,
                resets: false,
                framer,
                acknowledged,
                ..
            }) => {
                // What was sent arrives all the same, if it was not reset.
                let bytes: Vec<u8> = unacknowledged.drain(..).collect();
                let out = Out {
                    endpoint: Some(endpoint),
                    unacknowledged,
                    acknowledged,
                    broken: None,
                    finished: true,
                    ended: true,
                    resets: false,
                    framer,
                };
                self.sockets[id] = Sock::Out(out);
                self.arrive(id, endpoint, bytes);
                self.sockets[id] = Sock::Closed;
            }
            Sock::File { written } => self.files.push(written),
            Sock::Listener { backlog, source, .. } => {
                self.entrances[source] = None;
                for connection in backlog {
                    // Whoever was never accepted learns that nothing arrived.
                    if let Sock::Stream(stream) = &self.sockets[connection] {
                        let sender = stream.sender;
                        assert!(
                            self.senders[sender].taken.is_empty() || self.senders[sender].reset,
                            "a listener closed with what it had taken"
                        );
                    }
                }
            }
            _ => {}
        }
    }

    pub fn open(&mut self, _: &Address) -> io::Result<Id> {
        if self.no_descriptors {
            return Err(Errno::EMFILE.into());
        }
        Ok(self.add(Sock::Out(Out {
            endpoint: None,
            unacknowledged: VecDeque::new(),
            acknowledged: 0,
            broken: None,
            finished: false,
            ended: false,
            resets: false,
            framer: None,
        })))
    }

    pub(super) fn endpoint_at(&self, address: &Address) -> usize {
        self.endpoints.iter().position(|endpoint| endpoint.address == *address).expect("a known address")
    }

    pub fn answers(&self, address: &Address) -> bool {
        !self.endpoints[self.endpoint_at(address)].silent
    }

    pub fn connect(&mut self, id: Id, address: &Address) -> Result<(), Errno> {
        let endpoint = self.endpoint_at(address);
        if !self.endpoints[endpoint].up {
            return Err(Errno::ECONNREFUSED);
        }
        let breaks = !self.is_calm() && self.one_in(3);
        let how = self.rng.u8(..3);
        if breaks {
            self.later(30_000, Happening::Break(id, how));
        }
        let Sock::Out(out) = &mut self.sockets[id] else { return Err(Errno::EBADF) };
        out.endpoint = Some(endpoint);
        // The handshake counts as one byte.
        out.acknowledged = 1;
        Ok(())
    }

    pub fn can_send(&self, id: Id) -> bool {
        match &self.sockets[id] {
            Sock::Out(out) => out.broken.is_some() || out.unacknowledged.len() < SEND_BUFFER,
            _ => true,
        }
    }

    pub fn send(&mut self, id: Id, bytes: &[u8]) -> Result<usize, Errno> {
        let short = if self.one_in(4) { self.rng.usize(1..=bytes.len()) } else { bytes.len() };
        let Sock::Out(out) = &mut self.sockets[id] else { return Err(Errno::EBADF) };
        if let Some(errno) = out.broken {
            return Err(errno);
        }
        assert!(!out.ended, "sent behind FIN");
        let count = short.min(SEND_BUFFER - out.unacknowledged.len());
        out.unacknowledged.extend(&bytes[..count]);
        self.later(2_000, Happening::Acknowledge(id));
        Ok(count)
    }

    /// One datagram, or as many as `segment` cuts it into: all of them leave, or none.
    pub fn take_datagrams(&mut self, id: Id, bytes: &[u8], segment: Option<u16>) -> Result<usize, Errno> {
        let (full, short_of_memory) = (self.one_in(8), self.one_in(40));
        // Some ways cut nothing, or nothing as long as this, for as long as there is a connection.
        let uncut = id.is_multiple_of(4);
        let longest = usize::from(segment.unwrap_or(u16::MAX)).min(bytes.len());
        let Sock::Out(out) = &mut self.sockets[id] else { return Err(Errno::EBADF) };
        let endpoint = out.endpoint.expect("it is connected");
        if let Some(errno) = out.broken {
            return Err(errno);
        }
        if segment.is_some() && uncut {
            return Err(if longest.is_multiple_of(2) { Errno::EIO } else { Errno::EINVAL });
        }
        if longest > DATAGRAM {
            return Err(Errno::EMSGSIZE);
        }
        if full || short_of_memory {
            return Err(if full { Errno::EAGAIN } else { Errno::ENOBUFS });
        }
        if !self.endpoints[endpoint].up {
            return Err(Errno::ECONNREFUSED);
        }
        let arrived = &mut self.endpoints[endpoint].arrived;
        match segment {
            Some(segment) => arrived.extend(bytes.chunks(segment.into()).map(<[u8]>::to_vec)),
            None => arrived.push(bytes.to_vec()),
        }
        Ok(bytes.len())
    }

    pub fn is_broken(&self, chain: u32) -> bool {
        self.broken_chains.contains(&chain)
    }

    pub fn break_chain(&mut self, chain: u32) {
        self.broken_chains.insert(chain);
    }

    pub fn write(&mut self, id: Id, bytes: &[u8]) -> Result<usize, Errno> {
        let full = !self.is_calm() && self.one_in(6);
        let count = if self.one_in(4) { self.rng.usize(1..=bytes.len()) } else { bytes.len() };
        let Sock::File { written } = &mut self.sockets[id] else { return Err(Errno::EBADF) };
        if full {
            return Err(Errno::ENOSPC);
        }
        written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub fn has_news(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Out(out) if out.broken.is_some() || out.finished)
    }

    pub fn news(&mut self, id: Id) -> Option<Result<usize, Errno>> {
        match &self.sockets[id] {
            Sock::Out(Out { broken: Some(errno), .. }) => Some(Err(*errno)),
            Sock::Out(Out { finished: true, .. }) => Some(Ok(0)),
            _ => None,
        }
    }

    pub fn acknowledged(&self, id: Id) -> u64 {
        match &self.sockets[id] {
            Sock::Out(out) => out.acknowledged,
            _ => 0,
        }
    }

    pub fn can_accept(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Listener { backlog, .. } if !backlog.is_empty())
    }

    pub fn accept(&mut self, id: Id) -> Option<Result<Id, Errno>> {
        let (no_descriptors, aborted) = (self.no_descriptors, self.one_in(30));
        let Sock::Listener { backlog, .. } = &mut self.sockets[id] else { return None };
        if backlog.is_empty() {
            return None;
        }
        if no_descriptors || aborted {
            return Some(Err(if no_descriptors { Errno::EMFILE } else { Errno::ECONNABORTED }));
        }
        backlog.pop_front().map(Ok)
    }

    pub fn lacks_descriptors(&self) -> bool {
        self.no_descriptors
    }

    pub fn can_read(&self, id: Id) -> bool {
        match &self.sockets[id] {
            Sock::Stream(stream) => {
                !stream.queue.is_empty() || stream.finished || stream.reset || stream.shut
            }
            Sock::Datagrams(socket) => !socket.queue.is_empty(),
            _ => false,
        }
    }

    pub fn read(&mut self, id: Id, has_buffer: bool, most: usize) -> Read {
        let most = self.rng.usize(1..=most);
        match &mut self.sockets[id] {
            Sock::Stream(stream) => {
                let sender = &mut self.senders[stream.sender];
                if stream.reset {
                    return Read::Failed(Errno::ECONNRESET);
                }
                if stream.queue.is_empty() {
                    if stream.finished {
                        sender.read_finish = true;
                        return Read::End;
                    }
                    return if stream.shut { Read::End } else { Read::Nothing };
                }
                if !has_buffer {
                    return Read::NoBuffer;
                }
                let count = most.min(stream.queue.len());
                sender.read += count;
                Read::Data(stream.queue.drain(..count).collect())
            }
            Sock::Datagrams(socket) => {
                if socket.queue.is_empty() {
                    return Read::Nothing;
                }
                if !has_buffer {
                    return Read::NoBuffer;
                }
                let (dropped, bytes) = socket.queue.pop_front().expect("looked at above");
                socket.last_dropped = dropped;
                Read::Data(bytes)
            }
            _ => Read::Failed(Errno::EBADF),
        }
    }

    /// Whether it is a socket file of datagrams.
    pub fn is_unixgram(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Datagrams(socket) if socket.is_unix)
    }

    pub fn dropped_before_last(&self, id: Id) -> u32 {
        match &self.sockets[id] {
            Sock::Datagrams(socket) => socket.last_dropped,
            _ => 0,
        }
    }

    pub fn dropped(&self, id: Id) -> u32 {
        match &self.sockets[id] {
            Sock::Datagrams(socket) => socket.dropped,
            _ => 0,
        }
    }

    pub fn is_empty(&self, id: Id) -> bool {
        match &self.sockets[id] {
            Sock::Stream(stream) => stream.queue.is_empty() && !stream.finished && !stream.reset,
            Sock::Datagrams(socket) => socket.queue.is_empty(),
            _ => true,
        }
    }

    pub fn has_finished(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Stream(stream) if stream.finished)
    }

    pub fn peer(&self, id: Id) -> Option<IpAddr> {
        match &self.sockets[id] {
            Sock::Stream(stream) if !stream.is_unix => {
                Some(IpAddr::from([127, 0, 0, 1 + stream.sender as u8 % 3]))
            }
            _ => None,
        }
    }

    pub fn freeze(&mut self, id: Id, medium: Medium) {
        match &mut self.sockets[id] {
            Sock::Stream(stream) => {
                stream.frozen = true;
                stream.shut |= medium == Medium::Unix;
            }
            Sock::Datagrams(socket) => socket.frozen = true,
            Sock::Listener { frozen, .. } => *frozen = true,
            _ => {}
        }
    }

    pub fn half_close(&mut self, id: Id) {
        let closes_too = self.one_in(2);
        match &mut self.sockets[id] {
            Sock::Stream(stream) => stream.told = true,
            // Perhaps before all of it is acknowledged.
            Sock::Out(out) => {
                out.ended = true;
                out.finished |= closes_too;
            }
            _ => {}
        }
    }

    pub fn reset_on_close(&mut self, id: Id) {
        match &mut self.sockets[id] {
            Sock::Out(out) => out.resets = true,
            Sock::Stream(stream) => {
                let sender = stream.sender;
                // A connection that is refused: nothing of it was promised.
                if stream.queue.len() == self.senders[sender].taken.len() && self.senders[sender].read == 0 {
                    self.senders[sender].reset = true;
                }
            }
            _ => {}
        }
    }

    pub fn say_goodbye(&mut self, _: Id) {}

    pub fn has_rung(&self, id: Id) -> bool {
        matches!(&self.sockets[id], Sock::Bell { rung: true })
    }

    pub fn hush(&mut self, id: Id) {
        if let Sock::Bell { rung } = &mut self.sockets[id] {
            *rung = false;
        }
    }

    pub fn ring(&mut self, id: Id) {
        if let Sock::Bell { rung } = &mut self.sockets[id] {
            *rung = true;
        }
    }

    /// Descriptors that nobody has closed.
    pub fn open_descriptors(&self) -> usize {
        let is_open = |sock: &&Sock| !matches!(sock, Sock::Closed | Sock::Stream(_));
        self.sockets.iter().filter(is_open).count()
    }
}
