//! What a cluster keeps of its topologies: their nodes and records, and what a host hands to the processes of one.
//!
//! ```text
//!   /topologies                      CatalogRecord       names in use, and their ids
//!   /topologies/<id>                 (no data)
//!   /topologies/<id>/spec            SpecRecord          what is wanted              nimbus
//!   /topologies/<id>/assignment      AssignmentRecord    where it runs               nimbus
//!   /topologies/<id>/master          MasterRecord        who decides, and where      supervisor of the master
//!   /topologies/<id>/state           StateRecord         how it goes, how it ended   supervisor of the master
//! ```
//!
//! * [`TopologyId`], [`TopologyNodes`]: names. `catalog`, `spec`, `assignment`, `master`, `state`: records.
//! * `begin`: how a topology begins, if it takes checkpoints. `savepoint`, `log_levels`: what is wanted of a running one.
//!   `upgrade`: another topology in its place.
//! * `orders`: the files by which a supervisor and its masters and workers speak.
//! * `log_reading`: pieces of what the processes log and print.
//! * `occupancy`: which process has such a directory.
//! * `key`: the key that all hosts of a cluster have, and the secrets that follow from it.
//!
//! 1. Each node has one author, which writes it as a whole. Authors never speak to each other.
//! 2. A topology is there when the catalog has it. Its spec was written before. What the catalog does not have is
//!    garbage, and a supervisor runs nothing of it.
//! 3. A nimbus that begins to lead writes the catalog, and each spec and assignment, once with its epoch. From then on
//!    nothing that an earlier one has read can be written.

mod assignment;
mod begin;
mod catalog;
mod id;
mod key;
mod life_sign;
mod log_levels;
mod log_reading;
mod master;
mod nodes;
mod occupancy;
mod orders;
mod process_log;
mod savepoint;
mod spec;
mod state;
mod upgrade;

pub use crate::cluster::blob_hash::{BlobHash, BlobHashError};
pub use crate::cluster::control::LogSpec;
pub use assignment::AssignmentRecord;
pub use begin::{BeginError, BeginFrom, TopologyBegin, absolute};
pub use catalog::CatalogRecord;
pub use id::{CLUSTER_NAME_MAX, TopologyId, TopologyIdError};
pub use key::{ClusterKey, ClusterKeyError};
pub use life_sign::LifeSign;
pub use log_levels::LogLevels;
pub use log_reading::read_log;
pub use master::MasterRecord;
pub use nodes::{TopologyNodes, topologies_node};
pub use occupancy::{LOCK_FILE, Occupancy, OccupancyError, Occupant, occupant_of};
pub use orders::{
    ALIVE_FILE, LOG_FILE, MasterOrder, MasterPlace, MasterReport, ORDER_FILE, OUTPUT_FILE, OrderError,
    PROGRAM_FILE, ProgramOrder, REPORT_FILE, SECRET_FILE, SOURCE_FILE, WorkerOrder, read_order, read_secret,
    write_order, write_secret,
};
pub use process_log::start_process_log;
pub use savepoint::{SavepointAnswer, SavepointWish, TakenSavepoint};
pub use spec::{SpecRecord, Upgrade, Wanted};
pub use state::{Outcome, StateRecord, TopologyPhase};
pub use upgrade::{DroppedState, UpgradeOutcome, UpgradeVerdict};
