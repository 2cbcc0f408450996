//! The state of a task: what it keeps by key, and beside keys.
//!
//! ```text
//!            KeyTable: key ─▶ place            columns: one for each state of the component
//!            ┌────────────┐                   counts       seen         (operator state)
//!   "storm" ─▶ place 0     │              0  │ 17      │  │ {a, b}  │   │ one list, without a key
//!   "rain"  ─▶ place 1     │              1  │ 4       │  │         │
//!            └────────────┘
//! ```
//!
//! All states of a component share one table of keys, so a call looks its key up once, whichever states it uses
//! and however often. A state is a column of cells, one for each place.
//!
//! 1. A call is atomic. Each column logs what a call overwrites, and `TaskState::undo` puts it back, newest
//!    first.
//! 2. A key has a place as long as some column has a value for it. The place is given to another key only after
//!    the call that emptied it was committed.
//! 3. A timer is cleared by its own call. If that fails, it is set again, as anything else is put back.
//! 4. A column is known by its name. Its type is that of its first registration.
//! 5. A snapshot has what was kept when it began, between two calls. It is written in slices, while calls go on
//!    (`snapshots`, `tracked_cells`), and `restore` reads it (`records` has the format). Without the types of the
//!    component, `saved` reads it, and `json` shows its values.
//! 6. With a backend that has a store (`key_store`, `redb_store`), memory has the keys that are in use, and the store
//!    has the others (`spill`).
//! 7. A state with a time to live has columns of its own (`expiring_cells`): an entry that has expired is seen by no
//!    call, and is removed between calls, a bounded number of them at a time (`expiry`).
//! 8. A state may count event time instead of processing time (`event_clock`): timers are due, and entries expire, by
//!    the watermark of the task (`task_event_time`).
//!
//! Not here: how user code reaches its state (`api::state`), and which key belongs to which task (fields
//! grouping). Only `redb_store` does I/O; the clock is the task's.

mod cells;
mod columns;
mod deal;
pub(crate) mod encoding;
mod error;
mod event_clock;
mod expiring;
mod expiring_cells;
mod expiry;
mod json;
mod key_store;
mod keys;
mod keys_ahead;
mod long_list;
#[cfg(test)]
mod memory_store;
mod parts;
mod place_set;
mod placed_values;
mod records;
mod redb_store;
mod registry;
mod restore;
mod saved;
#[cfg(test)]
mod saved_in_memory;
mod sequence;
mod snapshot_times;
mod snapshots;
mod spill;
mod spill_snapshots;
mod spill_walks;
mod state_disk;
mod stored;
mod task_checkpoints;
mod task_event_time;
mod task_expiry;
mod task_state;
mod task_store;
mod task_timers;
mod timer_cells;
mod tracked_cells;
mod ttl;
mod value;

pub(crate) use cells::{ListCells, MapCells, OperatorCells, ValueCells};
pub(crate) use columns::Column;
pub(crate) use deal::Dealing;
pub use encoding::EncodingError;
pub use error::{NamedState, StateError};
pub(crate) use event_clock::{event_clock, timestamp_of};
pub(crate) use expiring::CallTime;
pub(crate) use expiring_cells::{ExpiringListCells, ExpiringMapCells, ExpiringValueCells};
pub(crate) use json::{key_in_json, value_in_json};
pub(crate) use key_store::{KeyStore, StateBackend, StoreChanges, StoreError, StoreView, ViewOf};
pub(crate) use keys_ahead::ROWS_AHEAD;
#[cfg(test)]
pub(crate) use memory_store::MemoryBackend;
pub(crate) use redb_store::RedbBackend;
pub(crate) use registry::OperatorSharing;
pub use registry::{StateDescription, StateKind, StateRegistry};
pub(crate) use restore::{StateShare, Taking};
pub(crate) use saved::{SavedReader, SavedValue, TakeSaved};
#[cfg(test)]
pub(crate) use saved_in_memory::{SavedState, SavedStateReader};
pub(crate) use snapshots::{LateRecord, SnapshotKind, WriteStep};
pub use state_disk::StateDisk;
pub(crate) use stored::{Due, Written};
pub(crate) use task_checkpoints::TakeChunk;
pub use task_state::TaskState;
pub(crate) use timer_cells::TimerCells;
pub use ttl::Ttl;
pub use value::StateValue;
