//! Numbered messages, ready to be written.
//!
//! Lives here: a buffer of framed messages in which only the numbers change. Never here: how much of it is written, or when.

use super::pace::Pace;
use crate::load::stamp::Stamp;
use crate::message::Framing;

/// Framed messages of one size, one after another. Built once; each use patches the numbers.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Length of one message on the wire.
    stride: usize,
    /// Where the payload begins within it.
    payload: usize,
    /// Length of the payload.
    size: usize,
    /// The connection that is patched into every message.
    connection: u32,
    /// When messages are due, where that is patched into them.
    due: Option<Due>,
}

/// The moments at which the messages of a paced run are due.
#[derive(Clone, Copy, Debug)]
struct Due {
    pace: Pace,
    /// The beginning of the run, in nanoseconds of the system's monotonic clock.
    begun: u64,
}

impl Batch {
    /// Room for as many messages of `size` payload bytes as fit into `room` bytes, but for at least one.
    pub(super) fn new(run: u32, size: usize, framing: Framing, room: usize) -> Self {
        let (message, payload) = framed(run, size, framing);
        let stride = message.len();
        let count = (room / stride).max(1);
        Self { bytes: message.repeat(count), stride, payload, size, connection: 0, due: None }
    }

    /// Tells each message when it was due, if messages have room for that, in a run that began `begun` nanoseconds after the zero
    /// of the system's monotonic clock. What a message waits for its own generator then counts, too: nothing is omitted because
    /// it came late.
    pub(super) fn time(&mut self, pace: Pace, begun: u64) {
        self.due = (self.size >= Stamp::LEN_WITH_DUE).then_some(Due { pace, begun });
    }

    /// Length of one message on the wire, in bytes.
    pub(super) fn stride(&self) -> u64 {
        self.stride as u64
    }

    /// The bytes from position `from` to `to` of what `connection` writes in all; fewer where the room ends first.
    pub(super) fn render(&mut self, connection: u32, from: u64, to: u64) -> &[u8] {
        let first = from / self.stride();
        let offset = (from % self.stride()) as usize;
        let end = ((to - first * self.stride()) as usize).min(self.bytes.len());
        self.number(connection, first, end.div_ceil(self.stride));
        &self.bytes[offset..end]
    }

    fn number(&mut self, connection: u32, first: u64, count: usize) {
        if self.connection != connection {
            self.messages().for_each(|message| Stamp::patch_connection(message, connection));
            self.connection = connection;
        }
        let due = self.due;
        for (message, sequence) in self.messages().take(count).zip(first..) {
            Stamp::patch_sequence(message, sequence);
            if let Some(Due { pace, begun }) = due {
                Stamp::patch_due(message, begun + pace.at(connection, sequence).as_nanos() as u64);
            }
        }
    }

    fn messages(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let payload = self.payload;
        self.bytes.chunks_exact_mut(self.stride).map(move |message| &mut message[payload..])
    }
}

/// One message on the wire, and where its payload begins.
fn framed(run: u32, size: usize, framing: Framing) -> (Vec<u8>, usize) {
    let mut payload = vec![b'x'; size];
    Stamp { run, connection: 0, sequence: 0 }.write_into(&mut payload);
    if let Some(separator) = payload.get_mut(Stamp::LEN) {
        *separator = b' ';
    }
    match framing {
        Framing::Line => ([&payload[..], b"\n"].concat(), 0),
        Framing::Octet => {
            let count = format!("{size} ");
            ([count.as_bytes(), &payload].concat(), count.len())
        }
        Framing::U32 => ([&(size as u32).to_be_bytes()[..], &payload].concat(), size_of::<u32>()),
        Framing::Nul => ([&payload[..], b"\0"].concat(), 0),
        Framing::Datagram => (payload, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_division_into_writes_gives_the_same_bytes() {
        let mut batch = Batch::new(1, 60, Framing::Octet, 200);
        let whole: Vec<u8> = (0..6).flat_map(|n| batch.render(3, n * 63, (n + 1) * 63).to_vec()).collect();
        assert!(whole[63..].starts_with(b"60 <14>slackload run=00000001 000003 0000000001 00000060 xxx"));
        let (mut from, mut pieces) = (0, Vec::new());
        while from < whole.len() as u64 {
            let piece = batch.render(3, from, (from + 50).min(whole.len() as u64));
            pieces.extend_from_slice(piece);
            from += piece.len() as u64;
        }
        assert_eq!(pieces, whole);
    }

    #[test]
    fn a_large_range_is_cut_where_the_room_ends() {
        let mut batch = Batch::new(1, 99, Framing::Line, 1000);
        assert_eq!(batch.render(0, 40, 1_000_000).len(), 960);
        assert_eq!(Batch::new(1, 5000, Framing::Line, 1000).render(0, 0, 1_000_000).len(), 5001);
    }

    #[test]
    fn a_paced_message_says_when_it_was_due_if_it_has_room() {
        let pace = Pace { per_second: 1000, connections: 2 };
        let due = |size| {
            let mut batch = Batch::new(1, size, Framing::Line, 1000);
            batch.time(pace, 5_000_000_000);
            let bytes = batch.render(1, 2 * batch.stride(), 3 * batch.stride());
            Stamp::find(bytes).unwrap().due()
        };
        assert_eq!(due(Stamp::LEN_WITH_DUE), Some(5_005_000_000), "message 5 of all");
        assert_eq!(due(Stamp::LEN_WITH_DUE - 1), None);
    }

    #[test]
    fn connections_take_turns_with_one_batch() {
        let mut batch = Batch::new(1, 53, Framing::Line, 200);
        batch.render(7, 0, 54);
        let text = batch.render(8, 54, 108).to_vec();
        assert_eq!(Stamp::parse(&text[..53]), Some(Stamp { run: 1, connection: 8, sequence: 1 }));
    }
}
