//! What the counts are shared by. `tests/runtime_models.rs` puts loom's types in this place.

pub(super) use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
