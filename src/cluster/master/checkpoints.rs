//! What the master has for checkpoints: the sequence that decides, and what is known about its workers.

use std::fmt;

use crate::runtime::checkpoint_sequence::CheckpointSequence;
use crate::runtime::end_sequence::EndProgress;

/// What the master has for checkpoints.
pub struct MasterCheckpoints {
    pub sequence: CheckpointSequence,
    /// The number of the last recovery.
    pub recovery: u64,
    /// Whether it was found, after all have halted, that nothing is on its way.
    pub is_at_rest: bool,
}

impl fmt::Debug for MasterCheckpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MasterCheckpoints { sequence, recovery, is_at_rest } = self;
        write!(f, "MasterCheckpoints({:?}, recovery {recovery}, at rest {is_at_rest})", sequence.counts.stats)
    }
}

impl MasterCheckpoints {
    /// Of workers that are not up, and the number of the first recovery.
    pub fn new(sequence: CheckpointSequence, first_recovery: u64) -> MasterCheckpoints {
        MasterCheckpoints { sequence: sequence.of_workers(), recovery: first_recovery, is_at_rest: false }
    }

    /// Two waves have found this. Returns whether that answers whether anything is on its way; if not, the progress is
    /// changed to what the end of the topology may see.
    pub fn take_progress(&mut self, is_at_rest: bool, progress: &mut EndProgress) -> bool {
        if self.sequence.waits_for_rest() {
            self.is_at_rest |= is_at_rest;
            return true;
        }
        self.sequence.adjust(progress);
        false
    }
}
