//! The states of one component in a checkpoint, task by task.

use smol_str::SmolStr;

use crate::checkpoint::{CheckpointReader, Manifest, TaskEntry};
use crate::cli::error::CommandError;
use crate::ids::CheckpointId;
use crate::state::{SavedState, SavedStateReader, StateDescription};
use crate::text::{Shown, shown};

/// A component in a checkpoint.
pub(super) struct Contents<'r> {
    reader: &'r CheckpointReader,
    pub(super) checkpoint: CheckpointId,
    pub(super) component: SmolStr,
    /// The tasks that are asked for, by their index.
    pub(super) tasks: Vec<TaskEntry>,
    /// The states that some task of the component has, in the order of their first registration.
    states: Vec<StateDescription>,
}

impl<'r> Contents<'r> {
    /// Finds a component, and all its tasks or the one that is named.
    pub(super) fn find(
        reader: &'r CheckpointReader,
        manifest: Manifest,
        component: &str,
        task: Option<u32>,
    ) -> Result<Contents<'r>, CommandError> {
        let checkpoint = manifest.checkpoint;
        let all = || manifest.tasks.iter().map(|task| task.component.as_str());
        let mut known: Vec<&str> = all().collect();
        known.dedup();
        let place = format!("checkpoint {checkpoint} in {}", reader.location());
        let text = format!("{place} has no component `{}`: it has {}", Shown(component), listed(known));
        let mut tasks: Vec<TaskEntry> =
            manifest.tasks.into_iter().filter(|task| task.component == component).collect();
        if tasks.is_empty() {
            return Err(CommandError::Refused(text));
        }
        tasks.sort_by_key(|task| task.task_index);
        let mut states: Vec<StateDescription> = Vec::new();
        for state in tasks.iter().flat_map(|task| &task.states) {
            if states.iter().all(|known| known.name != state.name) {
                states.push(state.clone());
            }
        }
        if let Some(index) = task {
            let indices: Vec<String> = tasks.iter().map(|task| task.task_index.to_string()).collect();
            tasks.retain(|task| task.task_index == index);
            if tasks.is_empty() {
                let have = if indices.len() == 1 { "task" } else { "tasks" };
                let text = format!(
                    "`{component}` has no task {index} in {place}: it has {have} {}",
                    indices.join(", ")
                );
                return Err(CommandError::Refused(text));
            }
        }
        Ok(Contents { reader, checkpoint, component: component.into(), tasks, states })
    }

    /// The state of this name.
    pub(super) fn state(&self, name: &str) -> Result<&StateDescription, CommandError> {
        self.check_stateful()?;
        self.states.iter().find(|state| state.name == name).ok_or_else(|| {
            let (place, component) = (self.place(), &self.component);
            let known = listed(self.states.iter().map(|state| state.name.as_str()));
            let text = format!("`{component}` has no state `{}` in {place}: it has {known}", Shown(name));
            CommandError::Refused(text)
        })
    }

    /// Refuses a component that keeps nothing.
    pub(super) fn check_stateful(&self) -> Result<(), CommandError> {
        if !self.states.is_empty() {
            return Ok(());
        }
        let (place, component) = (self.place(), &self.component);
        Err(CommandError::Refused(format!("`{component}` keeps no state in {place}")))
    }

    /// What messages call the checkpoint.
    pub(super) fn place(&self) -> String {
        format!("checkpoint {} in {}", self.checkpoint, self.reader.location())
    }

    /// The states of a task, merged from its files as a restore does it.
    pub(super) fn read(&self, task: &TaskEntry) -> Result<Vec<SavedState>, CommandError> {
        if task.files.is_empty() {
            return Ok(Vec::new());
        }
        let unreadable = |error| {
            let (index, place, component) = (task.task_index, self.place(), &self.component);
            let text =
                format!("the state of `{component}`, task {index}, in {place} cannot be read: {error}");
            CommandError::Refused(text)
        };
        let mut states = SavedStateReader::default();
        let read =
            self.reader.snapshots(&task.files).for_each_chunk(|chunk| states.read(chunk).map_err(unreadable));
        read.map_err(|error| match error {
            CommandError::Checkpoint(error) => self.reader.explain(self.checkpoint, error).into(),
            error => error,
        })?;
        states.finish().map_err(unreadable)
    }
}

fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", Shown(name))).collect();
    shown(names.join(", "))
}
