//! Checkpoints that somebody wants now, to look at the state of this moment. A part of `checkpoint_sequence`.
//!
//! ```text
//!   wanted ─▶ the next checkpoint begins, as soon as one can ─▶ complete ─▶ answered
//! ```
//!
//! 1. The answer is a checkpoint that began after the question, so it has everything that was processed before. One that
//!    was under way does not count.
//! 2. Questions are numbered in their order. All that wait when a checkpoint begins are answered by it, whoever asked for
//!    it.
//! 3. If that checkpoint does not become complete, the answer is why. No question waits for a second one.

use std::collections::VecDeque;

use crate::ids::CheckpointId;
use crate::runtime::checkpoint_actions::CheckpointAction;

/// The questions that are not answered yet.
#[derive(Debug, Default)]
pub struct WantedCheckpoints {
    /// The last question after which no checkpoint has begun.
    waiting: Option<u64>,
    /// Checkpoints that have begun, oldest first, each with the last question that it answers.
    begun: VecDeque<(CheckpointId, u64)>,
}

type Actions = VecDeque<CheckpointAction>;

fn answer(upto: u64, answer: Result<CheckpointId, String>, actions: &mut Actions) {
    actions.push_back(CheckpointAction::AnswerCheckpoint(upto, answer));
}

impl WantedCheckpoints {
    /// Somebody wants one: this question, and all before it.
    pub fn want(&mut self, question: u64) {
        self.waiting = self.waiting.max(Some(question));
    }

    /// Whether one is to begin as soon as a checkpoint can.
    pub fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// A checkpoint begins.
    pub fn begins(&mut self, checkpoint: CheckpointId) {
        self.begun.extend(self.waiting.take().map(|question| (checkpoint, question)));
    }

    /// A checkpoint is complete, and those before it are, too, or never will be.
    pub fn completed(&mut self, checkpoint: CheckpointId, actions: &mut Actions) {
        while let Some((_, question)) = self.begun.pop_front_if(|(begun, _)| *begun <= checkpoint) {
            answer(question, Ok(checkpoint), actions);
        }
    }

    /// A checkpoint was given up.
    pub fn given_up(&mut self, checkpoint: CheckpointId, why: &str, actions: &mut Actions) {
        self.begun.retain(|(begun, question)| {
            let is_left = *begun != checkpoint;
            if !is_left {
                answer(*question, Err(why.to_owned()), actions);
            }
            is_left
        });
    }

    /// No checkpoint that has begun becomes complete any more, as far as is known. Those who wait for the next one go on
    /// to wait.
    pub fn interrupt(&mut self, why: &str, actions: &mut Actions) {
        for (_, question) in self.begun.drain(..) {
            answer(question, Err(why.to_owned()), actions);
        }
    }

    /// None is taken any more.
    pub fn refuse(&mut self, why: &str, actions: &mut Actions) {
        self.interrupt(why, actions);
        if let Some(question) = self.waiting.take() {
            answer(question, Err(why.to_owned()), actions);
        }
    }
}
