//! The types with which accounts are shared. `tests/net_models.rs` replaces them with loom's types.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(super) use std::sync::{Arc, Mutex, PoisonError};
