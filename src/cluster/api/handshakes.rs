//! Connections whose TLS handshake has not ended yet: a bounded number at a time.
//!
//! A client that connects and says nothing costs a place until its time is over. If all places are taken, the connection
//! that has waited longest is cut, and not the new one refused: a client that means well is done within milliseconds, so
//! it gets through unless so many others connect meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places for handshakes.
#[derive(Debug)]
pub(super) struct Handshakes {
    places: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By the order in which they have begun. What is dropped is cut.
    begun: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The place of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    /// It ends when the connection is to be cut.
    pub(super) cut: oneshot::Receiver<()>,
    of: Arc<Handshakes>,
}

impl Handshakes {
    /// So many places.
    pub(super) fn new(places: usize) -> Arc<Handshakes> {
        Arc::new(Handshakes { places, waiting: Mutex::default() })
    }

    /// Takes a place, perhaps that of the connection that has waited longest.
    pub(super) fn enter(self: &Arc<Handshakes>) -> Place {
        let (sender, cut) = oneshot::channel();
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.begun.insert(number, sender);
        while waiting.begun.len() > self.places.max(1) {
            waiting.begun.pop_first();
        }
        Place { number, cut, of: Arc::clone(self) }
    }

    /// A map is whole after each call, even if a thread has panicked.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.waiting().begun.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[test]
    fn the_one_that_has_waited_longest_makes_room() {
        let handshakes = Handshakes::new(2);
        let is_cut = |place: &mut Place| place.cut.try_recv() == Err(TryRecvError::Closed);
        let (mut first, mut second) = (handshakes.enter(), handshakes.enter());
        assert!(!is_cut(&mut first) && !is_cut(&mut second));
        let mut third = handshakes.enter();
        assert!(is_cut(&mut first) && !is_cut(&mut second) && !is_cut(&mut third));
        // A place that is free again cuts nobody.
        drop(third);
        let mut fourth = handshakes.enter();
        assert!(!is_cut(&mut second) && !is_cut(&mut fourth));
        drop((first, second, fourth));
        assert_eq!(handshakes.waiting().begun.len(), 0);
    }
}
