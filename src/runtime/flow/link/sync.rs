//! The types with which credit is shared. `tests/runtime_models.rs` replaces them with loom's types.

pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
