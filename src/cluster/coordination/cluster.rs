//! Which cluster a tree belongs to. The record is made once, by the first process that finds none, and never changes.

use serde::{Deserialize, Serialize};

use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::record::{Record, RecordAccessError, encode_record, read_record};
use crate::cluster::coordination::service::Coordination;

/// Which cluster this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Drawn at random by the process that has made the record, so it also names its writer.
    pub id: String,
    /// When that was, by the clock of that process, like `2026-01-01T00:00:00Z`. For people.
    pub created_at: String,
    /// The fingerprint of the key that all daemons of the cluster have, by which each notices that it has another one.
    /// Nobody learns the key by it. Empty: there is no key, as in some tests.
    pub key_fingerprint: String,
}

impl Record for ClusterRecord {
    const KIND: &'static str = "cluster";
    const VERSION: u32 = 1;
}

impl ClusterRecord {
    /// A new cluster. `token` is random; `wall_nanos` is the time since 1970.
    pub fn new(token: u128, wall_nanos: i64) -> ClusterRecord {
        // Every number of nanoseconds that fits 64 bits is a time that jiff knows.
        let created_at = jiff::Timestamp::from_nanosecond(i128::from(wall_nanos)).unwrap_or_default();
        let (id, created_at) = (format!("{token:032x}"), created_at.to_string());
        ClusterRecord { id, created_at, key_fingerprint: String::new() }
    }

    /// The same with the fingerprint of its key.
    pub fn of_key(self, key_fingerprint: String) -> ClusterRecord {
        ClusterRecord { key_fingerprint, ..self }
    }
}

/// Reads which cluster this is. If there is no record yet, `new` becomes it, unless another process is first.
///
/// A process that remembers a cluster must not do this: a tree without the record was wiped. See `check_mark`.
///
/// # Errors
/// When a call fails, or the node has another record.
pub fn join_cluster(
    coordination: &dyn Coordination,
    path: &NodePath,
    new: &ClusterRecord,
) -> Result<ClusterRecord, RecordAccessError> {
    coordination.catch_up()?;
    if let Some((found, _)) = read_record(coordination, path)? {
        return Ok(found);
    }
    match coordination.create(path, &encode_record(path, new)?) {
        Ok(_) => Ok(new.clone()),
        Err(CoordinationError::Exists(path)) => {
            let found = read_record(coordination, &path)?;
            Ok(found.ok_or(CoordinationError::Missing(path))?.0)
        }
        Err(error) => Err(error.into()),
    }
}
