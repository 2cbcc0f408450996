//! The store `redb`: a file on the machine, which one process at a time has open.
//!
//! ```text
//!  entries   key: a list of its values       value: a list of transaction or null, value, previous value
//!  writers   key: the number of the task     value: a list of lineage, owner, transaction, epoch, number
//! ```
//!
//! 1. A batch is one transaction of redb, which is synced before the call returns.
//! 2. All values are in the codec of single values of tuples, which has a version.
//! 3. After an I/O error redb refuses everything until the file is opened again, which the next call does.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{BackingMap, MapKey, MapOpening, MapWriter, StateStore, Stored, TaskError};
use crate::files::{cannot_be_made, with_remedy};
use crate::ids::CheckpointId;
use crate::tuple::Value;
use crate::tuple::codec::{decode_value, encode_value};

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const WRITERS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("writers");

/// Settings of [`RedbFile`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedbFileSettings {
    /// The file. It is made if it is not there, with its directory. Required.
    pub path: String,
}

/// The store `redb`: one file for all tasks of a process.
///
/// # Examples
/// Totals that outlive the process that has counted them:
/// ```
/// use squall::Value;
/// use squall::api::{BackingMap, Stored};
/// use squall::trident::{RedbFile, RedbFileSettings};
///
/// let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("totals.redb").display().to_string();
/// let storm = vec![Value::from("storm")];
/// let stored = Stored { value: Value::from(3), ..Stored::default() };
/// RedbFile::new(RedbFileSettings { path: path.clone() }).map().multi_put(&[(storm.clone(), stored.clone())])?;
/// assert_eq!(RedbFile::new(RedbFileSettings { path }).map().multi_get(&[storm])?, [Some(stored)]);
/// # Ok::<(), squall::prelude::TaskError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedbFile {
    path: PathBuf,
    /// `None`: not open, or after an error. A task that holds the lock waits for the disk, and others wait for it.
    database: Arc<Mutex<Option<Database>>>,
}

impl RedbFile {
    /// A file that is opened when it is used.
    pub fn new(settings: RedbFileSettings) -> RedbFile {
        RedbFile { path: PathBuf::from(settings.path), database: Arc::default() }
    }

    /// The map that the file is.
    pub fn map(&self) -> impl BackingMap + use<> {
        self.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, TaskError> {
        let mut open = self.lock();
        let database = match open.take() {
            Some(database) => database,
            None => self.opened()?,
        };
        let done = work(&database).map_err(|error| self.failed(&error))?;
        *open = Some(database);
        Ok(done)
    }

    fn opened(&self) -> Result<Database, TaskError> {
        let directory = self.path.parent().filter(|parent| *parent != Path::new(""));
        if let Some(directory) = directory {
            std::fs::create_dir_all(directory).map_err(|error| self.cannot_be_made(error))?;
        }
        Database::create(&self.path).map_err(|error| match error {
            DatabaseError::Storage(redb::StorageError::Io(error)) if !is_of_content(&error) => {
                self.cannot_be_made(error)
            }
            DatabaseError::DatabaseAlreadyOpen => TaskError::new(format!(
                "the state file `{}` is open in another process, which has to end first",
                self.path.display()
            )),
            error => TaskError::fatal(format!(
                "the state file `{}` cannot be opened: {error}: it may be damaged, or no state file: name another `path`",
                self.path.display()
            )),
        })
    }

    fn cannot_be_made(&self, error: std::io::Error) -> TaskError {
        let is_permanent = cannot_be_made(&error);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let error = with_remedy(error, directory, "name another `path`");
        let text = format!("the state file `{}` cannot be opened: {error}", self.path.display());
        if is_permanent { TaskError::fatal(text) } else { TaskError::new(text) }
    }

    fn failed(&self, error: &redb::Error) -> TaskError {
        TaskError::new(format!("the state file `{}`: {error}", self.path.display()))
    }

    fn damaged(&self) -> TaskError {
        TaskError::fatal(format!(
            "the state file `{}` has something in it that is no state",
            self.path.display()
        ))
    }

    /// Puts entries, and the writer if there is one. Returns false if another instance of the task has claimed the file.
    fn put(&self, writer: Option<&MapWriter>, entries: &[(MapKey, Stored)]) -> Result<bool, TaskError> {
        let mut encoded = Vec::with_capacity(entries.len());
        for (key, stored) in entries {
            encoded.push((bytes(&Value::list(key.iter().cloned()))?, stored_bytes(stored)?));
        }
        let line = writer.map(|writer| Ok::<_, TaskError>((writer, writer_bytes(writer)?))).transpose()?;
        self.with(|database| {
            let transaction = database.begin_write()?;
            {
                if let Some((writer, line)) = &line {
                    let mut writers = transaction.open_table(WRITERS)?;
                    let found = writers.get(writer.task)?;
                    let found = found.and_then(|found| read_writer(writer.task, found.value()));
                    if !found.is_some_and(|found| found.is_same_instance(writer)) {
                        return Ok(false);
                    }
                    writers.insert(writer.task, line.as_slice())?;
                }
                let mut table = transaction.open_table(ENTRIES)?;
                for (key, stored) in &encoded {
                    table.insert(key.as_slice(), stored.as_slice())?;
                }
            }
            transaction.commit()?;
            Ok(true)
        })
    }
}

fn bytes(value: &Value) -> Result<Vec<u8>, TaskError> {
    let mut bytes = Vec::new();
    encode_value(value, &mut bytes)?;
    Ok(bytes)
}

fn stored_bytes(stored: &Stored) -> Result<Vec<u8>, TaskError> {
    let txid = stored.txid.map_or(Value::Null, |txid| Value::I64(txid.cast_signed()));
    bytes(&Value::list([txid, stored.value.clone(), stored.prev.clone()]))
}

fn read_stored(bytes: &[u8]) -> Option<Stored> {
    let list = decode_value(bytes).ok()?;
    let [txid, value, prev] = list.as_list()? else { return None };
    let txid = if txid.is_null() { None } else { Some(txid.as_i64()?.cast_unsigned()) };
    Some(Stored { value: value.clone(), prev: prev.clone(), txid })
}

fn writer_bytes(writer: &MapWriter) -> Result<Vec<u8>, TaskError> {
    let CheckpointId { epoch, number } = writer.checkpoint;
    let counts = [writer.txid, epoch, number].map(u64::cast_signed);
    let numbers = [writer.lineage, writer.owner].into_iter().chain(counts);
    bytes(&Value::list(numbers.map(Value::I64)))
}

fn read_writer(task: u32, bytes: &[u8]) -> Option<MapWriter> {
    let list = decode_value(bytes).ok()?;
    let [lineage, owner, txid, epoch, number] = list.as_list()? else { return None };
    let count = |value: &Value| value.as_i64().map(i64::cast_unsigned);
    let checkpoint = CheckpointId { epoch: count(epoch)?, number: count(number)? };
    Some(MapWriter {
        task,
        lineage: lineage.as_i64()?,
        owner: owner.as_i64()?,
        txid: count(txid)?,
        checkpoint,
    })
}

/// A table that may not be there yet.
fn existing<T>(table: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl BackingMap for RedbFile {
    fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Option<Stored>>, TaskError> {
        let keys: Result<Vec<_>, _> =
            keys.iter().map(|key| bytes(&Value::list(key.iter().cloned()))).collect();
        let keys = keys?;
        let found = self.with(|database| {
            let transaction = database.begin_read()?;
            let Some(table) = existing(transaction.open_table(ENTRIES))? else {
                return Ok(vec![None; keys.len()]);
            };
            let get = |key: &Vec<u8>| Ok(table.get(key.as_slice())?.map(|found| found.value().to_vec()));
            keys.iter().map(get).collect::<Result<Vec<_>, redb::Error>>()
        })?;
        let read = |found: Option<Vec<u8>>| {
            found.map(|found| read_stored(&found).ok_or_else(|| self.damaged())).transpose()
        };
        found.into_iter().map(read).collect()
    }

    fn multi_put(&mut self, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        self.put(None, entries).map(drop)
    }

    fn writers(&mut self) -> Result<Option<Vec<MapWriter>>, TaskError> {
        let found = self.with(|database| {
            let transaction = database.begin_read()?;
            let Some(table) = existing(transaction.open_table(WRITERS))? else { return Ok(Vec::new()) };
            let mut found = Vec::new();
            for entry in table.iter()? {
                let (task, line) = entry?;
                found.push((task.value(), line.value().to_vec()));
            }
            Ok(found)
        })?;
        let read = |(task, line): (u32, Vec<u8>)| read_writer(task, &line).ok_or_else(|| self.damaged());
        found.into_iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    fn claim(&mut self, found: Option<&MapWriter>, writer: &MapWriter) -> Result<bool, TaskError> {
        let line = writer_bytes(writer)?;
        self.with(|database| {
            let transaction = database.begin_write()?;
            {
                let mut writers = transaction.open_table(WRITERS)?;
                let now = writers.get(writer.task)?.and_then(|now| read_writer(writer.task, now.value()));
                if now.as_ref() != found {
                    return Ok(false);
                }
                writers.insert(writer.task, line.as_slice())?;
            }
            transaction.commit()?;
            Ok(true)
        })
    }

    fn put_as(&mut self, writer: &MapWriter, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        if self.put(Some(writer), entries)? { Ok(()) } else { Err(writer.taken_over()) }
    }
}

/// Whether redb has found something else in a file than it writes, or has found its end too soon.
fn is_of_content(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

impl StateStore for RedbFile {
    fn open(&self, _: &MapOpening<'_>) -> Result<Box<dyn BackingMap>, TaskError> {
        let mut map = self.clone();
        // A file that cannot be opened is noticed now, and not at the first checkpoint.
        map.writers()?;
        Ok(Box::new(map))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn place(&self) -> Option<String> {
        let path = std::path::absolute(&self.path).ok()?;
        Some(format!("the file {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &tempfile::TempDir) -> RedbFile {
        let path = directory.path().join("below/totals.redb").display().to_string();
        RedbFile::new(RedbFileSettings { path })
    }

    #[test]
    fn everything_is_there_when_the_file_is_opened_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let stored = |n: i64| Stored { value: Value::from(n), prev: Value::from("before"), txid: Some(7) };
        let (one, other) = (vec![Value::from("a"), Value::from(1)], vec![Value::from("a"), Value::Null]);
        let checkpoint = CheckpointId { epoch: 2, number: 9 };
        let writer = MapWriter { task: 3, lineage: -1, owner: 5, txid: u64::MAX, checkpoint };
        let mut first = file(&directory);
        assert_eq!(first.multi_get(std::slice::from_ref(&one)).ok(), Some(vec![None]));
        assert_eq!(first.writers().ok(), Some(Some(vec![])));
        let claimed = first.claim(None, &MapWriter { txid: 0, ..writer });
        assert_eq!(claimed.ok(), Some(true), "nobody else writes");
        first
            .put_as(&writer, &[(one.clone(), stored(1)), (other.clone(), stored(2))])
            .expect("it is claimed");
        let again = first.open(&MapOpening {
            name: "totals",
            mode: crate::config::StateMode::Opaque,
            key: &crate::tuple::Fields::from(["a", "b"]),
            task: &crate::testing::HarnessOptions::default().task_context(),
        });
        drop((first, again.expect("it is open in this process")));
        let mut second = file(&directory);
        let keys = [other, vec![Value::from("b")], one];
        assert_eq!(second.multi_get(&keys).ok(), Some(vec![Some(stored(2)), None, Some(stored(1))]));
        assert_eq!(second.writers().ok(), Some(Some(vec![writer])));
    }

    #[test]
    fn an_instance_that_was_replaced_puts_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut file = file(&directory);
        let writer =
            MapWriter { task: 0, lineage: 1, owner: 1, txid: 0, checkpoint: CheckpointId::default() };
        let entry = (vec![Value::from("a")], Stored::default());
        let other = MapWriter { owner: 2, ..writer };
        assert_eq!(file.claim(Some(&writer), &other).ok(), Some(false), "nothing is there yet");
        assert_eq!(file.claim(None, &other).ok(), Some(true));
        assert_eq!(file.claim(None, &writer).ok(), Some(false), "the other has claimed it");
        let error = file.put_as(&writer, &[entry]).expect_err("it was replaced");
        assert!(error.is_fatal() && error.to_string().contains("task 0 was taken over"), "{error}");
        assert_eq!(file.multi_get(&[vec![Value::from("a")]]).ok(), Some(vec![None]));
    }

    #[test]
    fn a_file_that_is_none_and_a_file_that_is_open_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut first, mut second) = (file(&directory), file(&directory));
        first.writers().expect("it can be made");
        let error = second.writers().expect_err("it is open");
        assert!(!error.is_fatal() && error.to_string().contains("is open in another process"), "{error}");
        drop(first);
        second.writers().expect("it is free");
        let path = directory.path().display().to_string();
        let error = RedbFile::new(RedbFileSettings { path }).writers().expect_err("it is a directory");
        assert!(error.to_string().contains("cannot be opened"), "{error}");
        assert!(error.is_fatal() && error.to_string().contains("name another `path`"), "{error}");
        for bytes in [&[b'x'; 9_000][..], b"x", b"redb\x1a\x0a\xa9\x0d\x0a"] {
            let path = directory.path().join("text").display().to_string();
            std::fs::write(&path, bytes).expect("it is written");
            let error =
                RedbFile::new(RedbFileSettings { path }).writers().expect_err("it has something else");
            assert!(error.is_fatal() && error.to_string().contains("name another `path`"), "{error}");
        }
    }
}
