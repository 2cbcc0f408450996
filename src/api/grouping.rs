//! Custom groupings.

use smol_str::SmolStr;

use crate::ids::TaskId;
use crate::tuple::{Fields, Value};

/// What a custom grouping can look up before the first tuple.
///
/// # Examples
/// ```
/// use squall::api::GroupingContext;
///
/// /// The index of the field that a grouping groups by.
/// fn place_of(context: &GroupingContext, field: &str) -> Option<usize> {
///     context.fields.position(field)
/// }
/// # let context = GroupingContext {
/// #     source: "lines".into(),
/// #     stream: "default".into(),
/// #     fields: ["line", "host"].into(),
/// #     target: "store".into(),
/// #     task: squall::TaskId(1),
/// # };
/// # assert_eq!(place_of(&context, "host"), Some(1));
/// ```
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
    /// The task that emits. Each emitting task has its own instance of the grouping.
    pub task: TaskId,
}

/// Chooses the tasks of the subscriber that get a tuple. One instance serves one emitting task and is
/// called by one thread at a time.
///
/// # Examples
/// All tuples go to the first tasks:
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
    ///
    /// # Examples
    /// Groups by a field, whose index depends on the stream:
    /// ```
    /// use squall::api::{CustomGrouping, GroupingContext};
    /// use squall::{TaskId, Value};
    ///
    /// #[derive(Default)]
    /// struct ByHost {
    ///     place: Option<usize>,
    /// }
    ///
    /// impl CustomGrouping for ByHost {
    ///     fn prepare(&mut self, context: &GroupingContext, _targets: &[TaskId]) {
    ///         self.place = context.fields.position("host");
    ///     }
    ///
    ///     fn choose(&mut self, tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
    ///         let host = self.place.and_then(|place| tuple[place].as_str()).unwrap_or_default();
    ///         chosen.push(targets[host.len() % targets.len()]);
    ///     }
    /// }
    /// # use squall::testing::{Capture, FixedSpout, SimulatedTopology, SimulationOptions};
    /// # let (capture, rows) = (Capture::new(), [["x", "ada"], ["y", "bob"]].map(|row| row.map(Value::from).to_vec()));
    /// # let mut builder = squall::prelude::TopologyBuilder::new("t");
    /// # builder.spout("lines", move || FixedSpout::new(["line", "host"], rows.clone()));
    /// # builder.bolt("store", capture.bolt()).parallelism(3).custom("lines", "by-host", ByHost::default);
    /// # let mut topology = SimulatedTopology::start(builder.build()?, SimulationOptions::default());
    /// # topology.run_to_end(std::time::Duration::from_secs(60))?;
    /// # assert_eq!(capture.rows().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn prepare(&mut self, _context: &GroupingContext, _targets: &[TaskId]) {}

    /// Adds the tasks that get this tuple to `chosen`, which is empty before the call. If none is added,
    /// the tuple is dropped for this subscriber. A task that is no target is ignored and counted as an
    /// error.
    ///
    /// # Examples
    /// ```
    /// use squall::api::CustomGrouping;
    /// use squall::{TaskId, Value};
    ///
    /// /// Sends errors to all tasks, and everything else to the first.
    /// struct Alarm;
    ///
    /// impl CustomGrouping for Alarm {
    ///     fn choose(&mut self, tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
    ///         let is_error = tuple[0].as_str() == Some("error");
    ///         chosen.extend_from_slice(if is_error { targets } else { &targets[..1] });
    ///     }
    /// }
    ///
    /// let (targets, mut chosen) = ([TaskId(4), TaskId(5)], Vec::new());
    /// Alarm.choose(&["error".into()], &targets, &mut chosen);
    /// assert_eq!(chosen, targets);
    /// ```
    fn choose(&mut self, tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>);
}
