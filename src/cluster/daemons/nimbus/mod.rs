//! Nimbus: the daemon that places topologies. One of several leads.
//!
//! ```text
//!   Nimbus ── epoch, until ──▶ Leader ◀── Operations ── api ◀─ HTTP ─ squall submit, kill ...
//!   election, mark               │ read · decide · write
//!                                ▼
//!                       /topologies/…, blobs
//! ```
//!
//! * `daemon`: [`Nimbus`], which takes part in the election.
//! * `leader`: [`Leader`], what a nimbus does while it leads: one pass after the other. `begin`: the first of an epoch.
//!   `garbage`: what nothing refers to is deleted.
//! * `operations`: what it does for operators. `submission`: how a topology is taken. `answers`: what is answered.
//!   `change`: how a topology that runs is changed. `upgrade`: how another one comes in its place. `observation`: what
//!   masters are asked. `drain`: how a host is emptied. `log_level`, `raised_levels`: what is logged for a while, and that
//!   it is taken back.
//! * `decision`: what is to be written, given what was read. Pure. `hosts`: which hosts are there. Pure. `lacked_secrets`: which of
//!   them lack secrets. Pure. `trial`: what comes
//!   of an upgrade. Pure.
//! * `drained`: which hosts are to be empty. `found`: what was read. `sources`: topologies from their blobs. `standing`: who
//!   leads, and the fence around writes.
//!
//! 1. Who writes holds the work lock: passes and operations of one nimbus come one after the other.
//! 2. Who writes leads, by the clock, at that moment; and everything that is written was read in this pass, so a write
//!    fails if somebody else has written since.
//! 3. What is created is created before the catalog names it, and what is deleted is deleted after the catalog, or the
//!    state of the topology, made it meaningless. So a leader may die between any two writes.

mod answers;
mod begin;
mod change;
mod change_access;
mod daemon;
mod decision;
mod drain;
mod drained;
mod found;
mod garbage;
mod hosts;
mod lacked_secrets;
mod leader;
mod log_level;
mod observation;
mod operations;
mod problems;
mod raised_levels;
mod sources;
mod standing;
mod submission;
mod trial;
mod upgrade;

pub use daemon::{Nimbus, NimbusState};
pub use drained::DrainedRecord;
pub use leader::{Leader, LeaderOptions, MasterAccess};
