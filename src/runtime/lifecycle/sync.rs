//! The types with which the counts are shared. `tests/runtime_models.rs` replaces them with loom's types.

pub(super) use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
