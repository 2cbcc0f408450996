//! Worker processes: how they are started, watched, replaced and ended.
//!
//! ```text
//!                      parent (`squall run --workers N`, or a program that embeds squall)
//!    RunningWorkers ─▶ master: shell ⇄ core          stats · drain · kill · wait
//!                         │  ▲
//!          processes ─────┘  └──── one thread per worker: its messages, its exit (pidfd), its stderr
//!              │ control: lines of JSON over a socket pair
//!              ▼
//!          worker (`squall worker`): control reader · control writer · WorkerRuntime
//! ```
//!
//! * `control`: the messages between parent and worker. `source`: a document as it is sent to workers.
//! * `program`: the program of a user's that the processes of a topology run. `platform`: which machine can run it.
//! * `processes`: one child process, from its start to its exit.
//! * `master`: the decisions of the parent. Its core is pure: events in, actions out.
//! * `worker`: the main function of a worker process, around a `worker::WorkerRuntime`.
//! * `signals`: which signals end a run, in the parent and in workers.
//! * [`schedule`]: which host of a cluster runs which worker. Pure.
//! * `stats`: the counters of all workers as those of one topology. `summary`: the same as programs get them.
//! * `observed`: what a master answers to whoever asks how its topology goes.
//! * `log_pieces`: what is asked about the logs of its processes, and answered. `problem`: why one of them does not run.
//! * `coordination`: what the processes of a cluster agree on, in a real ZooKeeper or in memory.
//! * `topologies`: what a cluster keeps of its topologies, and what a host hands to the processes of one.
//! * `blobs`: the directory with what topologies are made of, each piece called by its `blob_hash`.
//! * `operations`: what an operator can do with them. `api`: the same over HTTP. `access`: who may do what.
//! * `daemons`: nimbus and supervisors.
//!
//! 1. The parent is the only authority on membership: it numbers each change and sends it to all workers.
//! 2. When a worker dies, what it held in memory is lost, and nothing else. It is started again with the
//!    next incarnation: at once the first time, later after growing pauses.
//! 3. No process is left behind. If the parent dies, the kernel kills its workers, and the end of the
//!    control channel would end them, too. A parent that ends reaps all its workers.

#[doc(hidden)]
pub mod access;
#[doc(hidden)]
pub mod api;
mod blob_hash;
#[doc(hidden)]
pub mod blobs;
pub(crate) mod control;
#[doc(hidden)]
pub mod coordination;
#[doc(hidden)]
pub mod daemons;
pub(crate) mod link;
#[doc(hidden)]
pub mod log_pieces;
pub(crate) mod master;
#[doc(hidden)]
pub mod observed;
#[doc(hidden)]
pub mod operations;
#[doc(hidden)]
pub mod platform;
#[doc(hidden)]
pub mod problem;
pub(crate) mod processes;
mod processor;
#[doc(hidden)]
pub mod program;
pub mod schedule;
pub(crate) mod signals;
pub(crate) mod source;
pub(crate) mod stats;
#[doc(hidden)]
pub mod summary;
#[doc(hidden)]
pub mod topologies;
pub(crate) mod wired;
pub(crate) mod worker;

pub use master::{
    DialThrough, OutputLines, RunningWorkers, StartWorkersError, WorkerEvent, WorkerEventKind, WorkersOptions,
};
pub use processes::Executable;
pub use source::TopologySource;
pub use stats::{ProcessStats, WorkerStats, WorkersStats};
