//! What senders do: connect, write in pieces, finish, reset, fall silent.

use super::*;

impl World {
    pub(super) fn connect_sender(&mut self, number: usize) {
        let source = self.senders[number].source;
        let Some(entrance) = self.entrances[source] else { return };
        match &self.sockets[entrance] {
            Sock::Listener { frozen: false, medium, .. } => {
                let is_unix = *medium == Medium::Unix;
                let stream = Stream { sender: number, is_unix, ..Stream::default() };
                let id = self.add(Sock::Stream(stream));
                if let Sock::Listener { backlog, .. } = &mut self.sockets[entrance] {
                    backlog.push_back(id);
                }
                self.senders[number].link = Some(id);
            }
            Sock::Datagrams(_) => self.senders[number].link = Some(entrance),
            _ => return,
        }
        self.later(2_000, Happening::Send(number));
    }

    pub(super) fn send_some(&mut self, number: usize) {
        let Some(link) = self.senders[number].link else { return };
        match &self.sockets[link] {
            Sock::Stream(_) => self.write_stream(number, link),
            Sock::Datagrams(_) => self.send_datagrams(number, link),
            _ => return self.senders[number].link = None,
        }
        if self.senders[number].link.is_some() {
            let pause = if self.one_in(10) { 8_000 } else { 500 };
            self.later(pause, Happening::Send(number));
        }
    }

    pub(super) fn write_stream(&mut self, number: usize, link: Id) {
        let most = self.rng.usize(1..=6_000);
        let (resets, finishes) = (self.one_in(200), !self.one_in(8));
        let Sock::Stream(stream) = &mut self.sockets[link] else { return };
        let sender = &mut self.senders[number];
        if resets || stream.reset {
            (stream.reset, sender.reset, sender.link) = (true, true, None);
            stream.queue.clear();
            return;
        }
        let told = stream.told && sender.heeds && sender.at.1 == 0;
        if sender.at.0 >= sender.stops_at || told {
            if finishes && !stream.frozen {
                (stream.finished, sender.finished) = (true, true);
            }
            // One that does not finish is silent from here on.
            sender.link = None;
            return;
        }
        if stream.frozen {
            return sender.link = None;
        }
        let mut room = most.min(QUEUE.saturating_sub(stream.queue.len()));
        while room > 0 && sender.at.0 < sender.stops_at {
            let rest = &sender.messages[sender.at.0][sender.at.1..];
            let taken = rest.len().min(room);
            stream.queue.extend(&rest[..taken]);
            sender.taken.extend_from_slice(&rest[..taken]);
            room -= taken;
            sender.at =
                if taken == rest.len() { (sender.at.0 + 1, 0) } else { (sender.at.0, sender.at.1 + taken) };
        }
    }

    pub(super) fn send_datagrams(&mut self, number: usize, link: Id) {
        let count = self.rng.usize(1..=6);
        let Sock::Datagrams(socket) = &mut self.sockets[link] else { return };
        let sender = &mut self.senders[number];
        for _ in 0..count {
            let Some(message) = sender.messages.get(sender.at.0).filter(|_| sender.at.0 < sender.stops_at)
            else {
                return sender.link = None;
            };
            if socket.frozen {
                return sender.link = None;
            }
            if socket.queue.len() < DATAGRAMS {
                socket.queue.push_back((socket.dropped, message.clone()));
                sender.taken_datagrams.push(sender.at.0);
            } else if socket.is_unix {
                return;
            } else {
                socket.dropped += 1;
                self.kernel_drops += 1;
            }
            sender.at.0 += 1;
        }
    }
}
