//! The types with which the time is shared. `tests/runtime_models.rs` replaces them with loom's types.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
