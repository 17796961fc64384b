//! Slots: what the kernel holds stays owned here until the last completion of its operation.
//!
//! Lives here: storage with generations. Never here: what an operation does.

use crate::kernel::Token;

/// Storage for operations in flight, named by [`Token`]s that are never valid twice.
pub(super) struct Slots<T> {
    entries: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Slots<T> {
        Slots { entries: Vec::new(), free: Vec::new() }
    }

    /// How many operations are in flight: `entries - free`.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn insert(&mut self, value: T) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| self.grow());
        let entry = &mut self.entries[slot as usize];
        debug_assert!(entry.value.is_none(), "a free slot holds nothing");
        entry.value = Some(value);
        Token::new(slot, entry.generation)
    }

    fn grow(&mut self) -> u32 {
        self.entries.push(Slot { generation: 0, value: None });
        u32::try_from(self.entries.len() - 1).expect("fewer operations in flight than 2^32")
    }

    /// The operation behind `token`; `None` once it is over.
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let entry = self.entries.get_mut(token.slot())?;
        (entry.generation == token.generation()).then_some(entry.value.as_mut()).flatten()
    }

    /// Ends the operation: its slot is free, under a new generation.
    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        self.get_mut(token)?;
        let entry = &mut self.entries[token.slot()];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(token.slot() as u32);
        entry.value.take()
    }

    /// Names of all operations in flight.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let live = self.entries.iter().enumerate().filter(|(_, entry)| entry.value.is_some());
        live.map(|(slot, entry)| Token::new(slot as u32, entry.generation)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_token_never_meets_the_next_owner() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(first.slot(), second.slot());
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut "second"));
        assert_eq!(slots.tokens(), vec![second]);
    }

    #[test]
    fn empty_again_after_the_last_removal() {
        let mut slots = Slots::new();
        let tokens: Vec<_> = (0..100).map(|n| slots.insert(n)).collect();
        assert_eq!(slots.len(), 100);
        tokens.into_iter().for_each(|token| assert!(slots.remove(token).is_some()));
        assert!(slots.is_empty());
    }
}
