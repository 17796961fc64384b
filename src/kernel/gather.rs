//! What one gathered send or write refers to: shared slices, in order.
//!
//! Lives here: those slices. Never here: which bytes are due, how far a send came, or what the kernel reads them through.

use bytes::Bytes;

/// Slices to be sent in order by one operation. Handed back by its completion, to be used again.
#[derive(Debug, Default)]
pub struct Gather {
    pieces: Vec<Bytes>,
}

impl Gather {
    /// Appends a slice; an empty one is passed over.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    /// How many slices are held.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// How many bytes they are.
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// The slices, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// Lets go of the slices and keeps the room for the next ones.
    pub fn clear(&mut self) {
        self.pieces.clear();
    }
}
