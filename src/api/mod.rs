//! What user code sees: the traits to implement and the objects it is handed.
//!
//! * [`Spout`] and [`Bolt`]: one required method each.
//! * [`bolt_fn`]: a bolt that is one function.
//! * [`Input`]: the tuple that `execute` is called with; [`HeldTuple`]: a tuple that a bolt keeps.
//! * [`Outputs`] and [`SpoutOutputs`]: emit, ack, fail and report.
//! * [`TaskContext`]: the identity of a task, and what it can look up and register.
//! * [`ValueState`], [`MapState`], [`ListState`], [`OperatorState`], [`Timer`]: what the runtime keeps for a task.
//! * [`BackingMap`]: where totals are kept outside of squall.
//! * [`Check`]: how a component refuses settings before the topology starts.
//! * [`Streams`]: the output streams that a component declares.
//! * [`WorkerContext`]: the worker process that a task runs in.
//! * [`CustomGrouping`], [`TaskHook`] and [`WorkerHook`]: the extension points beside components.
//! * [`MetricsReporter`]: receives the counters of a running topology. [`COUNTERS`] lists them.
//! * [`TaskError`]: an error of user code.
//!
//! This module runs nothing: the runtime implements [`OutputCollector`] and passes itself to the outputs.

mod anchoring;
mod backing_map;
mod batch;
mod bolt;
mod check;
mod closure;
mod component_info;
mod context;
mod counters;
mod counters_by_name;
mod error;
mod event_time;
mod event_timer;
mod failure;
mod findings;
mod grouping;
mod hooks;
mod input;
mod input_keys;
mod journaled;
mod open_messages;
mod outputs;
mod own_tasks;
mod positions;
mod registration;
mod resources;
mod spout;
mod spout_outputs;
mod stage;
mod stages;
mod state;
mod stats;
mod streams;
pub(crate) mod task_split;
mod timer;
mod two_phase;
mod values;
mod worker;

pub use backing_map::{BackingMap, MapKey, MapOpening, MapWriter, NamedState, StateStore, Stored};
pub use batch::Batch;
pub use bolt::Bolt;
pub use check::Check;
pub use closure::{FnBolt, bolt_fn};
pub use component_info::{ComponentInfo, InputInfo};
pub use context::{ContextParts, TaskContext};
pub use counters::{COUNTERS, CounterId, CounterInfo, CounterKind, CounterValues};
pub use error::{EmitError, TaskError};
pub use event_time::EventTime;
pub use event_timer::EventTimer;
pub use failure::{Failure, FailureCause};
pub(crate) use findings::StateUse;
pub use findings::{CheckInput, Choice, Claim, Refusal, STANDARD_INPUT};
pub use grouping::{CustomGrouping, GroupingContext};
pub use hooks::TaskHook;
pub use input::{FailedHold, HeldTuple, HoldRegistry, Input, SourceMeta};
pub(crate) use input_keys::InputKeys;
pub use journaled::{JournaledBolt, JournaledSink};
pub use open_messages::OpenMessages;
pub use outputs::Outputs;
pub use positions::Positions;
pub use registration::ExpiringStates;
pub use resources::WorkerResources;
pub use spout::{Spout, SpoutStatus};
pub use spout_outputs::SpoutOutputs;
pub use stage::{Chosen, OutputCollector, Stage};
pub use stages::OutputState;
pub use state::{ListState, MapState, OperatorState, ValueState};
pub use stats::{
    CheckpointStats, ComponentStats, LatencyStats, MetricsReporter, MetricsReporting, ReplayCounts,
    StopReason, TopologyStats,
};
pub use streams::{StreamDeclaration, Streams};
pub use timer::Timer;
pub use two_phase::{TwoPhaseBolt, TwoPhaseSink};
pub use values::Values;
pub use worker::{WorkerContext, WorkerHook, WorkerParts};
