//! Coordination by a real ZooKeeper, with the crate `zookeeper`.
//!
//! ```text
//!   callers ──Job──▶ keeper ──Request──▶ connection: the crate ──TCP──▶ relay ──TCP or TLS──▶ member
//!      ◀── outcome ──┘  └── Notice ──▶ those who watch
//! ```
//!
//! * `client`: what processes use. `operation`: what they ask for, and how they wait.
//! * `keeper`: the thread that has one session after the other. `session`: one of them. `perform`: operations as
//!   requests. `held`: nodes that each session makes again. `inbox`: what the keeper is sent.
//! * `connection`: the crate, for one session. `relay`: what stands between it and the ensemble. `servers`: the
//!   members. `tls`: encryption. `settings`, `seen`: what the keeper gets from the client, and shows it.
//!
//! The crate loses watches and authentication when it connects again, hides that its session has ended, waits for
//! frozen members without end, and connects again in a hot loop. So each of its objects is used for one connection
//! and one session at most, and everything else is done here: decision 0030 has the reasons and the prices.

mod client;
mod connection;
mod held;
mod inbox;
mod keeper;
mod operation;
mod perform;
mod relay;
mod seen;
mod servers;
mod session;
mod settings;
mod tls;

pub use client::{OpenError, ZooKeeperClient};
