//! Trident's state: totals in a store outside of squall that count each batch once.
//!
//! A store that only reads and writes keys cannot tell whether a batch was counted before a crash. Storm's Trident keeps
//! the id of the last transaction beside each value, and in the *opaque* mode the value before it, too:
//!
//! ```text
//!   mode            stored {value 4, prev 1, txid 2}    transaction 3, +2            transaction 2 again, +2
//!   transactional   {4, txid 2}                         {6, txid 3}                  {4, txid 2}: skipped
//!   opaque          {4, prev 1, txid 2}                 {6, prev 4, txid 3}          {3, prev 1, txid 2}: counted anew
//! ```
//!
//! * `values`: these rules for one key, as in Storm's `TransactionalValue` and `OpaqueValue`.
//! * `state_map`: the rules for batches of keys, over a [`BackingMap`](crate::api::BackingMap); Storm's `OpaqueMap`,
//!   `TransactionalMap` and `NonTransactionalMap`.
//! * `memory`, `redb_file`: stores that need no server. PostgreSQL is in `components/postgres`, which has the client.
//!
//! The bolt that uses them is [`aggregate`](crate::components::aggregate).

mod memory;
mod redb_file;
mod state_map;
mod values;

pub use memory::{MemoryMap, MemorySettings, MemoryStore};
pub use redb_file::{RedbFile, RedbFileSettings};
pub use state_map::{StateMap, Update};
pub use values::{BehindError, OpaqueValue, TransactionalValue};
