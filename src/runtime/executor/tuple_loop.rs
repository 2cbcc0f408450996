//! The inner loop of a bolt: takes tuples from the batch in hand and calls `execute` with each.
//!
//! There are two loops. The plain loop is for the usual case, and does nothing per tuple that can be done
//! once per stretch of tuples. If another call may need a tuple's values, `execute` gets copies of those that it
//! takes. The careful loop is for tuples with several anchors, and for tuples that a hook or a dead letter may need
//! after `execute`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use crate::api::{Bolt, FailureCause, Input, OutputState, Outputs, SourceMeta, TaskError};
use crate::logging::panics::catch_unwind;
use crate::runtime::executor::batch_cursor::BatchCursor;
use crate::runtime::executor::bolt_task::BoltTask;
use crate::runtime::executor::call_error::CallError;
use crate::runtime::executor::step::{ExecutorHandles, StepContext};
use crate::runtime::executor::user_code::call_hooks;
use crate::runtime::flow::message::TaskBatch;
use crate::runtime::routing::emitter::Emitter;
use crate::state::ROWS_AHEAD;
use crate::tuple::{Rows, Value};

/// Why the inner loop returned.
enum RunEnd {
    /// The chunk is done, or a link has become full.
    Paused,
    /// User code returned an error for the tuple.
    Failed(TaskError),
}

/// What holds for all tuples of a chunk.
struct Chunk {
    stop_at: u32,
    /// Whether a bolt takes dead letters of the task.
    takes_letters: bool,
    /// Whether a call that fails is made again.
    retries: bool,
}

/// Executes at most `chunk` tuples of the batch in hand. Returns `false` if the task has lost its
/// instance and waits for the next one, or waits to make a call again.
pub fn execute_chunk(
    task: &mut BoltTask,
    cursor: &mut BatchCursor,
    chunk: u32,
    handles: &ExecutorHandles,
    cx: &StepContext<'_>,
) -> bool {
    let now = cx.now;
    let stop_at = cursor.tuple.saturating_add(chunk).min(cursor.input.batch.len);
    let Some(mut bolt) = task.bolt.take() else {
        if task.restart.is_over() {
            refuse_tuples(task, cursor, stop_at);
        }
        return task.restart.is_over();
    };
    if task.waits_for_retry(now) {
        task.bolt = Some(bolt);
        return false;
    }
    let takes_letters = task.dead_letter_stage.is_some();
    // A call that fails because of the store of the state is made again, too.
    let retries = task.on_error.is_some_and(|on_error| on_error.retry > 0) || task.state.store.has_store();
    task.executed = true;
    task.has_finished = false;
    let chunk = Chunk { stop_at, takes_letters, retries };
    if task.state.store.takes_keys() {
        task.state.store.set_positions(task.keys.positions(&cursor.input.meta));
    }
    while cursor.tuple < stop_at {
        let (state, emitter) = (&mut task.state, &mut task.emitter);
        let run = || run_tuples(&mut *bolt, state, emitter, cursor, &chunk);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(RunEnd::Paused) => break,
            Ok(RunEnd::Failed(error)) => {
                task.emitter.errors.report(&error, now);
                if call_failed(task, cursor, &CallError::returned(&error), handles, cx) {
                    task.bolt = Some(bolt);
                    return false;
                }
            }
            Err(panic) => {
                let error = CallError::panicked(&*panic);
                let is_retried = call_failed(task, cursor, &error, handles, cx);
                task.bolt = Some(bolt);
                task.break_down_in_call(&error.why, is_retried, handles, now);
                return false;
            }
        }
    }
    task.retries_no_more();
    task.bolt = Some(bolt);
    true
}

/// Executes tuples up to `stop_at`, run by run. Work that is the same for all tuples of a run is done once.
fn run_tuples(
    bolt: &mut dyn Bolt,
    state: &mut OutputState,
    emitter: &mut Emitter,
    cursor: &mut BatchCursor,
    chunk: &Chunk,
) -> RunEnd {
    let Chunk { stop_at, takes_letters, retries } = *chunk;
    while cursor.tuple < stop_at {
        state.anchor = cursor.anchor();
        state.extra_anchors.clear();
        let may_be_letter = takes_letters && emitter.is_final(&state.anchor, FailureCause::Failed);
        let plain = state.hooks.is_empty() && !may_be_letter && cursor.input.batch.extras.is_empty();
        let end = cursor.stretch_end().min(stop_at);
        let result = match (plain, retries) {
            (true, false) => run_plain(bolt, state, emitter, cursor, end, After::NotNeeded),
            (true, true) => run_plain(bolt, state, emitter, cursor, end, After::Needed),
            (false, _) => run_with_care(bolt, state, emitter, cursor, end),
        };
        if let Err(error) = result {
            return RunEnd::Failed(error);
        }
        cursor.settle(emitter);
        if emitter.outgoing.must_pause {
            break;
        }
    }
    RunEnd::Paused
}

/// The inner loop: nothing here that is not needed for every tuple.
fn run_plain(
    bolt: &mut dyn Bolt,
    state: &mut OutputState,
    emitter: &mut Emitter,
    cursor: &mut BatchCursor,
    end: u32,
    after: After,
) -> Result<(), TaskError> {
    while cursor.tuple < end {
        let part_end = look_ahead(state, cursor, end);
        while cursor.tuple < part_end {
            execute_next(bolt, state, emitter, cursor, after)?;
            state.finish_call(emitter);
            cursor.tuple += 1;
            if emitter.outgoing.must_pause {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Looks up the keys of some of the next tuples, if they have keys, and returns where these tuples end.
#[inline]
fn look_ahead(state: &mut OutputState, cursor: &BatchCursor, end: u32) -> u32 {
    if !state.store.rows_have_key() {
        return end;
    }
    let part_end = end.min(cursor.tuple + ROWS_AHEAD);
    let batch = &cursor.input.batch;
    let arity = batch.arity as usize;
    state
        .store
        .look_ahead(&batch.rows.values()[cursor.tuple as usize * arity..part_end as usize * arity], arity);
    part_end
}

/// The same for tuples whose values may be needed afterwards, or that have several anchors.
fn run_with_care(
    bolt: &mut dyn Bolt,
    state: &mut OutputState,
    emitter: &mut Emitter,
    cursor: &mut BatchCursor,
    end: u32,
) -> Result<(), TaskError> {
    while cursor.tuple < end {
        look_ahead(state, cursor, cursor.tuple + 1);
        state.extra_anchors.clear();
        state.extra_anchors.extend(cursor.extras().iter().map(|(_, anchor)| *anchor));
        execute_next(bolt, state, emitter, cursor, After::Needed)?;
        state.finish_call(emitter);
        if !state.hooks.is_empty() {
            run_hooks(state, emitter, cursor.row(), true);
        }
        cursor.tuple += 1;
        cursor.settle(emitter);
        if emitter.outgoing.must_pause {
            break;
        }
    }
    Ok(())
}

/// Whether the values of a tuple may be needed after `execute`, which then gets copies of those that it takes.
#[derive(Clone, Copy)]
enum After {
    Needed,
    NotNeeded,
}

#[inline(always)]
fn execute_next(
    bolt: &mut dyn Bolt,
    state: &mut OutputState,
    emitter: &mut Emitter,
    cursor: &mut BatchCursor,
    after: After,
) -> Result<(), TaskError> {
    let TaskBatch { batch, meta, .. } = &mut cursor.input;
    let meta: &Arc<SourceMeta> = meta;
    let (tuple, arity) = (cursor.tuple as usize, batch.arity as usize);
    if let Some(message) = batch.msgs.get(tuple) {
        state.anchor.message = *message;
    }
    state.held = false;
    state.begin_call();
    let row = tuple * arity..(tuple + 1) * arity;
    if state.store.rows_have_key() {
        state.store.take_next_key(&batch.rows.values()[row.clone()]);
    }
    let input = match (&mut batch.rows, after) {
        (Rows::Owned(values), After::NotNeeded) => Input::owned(&mut values[row], meta),
        (Rows::Owned(values), After::Needed) => Input::shared(&values[row], meta),
        (Rows::Shared(values), _) => Input::shared(&values[row], meta),
    };
    bolt.execute(input, &mut Outputs::new(state, emitter))
}

/// Calls the hooks for the tuple just executed, unless it was held.
#[cold]
fn run_hooks(state: &mut OutputState, emitter: &Emitter, row: &[Value], ok: bool) {
    let held = state.held;
    call_hooks(&mut state.hooks, &emitter.errors, emitter.outgoing.now, |hook| {
        hook.bolt_execute(row);
        match (held, ok) {
            (true, _) => {}
            (false, true) => hook.bolt_ack(),
            (false, false) => hook.bolt_fail(),
        }
    });
}

/// Handles a call that returned an error or panicked. What it did is taken back. Then it is made again later,
/// or the tuple fails. Returns whether it is made again.
#[cold]
fn call_failed(
    task: &mut BoltTask,
    cursor: &mut BatchCursor,
    error: &CallError,
    handles: &ExecutorHandles,
    cx: &StepContext<'_>,
) -> bool {
    task.take_back(&error.why, cx.now);
    cursor.settle(&mut task.emitter);
    if !task.state.held && task.retries(cursor.tuple, error, handles, cx) {
        return true;
    }
    task.stop_if_asked(error);
    fail_tuple(task, cursor, error, handles);
    false
}

/// Fails the tuple in hand. If it is not replayed any more and the dead-letter stream has subscribers, it is
/// sent there. Otherwise its messages fail. A held tuple is left alone, because whoever holds it acks or fails
/// it.
fn fail_tuple(task: &mut BoltTask, cursor: &mut BatchCursor, error: &CallError, handles: &ExecutorHandles) {
    if !task.state.hooks.is_empty() {
        run_hooks(&mut task.state, &task.emitter, cursor.row(), false);
    }
    let is_held = task.state.held;
    if !is_held && !task.send_dead_letter(&cursor.input.meta, cursor.row(), error, handles) {
        fail_anchors(&mut task.emitter, cursor, error.cause);
    }
    cursor.tuple += 1;
    cursor.settle(&mut task.emitter);
}

/// Fails tuples up to `stop_at` for a task whose instance is never built again.
#[cold]
fn refuse_tuples(task: &mut BoltTask, cursor: &mut BatchCursor, stop_at: u32) {
    while cursor.tuple < stop_at {
        fail_anchors(&mut task.emitter, cursor, FailureCause::Failed);
        cursor.tuple += 1;
        cursor.settle(&mut task.emitter);
    }
}

/// Fails the messages that the tuple in hand is anchored to.
fn fail_anchors(emitter: &mut Emitter, cursor: &BatchCursor, cause: FailureCause) {
    let extras = cursor.extras().iter().map(|(_, anchor)| *anchor);
    emitter.fail_messages(std::iter::once(cursor.anchor()).chain(extras), cause);
    emitter.failed_now += 1;
}
