//! What the accounts share memory by. `tests/net_models.rs` puts loom's types in this place.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(super) use std::sync::{Arc, Mutex, PoisonError};
