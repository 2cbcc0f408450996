//! The state under its mutex, and the handing over of notices, for which it is unlocked.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::cluster::coordination::memory::state::State;
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::service::{Notice, Notify};

/// The state, shared by a service and its clients.
#[derive(Clone)]
pub(super) struct Ensemble(Arc<Mutex<State>>);

impl Ensemble {
    pub(super) fn new(state: State) -> Ensemble {
        Ensemble(Arc::new(Mutex::new(state)))
    }

    pub(super) fn with<T>(&self, call: impl FnOnce(&mut State) -> T) -> T {
        // What is under the lock is consistent between any two lines that could panic, so it is used as it is.
        call(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands over what waits for one process.
    pub(super) fn deliver_to(&self, id: usize) {
        hand_over(self.with(|state| {
            let client = state.client(id);
            (std::mem::take(&mut client.notices), client.watches.clone())
        }));
    }

    /// Hands over what waits for anybody, if notices do not wait.
    pub(super) fn deliver_at_once(&self) {
        let clients = self.with(|state| if state.options.notices_at_once { state.clients.len() } else { 0 });
        (0..clients).for_each(|id| self.deliver_to(id));
    }
}

/// What is to be called, with what.
type Delivery = (Vec<Notice>, Vec<(NodePath, Weak<Notify>)>);

/// Calls whoever watches. No lock is held, so nobody waits for it.
fn hand_over((notices, watches): Delivery) {
    for notice in notices {
        for (path, notify) in &watches {
            let concerns = match &notice {
                Notice::Changed(changed) => changed.is_within(path),
                Notice::ReadAgain | Notice::SessionLost | Notice::HeldByOther(_) => true,
            };
            if let Some(notify) = notify.upgrade().filter(|_| concerns) {
                notify(notice.clone());
            }
        }
    }
}
