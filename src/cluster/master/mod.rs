//! The master: starts the workers of a topology, watches them, replaces those that died, and ends all
//! in order.
//!
//! ```text
//!   RunningWorkers ─ wishes ─▶┐                       ┌─▶ processes: start, send, kill
//!                             ├─▶ thread "squall-master": core ─┼─▶ log, history
//!   watchers ─ events ───────▶┘                       └─▶ Done
//! ```
//!
//! * `core`: the decisions, a pure state machine; `events`: its input and output. `worker_record`: one worker
//!   through its incarnations. `waves`: whether all workers are at rest at once. `link_reports`: which
//!   worker is cut off. `counts`: what the incarnations of a worker counted and lost; `inputs`: which
//!   workers read sources that cannot be read again.
//! * `shell`: the thread that performs the actions. `running`: the handle for embedders. `run`: the
//!   state that both share. `options`: the options of a run.

mod core;
mod counts;
mod events;
mod inputs;
mod link_reports;
mod options;
mod run;
mod running;
mod shell;
mod waves;
mod worker_record;

pub use core::Core;
pub use events::{CoreOptions, Event, MasterAction, Note};
pub use inputs::sources;
pub use options::{DialThrough, OutputLines, WorkersOptions};
pub use run::{WorkerEvent, WorkerEventKind};
pub use running::{RunningWorkers, StartWorkersError};
pub use worker_record::Exit;
