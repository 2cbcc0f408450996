//! The daemons of a cluster: nimbuses elect a leader, which places topologies; supervisors offer their hosts and run what is
//! assigned to them; and all notice when the data of the cluster are lost.
//!
//! ```text
//!   squall nimbus ────── steps ──▶ Nimbus ─────┐
//!                                  belonging   ├──▶ Coordination: /cluster, /nimbus, /supervisors, /problems
//!   squall supervisor ── steps ──▶ Supervisor ─┘
//! ```
//!
//! * `nimbus`, `supervisor`: what each does in a step. They take coordination and time as arguments, share nothing but
//!   records, and never speak to each other.
//! * `belonging`: which cluster a daemon remembers, against which it checks what it finds.
//! * `running`: step after step, until a signal.

pub mod belonging;
mod nimbus;
mod running;
pub(crate) mod supervisor;

pub use nimbus::{DrainedRecord, Leader, LeaderOptions, MasterAccess, Nimbus, NimbusState};
pub use running::{EndRequest, run};
pub(crate) use supervisor::confine;
pub use supervisor::{
    AtTheEnd, Children, ChildrenOptions, HostSettings, Limits, ProblemsRecord, ProcessProblem, Supervisor,
    SupervisorRecord, SupervisorState, host,
};
