//! `aggregate`: counts, sums, minima and maxima by key, in a store outside of squall. Trident's `persistentAggregate`.
//!
//! ```text
//!   tuples ─▶ execute: one part for each key ─▶ pre_commit: the parts are batch 5 ─▶ checkpoint is complete
//!               (state by key)                    (they stay in the state)             │
//!                                                                                     ▼
//!                            store: {value, prev, txid 5} ◀── committed: batch 5, if no checkpoint waits before it
//!                                                     └─ crash at any point: once more, by the rules of `trident`
//! ```
//!
//! 1. A batch is what came between two checkpoints. Its parts and its id are in the checkpoint, so when it comes again it
//!    is the same. That is a *transactional spout*, in Trident's words, so the modes `transactional` and `opaque` are both
//!    exact.
//! 2. The ids of a task are 1, 2, 3 … without a gap, also if a checkpoint is given up in between: an interval without
//!    tuples has no batch, and the batch of a checkpoint that is given up is put with the next one, under its own id.
//! 3. Batches are put in the order of their ids, each when its checkpoint is complete. What was put before the crash may
//!    come again together with later batches; keys that have a later one are skipped.
//! 4. Parts are state by key, so with another number of tasks they go where their key goes. The next id counts from the
//!    highest of *all* tasks in the checkpoint, so the ids of a key grow, whichever task has it.
//! 5. No task counts what does not continue the store: the store keeps for each task the lineage, the owner, and the last
//!    checkpoint of which it has put something ([`MapWriter`]). A run that goes back behind the store, or that another one
//!    has taken over, ends. A task takes over its own place, and a share of those of tasks that are gone. Batches would not
//!    do here: tasks number their own, and after a restore with another number of tasks they put those of others, too. A
//!    checkpoint is the same for all tasks, and later ones of a lineage have higher ids, also in another directory.
//! 6. New totals are emitted before the barrier, with the batch that makes them: see `new_totals`.
//!
//! At least once and at most once there are no checkpoints, so there is no batch to come again: see `at_once`.

mod at_once;
mod counts;
mod function;
mod new_totals;
mod pending;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemars::JsonSchema;
use serde::Deserialize;
use smol_str::SmolStr;

use crate::api::{
    BackingMap, Bolt, Check, Input, MapKey, MapOpening, MapWriter, NamedState, OperatorState, Outputs,
    Streams, TaskContext, TaskError, ValueState,
};
use crate::clock::Clock;
use crate::components::aggregate::at_once::AtOnce;
use crate::components::aggregate::counts::Counts;
use crate::components::aggregate::function::adding;
use crate::components::aggregate::new_totals::{NewTotal, Waiting, is_subscribed, totals_after};
use crate::components::aggregate::pending::{Batch, Due, Pending};
use crate::components::aggregate::sequence::{Sequence, check_continues};
use crate::components::positions::Positions;
use crate::components::settings::spend_names;
use crate::ids::CheckpointId;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::trident::{MemorySettings, MemoryStore, RedbFile, RedbFileSettings, StateMap, Update};
use crate::tuple::{Fields, Value};

pub use function::Function;

/// Settings of [`Aggregate`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AggregateSettings {
    /// The `[state.NAME]` that the totals are kept in. No other bolt may use it. Required.
    pub state: String,
    /// The fields that tuples are grouped by: the key of the totals. Required, at least one.
    pub by: Vec<String>,
    /// What is made of the tuples of a key: `"count"`, `"sum"`, `"min"` or `"max"`. Required.
    pub function: Function,
    /// The field that is added up or compared. Tuples in which it is null do not count. Required, but for `"count"`.
    #[serde(default)]
    pub field: Option<String>,
    /// The field in which the new total is emitted, behind those of `by`. Default: `"total"`.
    #[serde(default = "total_field")]
    pub emit: String,
}

fn total_field() -> String {
    "total".to_owned()
}

/// The bolt `aggregate`.
pub struct Aggregate {
    settings: AggregateSettings,
    /// Of the fields to group by, then of the field to aggregate.
    positions: Positions,
    /// Whether calls have the fields of `by` as their key already.
    has_key: bool,
    /// At least once and at most once, from `prepare` on.
    at_once: Option<AtOnce>,
    /// Exactly once, from `prepare` on.
    map: Option<StateMap<Box<dyn BackingMap>>>,
    /// Whether somebody takes what is emitted.
    is_subscribed: bool,
    pending: ValueState<Pending>,
    /// One, once it is begun. After a restore with another number of tasks, those of all tasks.
    sequences: OperatorState<Sequence>,
    writer: MapWriter,
    /// How many tasks the bolt has.
    tasks: u32,
    clock: Clock,
    seed: u64,
    counts: Counts,
}

impl Aggregate {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When `by` is empty, or `field` does not go with `function`.
    pub fn new(settings: AggregateSettings) -> Result<Aggregate, SettingError> {
        Aggregate::new_within(settings, &Effort::unlimited())
    }

    fn new_within(settings: AggregateSettings, effort: &Effort) -> Result<Aggregate, SettingError> {
        spend_names(effort, "by", settings.by.len())?;
        if settings.by.is_empty() {
            return Err(SettingError::at("by", "name at least one field, for example by = [\"word\"]"));
        }
        if let Some((_, twice)) =
            settings.by.iter().enumerate().find(|(at, field)| settings.by[..*at].contains(field))
        {
            return Err(SettingError::at("by", format!("`{twice}` stands twice")));
        }
        if settings.by.contains(&settings.emit) {
            let why = format!("`{}` is one of `by`, too: name another field for the total", settings.emit);
            return Err(SettingError::at("emit", why));
        }
        match (settings.function, &settings.field) {
            (Function::Count, Some(_)) => {
                let why = "does not go with function = \"count\", which counts tuples: write \"sum\", or leave it out";
                return Err(SettingError::at("field", why));
            }
            (Function::Sum | Function::Min | Function::Max, None) => {
                return Err(SettingError::at("function", "needs a `field` that is added up or compared"));
            }
            _ => {}
        }
        let positions = Positions::of(settings.by.iter().chain(&settings.field));
        Ok(Aggregate {
            settings,
            positions,
            has_key: false,
            at_once: None,
            map: None,
            is_subscribed: false,
            pending: ValueState::default(),
            sequences: OperatorState::default(),
            writer: MapWriter { task: 0, lineage: 0, owner: 0, txid: 0, checkpoint: CheckpointId::default() },
            tasks: 1,
            clock: Clock::simulated(),
            seed: 0,
            counts: Counts::default(),
        })
    }

    fn map(&mut self) -> &mut StateMap<Box<dyn BackingMap>> {
        self.map.as_mut().expect("`prepare` is called first")
    }

    /// Emits the totals of the keys of which tuples came since the last checkpoint, if that was not done.
    fn emit_new_totals(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if !self.is_subscribed {
            return Ok(());
        }
        let (function, last) = (self.settings.function, self.last(out)?);
        let (pending, mut waiting) = (self.pending, Vec::<Waiting>::new());
        pending.for_each(out, |_, key, found| {
            if let Some(open) = found.open.filter(|_| !found.is_emitted) {
                let batches = found.batches.into_iter().map(|batch| (batch.txid, batch.part));
                waiting.push((key.to_vec(), batches.chain([(last + 1, open)]).collect()));
            }
            Ok(())
        })?;
        if waiting.is_empty() {
            return Ok(());
        }
        let totals = totals_after(self.map(), function, &waiting, last)?;
        for ((key, _), total) in waiting.iter().zip(totals) {
            if let Err(error) = out.emit(NewTotal { key, total }) {
                out.report_error(error);
                self.counts.refused.add(1);
            }
            out.set_key(key.as_slice())?;
            pending.update(out, |found| found.is_emitted = true)?;
        }
        Ok(())
    }

    /// The last batch of the task.
    fn last(&self, out: &mut Outputs<'_>) -> Result<u64, TaskError> {
        Ok(self.sequences.items(out)?.iter().map(|sequence| sequence.txid).max().unwrap_or(0))
    }

    /// Puts a batch, or that part of it whose keys this task has.
    fn put(&mut self, txid: u64, last: u64, due: &Due) -> Result<(), TaskError> {
        let parts = &due.parts;
        let function = self.settings.function;
        let add: Vec<_> = parts.iter().map(|(key, part)| adding(function, key, part)).collect();
        let updates: Vec<(MapKey, Update<'_>)> =
            parts.iter().zip(&add).map(|((key, _), add)| (key.clone(), add as Update<'_>)).collect();
        let (txid_put, checkpoint) = (self.writer.txid.max(txid), self.writer.checkpoint.max(due.checkpoint));
        let writer = MapWriter { txid: txid_put, checkpoint, ..self.writer };
        let map = self.map();
        map.begin_replay(txid, last);
        let done = map.multi_update_as(&writer, &updates);
        map.commit();
        done?;
        self.writer = writer;
        self.counts.put(parts.len());
        Ok(())
    }
}

impl Bolt for Aggregate {
    fn declare(&self) -> Streams {
        Streams::new(self.settings.by.iter().chain([&self.settings.emit]).collect::<Fields>())
    }

    fn check(&self, check: &mut Check<'_>) {
        let AggregateSettings { by, state, field, .. } = &self.settings;
        by.iter().for_each(|name| check.require_field("by", name));
        if let Some(field) = field {
            check.require_field("field", field);
        }
        let by: Vec<SmolStr> = by.iter().map(SmolStr::new).collect();
        check.use_state_for_batches("state", state, &by);
        check.require_grouping("by", &by);
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let name = &self.settings.state;
        let state = context.resources().get::<NamedState>(&NamedState::resource(name));
        let state = state.ok_or_else(|| TaskError::fatal(format!("there is no state `{name}`")))?;
        let (tasks, workers) = (context.parallelism(), context.worker().workers());
        if state.store.is_local() && tasks > 1 && workers > 1 {
            return Err(TaskError::fatal(format!(
                "{tasks} tasks in {workers} workers cannot share the state `{name}`, which one process alone can use: run \
                 them in one, set `parallelism = 1`, or use the type `postgres`"
            )));
        }
        let key: Fields = self.settings.by.iter().collect();
        let opening = MapOpening { name, mode: state.mode, key: &key, task: context };
        self.counts = Counts::of(context);
        if !context.delivery().is_exactly_once() {
            let at_once = AtOnce::new(state.store.open(&opening)?, state.mode, self.settings.function);
            self.at_once =
                Some(at_once.map_err(|why| TaskError::fatal(format!("the state `{name}` {why}")))?);
            return Ok(());
        }
        self.map = Some(StateMap::new(state.store.open(&opening)?, state.mode));
        self.is_subscribed = is_subscribed(context);
        self.writer.task = context.task_index() as u32;
        self.tasks = tasks as u32;
        self.clock = context.clock().clone();
        self.seed = context.seed();
        self.pending = context.value_state("pending")?;
        self.sequences = context.operator_state_for_all("sequence")?;
        let inputs = context.inputs();
        self.has_key = !inputs.is_empty() && inputs.iter().all(|input| input.key == key);
        if !self.has_key {
            context.name_keys();
        }
        Ok(())
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.at_once.is_some() {
            return Ok(());
        }
        let task = self.writer.task;
        let sequences = self.sequences.items(out)?.to_vec();
        let found = self.map().backing().writers()?;
        if let Some(found) = &found {
            check_continues(&sequences, found, &self.settings.state)?;
        }
        let own = sequences.iter().find(|sequence| sequence.task == task);
        let found = found.unwrap_or_default();
        // A run that begins anew counts on from what is there.
        let last = match sequences.iter().map(|sequence| sequence.txid).max() {
            Some(last) => last,
            None => found.iter().map(|writer| writer.txid).max().unwrap_or(0),
        };
        // Two instances of a task do not begin with one seed at one time.
        let seed = self.seed ^ self.clock.wall_nanos().cast_unsigned() ^ u64::from(task);
        let owner = StdRng::seed_from_u64(seed).random();
        // A task that is new among others continues what they do.
        let begun = own.or_else(|| sequences.iter().min_by_key(|sequence| sequence.task));
        let lineage = begun.map_or(owner, |begun| begun.lineage);
        let put = found.iter().find(|writer| writer.task == task);
        let continued = put.filter(|put| put.lineage == lineage);
        self.writer = MapWriter {
            task,
            lineage,
            owner,
            // Whoever begins anew later counts on from the highest of all.
            txid: put.map_or(0, |put| put.txid).max(if begun.is_none() { last } else { 0 }),
            checkpoint: continued.map_or(CheckpointId::default(), |put| put.checkpoint),
        };
        let checkpoint = sequences.iter().map(|sequence| sequence.checkpoint).max().unwrap_or_default();
        // What is there of tasks that are gone is dealt out, so that no instance of theirs goes on. How far they have come
        // stays, because it is compared with checkpoints.
        let tasks = self.tasks;
        let gone = found.iter().filter(|writer| writer.task >= tasks && writer.task % tasks == task);
        let claims = gone.map(|gone| (Some(gone), MapWriter { owner, ..*gone })).chain([(put, self.writer)]);
        for (before, writer) in claims {
            if !self.map().backing().claim(before, &writer)? {
                return Err(TaskError::new(format!(
                    "another instance of task {} has written to the state `{}` while it was taken over",
                    writer.task, self.settings.state
                )));
            }
        }
        Ok(self.sequences.set(out, vec![Sequence { task, lineage, txid: last, checkpoint }])?)
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let function = self.settings.function;
        let positions = self.positions.resolve(&input)?;
        let (by, field) = positions.split_at(self.settings.by.len());
        let values = input.values();
        let value = field.first().map_or(&Value::Null, |at| &values[*at]);
        let part = function.part(value).map_err(|why| {
            TaskError::new(format!("field `{}` {why}", self.settings.field.as_deref().unwrap_or_default()))
        })?;
        let Some(part) = part else { return Ok(()) };
        if let Some(at_once) = &mut self.at_once {
            let key: MapKey = by.iter().map(|at| values[*at].clone()).collect();
            return at_once.add(key, part, input, &self.counts, out);
        }
        if !self.has_key {
            out.set_key_of(values, by);
        }
        let map = self.map.as_mut().expect("`prepare` is called first");
        map.backing().check(out.key(), &part.value()).map_err(TaskError::new)?;
        let added = self.pending.update(out, |pending| {
            let both = match &pending.open {
                Some(open) => function.combined_parts(open, &part)?,
                None => part,
            };
            (pending.open, pending.is_emitted) = (Some(both), false);
            Ok::<_, String>(())
        })?;
        added.map_err(|why| TaskError::new(format!("the total {why}")))
    }

    fn flush(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.at_once.as_mut().map_or(Ok(()), |at_once| at_once.put(&self.counts, out))
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.emit_new_totals(out)?;
        let last = self.last(out)?;
        let (pending, mut txid) = (self.pending, last);
        pending.for_each(out, |out, _, mut waiting| {
            if let Some(part) = waiting.open.take() {
                txid = last + 1;
                waiting.is_emitted = false;
                waiting.batches.push(Batch { txid, checkpoint, part });
                pending.set(out, waiting)?;
            }
            Ok(())
        })?;
        let MapWriter { task, lineage, .. } = self.writer;
        Ok(self.sequences.set(out, vec![Sequence { task, lineage, txid, checkpoint }])?)
    }

    fn committed(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let last = self.last(out)?;
        let (pending, mut due) = (self.pending, BTreeMap::<u64, Due>::new());
        pending.for_each(out, |_, key, waiting| {
            for batch in waiting.batches.into_iter().filter(|batch| batch.checkpoint <= checkpoint) {
                let of_id = due.entry(batch.txid).or_default();
                of_id.checkpoint = of_id.checkpoint.max(batch.checkpoint);
                of_id.parts.push((key.to_vec(), batch.part));
            }
            Ok(())
        })?;
        for (txid, due) in &due {
            self.put(*txid, last, due)?;
        }
        if due.is_empty() {
            return Ok(());
        }
        pending.for_each(out, |out, _, mut waiting| {
            let before = waiting.batches.len();
            waiting.batches.retain(|batch| batch.checkpoint > checkpoint);
            if waiting.open.is_none() && waiting.batches.is_empty() {
                pending.clear(out)?;
            } else if waiting.batches.len() < before {
                pending.set(out, waiting)?;
            }
            Ok(())
        })
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if let Some(at_once) = &mut self.at_once {
            return at_once.put(&self.counts, out);
        }
        // What takes the totals may emit something of them when it finishes. If the store is away, they come with the last
        // checkpoint.
        self.emit_new_totals(out).unwrap_or_else(|error| out.report_error(error));
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within(
            "aggregate",
            "Counts, adds up or compares values by key, in a store outside of squall.",
            |settings: &AggregateSettings, effort| Aggregate::new_within(settings.clone(), effort),
        )
        .output("default: the fields of `by`, then the new total (`emit`)")
        .example(
            r#"
[state.totals]
type = "redb"
path = "totals.redb"

[bolt.totals]
type = "aggregate"
parallelism = 2
inputs = [{ from = "words", fields = ["word"] }]
config = { state = "totals", by = ["word"], function = "count" }
"#,
        )
        .blocking();
    registry.state_type(
        "memory",
        "The memory of the process, for tests: totals end with it.",
        |_: &MemorySettings| Ok(MemoryStore::default()),
    );
    registry.state_type("redb", "A file that one process at a time uses.", |settings: &RedbFileSettings| {
        match settings.path.is_empty() {
            true => Err(SettingError::at("path", "must not be empty")),
            false => Ok(RedbFile::new(settings.clone())),
        }
    });
}
