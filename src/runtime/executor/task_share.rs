//! What belongs to a task after a restore, if its component had another number of tasks when the checkpoint was taken.
//!
//! * State by key: the keys that fields grouping now sends to the task.
//! * Operator state: the items of all tasks are dealt out in turn. Where a component asks for it, each task keeps its
//!   own instead, and what tasks kept that are gone goes to the others; or each gets all, and takes what belongs to it.
//! * Tuples that bolts held: by their key, if their input is grouped by fields. Otherwise in turn, where the grouping
//!   lets any task have them.

use crate::api::{InputInfo, TaskContext};
use crate::runtime::routing::grouping::KeyGroups;
use crate::state::StateShare;
use crate::tuple::Value;
use crate::tuple::hash::stable_hash_all;

/// The share of a task.
pub struct TaskShare {
    task: u32,
    tasks: u32,
    key_groups: u32,
    inputs: Vec<InputInfo>,
}

impl TaskShare {
    /// The share of the task of this context, whose topology has so many key groups.
    pub fn new(context: &TaskContext, key_groups: u32) -> TaskShare {
        TaskShare {
            task: context.task_index() as u32,
            tasks: context.parallelism() as u32,
            key_groups,
            inputs: context.inputs().to_vec(),
        }
    }

    /// How many tasks the component has.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    fn owner(&self, hash: u64) -> u32 {
        KeyGroups::owner(hash, self.key_groups, self.tasks)
    }

    /// Whether the task gets a tuple that was held; it is the nth of all, and this is its source.
    ///
    /// # Errors
    /// When its grouping decides which tasks have it, and does not tell which these are.
    pub fn has_held(
        &self,
        nth: usize,
        (component, stream): (&str, &str),
        value_of: impl Fn(&str) -> Option<Value>,
    ) -> Result<bool, String> {
        let is_of = |input: &&InputInfo| input.component == component && input.stream == stream;
        let Some(input) = self.inputs.iter().find(is_of) else {
            return Err(format!("it held a tuple of `{component}`, which is no input any more"));
        };
        let key: Option<Vec<Value>> = input.key.iter().map(|field| value_of(field)).collect();
        let owner = match (&*input.grouping, key) {
            (_, Some(key)) if !key.is_empty() => self.owner(stable_hash_all(&key)),
            ("shuffle" | "local-or-shuffle" | "none", _) => (nth % self.tasks as usize) as u32,
            ("global", _) => 0,
            (grouping, _) => {
                return Err(format!(
                    "it held tuples of `{component}`, which come by {grouping} grouping, so they cannot be shared out \
                     among another number of tasks"
                ));
            }
        };
        Ok(owner == self.task)
    }
}

impl StateShare for TaskShare {
    fn has_key(&self, key: &[Value]) -> bool {
        self.owner(stable_hash_all(key)) == self.task
    }

    fn has_operator_state_of(&self, task: u32) -> bool {
        task % self.tasks == self.task
    }

    fn has_item(&self, nth: usize) -> bool {
        nth % self.tasks as usize == self.task as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HarnessOptions;
    use crate::tuple::Fields;

    fn shares(tasks: usize, grouping: &str, key: &[&str]) -> Vec<TaskShare> {
        let input = InputInfo {
            component: "lines".into(),
            stream: "default".into(),
            grouping: grouping.to_owned(),
            key: key.iter().copied().collect::<Fields>(),
        };
        let share = |task_index| {
            let inputs = vec![input.clone()];
            let options =
                HarnessOptions { task_index, parallelism: tasks, inputs, ..HarnessOptions::default() };
            TaskShare::new(&options.task_context(), 64)
        };
        (0..tasks).map(share).collect()
    }

    #[test]
    fn each_key_belongs_to_the_task_that_fields_grouping_chooses() {
        for tasks in 1..6 {
            let (shares, groups) = (shares(tasks, "fields(n)", &["n"]), KeyGroups::new(vec![0], 64, tasks));
            for n in 0..500 {
                let key = [Value::from(n)];
                let owners: Vec<usize> = (0..tasks).filter(|task| shares[*task].has_key(&key)).collect();
                assert_eq!(owners, [groups.choose(&key)]);
            }
        }
    }

    #[test]
    fn operator_state_of_a_task_stays_where_it_was_or_goes_to_one_of_those_that_are_left() {
        let owners = |tasks: usize, of: u32| -> Vec<usize> {
            let shares = shares(tasks, "shuffle", &[]);
            (0..tasks).filter(|task| shares[*task].has_operator_state_of(of)).collect()
        };
        assert_eq!([owners(4, 0), owners(4, 1), owners(4, 3)], [[0], [1], [3]]);
        assert_eq!([owners(2, 0), owners(2, 1), owners(2, 2), owners(2, 3)], [[0], [1], [0], [1]]);
    }

    #[test]
    fn held_tuples_are_shared_out_as_they_come() {
        let owners = |grouping: &str, key: &[&str], nth| -> Result<Vec<usize>, String> {
            let shares = shares(3, grouping, key);
            let of = |share: &TaskShare| share.has_held(nth, ("lines", "default"), |_| Some(Value::from(7)));
            let found: Result<Vec<bool>, String> = shares.iter().map(of).collect();
            Ok(found?.iter().enumerate().filter(|(_, has)| **has).map(|(task, _)| task).collect())
        };
        assert_eq!(owners("shuffle", &[], 4), Ok(vec![1]));
        assert_eq!(owners("global", &[], 4), Ok(vec![0]));
        let by_key = KeyGroups::new(vec![0], 64, 3).choose(&[Value::from(7)]);
        assert_eq!(owners("fields(n)", &["n"], 4), Ok(vec![by_key]));
        assert!(owners("all", &[], 4).is_err_and(|why| why.contains("by all grouping")));
        let strange = shares(1, "shuffle", &[])[0].has_held(0, ("others", "default"), |_| None);
        assert!(strange.is_err_and(|why| why.contains("no input any more")));
    }
}
