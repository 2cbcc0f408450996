//! One component by itself: fed by hand, without a runtime, a thread or a real clock.
//!
//! A harness stands where the runtime would: it owns the instance, hands it tuples, and writes
//! down what the instance does with them. So a test of a component reads as *feed this, expect
//! that*, and runs in microseconds.
//!
//! 1. Inputs are numbered from 0 in the order they are fed. Anchors, acks and failures speak of
//!    them by these numbers.
//! 2. Every input is a tracked tuple of a tree of its own (unless the delivery is at most once,
//!    where nothing is tracked).
//! 3. Acking is the runtime's: an input is acked when `execute` returns `Ok` without holding it,
//!    and fails when it returns `Err`. A held tuple that is dropped fails as *abandoned*.
//! 4. Time moves only by `harness.clock().advance(…)`.
//!
//! Not here: groupings, batches, time-outs, the order in which the runtime calls `flush` and
//! `tick`. The caller of the harness decides all of that; a panic of the component is the test's.

mod bolt;
mod options;
mod record;
mod spout;
#[cfg(test)]
mod tests;
mod tuple;

pub use bolt::BoltHarness;
pub use options::HarnessOptions;
pub use record::Emitted;
pub use spout::SpoutHarness;
pub use tuple::TestTuple;
