//! The outputs of a task: its stages, one for each stream, and the call that writes to them.
//!
//! [`Outputs`](crate::api::Outputs) and [`SpoutOutputs`](crate::api::SpoutOutputs) are what user code sees
//! of it.
//!
//! **A call of a bolt is atomic.** If it returns an error or panics, the state that it changed is put back, the
//! tuples that it emitted are taken back, and the held tuples that it acked fail instead. Until the call has
//! succeeded, stages are only cut, and acks are only noted: `OutputState::finish_call` carries them out,
//! `OutputState::take_back` takes them back. Calls of spouts, and `flush` and `finish` of bolts, are not atomic:
//! what they emit is routed at once when the stage is full.

use std::sync::Arc;

use ::serde::Serialize;
use smol_str::SmolStr;

use crate::api::batch::Batch;
use crate::api::error::{EmitError, TaskError};
use crate::api::failure::FailureCause;
use crate::api::hooks::TaskHook;
use crate::api::input::{HeldTuple, HoldRegistry};
use crate::api::open_messages::OpenMessages;
use crate::api::stage::{OutputCollector, Stage};
use crate::api::streams::StreamDeclaration;
use crate::api::values::Values;
use crate::ids::{DEFAULT_STREAM, MessageId, TaskId};
use crate::logging::panics::guarded;
use crate::state::TaskState;
use crate::tuple::{self, Anchor, Value};

/// The outputs of a task: its stages, and the anchors of the tuple that `execute` is called with. The
/// executor owns it and lends it to user code inside [`Outputs`](crate::api::Outputs).
pub struct OutputState {
    /// The component, for error messages.
    pub component: SmolStr,
    /// One per declared stream, in the order of declaration.
    pub stages: Vec<Stage>,
    /// The index of the stream `default` in `stages`.
    default_stage: Option<usize>,
    /// Whether the topology tracks tuple trees at all.
    pub tracked: bool,
    /// The most bytes of one tuple.
    pub tuple_size_max: usize,
    /// The first anchor of the tuple that is executed. The executor writes it before each `execute`;
    /// emits copy it.
    pub anchor: Anchor,
    /// The second and further anchors of that tuple.
    pub extra_anchors: Vec<Anchor>,
    /// Whether the bolt has held that tuple; the executor then does not ack it.
    pub held: bool,
    /// How many tuples were held since the executor last took this number.
    pub held_count: u64,
    /// Held tuples add themselves here when they are dropped; the executor then fails them.
    pub holds: Arc<HoldRegistry>,
    /// The task's hooks; usually none.
    pub hooks: Vec<Box<dyn TaskHook>>,
    /// The state of the task, and the key of the present call.
    pub store: TaskState,
    /// Whether the present call is atomic. Written by the executor before a call.
    pub atomic: bool,
    /// The batch that ends with the present call.
    pub batch: Option<Batch>,
    /// Of a spout: the messages that it has emitted and that its executor has not taken yet.
    pub messages: OpenMessages,
    /// Calls begun.
    calls: u64,
    /// Whether the present call left something to be carried out when it has succeeded.
    unfinished: bool,
    /// Held tuples that the present call acked or failed.
    settled: Vec<(HeldTuple, Settlement)>,
}

/// The reason in the dead letter of a tuple that user code failed after it had held it, if it gave none.
const FAILED_HOLD: &str = "it was held, and then failed";

/// What an emitted tuple descends from.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// The tuple that is executed; in a spout, nothing.
    Input,
    /// It is a message of a spout.
    Message(MessageId),
}

impl From<Option<MessageId>> for Origin {
    fn from(id: Option<MessageId>) -> Origin {
        id.map_or(Origin::Input, Origin::Message)
    }
}

/// What a call did with a held tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    Ack,
    Fail,
    /// With the reason for its dead letter.
    FailWith(String),
}

impl OutputState {
    /// The state of a task that emits to `streams`. A stage is full at so many tuples, or so many bytes,
    /// as `batch_limits` has them.
    pub fn new(
        component: SmolStr,
        streams: impl IntoIterator<Item = StreamDeclaration>,
        tracked: bool,
        batch_limits: (u32, usize),
        tuple_size_max: usize,
    ) -> OutputState {
        let stages: Vec<Stage> = streams.into_iter().map(|stream| Stage::new(stream, batch_limits)).collect();
        let default_stage = stages.iter().position(|stage| stage.stream.name == DEFAULT_STREAM);
        OutputState {
            component,
            stages,
            default_stage,
            tracked,
            tuple_size_max,
            anchor: Anchor::NONE,
            extra_anchors: Vec::new(),
            held: false,
            held_count: 0,
            holds: Arc::default(),
            hooks: Vec::new(),
            store: TaskState::default(),
            atomic: false,
            batch: None,
            messages: OpenMessages::default(),
            calls: 0,
            unfinished: false,
            settled: Vec::new(),
        }
    }

    /// Notes that a call into user code begins.
    #[inline]
    pub(crate) fn begin_call(&mut self) {
        self.calls += 1;
        self.store.begin_call(self.calls);
    }

    /// Carries out what a call that has succeeded left: keeps the state, routes what is cut, acks and fails held tuples.
    #[inline]
    pub(crate) fn finish_call(&mut self, route: &mut dyn OutputCollector) {
        if self.store.is_changed() {
            self.store.commit();
        }
        if self.unfinished {
            self.finish_unfinished(route);
        }
    }

    #[cold]
    #[inline(never)]
    fn finish_unfinished(&mut self, route: &mut dyn OutputCollector) {
        self.unfinished = false;
        for (index, stage) in self.stages.iter_mut().enumerate() {
            stage.route_cuts(index, route);
        }
        for (held, settlement) in std::mem::take(&mut self.settled) {
            self.settle_now(route, held, settlement);
        }
    }

    /// Takes back what a call did that has failed for this reason: puts back the state that it changed, removes
    /// what it emitted, and fails the held tuples that it acked or failed.
    pub(crate) fn take_back(&mut self, route: &mut dyn OutputCollector, why: &str) {
        self.store.undo();
        self.unfinished = false;
        let call = self.calls;
        self.stages.iter_mut().for_each(|stage| stage.take_back(call));
        for (held, settlement) in std::mem::take(&mut self.settled) {
            match settlement {
                Settlement::Ack => {
                    self.fail_now(route, held, &format!("the call that acked it failed: {why}"))
                }
                Settlement::Fail => self.fail_now(route, held, FAILED_HOLD),
                Settlement::FailWith(reason) => self.fail_now(route, held, &reason),
            }
        }
    }

    /// Acks or fails a held tuple, at once or when the call has succeeded.
    pub(super) fn settle(
        &mut self,
        route: &mut dyn OutputCollector,
        held: HeldTuple,
        settlement: Settlement,
    ) {
        if self.atomic {
            self.settled.push((held, settlement));
            self.unfinished = true;
        } else {
            self.settle_now(route, held, settlement);
        }
    }

    fn settle_now(&mut self, route: &mut dyn OutputCollector, held: HeldTuple, settlement: Settlement) {
        match settlement {
            Settlement::Ack => {
                route.ack(&held.settle());
                call_hooks(&mut self.hooks, route, |hook| hook.bolt_ack());
            }
            Settlement::Fail => self.fail_now(route, held, FAILED_HOLD),
            Settlement::FailWith(reason) => self.fail_now(route, held, &reason),
        }
    }

    fn fail_now(&mut self, route: &mut dyn OutputCollector, held: HeldTuple, why: &str) {
        if let Some(anchors) = self.holds.fail(held, why) {
            route.fail(&anchors, FailureCause::Failed);
        }
        call_hooks(&mut self.hooks, route, |hook| hook.bolt_fail());
    }

    /// Routes what all stages hold. Not for calls that may be taken back.
    pub(super) fn route_stages(&mut self, route: &mut dyn OutputCollector) {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            if !stage.batch.is_empty() {
                route.route(index, stage);
            }
        }
    }

    /// Ends a part of a stage that is full, and routes it unless the call may be taken back.
    pub(super) fn stage_is_full(&mut self, route: &mut dyn OutputCollector, index: usize) {
        self.stages[index].cut();
        self.route_cuts_unless_atomic(route, index);
    }

    fn route_cuts_unless_atomic(&mut self, route: &mut dyn OutputCollector, index: usize) {
        if self.atomic {
            self.unfinished = true;
        } else {
            self.stages[index].route_cuts(index, route);
        }
    }

    #[inline]
    pub(super) fn stage_of(&self, stream: &str) -> Result<usize, EmitError> {
        self.stages
            .iter()
            .position(|stage| stage.stream.name == stream)
            .ok_or_else(|| self.unknown_stream(stream))
    }

    #[inline]
    pub(super) fn default_stage(&self) -> Result<usize, EmitError> {
        self.default_stage.ok_or_else(|| self.unknown_stream(DEFAULT_STREAM))
    }

    #[cold]
    fn unknown_stream(&self, stream: &str) -> EmitError {
        let declared: Vec<_> = self.stages.iter().map(|stage| stage.stream.name.as_str()).collect();
        EmitError::UnknownStream {
            component: self.component.clone(),
            stream: SmolStr::new(stream),
            declared: if declared.is_empty() { "none".to_owned() } else { declared.join(", ") },
        }
    }

    /// Emits a row that the system makes, with the anchors of the tuple that is executed.
    ///
    /// # Errors
    /// When the row is too large.
    pub(crate) fn push_anchored(&mut self, index: usize, row: Vec<Value>) -> Result<(), EmitError> {
        let stage = &mut self.stages[index];
        let heap = stage.write_row(row, true, &self.component, self.tuple_size_max)?;
        stage.add_row(heap, self.calls, self.tracked, self.anchor);
        note_extras(self, index);
        Ok(())
    }

    /// Removes the incomplete row that a panic left behind in a call that is not atomic.
    pub(crate) fn repair(&mut self) {
        self.stages.iter_mut().for_each(|stage| stage.truncate(stage.batch.len));
    }

    /// Forgets what was emitted and not routed, what is held, and all state.
    pub(crate) fn clear(&mut self) {
        self.stages.iter_mut().for_each(Stage::clear);
        self.settled.clear();
        self.unfinished = false;
        self.messages.clear();
        self.extra_anchors.clear();
        self.holds = Arc::new(self.holds.renewed());
        self.store.clear();
        self.store.forget_watermark();
    }

    /// Tuples emitted to all streams since the last call.
    pub(crate) fn take_emitted(&mut self) -> u64 {
        self.stages.iter_mut().map(|stage| std::mem::take(&mut stage.emitted)).sum()
    }

    /// Calls the emit hooks for the row just written.
    #[cold]
    fn run_emit_hooks(&mut self, route: &mut dyn OutputCollector, index: usize, targets: &[TaskId]) {
        let OutputState { stages, hooks, .. } = self;
        let stage = &stages[index];
        if let Some(last) = stage.batch.len().checked_sub(1) {
            let row = stage.batch.row(last);
            call_hooks(hooks, route, |hook| hook.emit(&stage.stream.name, row, targets));
        }
    }
}

/// Calls each hook of a task. A panic of a hook is reported; it fails neither the tuple nor the task.
pub(super) fn call_hooks(
    hooks: &mut [Box<dyn TaskHook>],
    route: &mut dyn OutputCollector,
    mut call: impl FnMut(&mut dyn TaskHook),
) {
    for hook in hooks {
        if let Err(panic) = guarded(|| call(&mut **hook)) {
            route.report(TaskError::new(format!("hook {panic}")));
        }
    }
}

/// Emits a row. The stage is routed when it is full.
#[inline]
pub(super) fn emit_row(
    state: &mut OutputState,
    route: &mut dyn OutputCollector,
    index: usize,
    values: impl Values,
    origin: Origin,
) -> Result<(), EmitError> {
    let stage = add_row(state, route, index, values, false, origin)?;
    let is_full = stage.is_full();
    if is_full || state.hooks.len() | state.extra_anchors.len() != 0 {
        row_added(state, route, index, is_full);
    }
    Ok(())
}

/// Appends a row to a stage, and returns the stage. On an error the stage is as before, and no message was opened.
#[inline]
fn add_row<'s>(
    state: &'s mut OutputState,
    route: &mut dyn OutputCollector,
    index: usize,
    values: impl Values,
    names_task: bool,
    origin: Origin,
) -> Result<&'s mut Stage, EmitError> {
    let stage = &mut state.stages[index];
    let heap = stage.write_row(values, names_task, &state.component, state.tuple_size_max)?;
    let anchor = match origin {
        Origin::Input => state.anchor,
        Origin::Message(id) => match state.messages.add(id) {
            Some(anchor) => anchor,
            None => route.open_message(id, &mut state.messages),
        },
    };
    stage.add_row(heap, state.calls, state.tracked, anchor);
    Ok(stage)
}

/// What only few emits need after the row was added: hooks, anchors beyond the first, and routing.
#[cold]
#[inline(never)]
fn row_added(state: &mut OutputState, route: &mut dyn OutputCollector, index: usize, is_full: bool) {
    note_extras(state, index);
    state.run_emit_hooks(route, index, &[]);
    if is_full {
        state.stage_is_full(route, index);
    }
}

/// Notes the second and further anchors for the row just written.
fn note_extras(state: &mut OutputState, index: usize) {
    let batch = &mut state.stages[index].batch;
    let tuple = batch.len - 1;
    batch.extras.extend(state.extra_anchors.iter().map(|anchor| (tuple, Anchor { edge: 0, ..*anchor })));
}

pub(super) fn struct_row(
    state: &OutputState,
    index: usize,
    value: &impl Serialize,
) -> Result<Vec<Value>, EmitError> {
    let stream = &state.stages[index].stream;
    tuple::serde::to_row(&stream.fields, value).map_err(|error| EmitError::Struct {
        component: state.component.clone(),
        stream: stream.name.clone(),
        reason: error.to_string(),
    })
}

pub(super) fn emit_direct(
    state: &mut OutputState,
    route: &mut dyn OutputCollector,
    task: TaskId,
    stream: &str,
    values: impl Values,
    origin: Origin,
) -> Result<(), EmitError> {
    let index = state.stage_of(stream)?;
    if !state.stages[index].stream.direct {
        let (component, stream) = (state.component.clone(), SmolStr::new(stream));
        return Err(EmitError::Direct { component, stream, direct: false });
    }
    if !route.is_direct_target(index, task) {
        return Err(EmitError::NotATarget {
            component: state.component.clone(),
            stream: SmolStr::new(stream),
            task,
        });
    }
    let stage = add_row(state, route, index, values, true, origin)?;
    stage.direct.push(task);
    note_extras(state, index);
    state.run_emit_hooks(route, index, &[task]);
    if state.stages[index].is_full() {
        state.stage_is_full(route, index);
    }
    Ok(())
}

pub(super) fn emit_for_targets(
    state: &mut OutputState,
    route: &mut dyn OutputCollector,
    index: usize,
    values: impl Values,
    origin: Origin,
) -> Result<Vec<TaskId>, EmitError> {
    add_row(state, route, index, values, false, origin)?;
    note_extras(state, index);
    let mut targets = Vec::new();
    let batch = &state.stages[index].batch;
    let chosen = route.choose(index, batch.row(batch.len() - 1), &mut targets);
    state.run_emit_hooks(route, index, &targets);
    state.stages[index].cut_out_last(chosen);
    state.route_cuts_unless_atomic(route, index);
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Fields;

    #[test]
    fn a_row_that_is_taken_back_leaves_nothing() {
        let stream = StreamDeclaration { name: "s".into(), fields: Fields::from(["x"]), direct: true };
        let mut state = OutputState::new("bolt".into(), [stream], true, (10, 10_000), 1000);
        for row in ["a".repeat(100), "b".repeat(500)] {
            state.push_anchored(0, vec![row.into()]).expect("it fits");
        }
        state.stages[0].truncate(1);
        let batch = &state.stages[0].batch;
        assert_eq!((batch.len, batch.heap, batch.msgs.len(), batch.runs[0].len), (1, 100, 1, 1));
        assert_eq!(state.stages[0].emitted, 1);
    }
}
