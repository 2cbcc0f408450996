//! What users call from `cargo test`.
//!
//! * [`harness`]: one bolt or spout by itself, fed by hand, without a runtime.

pub mod harness;

pub use harness::{BoltHarness, Emitted, HarnessOptions, SpoutHarness, TestTuple};
