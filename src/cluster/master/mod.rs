//! The master: starts the workers of a topology, watches them, replaces those that died, and ends all
//! in order.
//!
//! ```text
//!   RunningWorkers ─ wishes ─▶┐                       ┌─▶ processes: start, send, kill
//!                             ├─▶ thread "squall-master": core ─┼─▶ log, history
//!   watchers ─ events ───────▶┘                       └─▶ Done
//! ```
//!
//! * `core`: the decisions, a pure state machine; `events`: its input and output. `living_workers`: the wait for
//!   workers that run already. `worker_record`: one worker
//!   through its incarnations. `waves`: whether all workers are at rest at once. `link_reports`: which
//!   worker is cut off. `counts`: what the incarnations of a worker counted and lost; `inputs`: which
//!   workers read sources that cannot be read again.
//! * `last_errors`: the last error of each component in a worker.
//! * `checkpoints`: what the core has for checkpoints; `store`: the thread that publishes them.
//! * `appointed`: the main function of a master that a supervisor has started. `preparation`: what every master has to work
//!   out before it begins.
//! * `shell`: the thread that performs the actions. `child_processes`, `linked_processes`: the workers, as children of this
//!   process or as supervisors start them. `running`: the handle for embedders. `run`: the
//!   state that both share. `options`: the options of a run.

mod appointed;
mod checkpoints;
mod child_processes;
mod core;
mod counts;
mod events;
mod inputs;
mod last_errors;
mod link_reports;
mod linked_processes;
mod living_workers;
mod observer_desk;
mod options;
mod preparation;
mod run;
mod running;
mod shell;
mod store;
mod waves;
mod wished_savepoints;
mod worker_record;

pub use appointed::{AppointedError, run_appointed};
pub use core::Core;
pub use counts::Sources;
pub use events::{Appointment, CoreOptions, Event, MasterAction, Note, Places, StoreJob};
pub use inputs::sources;
pub use options::{DialThrough, OutputLines, WorkersOptions};
pub use preparation::StartWorkersError;
pub use run::{WorkerEvent, WorkerEventKind};
pub use running::RunningWorkers;
pub use store::MasterStore;
pub use worker_record::Exit;
