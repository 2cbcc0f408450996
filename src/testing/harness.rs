//! One component by itself: fed by hand, without a runtime, a thread or a real clock.
//!
//! A harness takes the place of the runtime: it owns the instance, calls it with tuples, and records
//! what the instance does with them. A test of a component reads as *feed this, expect that*, and
//! runs in microseconds.
//!
//! 1. Inputs are numbered from 0 in the order they are fed. Anchors, acks and failures name inputs by
//!    these numbers.
//! 2. Every input is a tracked tuple of a tree of its own. With delivery at most once, nothing is
//!    tracked.
//! 3. Inputs are acked as by the runtime: an input is acked when `execute` returns `Ok` without holding
//!    it, and fails when `execute` returns `Err`. A held tuple that is dropped fails as *abandoned*.
//! 4. Time moves only by `harness.clock().advance(…)`.
//!
//! Not here: groupings, batches, time-outs, and the order in which the runtime calls `flush` and
//! `tick`, which the test decides. A panic of the component is not caught and fails the test.

mod bolt;
mod options;
mod record;
mod spout;
#[cfg(test)]
mod tests;
mod tuple;

pub use bolt::{BoltHarness, Snapshot};
pub use options::HarnessOptions;
pub(crate) use options::constructor;
pub use record::Emitted;
pub use spout::SpoutHarness;
pub use tuple::TestTuple;
