//! What the time stamp is shared by. `tests/runtime_models.rs` puts loom's types in this place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
