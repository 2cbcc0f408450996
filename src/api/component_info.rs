//! What a task can know of the components of its topology.

use smol_str::SmolStr;

use crate::api::streams::StreamDeclaration;
use crate::ids::TaskId;
use crate::tuple::Fields;

/// One input of a component in the topology.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// /// Whether the inputs of the task are grouped by fields.
/// fn is_keyed(context: &TaskContext) -> bool {
///     context.inputs().iter().all(|input| input.grouping.starts_with("fields"))
/// }
/// # let mut options = squall::testing::HarnessOptions::default();
/// # let info = |grouping: &str| squall::api::InputInfo {
/// #     component: "split".into(),
/// #     stream: "default".into(),
/// #     grouping: grouping.to_owned(),
/// #     key: Fields::default(),
/// # };
/// # options.inputs = vec![info("fields(word)")];
/// # assert!(is_keyed(&options.task_context()));
/// # options.inputs = vec![info("shuffle")];
/// # assert!(!is_keyed(&options.task_context()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputInfo {
    /// The component it comes from.
    pub component: SmolStr,
    /// Its stream.
    pub stream: SmolStr,
    /// The grouping, as written in TOML.
    pub grouping: String,
    /// The fields that it is grouped by, if the grouping is `fields`; otherwise none.
    pub key: Fields,
}

/// One component of the topology.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// /// The components that take tuples from this one.
/// fn subscribers(context: &TaskContext) -> Vec<&str> {
///     let takes = |info: &&squall::api::ComponentInfo| {
///         info.inputs.iter().any(|input| input.component == context.component())
///     };
///     context.components().iter().filter(takes).map(|info| info.id.as_str()).collect()
/// }
/// # let context = squall::testing::HarnessOptions::default().task_context();
/// # assert!(subscribers(&context).is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// Its id.
    pub id: SmolStr,
    /// Its tasks, in order.
    pub tasks: Vec<TaskId>,
    /// Its inputs; empty for a spout.
    pub inputs: Vec<InputInfo>,
    /// The streams that it emits to.
    pub streams: Vec<StreamDeclaration>,
}
