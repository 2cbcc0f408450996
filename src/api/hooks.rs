//! Watching a task from outside its component.

use crate::api::context::TaskContext;
use crate::ids::{MessageId, TaskId};
use crate::tuple::Value;

/// Sees what a task does. One instance per task, called by one thread at a time. A hook costs a call per
/// tuple; a task without hooks pays nothing. A hook that panics is reported, and neither the tuple nor
/// the task fails.
///
/// Hooks are added to a topology or to one component: in Rust by `TopologyBuilder::hook` and by `hook`
/// of a declared component, in documents by `hooks = ["NAME"]` with the name under which
/// [`Registry::hook`](crate::topology::registry::Registry::hook) has them.
///
/// Unlike Storm's, the emit hook sees tuples only, not the acks that the system sends.
pub trait TaskHook: Send {
    /// Before the component's own `prepare` or `open`.
    fn prepare(&mut self, _context: &TaskContext) {}
    /// A tuple was emitted to `stream`; `targets` is filled when the emitter asked for it.
    fn emit(&mut self, _stream: &str, _tuple: &[Value], _targets: &[TaskId]) {}
    /// A spout's message was acked.
    fn spout_ack(&mut self, _id: MessageId) {}
    /// A spout's message failed.
    fn spout_fail(&mut self, _id: MessageId) {}
    /// A bolt is done executing a tuple.
    fn bolt_execute(&mut self, _tuple: &[Value]) {}
    /// A bolt acked a tuple.
    fn bolt_ack(&mut self) {}
    /// A bolt failed a tuple.
    fn bolt_fail(&mut self) {}
    /// After the component's own `cleanup` or `close`.
    fn cleanup(&mut self) {}
}
