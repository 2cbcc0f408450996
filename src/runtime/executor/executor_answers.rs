//! Whether all executors of a process have answered what they were told to do about checkpoints.
//!
//! Each executor takes its commands in the order in which they were sent, and answers each. A command of a kind is sent
//! again only when the one before was answered by all, or when all were told to halt in between.

use crate::ids::CheckpointId;

/// The answers of the executors of a process, counted.
#[derive(Debug)]
pub struct ExecutorAnswers {
    /// How many answer.
    executors: usize,
    halted: usize,
    restored: usize,
    /// The checkpoint that all are to commit, and how many have.
    committed: (CheckpointId, usize),
}

impl ExecutorAnswers {
    /// Of so many executors, which were told nothing yet.
    pub fn of(executors: usize) -> ExecutorAnswers {
        ExecutorAnswers { executors, halted: 0, restored: 0, committed: (CheckpointId::default(), 0) }
    }

    /// All are told to halt.
    pub fn begin_halt(&mut self) {
        (self.halted, self.restored) = (0, 0);
    }

    /// All are told to begin with this checkpoint, and to commit it.
    pub fn begin_restore(&mut self, checkpoint: Option<CheckpointId>) {
        self.restored = 0;
        self.committed = (checkpoint.unwrap_or_default(), 0);
    }

    /// All are told to commit this checkpoint. An executor that has not committed the one before leaves it out.
    pub fn begin_commit(&mut self, checkpoint: CheckpointId) {
        self.committed = (checkpoint, 0);
    }

    /// One has halted. Returns whether all have.
    pub fn halted(&mut self) -> bool {
        self.halted += 1;
        self.halted == self.executors
    }

    /// One has what was restored. Returns whether all have.
    pub fn restored(&mut self) -> bool {
        self.restored += 1;
        self.restored == self.executors
    }

    /// One has committed a checkpoint. Returns whether all have.
    pub fn committed(&mut self, checkpoint: CheckpointId) -> bool {
        let (of, count) = &mut self.committed;
        if *of != checkpoint {
            return false;
        }
        *count += 1;
        *count == self.executors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_must_answer_and_what_is_over_does_not_count() {
        let mut answers = ExecutorAnswers::of(2);
        assert!(!answers.restored());
        answers.begin_halt();
        assert!(!answers.halted());
        assert!(answers.halted());
        let (first, second) = (CheckpointId { epoch: 1, number: 1 }, CheckpointId { epoch: 1, number: 2 });
        answers.begin_restore(Some(first));
        assert!(!answers.restored());
        assert!(!answers.committed(first));
        assert!(answers.restored());
        answers.begin_commit(second);
        assert!(!answers.committed(first), "it is over");
        assert!(!answers.committed(second));
        assert!(answers.committed(second));
    }
}
