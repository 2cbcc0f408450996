//! Sinks that commit in two phases: what they write becomes visible when the checkpoint is complete.

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

/// A sink that writes in transactions, one for each checkpoint. [`TwoPhaseBolt`] makes a bolt of it.
///
/// ```text
///   begin ─▶ write … write ─▶ pre_commit │ barrier │ checkpoint is complete ─▶ commit
///      └─ crash before that is complete: the next start calls abort_others without it
///                                                     └─ crash after that: the next start calls commit, because
///                                                        nobody knows whether it was called before
/// ```
///
/// What the sink must do:
///
/// 1. After [`pre_commit`](TwoPhaseSink::pre_commit) the transaction can be committed later, by another instance in
///    another process that has only the value of the transaction, whatever is killed.
/// 2. [`commit`](TwoPhaseSink::commit) may come again for a transaction that was committed, and then does nothing.
/// 3. Nothing of a transaction is visible before `commit`.
/// 4. [`begin`](TwoPhaseSink::begin) returns a value that no transaction before had that may be committed again: it
///    counts on from the highest of those in [`abort_others`](TwoPhaseSink::abort_others), for example. Otherwise, after
///    all tasks went back to a checkpoint that has the earlier one, the later one is committed in its place.
///
/// # Examples
/// Rows that are collected, and moved to where readers see them:
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use squall::api::{TwoPhaseBolt, TwoPhaseSink};
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, TestTuple};
///
/// /// A store that outlives the sink: rows by transaction, and those that are visible.
/// #[derive(Default)]
/// struct Store {
///     prepared: Vec<(u64, Vec<String>)>,
///     visible: Vec<String>,
/// }
///
/// #[derive(Default)]
/// struct Rows {
///     store: Arc<Mutex<Store>>,
///     next: u64,
///     open: Vec<String>,
/// }
///
/// impl TwoPhaseSink for Rows {
///     type Transaction = u64;
///
///     fn begin(&mut self) -> Result<u64, TaskError> {
///         self.next += 1;
///         Ok(self.next)
///     }
///
///     fn write(&mut self, _: &mut u64, input: Input<'_>) -> Result<(), TaskError> {
///         self.open.push(input.str("row")?.to_owned());
///         Ok(())
///     }
///
///     fn pre_commit(&mut self, transaction: &mut u64) -> Result<(), TaskError> {
///         let rows = std::mem::take(&mut self.open);
///         self.store.lock().unwrap().prepared.push((*transaction, rows));
///         Ok(())
///     }
///
///     fn commit(&mut self, transaction: &u64) -> Result<(), TaskError> {
///         let mut store = self.store.lock().unwrap();
///         if let Some(at) = store.prepared.iter().position(|(of, _)| of == transaction) {
///             let (_, rows) = store.prepared.remove(at);
///             store.visible.extend(rows);
///         }
///         Ok(())
///     }
///
///     fn abort_others(&mut self, keep: &[u64]) -> Result<(), TaskError> {
///         self.next = keep.iter().copied().max().unwrap_or(0);
///         self.store.lock().unwrap().prepared.retain(|(of, _)| keep.contains(of));
///         Ok(())
///     }
/// }
///
/// let store = Arc::new(Mutex::new(Store::default()));
/// let mut sink = BoltHarness::new(TwoPhaseBolt::new(Rows { store: store.clone(), ..Rows::default() }));
/// sink.execute(TestTuple::new(["storm"]).fields(["row"]));
/// sink.checkpoint(1);
/// assert!(store.lock().unwrap().visible.is_empty(), "the checkpoint is not complete yet");
/// sink.committed(1);
/// assert_eq!(store.lock().unwrap().visible, ["storm"]);
/// ```
pub trait TwoPhaseSink: Send {
    /// What another instance needs to commit the transaction: a name, a path, an id. It is kept in checkpoints.
    type Transaction: StateValue;

    /// As [`Bolt::prepare`].
    ///
    /// # Errors
    /// As for [`Bolt::prepare`].
    fn prepare(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// As [`Bolt::check`].
    fn check(&self, _check: &mut Check<'_>) {}

    /// Begins a transaction, whose value is another than those in the `keep` of
    /// [`abort_others`](TwoPhaseSink::abort_others). Called before the first row after a checkpoint, so an interval
    /// without rows has none.
    ///
    /// # Errors
    /// The tuple that it was begun for fails, or its call is made again: see `on_error`.
    fn begin(&mut self) -> Result<Self::Transaction, TaskError>;

    /// Writes a row. If it returns an error, nothing of the row may be part of the transaction.
    ///
    /// # Errors
    /// The tuple fails, or its call is made again: see `on_error`.
    fn write(&mut self, transaction: &mut Self::Transaction, input: Input<'_>) -> Result<(), TaskError>;

    /// Makes durable what was written, so that it can be committed. Nothing is written to the transaction after it.
    ///
    /// # Errors
    /// The checkpoint fails. The transaction stays open, and rows are written to it, until the next checkpoint.
    fn pre_commit(&mut self, transaction: &mut Self::Transaction) -> Result<(), TaskError>;

    /// Makes the transaction visible, if it is not.
    ///
    /// # Errors
    /// The call is made again, until it succeeds.
    fn commit(&mut self, transaction: &Self::Transaction) -> Result<(), TaskError>;

    /// Removes everything of this task that an earlier instance left and that is not in `keep`: it belongs to no
    /// checkpoint. Called once for each instance, before `begin`. The transactions in `keep` are committed later, each
    /// when its checkpoint is complete. The last one that the task pre-committed is among them, also if it was committed:
    /// a checkpoint that tasks may go back to has no later one. After a restore with another number of tasks, those of all
    /// tasks are in it, and this task commits its share of them.
    ///
    /// # Errors
    /// As for [`Bolt::prepare`].
    fn abort_others(&mut self, keep: &[Self::Transaction]) -> Result<(), TaskError>;
}

/// A transaction that was pre-committed for a checkpoint and is not known to be committed, and which task began it.
type Prepared<T> = (CheckpointId, u32, T);

/// A bolt that writes to a [`TwoPhaseSink`].
pub struct TwoPhaseBolt<S: TwoPhaseSink> {
    sink: S,
    open: Option<S::Transaction>,
    prepared: OperatorState<Prepared<S::Transaction>>,
    /// The last transaction that was pre-committed, and by which task: the sink must not use its value again. In
    /// `prepared` it is no more when it was committed, and an instance that follows this one would not know of it.
    last: OperatorState<(u32, S::Transaction)>,
    own_tasks: OwnTasks,
}

impl<S: TwoPhaseSink> TwoPhaseBolt<S> {
    /// A bolt that writes to this sink. [`TwoPhaseSink`] has an example.
    pub fn new(sink: S) -> TwoPhaseBolt<S> {
        let (prepared, last) = (OperatorState::default(), OperatorState::default());
        TwoPhaseBolt { sink, open: None, prepared, last, own_tasks: OwnTasks::default() }
    }

    /// The sink, for what it is told beside its calls.
    pub(crate) fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }
}

impl<S: TwoPhaseSink> Bolt for TwoPhaseBolt<S> {
    fn check(&self, check: &mut Check<'_>) {
        self.sink.check(check);
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.prepared = context.operator_state_for_all("prepared")?;
        self.last = context.operator_state_for_all("last")?;
        self.own_tasks = OwnTasks::of(context);
        self.sink.prepare(context)
    }

    fn init_state(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let mut keep: Vec<_> = self.prepared.items(out)?.iter().map(|(.., it)| it.clone()).collect();
        keep.extend(self.last.items(out)?.iter().map(|(_, it)| it.clone()));
        self.sink.abort_others(&keep)?;
        // Each goes back to the task that began it, or to the one that stands in for it while it is gone.
        self.own_tasks.keep(&self.prepared, |(_, task, _)| *task, out)?;
        self.own_tasks.keep(&self.last, |(task, _)| *task, out)?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let transaction = match &mut self.open {
            Some(transaction) => transaction,
            None => self.open.insert(self.sink.begin()?),
        };
        self.sink.write(transaction, input)
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let Some(transaction) = &mut self.open else { return Ok(()) };
        self.sink.pre_commit(transaction)?;
        let task = self.own_tasks.task;
        self.prepared.push(out, (checkpoint, task, transaction.clone()))?;
        let others = self.last.items(out)?.iter().filter(|(of, _)| *of != task).cloned();
        let last = others.chain([(task, transaction.clone())]).collect();
        self.last.set(out, last)?;
        self.open = None;
        Ok(())
    }

    fn committed(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (due, later): (Vec<_>, Vec<_>) =
            self.prepared.items(out)?.iter().cloned().partition(|(of, ..)| *of <= checkpoint);
        if due.is_empty() {
            return Ok(());
        }
        due.iter().try_for_each(|(.., transaction)| self.sink.commit(transaction))?;
        Ok(self.prepared.set(out, later)?)
    }

    fn keeps_data(&self) -> bool {
        self.open.is_some()
    }
}
