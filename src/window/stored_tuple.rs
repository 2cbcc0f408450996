//! Tuples that windows keep whole: as state, and as bolts read them again.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::api::{Input, SourceMeta, TaskContext, TaskError};
use crate::ids::TaskId;
use crate::tuple::Value;
use crate::window::kept::Kept;

/// A tuple as state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredTuple {
    component: SmolStr,
    stream: SmolStr,
    task: u32,
    values: Vec<Kept>,
    /// Whether a window has had it.
    pub(super) was_told: bool,
}

impl StoredTuple {
    pub(super) fn of(input: &Input<'_>) -> StoredTuple {
        StoredTuple {
            component: SmolStr::new(input.source_component()),
            stream: SmolStr::new(input.source_stream()),
            task: input.source_task().0,
            values: input.values().iter().cloned().map(Kept).collect(),
            was_told: false,
        }
    }
}

/// Where tuples came from, with the names of their fields.
#[derive(Default)]
pub(super) struct Sources {
    /// By component, stream and task.
    known: HashMap<(SmolStr, SmolStr, u32), Arc<SourceMeta>>,
    /// What the components of the topology say of their streams.
    declared: Vec<SourceMeta>,
}

/// A tuple as windows hand it out.
#[derive(Clone)]
pub(super) struct Row {
    values: Vec<Value>,
    source: Arc<SourceMeta>,
}

impl Row {
    pub(super) fn as_input(&self) -> Input<'_> {
        Input::shared(&self.values, &self.source)
    }
}

impl Sources {
    pub(super) fn of(context: &TaskContext) -> Sources {
        let streams = context.components().iter().flat_map(|component| {
            component.streams.iter().enumerate().map(|(index, stream)| SourceMeta {
                component: component.id.clone(),
                stream: stream.name.clone(),
                stream_index: index as u16,
                task: TaskId(0),
                fields: stream.fields.clone(),
            })
        });
        Sources { known: HashMap::new(), declared: streams.collect() }
    }

    /// The inputs of a task with their fields: what the meaning of stored values depends on.
    pub(super) fn shown(context: &TaskContext) -> String {
        let sources = Sources::of(context).declared;
        let inputs = context.inputs().iter().map(|input| {
            let is_of =
                |source: &&SourceMeta| source.component == input.component && source.stream == input.stream;
            let fields =
                sources.iter().find(is_of).map(|source| source.fields.to_string()).unwrap_or_default();
            format!("{}.{} ({fields})", input.component, input.stream)
        });
        inputs.collect::<Vec<_>>().join(", ")
    }

    /// Remembers where a tuple came from.
    pub(super) fn remember(&mut self, input: &Input<'_>) {
        let key = (
            SmolStr::new(input.source_component()),
            SmolStr::new(input.source_stream()),
            input.source_task().0,
        );
        self.known.entry(key).or_insert_with(|| input.source());
    }

    /// The tuple with the names of its fields.
    ///
    /// # Errors
    /// When the topology has no such stream any more.
    pub(super) fn row(&mut self, stored: &StoredTuple) -> Result<Row, TaskError> {
        let values = stored.values.iter().map(|value| value.0.clone()).collect();
        let key = (stored.component.clone(), stored.stream.clone(), stored.task);
        if let Some(source) = self.known.get(&key) {
            return Ok(Row { values, source: Arc::clone(source) });
        }
        let is_of =
            |source: &&SourceMeta| source.component == stored.component && source.stream == stored.stream;
        let declared = self.declared.iter().find(is_of).ok_or_else(|| {
            TaskError::fatal(format!(
                "its windows keep tuples of `{}.{}`, which the topology does not have any more",
                stored.component, stored.stream
            ))
        })?;
        let source = Arc::new(SourceMeta { task: TaskId(stored.task), ..declared.clone() });
        self.known.insert(key, Arc::clone(&source));
        Ok(Row { values, source })
    }
}
