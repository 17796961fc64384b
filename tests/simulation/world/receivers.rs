//! What receivers do: acknowledge late and in part, stall, close, reset, go and come.

use super::*;

impl World {
    pub(super) fn acknowledge_some(&mut self, id: Id) {
        let fraction = self.rng.usize(1..=4);
        let Sock::Out(out) = &mut self.sockets[id] else { return };
        let Some(endpoint) = out.endpoint.filter(|_| out.broken.is_none()) else { return };
        let stalled_until = self.endpoints[endpoint].stalled_until;
        if stalled_until > self.now {
            let wait = (stalled_until - self.now).as_micros() as u64 + 1;
            return self.at(wait, Happening::Acknowledge(id));
        }
        let count = (out.unacknowledged.len() / fraction).max(1).min(out.unacknowledged.len());
        let bytes: Vec<u8> = out.unacknowledged.drain(..count).collect();
        out.acknowledged += count as u64;
        let more = !out.unacknowledged.is_empty();
        self.arrive(id, endpoint, bytes);
        if more {
            self.later(2_000, Happening::Acknowledge(id));
        }
    }

    pub(super) fn arrive(&mut self, id: Id, endpoint: usize, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let framing = self.endpoints[endpoint].framing;
        let Sock::Out(out) = &mut self.sockets[id] else { return };
        let framer = out.framer.get_or_insert_with(|| {
            Framer::new(framing, Bounds { max_message: 1 << 20, oversize: Oversize::Close })
        });
        let mut runs = Vec::new();
        framer.feed(bytes.into(), &mut runs).expect("the relay frames as it is told");
        let arrived = runs.iter().flat_map(payloads).map(|payload| payload.into_owned());
        self.endpoints[endpoint].arrived.extend(arrived);
    }

    /// FIN (0), reset after an acknowledgement that came (1), or one in the midst (2).
    pub(super) fn break_connection(&mut self, id: Id, how: u8) {
        if self.is_calm() {
            return;
        }
        let count = self.rng.usize(..2_000);
        let Sock::Out(out) = &mut self.sockets[id] else { return };
        let Some(endpoint) = out.endpoint.filter(|_| out.broken.is_none()) else { return };
        self.breaks += 1;
        // A datagram socket's peer has no FIN.
        if how == 0 && !self.endpoints[endpoint].address.medium().is_datagrams() {
            out.finished = true;
            return;
        }
        out.broken = Some(Errno::ECONNRESET);
        // What arrived and was never acknowledged comes again.
        let count = count.min(out.unacknowledged.len());
        let bytes: Vec<u8> = out.unacknowledged.drain(..count).collect();
        out.unacknowledged.clear();
        if how == 2 {
            self.arrive(id, endpoint, bytes);
        }
    }

    pub(super) fn go_down(&mut self, endpoint: usize) {
        if self.is_calm() {
            return;
        }
        self.endpoints[endpoint].up = false;
        let of_it: Vec<Id> = (0..self.sockets.len())
            .filter(|&id| matches!(&self.sockets[id], Sock::Out(out) if out.endpoint == Some(endpoint)))
            .collect();
        for id in of_it {
            self.break_connection(id, 1);
        }
        self.later(30_000, Happening::Up(endpoint));
    }
}
