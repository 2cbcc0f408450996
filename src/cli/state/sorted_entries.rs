//! Puts what snapshots state in the order of columns and keys, in bounded memory: an external merge sort.
//!
//! ```text
//!   set, remove ─▶ buffer, in order ── full ─▶ run ─▶ level 0 ── FAN_IN runs ─▶ one run of level 1 ── … ─▶ level 2
//!                       └────────────────────────────── merged ◀──────────────────────┴────────────────────┘
//! ```
//!
//! 1. In memory are the buffer, of about [`BUFFER_MAX`] bytes, or a piece and a key of each run that is merged; and the value
//!    in hand. Values of other runs are not read before they are wanted.
//! 2. What came later replaces what came earlier. A run of a lower level is newer than those of higher ones, and in a level
//!    the last run is the newest.
//! 3. What fits into the buffer is never written. A level is one scratch file, which goes when its runs were merged; so in
//!    all they take about twice as much room as what was added.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::{env, io};

use crate::checkpoint::Scratch;
use crate::cli::error::CommandError;
use crate::state::SavedValue;
use crate::text::shown;
use crate::tuple::Value;
use crate::tuple::codec::{decode_value, encode_value};

/// Bytes of entries that are collected before they become a run, about.
const BUFFER_MAX: usize = 16 << 20;
/// What an entry takes in the buffer besides its key and its value, about.
const ENTRY_SIZE: usize = 96;
/// Runs of a level that become one of the next.
const FAN_IN: usize = 16;
/// How much of a run is read at once.
const PIECE: usize = 64 << 10;

/// The state of a task among all that are sorted.
pub(in crate::cli) type Column = usize;

type Key = Box<[Value]>;

/// Makes an empty scratch file.
type MakeScratch = fn() -> io::Result<Scratch>;

/// Entries that are being added.
pub(in crate::cli) struct EntrySort {
    buffer: BTreeMap<Column, BTreeMap<Key, Option<SavedValue>>>,
    /// Bytes in the buffer, about.
    buffered: usize,
    buffer_max: usize,
    levels: Vec<Level>,
    scratch: MakeScratch,
}

/// Runs in one file.
struct Level {
    scratch: Scratch,
    len: u64,
    /// Where each begins and ends.
    runs: Vec<(u64, u64)>,
}

impl EntrySort {
    /// With scratch files in the directory for temporary files.
    pub(in crate::cli) fn in_temporary_files() -> EntrySort {
        EntrySort::new(|| Scratch::in_directory(&env::temp_dir()))
    }

    fn new(scratch: MakeScratch) -> EntrySort {
        EntrySort {
            buffer: BTreeMap::new(),
            buffered: 0,
            buffer_max: BUFFER_MAX,
            levels: Vec::new(),
            scratch,
        }
    }

    /// What a column has for a key from now on; `None`: nothing.
    pub(in crate::cli) fn set(
        &mut self,
        column: Column,
        key: &[Value],
        value: Option<SavedValue>,
    ) -> io::Result<()> {
        let size = value.as_ref().map_or(0, |value| value.bytes().len());
        let of_column = self.buffer.entry(column).or_default();
        match of_column.get_mut(key) {
            Some(old) => {
                self.buffered -= old.as_ref().map_or(0, |old| old.bytes().len());
                *old = value;
            }
            None => {
                let heap: usize = key.iter().map(|value| size_of::<Value>() + value.heap_size()).sum();
                self.buffered += heap + ENTRY_SIZE;
                of_column.insert(key.into(), value);
            }
        }
        self.buffered += size;
        if self.buffered > self.buffer_max { self.write_buffer() } else { Ok(()) }
    }

    /// Makes the buffer a run of the first level.
    fn write_buffer(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.buffered = 0;
        let mut writer = self.begin_run(0)?;
        for (column, entries) in buffer {
            for (key, value) in entries {
                writer.write(column, &key, value.as_ref())?;
            }
        }
        let end = writer.finish()?;
        self.add_run(0, end)
    }

    fn begin_run(&mut self, level: usize) -> io::Result<RunWriter<'_>> {
        while self.levels.len() <= level {
            self.levels.push(Level { scratch: (self.scratch)()?, len: 0, runs: Vec::new() });
        }
        let Level { scratch, len, .. } = &self.levels[level];
        Ok(RunWriter { scratch, at: *len, waiting: Vec::new() })
    }

    /// A run was written to the end of a level, up to here. If the level is full, its runs become one of the next.
    fn add_run(&mut self, level: usize, end: u64) -> io::Result<()> {
        let full = &mut self.levels[level];
        full.runs.push((full.len, end));
        full.len = end;
        if full.runs.len() < FAN_IN {
            return Ok(());
        }
        let empty = Level { scratch: (self.scratch)()?, len: 0, runs: Vec::new() };
        let full = std::mem::replace(&mut self.levels[level], empty);
        let mut merged = Merged::of([&full])?;
        let mut writer = self.begin_run(level + 1)?;
        while let Some(head) = merged.next()? {
            writer.write(head.column, &head.key, merged.value(&head)?.as_ref())?;
        }
        let end = writer.finish()?;
        self.add_run(level + 1, end)
    }

    /// Passes on the entries in their order: by column, then by key.
    pub(in crate::cli) fn for_each<E: From<io::Error>>(
        mut self,
        mut take: impl FnMut(Column, &[Value], &SavedValue) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.levels.is_empty() {
            for (column, entries) in &self.buffer {
                for (key, value) in entries.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
                    take(*column, key, value)?;
                }
            }
            return Ok(());
        }
        self.write_buffer()?;
        let mut merged = Merged::of(self.levels.iter().rev())?;
        while let Some(head) = merged.next()? {
            if let Some(value) = merged.value(&head)? {
                take(head.column, &head.key, &value)?;
            }
        }
        Ok(())
    }
}

/// Writes a run: entries, each as column, lengths of key and value, kind of value, key and value.
struct RunWriter<'l> {
    scratch: &'l Scratch,
    at: u64,
    waiting: Vec<u8>,
}

/// Bytes before the key of an entry: its column, how long key and value are, and what the value is.
const HEAD: usize = 8 + 8 + 8 + 1;

mod kind {
    pub(super) const NONE: u8 = 0;
    pub(super) const PLAIN: u8 = 1;
    pub(super) const DATED: u8 = 2;
}

impl RunWriter<'_> {
    fn write(&mut self, column: Column, key: &[Value], value: Option<&SavedValue>) -> io::Result<()> {
        let (kind, bytes) = match value {
            None => (kind::NONE, &[][..]),
            Some(value @ SavedValue::Plain(_)) => (kind::PLAIN, value.bytes()),
            Some(value @ SavedValue::Dated(_)) => (kind::DATED, value.bytes()),
        };
        let begin = self.waiting.len();
        self.waiting.extend_from_slice(&[0; HEAD]);
        for value in key {
            let at = self.waiting.len();
            self.waiting.extend_from_slice(&[0; 8]);
            encode_value(value, &mut self.waiting).map_err(io::Error::other)?;
            let len = (self.waiting.len() - at - 8) as u64;
            self.waiting[at..at + 8].copy_from_slice(&len.to_le_bytes());
        }
        let key_len = (self.waiting.len() - begin - HEAD) as u64;
        let head = &mut self.waiting[begin..begin + HEAD];
        head[..8].copy_from_slice(&(column as u64).to_le_bytes());
        head[8..16].copy_from_slice(&key_len.to_le_bytes());
        head[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        head[24] = kind;
        if bytes.len() > PIECE {
            // It is not copied.
            self.pass_on()?;
            self.scratch.write_at(bytes, self.at)?;
            self.at += bytes.len() as u64;
            return Ok(());
        }
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE { self.pass_on() } else { Ok(()) }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.scratch.write_at(&self.waiting, self.at)?;
        self.at += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Returns where the run ends.
    fn finish(mut self) -> io::Result<u64> {
        self.pass_on()?;
        Ok(self.at)
    }
}

/// Runs that are read as one, in order.
struct Merged<'l> {
    /// Oldest first.
    runs: Vec<RunReader<'l>>,
    /// The next entry of each run.
    heads: BinaryHeap<Head>,
}

impl<'l> Merged<'l> {
    /// All runs of these levels, of which the oldest comes first.
    fn of(levels: impl IntoIterator<Item = &'l Level>) -> io::Result<Merged<'l>> {
        let reader = |scratch: &'l Scratch, &(at, end): &(u64, u64)| RunReader {
            scratch,
            at,
            end,
            piece: Vec::new(),
            piece_at: at,
        };
        let of_level = |level: &'l Level| level.runs.iter().map(|run| reader(&level.scratch, run));
        let runs: Vec<RunReader<'l>> = levels.into_iter().flat_map(of_level).collect();
        let mut merged = Merged { runs, heads: BinaryHeap::new() };
        (0..merged.runs.len()).try_for_each(|run| merged.advance(run))?;
        Ok(merged)
    }

    fn advance(&mut self, run: usize) -> io::Result<()> {
        self.heads.extend(self.runs[run].next(run)?);
        Ok(())
    }

    /// The newest entry of the next key.
    fn next(&mut self) -> io::Result<Option<Head>> {
        let Some(newest) = self.heads.pop() else { return Ok(None) };
        self.advance(newest.run)?;
        while let Some(older) = self.heads.peek().filter(|head| head.place() == newest.place()) {
            let run = older.run;
            self.heads.pop();
            self.advance(run)?;
        }
        Ok(Some(newest))
    }

    fn value(&mut self, head: &Head) -> io::Result<Option<SavedValue>> {
        let bytes = || self.runs[head.run].bytes(head.value_at, head.value_len);
        match head.kind {
            kind::NONE => Ok(None),
            kind::PLAIN => Ok(Some(SavedValue::Plain(bytes()?.into()))),
            kind::DATED => Ok(Some(SavedValue::Dated(bytes()?.into()))),
            _ => Err(damaged()),
        }
    }
}

/// An entry of a run, whose value is not read yet.
struct Head {
    column: Column,
    key: Vec<Value>,
    run: usize,
    kind: u8,
    value_at: u64,
    value_len: usize,
}

impl Head {
    fn place(&self) -> (Column, &[Value]) {
        (self.column, &self.key)
    }
}

/// The greatest is the next: the first place, and of it the newest run.
impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        other.place().cmp(&self.place()).then(self.run.cmp(&other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// Reads a run, a piece at a time.
struct RunReader<'l> {
    scratch: &'l Scratch,
    /// The next entry, and the end of the run.
    at: u64,
    end: u64,
    /// What was read ahead, and where it stands.
    piece: Vec<u8>,
    piece_at: u64,
}

impl RunReader<'_> {
    /// The next entry; `run` is the number of this run.
    fn next(&mut self, run: usize) -> io::Result<Option<Head>> {
        if self.at == self.end {
            return Ok(None);
        }
        let head = self.ahead(HEAD)?;
        let number = |at: usize| head[at..at + 8].try_into().map(u64::from_le_bytes).map_err(|_| damaged());
        let (column, key_len, value_len) = (number(0)?, number(8)?, number(16)?);
        let kind = head[24];
        let small = |number: u64| usize::try_from(number).map_err(|_| damaged());
        let (column, key_len, value_len) = (small(column)?, small(key_len)?, small(value_len)?);
        self.at += HEAD as u64;
        let key = read_key(self.ahead(key_len)?)?;
        let value_at = self.at + key_len as u64;
        self.at = value_at + value_len as u64;
        Ok(Some(Head { column, key, run, kind, value_at, value_len }))
    }

    /// The next bytes of the run, so many.
    fn ahead(&mut self, len: usize) -> io::Result<&[u8]> {
        let begin = self.at.saturating_sub(self.piece_at) as usize;
        if self.piece_at > self.at || begin + len > self.piece.len() {
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            self.piece.resize(left.min(len.max(PIECE)), 0);
            self.piece_at = self.at;
            self.scratch.read_at(&mut self.piece, self.at)?;
            return self.piece.get(..len).ok_or_else(damaged);
        }
        Ok(&self.piece[begin..begin + len])
    }

    /// Bytes that stand before the next entry.
    fn bytes(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let begin = at.checked_sub(self.piece_at).and_then(|begin| usize::try_from(begin).ok());
        if let Some(read) = begin.and_then(|begin| self.piece.get(begin..)?.get(..len)) {
            return Ok(read.to_vec());
        }
        let mut bytes = vec![0; len];
        self.scratch.read_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

fn read_key(mut bytes: &[u8]) -> io::Result<Vec<Value>> {
    let mut key = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| damaged())?;
        let (value, rest) = rest.split_at_checked(len).ok_or_else(damaged)?;
        key.push(decode_value(value).map_err(io::Error::other)?);
        bytes = rest;
    }
    Ok(key)
}

/// The error about scratch files in the directory for temporary files.
pub(in crate::cli) fn no_room(source: io::Error) -> CommandError {
    let directory = env::temp_dir();
    let action = format!(
        "sort the state in a scratch file in `{}` (the variable TMPDIR names another directory)",
        shown(directory.display())
    );
    CommandError::Io { action, source }
}

/// Nobody else has the file, so only a disk can have done that.
fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the scratch file was damaged")
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    type Entry = (Column, Key, Vec<u8>);

    fn sort(buffer_max: usize) -> EntrySort {
        EntrySort { buffer_max, ..EntrySort::new(|| Ok(Scratch::memory())) }
    }

    fn entries(sort: EntrySort) -> Vec<Entry> {
        let mut entries = Vec::new();
        sort.for_each(|column, key, value| {
            entries.push((column, key.into(), value.bytes().to_vec()));
            Ok::<(), io::Error>(())
        })
        .expect("memory does not fail");
        entries
    }

    fn key(random: &mut StdRng) -> Key {
        let number = random.random_range(0..60_i64);
        match number % 5 {
            0 => Box::from([Value::from(number.to_string())]),
            1 => Box::from([Value::from(number as f64 / 2.0)]),
            2 => Box::from([Value::from(number), Value::from("of a pair")]),
            3 => Box::from([]),
            _ => Box::from([Value::from(number)]),
        }
    }

    /// Whatever becomes a run when, the last that was set for a key is there, and everything is in order.
    #[test]
    fn entries_come_in_order_and_the_last_of_each_key_counts() {
        for seed in 0..60 {
            let random = &mut StdRng::seed_from_u64(seed);
            let mut sorted = sort([1, 300, 2_000, usize::MAX][random.random_range(0..4)]);
            let mut expected: BTreeMap<(Column, Key), Vec<u8>> = BTreeMap::new();
            for number in 0..random.random_range(0..1_500) {
                let (column, key) = (random.random_range(0..3), key(random));
                // Some are longer than what is read at once.
                let long = if random.random_bool(0.01) { 2 * PIECE } else { number % 7 };
                let bytes = vec![number as u8; long];
                let value = match random.random_range(0..10) {
                    0 => None,
                    1 => Some(SavedValue::Dated(bytes.clone().into())),
                    _ => Some(SavedValue::Plain(bytes.clone().into())),
                };
                match value {
                    Some(_) => drop(expected.insert((column, key.clone()), bytes)),
                    None => drop(expected.remove(&(column, key.clone()))),
                }
                sorted.set(column, &key, value).expect("memory does not fail");
            }
            let expected: Vec<Entry> =
                expected.into_iter().map(|((column, key), bytes)| (column, key, bytes)).collect();
            assert_eq!(entries(sorted), expected, "seed {seed}");
        }
    }

    #[test]
    fn runs_of_a_level_become_one_of_the_next() {
        let mut sorted = sort(1);
        for number in 0..(FAN_IN * FAN_IN * 2 + 3) as i64 {
            let value = Some(SavedValue::Plain([].into()));
            sorted.set(0, &[Value::from(number % 7)], value).expect("memory does not fail");
        }
        let runs: Vec<usize> = sorted.levels.iter().map(|level| level.runs.len()).collect();
        assert_eq!(runs, [3, 0, 2]);
        assert_eq!(entries(sorted).len(), 7);
    }

    #[test]
    fn what_fits_into_memory_is_not_written() {
        let mut sorted = EntrySort::new(|| Err(io::ErrorKind::StorageFull.into()));
        let value = || Some(SavedValue::Plain(vec![0; 1 << 20].into()));
        for number in 0..15_i64 {
            sorted.set(0, &[Value::from(number)], value()).expect("it fits");
        }
        let no_room = sorted
            .set(0, &[Value::from(15)], value())
            .and_then(|()| sorted.set(0, &[Value::from(16)], value()));
        assert_eq!(no_room.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }
}
