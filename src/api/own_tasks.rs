//! The tasks for which a task acts: itself, and after a restore with fewer tasks some of those that are gone.

use crate::api::context::TaskContext;
use crate::api::outputs::Outputs;
use crate::api::state::OperatorState;
use crate::state::{StateError, StateValue};

/// The tasks for which a task acts.
pub(super) struct OwnTasks {
    /// Itself.
    pub(super) task: u32,
    tasks: u32,
}

/// The only task there is.
impl Default for OwnTasks {
    fn default() -> OwnTasks {
        OwnTasks { task: 0, tasks: 1 }
    }
}

impl OwnTasks {
    pub(super) fn of(context: &TaskContext) -> OwnTasks {
        OwnTasks { task: context.task_index() as u32, tasks: context.parallelism().max(1) as u32 }
    }

    /// Of a state that each task got from all, keeps the items of these tasks, and returns them.
    pub(super) fn keep<T: StateValue>(
        &self,
        state: &OperatorState<T>,
        task_of: impl Fn(&T) -> u32,
        out: &mut Outputs<'_>,
    ) -> Result<Vec<T>, StateError> {
        let all = state.items(out)?;
        let own: Vec<T> =
            all.iter().filter(|item| task_of(item) % self.tasks == self.task).cloned().collect();
        if own.len() < all.len() {
            state.set(out, own.clone())?;
        }
        Ok(own)
    }
}
