//! The connections that are open now.
//!
//! Lives here: entering, leaving, and waiting for those who leave. Never here: sockets' calls, counting messages.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::link::Link;

/// Who is open. A link's descriptor is closed before it is seen to have left.
#[derive(Debug, Default)]
pub(super) struct Registry {
    open: Mutex<Vec<Arc<Link>>>,
    left: Condvar,
}

impl Registry {
    pub(super) fn enter(&self, link: Link) -> Arc<Link> {
        let link = Arc::new(link);
        self.open().push(Arc::clone(&link));
        link
    }

    /// Closes the descriptor: the registry and the link's visit are its only owners.
    pub(super) fn leave(&self, link: Arc<Link>) {
        let mut open = self.open();
        open.retain(|other| !Arc::ptr_eq(other, &link));
        drop(link);
        self.left.notify_all();
    }

    pub(super) fn len(&self) -> usize {
        self.open().len()
    }

    pub(super) fn for_each(&self, act: impl FnMut(&Link)) {
        self.open().iter().map(Arc::as_ref).for_each(act);
    }

    /// Waits until none is open, at most for `patience`; says whether none is.
    pub(super) fn wait_until_empty(&self, patience: Duration) -> bool {
        let waited = self.left.wait_timeout_while(self.open(), patience, |open| !open.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Waits until those that are being reset or cut have left; their threads wait for nothing.
    pub(super) fn wait_until_severed(&self) {
        let waiting = self.left.wait_while(self.open(), |open| open.iter().any(|link| link.is_severed()));
        drop(waiting);
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        // Every change to the list is whole, also when its author panicked afterwards.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
