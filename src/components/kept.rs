//! The messages of a spout until they are acked, and those to send again.
//!
//! Message ids are sequence numbers, so a kept message is found by subtraction in a ring:
//!
//! ```text
//!            base                     next
//!             |                        |
//!   ... gone  | m | - | m | m | - | m  |        - : acked
//! ```
//!
//! 1. `ring[i]` is the message `base + i`; acked ones at the front are dropped at once.
//! 2. The ring has at most [`RING_LEN_MAX`] places. Should one message stay open while so many
//!    came after it, it moves to `stragglers`, so that memory follows the number of *open*
//!    messages (which `max_spout_pending` bounds), not the distance between them.
//! 3. A number in `again` whose message was acked meanwhile is skipped.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::api::Failure;
use crate::config::limits::SPOUT_PENDING_AUTO_MAX;
use crate::ids::MessageId;

const RING_LEN_MAX: usize = SPOUT_PENDING_AUTO_MAX as usize;

/// Kept messages. See the [module](self).
#[derive(Debug)]
pub(super) struct Kept<T> {
    base: u64,
    ring: VecDeque<Option<T>>,
    stragglers: FxHashMap<u64, T>,
    again: VecDeque<u64>,
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept { base: 0, ring: VecDeque::new(), stragglers: FxHashMap::default(), again: VecDeque::new() }
    }
}

impl<T: Clone> Kept<T> {
    /// Keeps a new message and numbers it.
    #[inline]
    pub(super) fn keep(&mut self, message: T) -> MessageId {
        if self.ring.len() >= RING_LEN_MAX {
            self.move_first_aside();
        }
        self.ring.push_back(Some(message));
        MessageId(self.base + self.ring.len() as u64 - 1)
    }

    /// Forgets a message.
    #[inline]
    pub(super) fn ack(&mut self, id: MessageId) {
        match id.0.checked_sub(self.base).and_then(|index| self.ring.get_mut(index as usize)) {
            Some(place) => *place = None,
            None => drop(self.stragglers.remove(&id.0)),
        }
        self.drop_acked();
    }

    /// Queues a failed message to be sent again, or forgets it if that was its last failure.
    pub(super) fn fail(&mut self, id: MessageId, failure: &Failure) {
        if failure.is_final {
            self.ack(id);
        } else if self.get(id.0).is_some() {
            self.again.push_back(id.0);
        }
    }

    /// The next message to send again.
    #[inline]
    pub(super) fn next_again(&mut self) -> Option<(MessageId, T)> {
        while let Some(number) = self.again.pop_front() {
            if let Some(message) = self.get(number) {
                return Some((MessageId(number), message.clone()));
            }
        }
        None
    }

    fn get(&self, number: u64) -> Option<&T> {
        match number.checked_sub(self.base) {
            Some(index) => self.ring.get(index as usize)?.as_ref(),
            None => self.stragglers.get(&number),
        }
    }

    #[cold]
    fn move_first_aside(&mut self) {
        if let Some(Some(message)) = self.ring.pop_front() {
            self.stragglers.insert(self.base, message);
        }
        self.base += 1;
        self.drop_acked();
    }

    #[inline]
    fn drop_acked(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::FailureCause;

    const AGAIN: Failure = Failure { cause: FailureCause::Failed, failures: 1, is_final: false };
    const FINAL: Failure = Failure { cause: FailureCause::Failed, failures: 9, is_final: true };

    #[test]
    fn what_fails_comes_again_until_it_is_acked_or_fails_for_good() {
        let mut kept = Kept::default();
        let ids: Vec<MessageId> = (0..4).map(|n| kept.keep(n * 10)).collect();
        kept.ack(ids[1]);
        kept.fail(ids[2], &AGAIN);
        kept.fail(ids[1], &AGAIN);
        assert_eq!(kept.next_again(), Some((ids[2], 20)));
        assert_eq!(kept.next_again(), None, "an acked message does not come again");
        kept.fail(ids[2], &FINAL);
        kept.ack(ids[0]);
        assert_eq!(kept.ring.len(), 1, "only the last is open");
        kept.ack(ids[3]);
        assert!(kept.ring.is_empty());
        assert_eq!(kept.keep(40), MessageId(4));
    }

    #[test]
    fn memory_follows_open_messages_not_their_distance() {
        let mut kept = Kept::default();
        let first = kept.keep(7);
        for n in 0..3 * RING_LEN_MAX {
            let id = kept.keep(n);
            kept.ack(id);
        }
        assert!(kept.ring.len() <= RING_LEN_MAX && kept.stragglers.len() == 1);
        kept.fail(first, &AGAIN);
        assert_eq!(kept.next_again(), Some((first, 7)));
        kept.ack(first);
        assert!(kept.stragglers.is_empty());
    }
}
