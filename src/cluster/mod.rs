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
//! * [`control`]: what parent and worker say to each other. [`source`]: a document as it travels.
//! * [`processes`]: one child process, from its start to its exit.
//! * [`master`]: who decides. Its core is pure: events in, actions out.
//! * [`worker`]: what a worker process does, around a [`worker::WorkerRuntime`].
//! * [`signals`]: which end a run, in the parent and in workers.
//! * [`stats`]: the counters of all workers as those of one topology.
//!
//! 1. The parent is the only authority on membership: it numbers each change and tells all workers.
//! 2. A worker's death costs what it held in memory, and nothing else: it is started again with the
//!    next incarnation, at once, then after growing pauses.
//! 3. Nobody is left behind. A worker whose parent dies is killed by the kernel, and would notice the
//!    end of its control channel; a parent that ends reaps all its workers.

pub mod control;
pub mod master;
pub mod processes;
mod processor;
pub mod signals;
pub mod source;
pub mod stats;
pub mod wired;
pub mod worker;

pub use master::{
    DialThrough, OutputLines, RunningWorkers, StartWorkersError, WorkerEvent, WorkerEventKind, WorkersOptions,
};
pub use processes::Executable;
pub use source::TopologySource;
pub use stats::{ProcessStats, WorkerStats, WorkersStats};
