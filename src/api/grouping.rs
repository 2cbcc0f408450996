//! Groupings of the user's own.

use smol_str::SmolStr;

use crate::ids::TaskId;
use crate::tuple::{Fields, Value};

/// What a custom grouping is told before the first tuple.
#[derive(Clone, Debug)]
pub struct GroupingContext {
    /// The component whose stream it routes.
    pub source: SmolStr,
    /// The stream.
    pub stream: SmolStr,
    /// The fields of the stream's tuples.
    pub fields: Fields,
    /// The component that subscribes.
    pub target: SmolStr,
    /// The task that emits; each has a grouping of its own.
    pub task: TaskId,
}

/// Decides which tasks of the target get a tuple. One instance serves one emitting task and is called
/// by one thread at a time.
///
/// # Examples
/// The first tasks get everything, whatever else there is:
/// ```
/// use squall::api::{CustomGrouping, GroupingContext};
/// use squall::{TaskId, Value};
///
/// struct First(usize);
/// impl CustomGrouping for First {
///     fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
///         chosen.extend_from_slice(&targets[..self.0.min(targets.len())]);
///     }
/// }
/// ```
pub trait CustomGrouping: Send {
    /// Called once, before the first tuple.
    fn prepare(&mut self, _context: &GroupingContext, _targets: &[TaskId]) {}

    /// Puts the tasks that get this tuple into `chosen`, which comes empty. Choosing none drops the
    /// tuple for this subscriber; a task that is no target is ignored and counted as an error.
    fn choose(&mut self, tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>);
}
