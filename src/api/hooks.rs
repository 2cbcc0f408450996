//! Watching a task from outside its component.

use crate::api::context::TaskContext;
use crate::ids::{MessageId, TaskId};
use crate::tuple::Value;

/// Is called for what a task does. One instance per task, called by one thread at a time. A hook costs a
/// call per tuple; a task without hooks pays nothing. A panic of a hook is reported; it fails neither the
/// tuple nor the task.
///
/// Hooks are added to a topology or to one component: in Rust by `TopologyBuilder::hook` and by `hook`
/// of a declared component, in documents by `hooks = ["NAME"]` with the name under which they are
/// registered by [`Registry::hook`](crate::topology::registry::Registry::hook).
///
/// Unlike in Storm, the emit hook is called for tuples only, not for the acks that the system sends.
///
/// # Examples
/// Counts what each component executes:
/// ```
/// use squall::api::TaskHook;
/// use squall::metrics::Counter;
/// use squall::prelude::*;
///
/// #[derive(Default)]
/// struct Watch {
///     executed: Counter,
/// }
///
/// impl TaskHook for Watch {
///     fn prepare(&mut self, context: &TaskContext) {
///         self.executed = context.counter("executed");
///     }
///
///     fn bolt_execute(&mut self, _tuple: &[Value]) {
///         self.executed.add(1);
///     }
/// }
///
/// let mut builder = TopologyBuilder::new("watched");
/// builder.hook(Watch::default);
/// # use squall::testing::{Capture, FixedSpout, SimulatedTopology, SimulationOptions};
/// # builder.spout("numbers", || FixedSpout::new(["n"], (0..4).map(|n| vec![Value::from(n)])));
/// # builder.bolt("sink", Capture::new().bolt()).shuffle("numbers");
/// # let mut topology = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
/// # let stats = topology.run_to_end(std::time::Duration::from_secs(60))?;
/// # let executed = stats.components[1].metrics.get("executed");
/// # assert_eq!(executed, Some(&squall::metrics::MetricValue::Counter(4)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// All methods, and when they are called:
/// ```
/// use std::sync::{Arc, Mutex};
/// use squall::api::TaskHook;
/// use squall::prelude::*;
///
/// /// Writes down what a task does.
/// #[derive(Clone, Default)]
/// struct Diary(Arc<Mutex<Vec<String>>>);
///
/// impl Diary {
///     fn note(&self, line: impl Into<String>) {
///         self.0.lock().expect("nobody panics while it writes").push(line.into());
///     }
/// }
///
/// impl TaskHook for Diary {
///     fn prepare(&mut self, context: &TaskContext) {
///         self.note(format!("{} begins", context.component()));
///     }
///     fn emit(&mut self, stream: &str, tuple: &[Value], _targets: &[TaskId]) {
///         self.note(format!("emit to {stream}: {}", tuple[0]));
///     }
///     fn spout_ack(&mut self, id: MessageId) {
///         self.note(format!("message {id} is acked"));
///     }
///     fn spout_fail(&mut self, id: MessageId) {
///         self.note(format!("message {id} failed"));
///     }
///     fn bolt_execute(&mut self, tuple: &[Value]) {
///         self.note(format!("executed {}", tuple[0]));
///     }
///     fn bolt_ack(&mut self) {
///         self.note("acked");
///     }
///     fn bolt_fail(&mut self) {
///         self.note("failed");
///     }
///     fn cleanup(&mut self) {
///         self.note("the end");
///     }
/// }
///
/// # use squall::testing::{FixedSpout, SimulatedTopology, SimulationOptions};
/// let diaries = [Diary::default(), Diary::default()];
/// let [of_spout, of_bolt] = diaries.clone();
/// let mut builder = TopologyBuilder::new("diaries");
/// builder.spout("one", || FixedSpout::new(["n"], [vec![Value::from(1)]])).hook(move || of_spout.clone());
/// builder
///     .bolt("sink", || {
///         let mut is_first = true;
///         bolt_fn(Streams::none(), move |_, _| match std::mem::take(&mut is_first) {
///             true => Err(TaskError::quiet("not at once")),
///             false => Ok(()),
///         })
///     })
///     .shuffle("one")
///     .hook(move || of_bolt.clone());
/// let mut topology = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
/// topology.run_to_end(std::time::Duration::from_secs(60))?;
///
/// let read = |diary: &Diary| diary.0.lock().expect("nobody panics while it writes").clone();
/// assert_eq!(
///     read(&diaries[0]),
///     [
///         "one begins",
///         "emit to default: 1",
///         "message 0 failed",
///         "emit to default: 1",
///         "message 0 is acked",
///         "the end",
///     ]
/// );
/// assert_eq!(read(&diaries[1]), ["sink begins", "executed 1", "failed", "executed 1", "acked", "the end"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TaskHook: Send {
    /// Before the component's own `prepare` or `open`.
    fn prepare(&mut self, _context: &TaskContext) {}
    /// A tuple was emitted to `stream`, also if the call fails afterwards and the tuple is taken back. `targets` is empty unless the call that emitted returns the targets
    /// or names the target.
    fn emit(&mut self, _stream: &str, _tuple: &[Value], _targets: &[TaskId]) {}
    /// A spout's message was acked.
    fn spout_ack(&mut self, _id: MessageId) {}
    /// A spout's message failed.
    fn spout_fail(&mut self, _id: MessageId) {}
    /// `execute` of a bolt has returned. Called once for a tuple, also if `on_error` made the call again.
    fn bolt_execute(&mut self, _tuple: &[Value]) {}
    /// A bolt acked a tuple.
    fn bolt_ack(&mut self) {}
    /// A bolt failed a tuple.
    fn bolt_fail(&mut self) {}
    /// After the component's own `cleanup` or `close`.
    fn cleanup(&mut self) {}
}
