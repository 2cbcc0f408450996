//! Acking: how the runtime learns that everything which came of a message was processed.
//!
//! ```text
//!   emitter, bolt step ─▶ ack_buffer ─▶ records ─▶ acker ─▶ Outcome ─▶ pending (of the spout task)
//!                          one XOR per tree and step         └─ replay after backoff, or given up
//! ```
//!
//! Nothing in this room sends anything or reads a clock: each file is data and the rules for it, and the
//! executors do the rest. The room therefore stands before all others of the runtime.
//!
//! * [`acker`]: the table of XORs. Its header has the proof of why it is right.
//! * [`ack_buffer`]: combines what one step creates and consumes, so that a tree costs one record.
//! * [`pending`]: the open messages of a spout task; [`tree_clock`] is the time they expire by,
//!   [`pending_limit`] how many there may be, [`backoff`] what waits for its replay.

pub mod ack_buffer;
pub mod acker;
pub mod backoff;
pub mod pending;
pub mod pending_limit;
pub mod records;
pub mod tree_clock;
