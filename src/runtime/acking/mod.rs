//! Acking: how the runtime detects that all tuples of a message's tree were processed.
//!
//! ```text
//!   emitter, bolt step ─▶ ack_buffer ─▶ records ─▶ acker ─▶ Outcome ─▶ pending (of the spout task)
//!                          one XOR per tree and step         └─ replay after backoff, or given up
//! ```
//!
//! Nothing in this room sends anything or reads a clock: each file has data and the rules for it, and the
//! executors call it. The room therefore stands before all others of the runtime.
//!
//! * [`acker`]: the table of XORs. Its header explains why the algorithm is correct.
//! * [`ack_buffer`]: combines the edges that one step creates and consumes, into one record per tree.
//! * [`pending`]: the open messages of a spout task. They expire by the [`tree_clock`]. [`pending_limit`]
//!   is how many there may be, and [`backoff`] has the failed messages that wait for their replay.

pub mod ack_buffer;
pub mod acker;
pub mod backoff;
pub mod pending;
pub mod pending_limit;
pub mod records;
pub mod tree_clock;
