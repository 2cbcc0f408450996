//! squall: a distributed stream processor with Storm's model.
//!
//! **Spouts** begin streams of tuples, **bolts** process them, **groupings** spread them over the
//! tasks of a bolt, and **acker** tasks follow each message of a spout through the tree of tuples
//! that came of it, so that what fails is replayed.

pub mod api;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod components;
pub mod config;
mod event_time;
mod files;
pub mod ids;
pub mod logging;
pub mod metrics;
// The wire between workers. Public only for the tests and benchmarks of this package.
#[doc(hidden)]
pub mod net;
pub mod runtime;
pub mod secrets;
pub mod state;
pub mod testing;
// Text as people may see it. Public only for the tests of this package.
#[doc(hidden)]
pub mod text;
pub mod topology;
pub mod trident;
pub mod tuple;
mod wal;
pub mod window;

pub use ids::{MessageId, TaskId};
pub use tuple::{Fields, Timestamp, Value};

/// What a program that embeds squall usually needs.
pub mod prelude {
    pub use crate::api::{
        Bolt, Check, CustomGrouping, EmitError, EventTimer, Failure, FailureCause, HeldTuple, Input,
        ListState, MapState, OperatorState, Outputs, Spout, SpoutOutputs, SpoutStatus, Streams, TaskContext,
        TaskError, Timer, ValueState, Values, WorkerContext, WorkerHook, bolt_fn,
    };
    pub use crate::config::Delivery;
    pub use crate::ids::{MessageId, TaskId};
    pub use crate::secrets::Secret;
    pub use crate::state::Ttl;
    pub use crate::topology::TopologyBuilder;
    pub use crate::topology::registry::{NoSettings, Registry, SettingError};
    pub use crate::tuple::{Fields, Timestamp, Value};
}

/// Holds the examples of the page against the code.
#[cfg(doctest)]
#[doc = include_str!("../ARCHITECTURE.md")]
struct Architecture;

/// Holds the examples of the page on state against the code.
#[cfg(doctest)]
#[doc = include_str!("../docs/state.md")]
struct State;

/// Holds the examples of the page on event time against the code.
#[cfg(doctest)]
#[doc = include_str!("../docs/event-time.md")]
struct EventTime;

/// Holds the examples of the page on windows against the code.
#[cfg(doctest)]
#[doc = include_str!("../docs/windows.md")]
struct Windows;

/// Holds the examples of the page on exactly-once against the code.
#[cfg(doctest)]
#[doc = include_str!("../docs/exactly-once.md")]
struct ExactlyOnce;

/// Holds the examples of the first page against the code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
