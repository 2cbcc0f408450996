//! The fault that a seed tries until it has occurred, so that all kinds occur in the first seeds.

use std::io::ErrorKind;

use rand::RngExt;
use rand::rngs::StdRng;
use squall::checkpoint::{MemoryStorage, StorageOperation};

/// What is tried in a run until it has occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arranged {
    /// The next operation of this kind fails, on the disk of checkpoints.
    Fails(StorageOperation),
    /// That disk is full for a while.
    Full,
    /// All its operations fail for a while, as on a network file system whose server is away.
    Away,
    /// A start is replaced, and goes on all the same.
    Zombie,
    /// The run is stopped with a savepoint.
    Stops,
    /// The next operation of this kind on a write-ahead log fails.
    LogFails(StorageOperation),
    /// A write-ahead log has no room for a while.
    LogFull,
    /// The next write, or read, of state that is not in memory fails.
    StateFails {
        writes: bool,
    },
    /// The disk with this state is full for a while.
    StateFull,
    Nothing,
}

const ALL: [Arranged; 22] = [
    Arranged::Fails(StorageOperation::Append),
    Arranged::Zombie,
    Arranged::Fails(StorageOperation::Seal),
    Arranged::LogFails(StorageOperation::Append),
    Arranged::Full,
    Arranged::Fails(StorageOperation::Publish),
    Arranged::StateFails { writes: true },
    Arranged::LogFails(StorageOperation::Seal),
    Arranged::Nothing,
    Arranged::LogFull,
    Arranged::Fails(StorageOperation::Read),
    Arranged::StateFull,
    Arranged::Zombie,
    Arranged::Fails(StorageOperation::Delete),
    Arranged::LogFails(StorageOperation::Delete),
    Arranged::Stops,
    Arranged::StateFails { writes: false },
    Arranged::Away,
    Arranged::LogFails(StorageOperation::Read),
    Arranged::Nothing,
    Arranged::StateFull,
    Arranged::Nothing,
];

impl Arranged {
    /// The one of a seed.
    pub fn of(seed: u64) -> Arranged {
        ALL[seed as usize % ALL.len()]
    }

    /// Whether it needs a write-ahead log.
    pub fn is_of_log(self) -> bool {
        matches!(self, Arranged::LogFails(_) | Arranged::LogFull)
    }

    /// Whether it needs state that is not in memory.
    pub fn is_of_state(self) -> bool {
        matches!(self, Arranged::StateFails { .. } | Arranged::StateFull)
    }

    /// How often it has occurred.
    fn count(self, storage: &MemoryStorage) -> u64 {
        let sum = |storage: &MemoryStorage, which: &str| {
            let faults = storage.faults().into_iter();
            faults.filter(|(what, _)| what.ends_with(which)).map(|(_, times)| times).sum::<u64>()
        };
        let of_state = |which| storage.state_disk().faults().get(which).copied().unwrap_or(0);
        let of_logs = |which| storage.logs().iter().map(|log| sum(&storage.log(log), which)).sum();
        match self {
            Arranged::Fails(operation) => sum(storage, failed(operation)),
            Arranged::Full => sum(storage, "disk full"),
            Arranged::Away => sum(storage, "failed"),
            Arranged::LogFails(operation) => of_logs(failed(operation)),
            Arranged::LogFull => of_logs("disk full"),
            Arranged::StateFails { writes: true } => of_state("write failed"),
            Arranged::StateFails { writes: false } => of_state("read failed"),
            Arranged::StateFull => of_state("disk full"),
            Arranged::Zombie | Arranged::Stops | Arranged::Nothing => 0,
        }
    }

    /// Prepares the storage for it, if it has not had it often enough.
    pub fn prepare(self, storage: &MemoryStorage, random: &mut StdRng) {
        if self.count(storage) >= 3 {
            return;
        }
        let logs = || storage.logs().into_iter().map(|log| storage.log(&log));
        match self {
            Arranged::Fails(operation) => storage.fail_next(operation, ErrorKind::StorageFull),
            Arranged::Full => storage.fill_after(random.random_range(0..2_000)),
            Arranged::Away => storage.fail_from(random.random_range(1..4), ErrorKind::StaleNetworkFileHandle),
            Arranged::LogFails(operation) => {
                logs().for_each(|log| log.fail_next(operation, ErrorKind::StorageFull));
            }
            Arranged::LogFull => logs().for_each(|log| log.fill_after(random.random_range(0..200))),
            Arranged::StateFails { writes: true } => storage.state_disk().fail_next_write(),
            Arranged::StateFails { writes: false } => storage.state_disk().fail_next_read(),
            Arranged::StateFull => storage.state_disk().fill(),
            Arranged::Zombie | Arranged::Stops | Arranged::Nothing => {}
        }
    }
}

/// What a storage counts when such an operation fails.
fn failed(operation: StorageOperation) -> &'static str {
    match operation {
        StorageOperation::Append => "append failed",
        StorageOperation::Seal => "seal failed",
        StorageOperation::Publish => "publish failed",
        StorageOperation::Read => "read failed",
        StorageOperation::List => "list failed",
        StorageOperation::Delete => "delete failed",
    }
}
