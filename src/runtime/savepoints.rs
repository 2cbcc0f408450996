//! Savepoints: checkpoints that a person wants, each copied to a directory of its own. A part of `checkpoint_sequence`.
//!
//! ```text
//!   wanted ─▶ the next checkpoint begins, in full ─▶ complete ─▶ copied ─▶ answered
//!      └─ stop: spouts rest before it begins                       └─ stop: when all have committed it, the run ends
//! ```
//!
//! 1. One savepoint is taken at a time, and each request is answered once.
//! 2. If anything fails on the way, the answer is why, and the run goes on.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::ids::CheckpointId;
use crate::runtime::checkpoint_actions::CheckpointAction;

/// A savepoint that is wanted.
#[derive(Debug)]
struct Wanted {
    directory: PathBuf,
    /// Whether the run ends with it.
    stops: bool,
    /// Its checkpoint, once that has begun.
    checkpoint: Option<CheckpointId>,
    /// Whether that is complete, and whether it was copied.
    is_complete: bool,
    is_copied: bool,
}

/// The savepoint that is wanted, if any.
#[derive(Debug, Default)]
pub struct Savepoints {
    wanted: Option<Wanted>,
    /// The savepoint with which the run has ended.
    last: Option<CheckpointId>,
}

type Actions = VecDeque<CheckpointAction>;

impl Savepoints {
    /// Somebody wants one in this directory; `stops`: the run ends with it.
    pub fn want(&mut self, directory: PathBuf, stops: bool, actions: &mut Actions) {
        if self.wanted.is_some() || self.last.is_some() {
            let why = "another savepoint is being taken".to_owned();
            actions.push_back(CheckpointAction::AnswerSavepoint(Err(why)));
            return;
        }
        if stops {
            actions.push_back(CheckpointAction::Rest(true));
        }
        self.wanted =
            Some(Wanted { directory, stops, checkpoint: None, is_complete: false, is_copied: false });
    }

    /// Whether one is to begin as soon as a checkpoint can.
    pub fn waits(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.checkpoint.is_none())
    }

    /// Whether one is wanted or being taken: then no other checkpoint is taken at the same time.
    pub fn is_taken(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| !wanted.is_complete)
    }

    /// A checkpoint begins. Returns whether it is a savepoint.
    pub fn begins(&mut self, checkpoint: CheckpointId) -> bool {
        let Some(wanted) = &mut self.wanted else { return false };
        *wanted.checkpoint.get_or_insert(checkpoint) == checkpoint
    }

    /// A checkpoint is complete. If it is a savepoint, it is to be copied. Returns whether the run ends with it.
    pub fn completed(&mut self, checkpoint: CheckpointId, actions: &mut Actions) -> bool {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.checkpoint == Some(checkpoint)) else {
            return false;
        };
        wanted.is_complete = true;
        actions.push_back(CheckpointAction::Export(checkpoint, wanted.directory.clone()));
        wanted.stops
    }

    /// A checkpoint was copied, or could not be. It may be one whose savepoint was given up since. Returns whether the
    /// run does not stop with a savepoint because of that.
    pub fn exported(
        &mut self,
        checkpoint: CheckpointId,
        result: Result<(), String>,
        actions: &mut Actions,
    ) -> bool {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.checkpoint == Some(checkpoint)) else {
            return false;
        };
        match result {
            Ok(()) if wanted.stops => wanted.is_copied = true,
            Ok(()) => {
                actions.push_back(CheckpointAction::AnswerSavepoint(Ok(checkpoint)));
                self.wanted = None;
            }
            Err(why) => {
                let stops = wanted.stops;
                self.refuse(&why, actions);
                return stops;
            }
        }
        false
    }

    /// All tasks have committed a savepoint that stops the run. Returns it if the run ends now: when it is copied, too.
    pub fn stops(&mut self, actions: &mut Actions) -> Option<CheckpointId> {
        let wanted = self.wanted.as_ref().filter(|wanted| wanted.stops && wanted.is_copied)?;
        self.last = wanted.checkpoint;
        self.wanted = None;
        actions.extend(self.last.map(|checkpoint| CheckpointAction::AnswerSavepoint(Ok(checkpoint))));
        self.last
    }

    /// None can be taken now.
    pub fn refuse(&mut self, why: &str, actions: &mut Actions) {
        if let Some(wanted) = self.wanted.take() {
            actions.push_back(CheckpointAction::AnswerSavepoint(Err(why.to_owned())));
            if wanted.stops {
                actions.push_back(CheckpointAction::Rest(false));
            }
        }
    }

    /// All tasks go back. A savepoint that is complete is copied all the same, unless the run stops with it.
    pub fn interrupt(&mut self, why: &str, actions: &mut Actions) {
        if self.wanted.as_ref().is_some_and(|wanted| wanted.stops || !wanted.is_complete) {
            self.refuse(why, actions);
        }
    }

    /// A checkpoint was given up. If it was the savepoint, the savepoint is, too.
    pub fn given_up(&mut self, checkpoint: CheckpointId, why: &str, actions: &mut Actions) {
        if self.wanted.as_ref().is_some_and(|wanted| wanted.checkpoint == Some(checkpoint)) {
            self.refuse(why, actions);
        }
    }
}
