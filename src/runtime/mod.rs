//! Runs topologies: executors, queues, groupings, acking, scheduling.
//!
//! ```text
//!   local ──▶ assemble ──▶ Worker ◀── scheduler (driver threads, watchdog)
//!                            │
//!             executor: spout · bolt · acker · coordinator        stepped, never waiting
//!                 │   emitter ─▶ route ─▶ grouping                tuples out
//!                 │      └─▶ ack_buffer · pending                 trees
//!              queue (inbox of two lanes) · link (credit) · run_queue (who is runnable)
//! ```
//!
//! A tuple's walk through these files stands in ARCHITECTURE.md. To begin reading:
//! `executor`, then `emitter`.

mod ack_buffer;
pub mod acker;
mod assemble;
mod audit;
mod backoff;
mod charge;
mod coordinator;
mod emitter;
pub mod ending;
mod errors;
mod executor;
mod faults;
mod gauges;
mod grouping;
mod lifecycle;
mod link;
mod local;
mod local_executors;
mod message;
mod outgoing;
mod pending;
mod process;
mod queue;
mod records;
pub mod remote;
pub mod reporting;
mod route;
mod run_queue;
mod scheduler;
mod share;
pub(crate) mod simulated;
mod starvation;
mod stats;
mod target;
mod tree_clock;
mod window;
mod worker;

pub use crate::api::{ComponentStats, LatencyStats, ReplayCounts, StopReason, TopologyStats};

pub use assemble::{AssembleError, Share};
pub use faults::{Fate, Faults};
pub use local::{LocalOptions, RunningTopology, StartError};
pub use local_executors::Superior;
pub use process::ProcessError;
pub use records::{AckRecords, FailureReport};
pub use share::{AssembledShare, RunningShare};
pub use stats::ComponentTimes;
