//! Runs topologies: executors, queues, groupings, acking, scheduling.
//!
//! The rooms stand in this order, and a file imports only from its own room and from those before it:
//!
//! | Room | What is in it |
//! |---|---|
//! | `acking` | trees of tuples: the acker, its records, open messages, replays |
//! | `flow` | messages, inboxes, credit, and which executor is runnable |
//! | `remote` | executors of other workers |
//! | `routing` | groupings, batches under construction, the emitter |
//! | `executor` | spouts, bolts, ackers and the coordinator as state machines that are stepped |
//! | `assemble` | builds all of it from a plan |
//!
//! The files beside the rooms use an assembled worker: `worker` steps one executor, `scheduler` has the
//! threads that do so, and `local` and `share` are what callers hold. `checkpoint_sequence` decides about checkpoints,
//! and `checkpoint_start` about those of earlier runs. `errors`, `faults`, `lifecycle`,
//! `end_sequence` and `audit` are small and used by several rooms.
//!
//! ARCHITECTURE.md follows a tuple through these files. Begin with `executor`, then `routing::emitter`.

mod acking;
mod answers;
mod assemble;
mod audit;
pub(crate) mod checkpoint_actions;
pub(crate) mod checkpoint_desk;
mod checkpoint_fit;
pub(crate) mod checkpoint_sequence;
pub(crate) mod checkpoint_start;
mod driver_trial;
pub(crate) mod end_sequence;
mod errors;
mod executor;
mod faults;
pub(crate) mod flow;
mod lifecycle;
mod local;
mod process;
pub(crate) mod registration_trial;
pub(crate) mod remote;
pub(crate) mod reporting;
mod routing;
pub(crate) mod savepoint_desk;
mod savepoints;
mod scheduler;
mod share;
pub(crate) mod simulated;
pub(crate) mod starvation;
pub(crate) mod stats;
mod user_directory;
mod wanted_checkpoints;
mod worker;

pub use crate::api::{ComponentStats, LatencyStats, ReplayCounts, StopReason, TopologyStats};

// Public only for the proofs and benchmarks of this package.
#[doc(hidden)]
pub use acking::acker;
#[doc(hidden)]
pub use acking::records::{AckRecords, FailureReport};
pub use assemble::AssembleError;
pub(crate) use assemble::setup::Share;
pub use checkpoint_desk::TakeCheckpointError;
pub use checkpoint_start::{CheckpointBegin, CheckpointStartError};
pub(crate) use executor::local_executors::MasterHandle;
pub(crate) use faults::{CheckpointDefect, Fate, Faults};
pub use local::{LocalOptions, RunningTopology, StartError};
pub use process::ProcessError;
pub(crate) use process::host_name;
pub use savepoint_desk::{Savepoint, SavepointError};
pub(crate) use share::{AssembledShare, RunningShare};
pub(crate) use stats::ComponentShape;
pub(crate) use user_directory::{secret_directory, state_home};
