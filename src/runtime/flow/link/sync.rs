//! What the credit is shared by. `tests/runtime_models.rs` puts loom's types in this place.

pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
