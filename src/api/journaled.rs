//! Sinks that write at once, and take back what belongs to no checkpoint.

use crate::api::bolt::Bolt;
use crate::api::check::Check;
use crate::api::context::TaskContext;
use crate::api::error::TaskError;
use crate::api::input::Input;
use crate::api::outputs::Outputs;
use crate::api::own_tasks::OwnTasks;
use crate::api::state::OperatorState;
use crate::ids::CheckpointId;
use crate::state::StateValue;

/// A sink whose rows are visible at once (*dirty*), and are taken back if all tasks go back to a checkpoint before them.
/// [`JournaledBolt`] makes a bolt of it.
///
/// ```text
///   write … write ─▶ mark │ barrier │ checkpoint is complete ─▶ clean: rows before the mark stay
///     └─ crash before that is complete: the next instance calls undo with the mark of the checkpoint before
///                                       └─ crash after that: the next instance calls undo with this mark, and then clean
/// ```
///
/// What the sink must do:
///
/// 1. After [`mark`](JournaledSink::mark) the rows before it are durable, and another instance in another process that has
///    only the mark can take back everything that was written after it, whatever is killed. So what is needed for that is
///    durable before the row is visible: a length, a number in each row, or a *journal* of what was there before.
/// 2. [`undo`](JournaledSink::undo) and [`clean`](JournaledSink::clean) may come again for the same mark, and then do
///    nothing.
/// 3. Readers can tell which rows are clean: those before the last mark that was cleaned.
///
/// Compared with a [`TwoPhaseSink`](crate::api::TwoPhaseSink), readers see rows before their checkpoint is complete, and
/// some of those rows vanish after a failure.
///
/// # Examples
/// A table whose rows have numbers. To take rows back, those with higher numbers are deleted:
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use squall::api::{JournaledBolt, JournaledSink};
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
///
/// /// A table that outlives the sink, and up to which number its rows are clean.
/// #[derive(Default)]
/// struct Table {
///     rows: BTreeMap<u64, String>,
///     clean: u64,
/// }
///
/// #[derive(Default)]
/// struct Rows {
///     table: Arc<Mutex<Table>>,
///     next: u64,
/// }
///
/// impl JournaledSink for Rows {
///     /// The number of the next row.
///     type Mark = u64;
///
///     fn write(&mut self, input: Input<'_>) -> Result<(), TaskError> {
///         self.table.lock().unwrap().rows.insert(self.next, input.str("row")?.to_owned());
///         self.next += 1;
///         Ok(())
///     }
///
///     fn mark(&mut self) -> Result<u64, TaskError> {
///         Ok(self.next)
///     }
///
///     fn clean(&mut self, mark: &u64) -> Result<(), TaskError> {
///         self.table.lock().unwrap().clean = *mark;
///         Ok(())
///     }
///
///     fn undo(&mut self, mark: Option<&u64>, _: &[u64]) -> Result<(), TaskError> {
///         let mut table = self.table.lock().unwrap();
///         self.next = mark.copied().unwrap_or(table.clean);
///         table.rows.retain(|number, _| *number < self.next);
///         Ok(())
///     }
/// }
///
/// let table = Arc::new(Mutex::new(Table::default()));
/// let sink = || Box::new(JournaledBolt::new(Rows { table: table.clone(), next: 0 }));
/// let row = |row: &str| TestTuple::new([row]).fields(["row"]);
/// let mut first = BoltHarness::start(sink(), &HarnessOptions::default())?;
/// first.execute(row("storm"));
/// let checkpoint = first.checkpoint(1);
/// first.committed(1);
/// first.execute(row("rain"));
/// assert_eq!(table.lock().unwrap().rows.len(), 2);
/// assert_eq!(table.lock().unwrap().clean, 1, "rain is dirty");
///
/// // A crash: the next instance begins with checkpoint 1.
/// drop(first);
/// BoltHarness::restored(sink(), &HarnessOptions::default(), &checkpoint)?;
/// assert_eq!(table.lock().unwrap().rows.values().collect::<Vec<_>>(), ["storm"]);
/// # Ok::<(), TaskError>(())
/// ```
pub trait JournaledSink: Send {
    /// What another instance needs to take back everything that was written later: a length, a number, a place in a
    /// journal. It is kept in checkpoints.
    type Mark: StateValue;

    /// As [`Bolt::prepare`].
    ///
    /// # Errors
    /// As for [`Bolt::prepare`].
    fn prepare(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// As [`Bolt::check`].
    fn check(&self, _check: &mut Check<'_>) {}

    /// Writes a row. It may be buffered until [`flush`](JournaledSink::flush). If it returns an error, nothing of the row
    /// may be written.
    ///
    /// # Errors
    /// The tuple fails, or its call is made again: see `on_error`.
    fn write(&mut self, input: Input<'_>) -> Result<(), TaskError>;

    /// Makes visible what is buffered. Called when there is no more input for now.
    ///
    /// # Errors
    /// They are reported. What could not be written stays buffered.
    fn flush(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// Makes durable what was written, and what is needed to take back later rows, and returns where the sink stands.
    /// Called at a checkpoint if rows were written since the one before.
    ///
    /// # Errors
    /// The checkpoint fails. The sink goes on, and is asked again at the next one.
    fn mark(&mut self) -> Result<Self::Mark, TaskError>;

    /// The rows before this mark stay: states so to readers, durably. What a journal has of them can be deleted. Marks of
    /// checkpoints that were given up are left out.
    ///
    /// # Errors
    /// The call is made again, until it succeeds.
    fn clean(&mut self, mark: &Self::Mark) -> Result<(), TaskError>;

    /// Takes back everything that this task wrote after its mark. Without a mark no checkpoint has rows of this task, and
    /// everything is taken back that is not clean. Called once for each instance, before the first row. After a restore with
    /// fewer tasks, `gone` has the marks of tasks that are gone, and for which this one stands in: it takes back what they
    /// wrote after them.
    ///
    /// # Errors
    /// As for [`Bolt::prepare`].
    fn undo(&mut self, mark: Option<&Self::Mark>, gone: &[Self::Mark]) -> Result<(), TaskError>;
}

/// A mark that was made for a checkpoint, and by which task.
type Marked<M> = (CheckpointId, u32, M);

/// A bolt that writes to a [`JournaledSink`].
pub struct JournaledBolt<S: JournaledSink> {
    sink: S,
    /// Whether rows were written since the last mark.
    is_dirty: bool,
    /// The marks of the checkpoints that are not known to be complete, and before them the last of one that is.
    marks: OperatorState<Marked<S::Mark>>,
    /// The checkpoint up to which rows are clean.
    clean: Option<CheckpointId>,
    own_tasks: OwnTasks,
}

impl<S: JournaledSink> JournaledBolt<S> {
    /// A bolt that writes to this sink. [`JournaledSink`] has an example.
    pub fn new(sink: S) -> JournaledBolt<S> {
        let (marks, clean) = (OperatorState::default(), None);
        JournaledBolt { sink, is_dirty: false, marks, clean, own_tasks: OwnTasks::default() }
    }

    /// The sink, for what it is told beside its calls.
    pub(crate) fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }
}

/// The last mark of each task.
fn last_of_each<M: Clone>(marks: &[Marked<M>]) -> Vec<Marked<M>> {
    let is_last = |(at, (_, task, _)): &(usize, &Marked<M>)| {
        marks.iter().skip(at + 1).all(|(_, later, _)| later != task)
    };
    marks.iter().enumerate().filter(is_last).map(|(_, mark)| mark.clone()).collect()
}

impl<S: JournaledSink> Bolt for JournaledBolt<S> {
    fn check(&self, check: &mut Check<'_>) {
        self.sink.check(check);
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.marks = context.operator_state_for_all("marks")?;
        self.own_tasks = OwnTasks::of(context);
        self.sink.prepare(context)
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        // Each goes back to the task that made it, or to the one that stands in for it while it is gone.
        let own = self.own_tasks.keep(&self.marks, |(_, task, _)| *task, out)?;
        let (mine, gone): (Vec<_>, Vec<_>) =
            last_of_each(&own).into_iter().partition(|(_, task, _)| *task == self.own_tasks.task);
        let gone: Vec<S::Mark> = gone.into_iter().map(|(.., mark)| mark).collect();
        self.sink.undo(mine.first().map(|(.., mark)| mark), &gone)
    }

    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.sink.write(input)?;
        self.is_dirty = true;
        Ok(())
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.sink.flush()
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if !self.is_dirty {
            return Ok(());
        }
        let mark = self.sink.mark()?;
        self.marks.push(out, (checkpoint, self.own_tasks.task, mark))?;
        self.is_dirty = false;
        Ok(())
    }

    fn committed(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (due, later): (Vec<_>, Vec<_>) =
            self.marks.items(out)?.iter().cloned().partition(|(of, ..)| *of <= checkpoint);
        let due = last_of_each(&due);
        let newest = due.iter().map(|(of, ..)| *of).max();
        if newest.is_none() || newest <= self.clean {
            return Ok(());
        }
        due.iter().try_for_each(|(.., mark)| self.sink.clean(mark))?;
        self.clean = newest;
        // The last mark stays: if rows come after it, they are taken back to it. Tasks that are gone write no more.
        let kept = due.into_iter().filter(|(_, task, _)| *task == self.own_tasks.task);
        Ok(self.marks.set(out, kept.chain(later).collect())?)
    }

    fn keeps_data(&self) -> bool {
        self.is_dirty
    }
}
