//! The daemons of a cluster. So far they form it: nimbuses elect a leader, supervisors offer their hosts, and both notice
//! when the data of the cluster are lost. Topologies are to come.
//!
//! ```text
//!   squall nimbus ────── steps ──▶ Nimbus ─────┐
//!                                  belonging   ├──▶ Coordination: /cluster, /nimbus, /supervisors
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
mod supervisor;

pub use nimbus::{Nimbus, NimbusState};
pub use running::{EndRequest, make_directory, run};
pub use supervisor::{Supervisor, SupervisorRecord, SupervisorState};
