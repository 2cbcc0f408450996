//! The log: segments that are appended to, read, and deleted.

use std::collections::VecDeque;
use std::io;

use crate::checkpoint::LogStorage;
use crate::wal::begin;
use crate::wal::error::WalError;
use crate::wal::groups::{self, Flaw};
use crate::wal::names::{BEGIN, SegmentName};
use crate::wal::position::LogId;

/// Bytes after which a segment is not appended to any more. One group may make it longer.
pub(crate) const SEGMENT_LEN_MAX: u64 = 16 << 20;

/// Bytes of the file `begin` that are read: it has fewer.
const BEGIN_LEN_MAX: u64 = 1 << 10;

/// A write-ahead log. See the [module](crate::wal).
pub(crate) struct Wal {
    storage: Box<dyn LogStorage>,
    id: LogId,
    /// Oldest first. There is at least one.
    segments: VecDeque<SegmentName>,
    /// The length of the last one, if it is appended to.
    open_len: Option<u64>,
    /// The number of the next one.
    number: u64,
    /// The first record that counts, and the next one to be appended.
    begin: u64,
    next: u64,
    segment_len_max: u64,
}

impl Wal {
    /// Opens the log in a storage, which this process has for itself. If there is none, one is made with this number.
    /// `segment_len_max`: see [`SEGMENT_LEN_MAX`].
    pub(crate) fn open(
        mut storage: Box<dyn LogStorage>,
        new: LogId,
        segment_len_max: u64,
    ) -> Result<Wal, WalError> {
        let names = names(&mut *storage)?;
        let number = names.last().map_or(0, |last| last.number + 1);
        let id = names.last().map_or(new, |last| last.log);
        let (segments, open_len, begin, next) = (VecDeque::new(), None, 0, 0);
        let mut log = Wal { storage, id, segments, open_len, number, begin, next, segment_len_max };
        log.take_over(names)?;
        log.begin = log.segments.front().map_or(0, |first| first.begin);
        if let Some(begin) = log.read_begin()? {
            log.check_end(begin)?;
            log.begin = log.begin.max(begin);
        }
        // If this fails, it is done with the next truncation.
        let _ = log.truncate(log.begin);
        Ok(log)
    }

    /// Whether a storage has this log.
    pub(crate) fn is_there(storage: &mut dyn LogStorage, id: LogId) -> Result<bool, WalError> {
        Ok(names(storage)?.first().is_some_and(|name| name.log == id))
    }

    /// Which log it is.
    pub(crate) fn id(&self) -> LogId {
        self.id
    }

    /// The first record that counts.
    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }

    /// The record that is appended next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// What messages call its place.
    pub(crate) fn location(&self) -> String {
        self.storage.location()
    }

    /// Appends records as one group. When this returns, they are durable. After an error nothing of them counts, and they
    /// may be appended again.
    pub(crate) fn append(&mut self, records: &[Vec<u8>]) -> Result<(), WalError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut group = Vec::new();
        if groups::encode(self.id, self.next, records, &mut group).is_none() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "a group of records has 4 GiB or more");
            return Err(self.failed("write", "a group of records", source));
        }
        self.write(group, records.len() as u64)
    }

    /// The records from this one on, to the end of the segment that has it. None if it is the next one.
    pub(crate) fn read(&mut self, record: u64) -> Result<VecDeque<Vec<u8>>, WalError> {
        if record < self.begin {
            let (location, begin) = (self.location(), self.begin);
            return Err(WalError::Deleted { location, begin, wanted: record });
        }
        self.check_end(record)?;
        if record == self.next {
            return Ok(VecDeque::new());
        }
        let at = self.segments.partition_point(|segment| segment.begin <= record).saturating_sub(1);
        let (segment, end) = (self.segments[at].clone(), self.segments.get(at + 1).map(|next| next.begin));
        let bytes = self.read_file(&segment.file(), u64::MAX)?;
        let groups = self.groups_of(&segment, &bytes, Some(end.unwrap_or(self.next)))?;
        let records = groups.iter().flat_map(|group| group.records(&bytes));
        Ok(records.skip((record - segment.begin) as usize).map(<[u8]>::to_vec).collect())
    }

    /// Records before this one will not be asked for again: whole segments of them are deleted.
    pub(crate) fn truncate(&mut self, record: u64) -> Result<(), WalError> {
        let begins = self.segments.iter().skip(1).map(|segment| segment.begin);
        let count = begins.take_while(|begin| *begin <= record).count();
        if count == 0 {
            return Ok(());
        }
        let files: Vec<String> = self.segments.iter().take(count).map(SegmentName::file).collect();
        self.begin = self.begin.max(self.segments[count].begin);
        let deleted = self.storage.delete(&files);
        deleted.map_err(|source| self.failed("delete", &files[0], source))?;
        self.segments.drain(..count);
        Ok(())
    }

    /// Records before this one do not count any more, durably.
    pub(crate) fn set_begin(&mut self, record: u64) -> Result<(), WalError> {
        self.check_end(record)?;
        if record <= self.begin {
            return Ok(());
        }
        let published = self.storage.publish(BEGIN, &begin::encode(self.id, record));
        published.map_err(|source| self.failed("write", BEGIN, source))?;
        self.begin = record;
        Ok(())
    }

    /// Deletes a log with all its records.
    pub(crate) fn remove(storage: &mut dyn LogStorage) -> Result<(), WalError> {
        // If that is interrupted, what is left is the end of the log.
        let mut files: Vec<String> = names(storage)?.iter().map(SegmentName::file).collect();
        files.push(BEGIN.to_owned());
        storage.delete(&files).map_err(|source| failed(storage, "delete", &files[0], source))
    }

    /// Takes over the segments that earlier processes left. Of the last group nobody knows whether it was synced, so it is
    /// appended again, to a segment of its own. So is the begin of a log without groups: its name has the number of the
    /// log.
    fn take_over(&mut self, mut names: Vec<SegmentName>) -> Result<(), WalError> {
        let mut unused = Vec::new();
        let (mut group, mut begin) = (Vec::new(), names.last().map_or(0, |last| last.begin));
        while let Some(last) = names.last() {
            let bytes = self.read_file(&last.file(), u64::MAX)?;
            let groups = self.groups_of(last, &bytes, None)?;
            if let Some(last_group) = groups.last() {
                group = last_group.records(&bytes).map(<[u8]>::to_vec).collect();
                begin = last_group.begin;
                break;
            }
            // It was begun, and its first group was not synced.
            unused.extend(names.pop());
        }
        self.next = begin;
        while let Some(name) = names.pop() {
            let later = self.segments.front().map_or(u64::MAX, |next| next.begin);
            // What begins with the same record as a later segment, or after it, has nothing that counts.
            if name.begin < later { self.segments.push_front(name) } else { unused.push(name) }
        }
        match group.is_empty() {
            true => self.write(Vec::new(), 0)?,
            false => self.append(&group)?,
        }
        let unused: Vec<String> = unused.iter().map(SegmentName::file).collect();
        // Left alone, they are passed over the next time, too.
        let _ = if unused.is_empty() { Ok(()) } else { self.storage.delete(&unused) };
        Ok(())
    }

    /// Writes a group, and syncs it. A new segment is begun where there is none to append to, or it is full.
    fn write(&mut self, group: Vec<u8>, records: u64) -> Result<(), WalError> {
        let room =
            |len: &u64| len + group.len() as u64 <= self.segment_len_max || *len <= groups::HEAD_LEN as u64;
        if let Some(len) = self.open_len.filter(room) {
            let file = self.segments.back().expect("there is one that is appended to").file();
            let written = self.storage.append(&file, &group).and_then(|()| self.storage.sync(&file));
            if let Err(source) = written {
                self.storage.abandon(&file);
                self.open_len = None;
                return Err(self.failed("write", &file, source));
            }
            self.open_len = Some(len + group.len() as u64);
            self.next += records;
            return Ok(());
        }
        self.begin_segment(&group)?;
        self.next += records;
        Ok(())
    }

    /// Begins a segment with a group. If that fails, the file is removed: it has nothing that counts.
    fn begin_segment(&mut self, group: &[u8]) -> Result<(), WalError> {
        if self.open_len.take().is_some() {
            let full = self.segments.back().expect("there is one that was appended to").file();
            self.storage.abandon(&full);
        }
        let segment = SegmentName { number: self.number, begin: self.next, log: self.id };
        let file = segment.file();
        self.number += 1;
        let mut bytes = groups::head(self.id);
        bytes.extend(group);
        let written = self.storage.append(&file, &bytes).and_then(|()| self.storage.sync(&file));
        if let Err(source) = written {
            self.storage.abandon(&file);
            // If this fails, too, the next segment takes its place: see rule 3 of the module.
            let _ = self.storage.delete(std::slice::from_ref(&file));
            return Err(self.failed("write", &file, source));
        }
        self.open_len = Some(bytes.len() as u64);
        // It takes the place of one that begins with the same record. That one is deleted when the log is opened again.
        if self.segments.back().is_some_and(|last| last.begin == segment.begin) {
            self.segments.pop_back();
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Where the log begins, if a file states it.
    fn read_begin(&mut self) -> Result<Option<u64>, WalError> {
        let bytes = match self.storage.read(BEGIN, BEGIN_LEN_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| self.failed("read", BEGIN, source))?,
        };
        match begin::decode(&bytes) {
            Some((log, begin)) if log == self.id => Ok(Some(begin)),
            other => {
                let flaw = if other.is_some() { "it is of another log" } else { "its checksum is wrong" };
                let (file, location, flaw) = (BEGIN.to_owned(), self.location(), flaw.to_owned());
                Err(WalError::Damaged { file, location, offset: 0, flaw })
            }
        }
    }

    fn check_end(&self, record: u64) -> Result<(), WalError> {
        if record <= self.next {
            return Ok(());
        }
        Err(WalError::Short { location: self.location(), end: self.next, wanted: record })
    }

    fn read_file(&mut self, file: &str, limit: u64) -> Result<Vec<u8>, WalError> {
        self.storage.read(file, limit).map_err(|source| self.failed("read", file, source))
    }

    fn groups_of(
        &self,
        segment: &SegmentName,
        bytes: &[u8],
        end: Option<u64>,
    ) -> Result<Vec<groups::Group>, WalError> {
        let (file, location) = (segment.file(), self.location());
        groups::read(bytes, segment.log, segment.begin, end).map_err(|flaw| match flaw {
            Flaw::Damaged { offset, flaw } => {
                WalError::Damaged { file, location, offset, flaw: flaw.to_owned() }
            }
            Flaw::Newer { version } => {
                WalError::Newer { file, location, version, supported: groups::VERSION }
            }
        })
    }

    fn failed(&self, action: &'static str, file: &str, source: io::Error) -> WalError {
        failed(&*self.storage, action, file, source)
    }
}

fn failed(storage: &dyn LogStorage, action: &'static str, file: &str, source: io::Error) -> WalError {
    WalError::Io { action, file: file.to_owned(), location: storage.location(), source }
}

/// The names of the segments in a storage, all of one log, in the order of their numbers.
fn names(storage: &mut dyn LogStorage) -> Result<Vec<SegmentName>, WalError> {
    let listed = storage.list().map_err(|source| failed(storage, "list", "*", source))?;
    let mut names: Vec<SegmentName> = listed.iter().filter_map(|file| SegmentName::of(file)).collect();
    names.sort();
    if let Some(other) = names.iter().find(|name| name.log != names[0].log) {
        let (file, other, location) = (names[0].file(), other.file(), storage.location());
        return Err(WalError::Mixed { file, other, location });
    }
    Ok(names)
}
