//! The messages of a spout until they are acked, and those to emit again.
//!
//! A spout keeps each message here when it emits it, and takes it from here again after it failed, so
//! that it need not read its source twice. At most once, messages are not tracked, and nothing is
//! kept. Message ids are sequence numbers, so a kept message is found by subtraction in a ring:
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
//! 3. A number in `failed` whose message was acked meanwhile is skipped.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::api::Failure;
use crate::config::Delivery;
use crate::config::limits::SPOUT_PENDING_AUTO_MAX;
use crate::ids::MessageId;

const RING_LEN_MAX: usize = SPOUT_PENDING_AUTO_MAX as usize;

/// The messages that a spout has emitted and that are not acked. See the [module](self).
#[derive(Debug)]
pub(super) struct ReplayBuffer<T> {
    /// Whether messages are tracked, and so kept.
    is_tracked: bool,
    base: u64,
    ring: VecDeque<Option<T>>,
    stragglers: FxHashMap<u64, T>,
    /// The numbers of failed messages, in the order in which they are emitted again.
    failed: VecDeque<u64>,
}

impl<T: Clone> ReplayBuffer<T> {
    /// An empty buffer of a spout with this delivery.
    pub(super) fn new(delivery: Delivery) -> ReplayBuffer<T> {
        ReplayBuffer {
            is_tracked: delivery.tracks_tuples(),
            base: 0,
            ring: VecDeque::new(),
            stragglers: FxHashMap::default(),
            failed: VecDeque::new(),
        }
    }

    /// Keeps a new message, and returns the id to emit it with. `None`: messages are not tracked, and
    /// nothing was kept.
    #[inline]
    pub(super) fn keep(&mut self, message: &T) -> Option<MessageId> {
        if !self.is_tracked {
            return None;
        }
        if self.ring.len() >= RING_LEN_MAX {
            self.move_first_aside();
        }
        self.ring.push_back(Some(message.clone()));
        Some(MessageId(self.base + self.ring.len() as u64 - 1))
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

    /// Queues a failed message to be emitted again, or forgets it if that was its last failure.
    pub(super) fn fail(&mut self, id: MessageId, failure: &Failure) {
        if failure.is_final {
            self.ack(id);
        } else if self.get(id.0).is_some() {
            self.failed.push_back(id.0);
        }
    }

    /// The next message to emit again.
    #[inline]
    pub(super) fn next_replay(&mut self) -> Option<(MessageId, T)> {
        while let Some(number) = self.failed.pop_front() {
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
        let mut buffer = ReplayBuffer::new(Delivery::AtLeastOnce);
        let ids: Vec<MessageId> = (0..4).filter_map(|n| buffer.keep(&(n * 10))).collect();
        buffer.ack(ids[1]);
        buffer.fail(ids[2], &AGAIN);
        buffer.fail(ids[1], &AGAIN);
        assert_eq!(buffer.next_replay(), Some((ids[2], 20)));
        assert_eq!(buffer.next_replay(), None, "an acked message does not come again");
        buffer.fail(ids[2], &FINAL);
        buffer.ack(ids[0]);
        assert_eq!(buffer.ring.len(), 1, "only the last is open");
        buffer.ack(ids[3]);
        assert!(buffer.ring.is_empty());
        assert_eq!(buffer.keep(&40), Some(MessageId(4)));
    }

    #[test]
    fn memory_follows_open_messages_not_their_distance() {
        let mut buffer = ReplayBuffer::new(Delivery::AtLeastOnce);
        let first = buffer.keep(&7).unwrap();
        for n in 0..3 * RING_LEN_MAX {
            let id = buffer.keep(&n).unwrap();
            buffer.ack(id);
        }
        assert!(buffer.ring.len() <= RING_LEN_MAX && buffer.stragglers.len() == 1);
        buffer.fail(first, &AGAIN);
        assert_eq!(buffer.next_replay(), Some((first, 7)));
        buffer.ack(first);
        assert!(buffer.stragglers.is_empty());
    }

    #[test]
    fn messages_that_are_not_tracked_are_not_kept() {
        let mut buffer = ReplayBuffer::new(Delivery::AtMostOnce);
        assert_eq!(buffer.keep(&1), None);
        assert!(buffer.ring.is_empty());
    }
}
