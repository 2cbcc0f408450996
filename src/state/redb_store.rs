//! The backend `redb`: the store of a task is a B-tree in a file.
//!
//! * The file has no name, so nothing is left of it when the process has ended, however it ends. What survives is the
//!   checkpoint. In simulations it is on a disk that fails where a test wants it (`state_disk`).
//! * Nothing is synced: the file is read by this process only, and the kernel gives back what was written.
//! * After an I/O error redb refuses everything until the database is opened again. The next write does that, and
//!   finds what was committed last.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Database, ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition, TableError, TableHandle,
};

use crate::files::{cannot_be_made, with_remedy};
use crate::state::key_store::{
    KeyStore, StateBackend, StoreChanges, StoreError, StoreView, ViewOf, ViewedKey,
};
use crate::state::state_disk::{SimulatedFile, StateDisk};

/// The entry of each key.
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// The names of the tables of changed keys begin with this, and the number of a snapshot follows.
const CHANGES: &str = "changes-";

type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Changes = ReadOnlyTable<&'static [u8], ()>;

/// Opens stores in a directory, or on the disk of a simulation.
pub(crate) struct RedbBackend(Place);

enum Place {
    /// `None`: there is none, so no store can be opened.
    Directory(Option<PathBuf>),
    Simulated(StateDisk),
}

impl RedbBackend {
    /// With files in this directory, which is made if it is not there. If there is none, no store can be opened.
    pub(crate) fn new(directory: Option<PathBuf>) -> RedbBackend {
        RedbBackend(Place::Directory(directory))
    }

    /// With files on the disk of a simulation.
    pub(crate) fn simulated(disk: StateDisk) -> RedbBackend {
        RedbBackend(Place::Simulated(disk))
    }

    fn file(&self) -> Result<Scratch, StoreError> {
        let directory = match &self.0 {
            Place::Directory(directory) => directory.as_deref(),
            Place::Simulated(disk) => return Ok(Scratch::Simulated(disk.file())),
        };
        let directory = directory.ok_or_else(|| {
            let why =
                "it has no directory, because neither XDG_STATE_HOME nor HOME is set: set `state.directory`";
            StoreError::permanent(why)
        })?;
        let file = scratch_file(directory).map_err(|error| {
            let is_permanent = cannot_be_made(&error);
            let error = with_remedy(error, directory, "name another directory by `state.directory`");
            let why = format!("there can be no file in `{}`: {error}", directory.display());
            if is_permanent { StoreError::permanent(why) } else { StoreError::new(why) }
        })?;
        Ok(Scratch::File(Arc::new(file)))
    }
}

impl StateBackend for RedbBackend {
    fn open(&self, memory: usize) -> Result<Box<dyn KeyStore>, StoreError> {
        Ok(Box::new(RedbStore::new(self.file()?, memory)?))
    }
}

fn scratch_file(directory: &Path) -> io::Result<File> {
    std::fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory)
}

/// The file of a store.
#[derive(Clone, Debug)]
enum Scratch {
    File(Arc<File>),
    Simulated(SimulatedFile),
}

impl StorageBackend for Scratch {
    fn len(&self) -> io::Result<u64> {
        match self {
            Scratch::File(file) => file.metadata().map(|metadata| metadata.len()),
            Scratch::Simulated(file) => file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Scratch::File(file) => file.read_exact_at(out, offset),
            Scratch::Simulated(file) => file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Scratch::File(file) => file.set_len(len),
            Scratch::Simulated(file) => file.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self {
            Scratch::File(file) => file.write_all_at(data, offset),
            Scratch::Simulated(file) => file.write(offset, data),
        }
    }
}

struct RedbStore {
    scratch: Scratch,
    /// Bytes that redb may cache.
    cache: usize,
    /// `None` after an error.
    database: Option<Database>,
    /// What was written last, to be read.
    entries: Option<Entries>,
}

/// An error of redb, whatever its type, in the words of its cause.
fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => StoreError::new(error),
        error => StoreError::new(error),
    }
}

fn open(scratch: &Scratch, cache: usize) -> Result<Database, StoreError> {
    Database::builder().set_cache_size(cache).create_with_backend(scratch.clone()).map_err(failed)
}

impl RedbStore {
    fn new(scratch: Scratch, cache: usize) -> Result<RedbStore, StoreError> {
        let database = Some(open(&scratch, cache)?);
        Ok(RedbStore { scratch, cache, database, entries: None })
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            self.database = Some(open(&self.scratch, self.cache)?);
        }
        self.database.as_ref().ok_or_else(|| StoreError::new("it is closed"))
    }

    /// Closes the database if this has failed. The next call opens it again.
    fn close_if_failed<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err() {
            (self.entries, self.database) = (None, None);
        }
        result
    }

    fn try_write(&mut self, snapshot: u32, changes: &StoreChanges) -> Result<(), StoreError> {
        let transaction = self.database()?.begin_write().map_err(failed)?;
        let name = format!("{CHANGES}{snapshot}");
        let tables = transaction.list_tables().map_err(failed)?;
        let is_outdated = |table: &str| table.starts_with(CHANGES) && table != name;
        let outdated: Vec<String> =
            tables.map(|table| table.name().to_owned()).filter(|table| is_outdated(table)).collect();
        for table in &outdated {
            let table: TableDefinition<'_, &[u8], ()> = TableDefinition::new(table);
            transaction.delete_table(table).map_err(failed)?;
        }
        {
            let mut entries = transaction.open_table(ENTRIES).map_err(failed)?;
            // Before the first snapshot nothing is noted, because that one has everything.
            let noted: TableDefinition<'_, &[u8], ()> = TableDefinition::new(&name);
            let noted = (snapshot > 0).then(|| transaction.open_table(noted).map_err(failed));
            let mut noted = noted.transpose()?;
            for (key, change) in changes {
                match &change.entry {
                    Some(entry) => drop(entries.insert(&**key, &**entry).map_err(failed)?),
                    None => drop(entries.remove(&**key).map_err(failed)?),
                }
                if let Some(noted) = noted.as_mut().filter(|_| change.is_changed) {
                    noted.insert(&**key, ()).map_err(failed)?;
                }
            }
        }
        transaction.commit().map_err(failed)
    }

    fn try_clear(&mut self) -> Result<(), StoreError> {
        let transaction = self.database()?.begin_write().map_err(failed)?;
        let tables = transaction.list_tables().map_err(failed)?;
        let names: Vec<String> = tables.map(|table| table.name().to_owned()).collect();
        for name in &names {
            let table: TableDefinition<'_, &[u8], ()> = TableDefinition::new(name);
            transaction.delete_table(table).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// What was committed last; `None`: nothing was.
    fn read_entries(&mut self) -> Result<Option<Entries>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(failed)?;
        existing(transaction.open_table(ENTRIES))
    }

    fn try_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.entries.is_none() {
            self.entries = self.read_entries()?;
        }
        let Some(entries) = &self.entries else { return Ok(None) };
        let entry = entries.get(key).map_err(failed)?;
        Ok(entry.map(|entry| entry.value().to_vec()))
    }

    fn try_view(&mut self, of: ViewOf<'_>) -> Result<Box<dyn StoreView>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(failed)?;
        let entries = existing(transaction.open_table(ENTRIES))?;
        Ok(match of {
            ViewOf::Everything => {
                let all = entries.map(|entries| entries.range::<&[u8]>(..).map_err(failed)).transpose()?;
                Box::new(EntriesView(all))
            }
            ViewOf::KeysAfter(key) => {
                let after = (Bound::Excluded(key), Bound::Unbounded);
                let later =
                    entries.map(|entries| entries.range::<&[u8]>(after).map_err(failed)).transpose()?;
                Box::new(EntriesView(later))
            }
            ViewOf::ChangesAfter(number) => {
                let name = format!("{CHANGES}{number}");
                let noted: TableDefinition<'_, &[u8], ()> = TableDefinition::new(&name);
                let noted: Option<Changes> = existing(transaction.open_table(noted))?;
                let changed = noted.map(|noted| noted.range::<&[u8]>(..).map_err(failed)).transpose()?;
                Box::new(ChangesView { changed, entries })
            }
        })
    }
}

/// A table that may not be there, because nothing was written into it.
fn existing<T>(table: Result<T, TableError>) -> Result<Option<T>, StoreError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

impl KeyStore for RedbStore {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let entry = self.try_get(key);
        self.close_if_failed(entry)
    }

    fn write(&mut self, snapshot: u32, changes: &StoreChanges) -> Result<(), StoreError> {
        // What is being read keeps pages from being used again.
        self.entries = None;
        let written = self.try_write(snapshot, changes);
        self.close_if_failed(written)
    }

    fn view(&mut self, of: ViewOf<'_>) -> Result<Box<dyn StoreView>, StoreError> {
        let view = self.try_view(of);
        self.close_if_failed(view)
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.entries = None;
        let cleared = self.try_clear();
        self.close_if_failed(cleared)
    }
}

struct EntriesView(Option<redb::Range<'static, &'static [u8], &'static [u8]>>);

impl StoreView for EntriesView {
    fn next(&mut self) -> Result<Option<ViewedKey>, StoreError> {
        let next = self.0.as_mut().and_then(Iterator::next).transpose().map_err(failed)?;
        Ok(next.map(|(key, entry)| (key.value().to_vec(), Some(entry.value().to_vec()))))
    }
}

struct ChangesView {
    changed: Option<redb::Range<'static, &'static [u8], ()>>,
    entries: Option<Entries>,
}

impl StoreView for ChangesView {
    fn next(&mut self) -> Result<Option<ViewedKey>, StoreError> {
        let next = self.changed.as_mut().and_then(Iterator::next).transpose().map_err(failed)?;
        let Some((key, _)) = next else { return Ok(None) };
        let key = key.value().to_vec();
        let entry = match &self.entries {
            Some(entries) => entries.get(&*key).map_err(failed)?.map(|entry| entry.value().to_vec()),
            None => None,
        };
        Ok(Some((key, entry)))
    }
}

#[cfg(test)]
#[path = "redb_store_tests.rs"]
mod tests;
