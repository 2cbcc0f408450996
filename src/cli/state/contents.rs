//! The states of one component in a checkpoint, task by task.

use std::io;

use smol_str::SmolStr;

use crate::checkpoint::{CheckpointError, CheckpointReader, Manifest, TaskEntry};
use crate::cli::error::CommandError;
use crate::cli::state::sorted_entries::{Column, EntrySort, no_room};
use crate::ids::CheckpointId;
use crate::state::{SavedReader, SavedValue, StateDescription, StateError, StateKind, TakeSaved, Written};
use crate::text::{Shown, shown};
use crate::tuple::Value;

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

    /// Reads the states of a task from its files, as a restore does it: `taker` gets what they have.
    pub(super) fn read<T: TakeSaved<Error = ReadError>>(
        &self,
        task: &TaskEntry,
        taker: T,
    ) -> Result<T, CommandError> {
        if task.files.is_empty() {
            return Ok(taker);
        }
        let mut reader = SavedReader::new(taker);
        let read = self.reader.snapshots(&task.files).for_each_chunk(|chunk| reader.read(chunk));
        let finished = read.and_then(|()| reader.finish().map_err(ReadError::from));
        finished.map_err(|error| match error {
            ReadError::Checkpoint(error) => self.reader.explain(self.checkpoint, error).into(),
            ReadError::State(error) => {
                let (index, place, component) = (task.task_index, self.place(), &self.component);
                let text =
                    format!("the state of `{component}`, task {index}, in {place} cannot be read: {error}");
                CommandError::Refused(text)
            }
            ReadError::Scratch(error) => no_room(error),
        })
    }

    /// What all tasks that are asked for have in these states, in the order of tasks, states and keys.
    pub(super) fn sorted(&self, is_wanted: &dyn Fn(&str) -> bool) -> Result<Sorted, CommandError> {
        let sort = EntrySort::in_temporary_files();
        let mut sorting = Sorting { sort, columns: Vec::new(), of_task: Vec::new(), task: 0, is_wanted };
        for task in &self.tasks {
            (sorting.task, sorting.of_task) = (task.task_index, Vec::new());
            sorting = self.read(task, sorting)?;
        }
        let Sorting { sort, columns, .. } = sorting;
        Ok(Sorted { sort, columns })
    }
}

/// Why files were not read.
pub(super) enum ReadError {
    Checkpoint(CheckpointError),
    State(StateError),
    /// There is no room to sort them.
    Scratch(io::Error),
}

impl From<CheckpointError> for ReadError {
    fn from(error: CheckpointError) -> ReadError {
        ReadError::Checkpoint(error)
    }
}

impl From<StateError> for ReadError {
    fn from(error: StateError) -> ReadError {
        ReadError::State(error)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Scratch(error)
    }
}

/// A state of a task.
pub(super) struct StateOfTask {
    pub(super) task: u32,
    pub(super) name: SmolStr,
    pub(super) kind: StateKind,
}

/// What tasks have, in order.
pub(super) struct Sorted {
    sort: EntrySort,
    /// The states of the first task, then those of the next.
    columns: Vec<StateOfTask>,
}

impl Sorted {
    /// Passes on what each key has.
    pub(super) fn for_each(
        self,
        mut take: impl FnMut(&StateOfTask, &[Value], &SavedValue) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let Sorted { sort, columns } = self;
        let passed_on = sort
            .for_each(|column, key, value| take(&columns[column], key, value).map_err(PassError::Refused));
        passed_on.map_err(|error| match error {
            PassError::Refused(error) => error,
            PassError::Scratch(error) => no_room(error),
        })
    }
}

/// Why sorted entries were not passed on.
enum PassError {
    Refused(CommandError),
    Scratch(io::Error),
}

impl From<io::Error> for PassError {
    fn from(error: io::Error) -> PassError {
        PassError::Scratch(error)
    }
}

/// Sorts what tasks have.
struct Sorting<'w> {
    sort: EntrySort,
    columns: Vec<StateOfTask>,
    /// The task that is being read, and the columns of its states. `None`: that state is not wanted.
    task: u32,
    of_task: Vec<Option<Column>>,
    is_wanted: &'w dyn Fn(&str) -> bool,
}

impl TakeSaved for Sorting<'_> {
    type Error = ReadError;

    fn add_state(&mut self, name: &SmolStr, kind: StateKind) {
        let is_wanted = (self.is_wanted)(name);
        self.of_task.push(is_wanted.then_some(self.columns.len()));
        if is_wanted {
            self.columns.push(StateOfTask { task: self.task, name: name.clone(), kind });
        }
    }

    fn set(&mut self, state: usize, key: &[Value], value: Option<Written<'_>>) -> Result<(), ReadError> {
        match self.of_task[state] {
            Some(column) => Ok(self.sort.set(column, key, value.map(SavedValue::from))?),
            None => Ok(()),
        }
    }
}

fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", Shown(name))).collect();
    shown(names.join(", "))
}
