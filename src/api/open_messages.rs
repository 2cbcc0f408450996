//! The messages of a spout task on their way from the emit to the executor.

use crate::ids::{MessageId, RootId};
use crate::tuple::{Anchor, Attempt, MessageIndex};

/// The messages that a spout task has emitted to one block and that its executor has not taken yet. They are kept here
/// and not in the runtime, so that an emit need not call it for each.
#[derive(Debug)]
pub struct OpenMessages {
    /// The block; [`RootId::NONE`] in an untracked topology.
    pub root: RootId,
    /// The attempt of all of them.
    pub attempt: Attempt,
    /// Which they are.
    pub ids: Vec<MessageId>,
    /// Up to how many there may be before the runtime must be called.
    pub room: usize,
}

impl Default for OpenMessages {
    /// No block is open: the runtime is called for the first message.
    fn default() -> OpenMessages {
        OpenMessages { root: RootId::NONE, attempt: Attempt::FIRST, ids: Vec::new(), room: 0 }
    }
}

impl OpenMessages {
    /// Of an untracked topology, where all are acked at once.
    pub fn untracked() -> OpenMessages {
        OpenMessages { room: usize::MAX, ..OpenMessages::default() }
    }

    /// Adds a message if there is room, and returns the anchor of its tuple.
    #[inline]
    pub fn add(&mut self, id: MessageId) -> Option<Anchor> {
        let message = self.ids.len();
        if message >= self.room {
            return None;
        }
        self.ids.push(id);
        Some(Anchor { root: self.root, edge: 0, message: message as MessageIndex, attempt: self.attempt })
    }

    /// Forgets all of them, and their block.
    pub fn clear(&mut self) {
        self.ids.clear();
        if self.root.is_tracked() {
            self.room = 0;
        }
    }
}
