//! Whose turn it is to write, where several reactors append to one file.
//!
//! An append is atomic only as long as one write(2) takes all of it: what a full disk cuts short, or a worker of the ring goes
//! on with, follows whatever another reactor has appended meanwhile. So only who has the turn writes, and keeps it until the
//! file ends with a whole message. The turn is the one ring of a bell, which a reactor waits for as for any other. Lives here: that token. Never here: what is written.

use crate::kernel::{Kernel, Socket, Token};
use crate::ring::Doorbell;

/// One link's part in the turns.
pub struct Turn<S: Socket> {
    heard: S,
    rung: S,
    taken: bool,
}

/// What the links of a file share: duplicates of its two ends.
///
/// # Errors
/// As pipe2(2).
pub fn shared_turn() -> nix::Result<Doorbell> {
    let turn = Doorbell::new()?;
    turn.ring();
    Ok(turn)
}

impl<S: Socket> Turn<S> {
    /// A link's part, by its duplicates of what is shared.
    pub fn new(heard: S, rung: S) -> Turn<S> {
        Turn { heard, rung, taken: false }
    }

    pub(super) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Waits for it.
    pub(super) fn await_on<K: Kernel<Socket = S>>(&self, kernel: &mut K, owner: K::Owner) -> Token {
        kernel.wake(owner, &self.heard)
    }

    /// It has come.
    pub(super) fn take(&mut self) {
        self.taken = true;
    }

    /// Gives it to whoever waits for it, if it is here.
    pub(super) fn pass_on(&mut self) {
        if std::mem::take(&mut self.taken) {
            self.rung.ring();
        }
    }
}

impl<S: Socket> Drop for Turn<S> {
    /// Also after a panic: the others go on.
    fn drop(&mut self) {
        self.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::rc::Rc;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn is_free(heard: &OwnedFd) -> bool {
        let mut watched = [PollFd::new(heard.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::ZERO).expect("a descriptor that can be waited for") > 0
    }

    #[test]
    fn it_is_passed_on_once_also_by_a_link_that_goes_while_it_has_it() {
        let shared = shared_turn().unwrap();
        let end = |end: &OwnedFd| Rc::new(end.try_clone().unwrap());
        let mut turn = Turn::new(end(&shared.heard), end(&shared.rung));
        turn.pass_on();
        // What the ring's read does.
        nix::unistd::read(&shared.heard, &mut [0; 8]).unwrap();
        assert!(!is_free(&shared.heard), "one token, whoever passes on what it does not have");
        turn.take();
        drop(turn);
        assert!(is_free(&shared.heard));
    }
}
