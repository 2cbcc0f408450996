//! Topologies: written in TOML or built in Rust, one validated graph. Pure: no I/O, no thread, no
//! clock.
//!
//! ```text
//!   builder (Rust) ──┐
//!                    ├─► draft ─► validate ─► graph ─► plan, order, render
//!   declare (TOML) ──┘     registry: types by name ▲
//! ```
//!
//! * [`builder`]: topologies in Rust. [`registry`]: component types by name, for documents.
//! * [`graph`]: the validated topology that the runtime runs. [`plan`]: its executors and tasks;
//!   `chains`: which of them run fused; `assignment`: which worker runs them; `given`: the same, chosen elsewhere; `order`: what comes before what.
//! * [`TopologyOutline`]: what a topology is for whoever places it, without the code of its components.
//! * [`effort`]: what it may cost to read one topology.
//! * `diagnostic`: what is wrong, all of it at once, with places and suggestions.
//!
//! 1. A [`Topology`] exists only if validation found nothing.
//! 2. There is one validator, whatever the topology was made by.

mod advice;
pub(crate) mod assignment;
pub mod builder;
mod chains;
pub mod declare;
pub(crate) mod diagnostic;
mod draft;
pub mod effort;
mod fingerprint;
mod given;
pub mod graph;
mod implicit;
pub(crate) mod order;
mod outline;
pub mod plan;
pub(crate) mod queue_shares;
pub mod registry;
mod render;
mod replace;
pub mod schema;
pub(crate) mod suggest;
mod validate;

pub use assignment::{Assignment, ackers_for, place};
pub use builder::TopologyBuilder;
pub use chains::Scale;
pub use diagnostic::{Diagnostic, TopologyErrors};
pub use graph::Topology;
pub use implicit::{DEAD_LETTER_FIELDS, SYSTEM_STREAM};
pub use outline::TopologyOutline;
pub use plan::Plan;
