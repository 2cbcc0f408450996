//! What the queues share memory by. `tests/net_models.rs` puts loom's types in this place.

pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, PoisonError};
