//! Coordination in this process: ZooKeeper's rules without ZooKeeper, for simulations, tests, and clusters of one
//! process.
//!
//! ```text
//!   MemoryService ── State: Data (tree, sessions) · clients   one mutex
//!     ▲       ▲
//!  client A  client B      each a simulated process; a session each, one after the other
//! ```
//!
//! 1. Nothing happens by itself: there is no thread and no time but that of the [`Clock`](crate::clock::Clock) that is passed in, and
//!    nothing is drawn. The same calls in the same order have the same results.
//! 2. A process proves that it lives with each call and with [`MemoryClient::beat`]. A session ends when neither came
//!    for a session time-out. That is noticed with the next call or beat of anybody, or by [`MemoryService::step`].
//! 3. A process whose connection was lost never goes on with the same session, as the real client does not.
//! 4. Notices are handed over by [`MemoryClient::beat`] and [`MemoryClient::deliver`], or with
//!    [`MemoryOptions::notices_at_once`] before the call returns that caused them, on its thread. Equal notices that
//!    wait are merged. No lock is held meanwhile.
//! 5. Calls do not sleep. How long they would have taken is counted: [`MemoryClient::take_spent`].
//! 6. A process with a user makes nodes for this user alone: others may neither read nor write them, nor make or
//!    delete children of them. A process without a user makes nodes for everybody.
//!
//! The rules of ZooKeeper are in `tree`, what a process knows and what it does about a lost connection in `state`, the
//! calls and the faults of one process in `client`, and the faults of the whole service in `service`. `kept` keeps the
//! data in a file, for a cluster of one process.

mod client;
mod ensemble;
mod kept;
mod node;
mod options;
mod service;
mod state;
mod tree;

pub use client::MemoryClient;
pub use kept::{KeptClient, KeptError, KeptService};
pub use options::{Lose, MemoryOptions};
pub use service::{MemoryService, MemorySnapshot};
