//! Positions of spouts whose input has no parts of its own, as files are: each task of the spout has one position.
//!
//! A position is named after its task and the number of tasks, because another number of tasks shares the input in
//! another way. So a checkpoint of another parallelism is refused.

use serde::de::DeserializeOwned;

use crate::api::error::TaskError;
use crate::api::positions::Positions;

/// The name of the split that a task has.
pub(crate) fn name(task: usize, tasks: usize) -> String {
    format!("task {task} of {tasks}")
}

/// The position of a task.
///
/// # Errors
/// When the checkpoint has none for this task of so many: fatal.
pub(crate) fn position<T: DeserializeOwned>(
    positions: &Positions,
    task: usize,
    tasks: usize,
) -> Result<T, TaskError> {
    let wanted = name(task, tasks);
    if let Some(position) = positions.get(&wanted)? {
        return Ok(position);
    }
    let found: Vec<&str> = positions.splits().collect();
    Err(TaskError::fatal(match found.first() {
        Some(first) => format!(
            "the checkpoint has no position of {wanted}, but of {first}: `parallelism` was another when it was taken; \
             set it to what it was, or begin anew without the checkpoint"
        ),
        None => format!("the checkpoint has no position of {wanted}; begin anew without the checkpoint"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_finds_its_own_position_only() {
        let mut positions = Positions::default();
        positions.set(&name(1, 3), &7_u64).expect("a number can be kept");
        assert_eq!(position::<u64>(&positions, 1, 3).ok(), Some(7));
        let refusal = |positions: &Positions, task, tasks| {
            let error = position::<u64>(positions, task, tasks).expect_err("it is of another task");
            assert!(error.is_fatal());
            error.to_string()
        };
        assert!(refusal(&positions, 1, 2).contains("no position of task 1 of 2, but of task 1 of 3"));
        assert!(refusal(&Positions::default(), 0, 1).contains("no position of task 0 of 1; begin anew"));
    }
}
