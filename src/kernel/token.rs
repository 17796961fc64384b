//! Names of operations: what travels through the kernel as `user_data`, and who asked.
//!
//! Lives here: the packed bits. Never here: the operations themselves, or file descriptors as identity (they are reused).

use std::fmt;

/// Names one submitted operation: its slot, and the slot's generation, so that a late completion can never meet the slot's
/// next owner. Travels as `user_data`: generation in the upper 32 bits, slot in the lower.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    /// The name of what is in `slot` under `generation`.
    pub fn new(slot: u32, generation: u32) -> Token {
        Token(u64::from(generation) << 32 | u64::from(slot))
    }

    /// As it came back from the kernel.
    pub fn from_user_data(user_data: u64) -> Token {
        Token(user_data)
    }

    /// As it travels through the kernel.
    pub fn user_data(self) -> u64 {
        self.0
    }

    /// Where the operation is kept.
    pub fn slot(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    /// Which of the slot's owners it names.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.slot(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_and_generation_survive_the_kernel() {
        let token = Token::new(u32::MAX, 7);
        let back = Token::from_user_data(token.user_data());
        assert_eq!((back.slot(), back.generation()), (u32::MAX as usize, 7));
    }
}
