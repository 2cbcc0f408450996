//! The master: starts the workers of a topology, watches them, replaces the dead, ends them in order.
//!
//! ```text
//!   RunningWorkers ─ wishes ─▶┐                       ┌─▶ processes: start, send, kill
//!                             ├─▶ thread "squall-master": core ─┼─▶ log, history
//!   watchers ─ events ───────▶┘                       └─▶ Done
//! ```
//!
//! * `core`: what to do, pure; `events`: its words. `life`: one worker through its lives. `waves`: rest of all at once.
//!   `link_reports`: which worker is cut off. `counts`: what its lives counted and lost; `inputs`: what they read.
//! * `shell`: the thread that carries it out. `running`: the handle that embedders hold. `run`: what both
//!   know of the run. `options`: what it is started with.

mod core;
mod counts;
mod events;
mod inputs;
mod life;
mod link_reports;
mod options;
mod run;
mod running;
mod shell;
mod waves;

pub use core::Core;
pub use counts::Sources;
pub use events::{CoreOptions, Event, MasterAction, Note};
pub use inputs::sources;
pub use life::{Exit, WorkerLife, WorkerPhase};
pub use options::{DialThrough, OutputLines, WorkersOptions};
pub use run::{WorkerEvent, WorkerEventKind};
pub use running::{RunningWorkers, StartWorkersError};
