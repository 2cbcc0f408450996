//! Flow: how batches and messages get from one executor to another, and how fast.
//!
//! ```text
//!   producer ── charge ─▶ link ──▶ inbox (data lane, control lane) ──▶ consumer
//!       ▲                                        │ wake                    │ release
//!       └── woken when half of the credit is back ◀── run_queue ◀──────────┘
//! ```
//!
//! * [`message`]: everything that one executor can send another.
//! * [`inbox`]: the lanes of an executor; [`gauges`]: what it shows of itself.
//! * [`link`]: the credit between two executors, charged by [`charge`].
//! * [`run_queue`]: which executors are runnable, and when.
//! * [`outlet`]: the way to another worker; [`credit_returns`]: the credit that goes back over it.

pub mod alignment;
pub mod charge;
pub mod checkpoint;
pub mod credit_returns;
pub mod dealt;
pub mod gauges;
pub mod inbox;
pub mod link;
pub mod message;
pub mod outlet;
pub mod overtaking;
pub mod run_queue;
