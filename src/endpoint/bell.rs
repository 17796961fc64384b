//! What wakes a reactor that hosts services.
//!
//! Lives here: the bell. Never here: what it is rung for.

use std::rc::Rc;

use tokio::sync::Notify;

/// Rung by a service when there is something to do for its reactor. A ring that nobody waits for is kept; several are one.
#[derive(Clone, Debug, Default)]
pub struct Bell(Rc<Notify>);

impl Bell {
    /// Wakes the reactor, now or when it next sleeps.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Sleeps until it rings.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

/// Waits until `look` finds something; whoever changes what it looks at calls `notify_waiters`.
pub(super) async fn wait_for<T>(changed: &Notify, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        // Made before it looks: it hears every `notify_waiters` from then on, polled or not.
        let next = changed.notified();
        if let Some(found) = look() {
            return found;
        }
        next.await;
    }
}
