//! A supervisor: the process that starts and watches what runs on its host.
//!
//! ```text
//!   service ◀─▶ registration · readings ── events ──▶ core ── actions ──▶ children ◀─▶ processes, directories
//!               (one thread)                          (pure)              (another thread)
//! ```
//!
//! * `registration`: how it belongs to the cluster. `readings`: what is assigned to it, and what it publishes.
//! * `core`: decides. `topology`, `process`: what it knows of a topology and of a child. `actions`: what comes in and out.
//! * `children`: starts, watches, finds and ends processes. `child_process`: one of them. `process_group`: what it has left
//!   behind. `private_directory`: what each needs. `source_reads`: that of which topologies are made. `background`: what may take long. `programs`: the
//!   programs of users. `limits`: what each may use. `local_record`: which children there are, on the disk.
//! * `hosting`: the two threads. `problems`: why processes do not run, for operators.
//!
//! [Decision 0032](../../../../docs/decisions/0032-processes-of-a-host.md) says how a supervisor finds its processes again.

mod actions;
mod background;
mod child;
mod child_process;
mod children;
mod core;
mod hosting;
mod limits;
mod local_record;
mod private_directory;
mod problems;
mod process;
mod process_group;
mod programs;
mod readings;
mod registration;
mod settings;
mod source_reads;
mod strangers;
mod topology;
mod wake;

pub use self::core::SupervisorCore;
pub use actions::{Action, Event, Exit, FoundChild, Note, Order, Preparation};
pub use child::{ChildId, Role};
pub use children::{Children, ChildrenOptions};
pub use hosting::{AtTheEnd, host};
pub use limits::Limits;
pub(crate) use limits::confine;
pub use local_record::LocalRecord;
pub(crate) use problems::problems_node;
pub use problems::{ProblemsRecord, ProcessProblem};
pub use readings::{Reading, Write, Written, read_topologies, write};
pub use registration::{Supervisor, SupervisorRecord, SupervisorState};
pub use settings::HostSettings;
