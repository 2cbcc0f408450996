//! Snapshots of the state of a task, written while calls go on.
//!
//! A snapshot has three parts: its begin, the keys that were forgotten since the one before, and the cells of each
//! column in turn (see `tracked_cells`, which knows what a cell held when the snapshot began).
//!
//! A record names its key, and a cell has only a place. Places are given to other keys, so:
//!
//! 1. The first key that leaves a place after a snapshot began had that place when it began, unless it came later
//!    (`is_new`). It is kept in `left`, so its cells that are pending find it there.
//! 2. These keys are what the next delta forgets. A key that came and left in between is in no snapshot, so nothing
//!    is kept for it: `left` has at most the keys that there were when the snapshot began.
//! 3. A place whose key came after the begin belongs to no key of the snapshot. If it is visited, nothing is written.
//!
//! A value that is known only later, because it is of tuples that are still on their way, comes last: `LateRecord`.
//!
//! If keys may be out of memory, all of this is about states without keys only. What is kept by key follows as a last
//! part, which `spill` writes.
//!
//! A snapshot that was abandoned, or failed, leaves no base for a delta: the next one is full.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::IntoValues;

use rustc_hash::FxBuildHasher;

use serde::{Deserialize, Serialize};

use crate::state::encoding::EncodingError;
use crate::state::error::StateError;
use crate::state::keys::{Key, KeyTable, shown_key};
use crate::state::parts::Parts;
use crate::state::place_set::PlaceSet;
use crate::state::records::{Begin, StateColumn, write_begin, write_end, write_forget, write_value};
use crate::state::registry::Registration;
use crate::state::snapshot_times::SnapshotTimes;
use crate::state::spill::Spill;
use crate::state::spill_snapshots::SpillStep;
use crate::state::stored::Written;
use crate::state::tracked_cells::Next;
use crate::tuple::Value;

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotKind {
    /// Everything.
    Full,
    /// What changed since the snapshot before.
    Delta,
}

/// The snapshots of a task.
#[derive(Default)]
pub(super) struct Snapshots {
    /// The number of the last one that has begun; 0 if none has.
    number: u32,
    /// Whether the last one is complete, so that a delta can follow it.
    is_complete: bool,
    in_progress: Option<InProgress>,
    /// By place: keys that had it when the last snapshot began, and have it no more.
    left: HashMap<u32, Key, FxBuildHasher>,
    /// No place from this one on had a key when the last snapshot began.
    first_new: u32,
    /// The places before that one which have got a key since.
    taken_again: PlaceSet,
}

struct InProgress {
    kind: SnapshotKind,
    next: Part,
    /// Keys that are still to be forgotten.
    forgotten: IntoValues<u32, Key>,
    /// When it began.
    times: SnapshotTimes,
    /// Written so far, without the begin.
    records: u64,
    /// The bytes of a value.
    value: Vec<u8>,
}

enum Part {
    Begin,
    Forgotten,
    Column(u32),
    Spill,
    Late,
}

/// What a snapshot has beside what was kept when it began.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LateRecord<'r> {
    /// Nothing.
    None,
    /// That is not known yet, so the snapshot cannot end.
    Unknown,
    /// The value of a state without keys, in place of what it was.
    Value {
        /// The number of the state.
        state: u32,
        /// The value, encoded.
        bytes: &'r [u8],
    },
}

/// How far a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteStep {
    /// There is more to write.
    More,
    /// All that is known is written.
    Waits,
    /// It is complete.
    Complete,
}

/// What the snapshots are of.
pub(super) struct Kept<'t> {
    pub(super) parts: Parts<'t>,
    pub(super) spill: Option<&'t mut Spill>,
}

impl Snapshots {
    pub(super) fn begin(&mut self, full: bool, kept: Kept<'_>) -> SnapshotKind {
        let full = full || !self.is_complete;
        self.number += 1;
        self.is_complete = false;
        let times = kept.parts.times;
        for (column, state) in kept.parts.columns.iter_mut().zip(kept.parts.states) {
            if kept.spill.is_none() || !state.kind.is_keyed() {
                column.cells().begin(full);
            }
        }
        let left = std::mem::take(&mut self.left);
        let (kind, forgotten) =
            if full { (SnapshotKind::Full, HashMap::default()) } else { (SnapshotKind::Delta, left) };
        self.first_new = kept.parts.keys.places();
        self.taken_again.clear();
        if let Some(spill) = kept.spill {
            spill.begin(full, self.number, times.processing.now());
        }
        self.in_progress = Some(InProgress {
            kind,
            next: Part::Begin,
            forgotten: forgotten.into_values(),
            times,
            records: 0,
            value: Vec::new(),
        });
        kind
    }

    /// Appends records until they take `budget` bytes, at least one. A place without a record counts as a byte.
    pub(super) fn write(
        &mut self,
        budget: usize,
        late: LateRecord<'_>,
        out: &mut Vec<u8>,
        mut kept: Kept<'_>,
    ) -> Result<WriteStep, StateError> {
        // While it is worked on, it is not in its place: so if the code of a value panics, it is given up.
        let Some(mut snapshot) = self.in_progress.take() else {
            return if self.is_complete { Ok(WriteStep::Complete) } else { Err(StateError::NoSnapshot) };
        };
        let start = out.len();
        let mut visited = 0;
        while out.len() - start + visited < budget.max(1) {
            match self.write_next(&mut snapshot, late, out, &mut kept) {
                Ok(WriteStep::More) => visited += 1,
                Ok(WriteStep::Waits) => {
                    self.in_progress = Some(snapshot);
                    return Ok(WriteStep::Waits);
                }
                Ok(WriteStep::Complete) => {
                    self.is_complete = true;
                    return Ok(WriteStep::Complete);
                }
                Err(error) => {
                    out.truncate(start);
                    kept.parts.columns.iter_mut().for_each(|column| column.cells().abandon());
                    if let Some(spill) = kept.spill {
                        spill.abandon();
                    }
                    return Err(error);
                }
            }
        }
        self.in_progress = Some(snapshot);
        Ok(WriteStep::More)
    }

    /// A key has got this place.
    #[inline]
    pub(super) fn key_came(&mut self, place: u32) {
        if self.number > 0 && place < self.first_new {
            self.taken_again.insert(place);
        }
    }

    /// A key has lost this place.
    #[inline]
    pub(super) fn key_left(&mut self, place: u32, key: Key) {
        if self.number > 0 && !self.is_new(place) {
            self.left.insert(place, key);
        }
    }

    /// Forgets all, and numbers go on: what is written next does not follow what was written before.
    pub(super) fn clear(&mut self) {
        *self = Snapshots { number: self.number, ..Snapshots::default() };
    }

    /// Whether the last key of a place came after the last snapshot had begun.
    fn is_new(&self, place: u32) -> bool {
        place >= self.first_new || self.taken_again.contains(place)
    }

    /// The key that had a place when the last snapshot began.
    fn key_at_begin<'k>(&'k self, place: u32, keys: &'k KeyTable) -> Option<Cow<'k, Key>> {
        let current = || keys.key(place).filter(|_| !self.is_new(place));
        self.left.get(&place).map(Cow::Borrowed).or_else(current)
    }

    /// Visits one thing.
    fn write_next(
        &self,
        snapshot: &mut InProgress,
        late: LateRecord<'_>,
        out: &mut Vec<u8>,
        kept: &mut Kept<'_>,
    ) -> Result<WriteStep, StateError> {
        match snapshot.next {
            Part::Begin => {
                self.write_begin(snapshot.kind, out, kept.parts.states)?;
                snapshot.next = Part::Forgotten;
            }
            Part::Forgotten => match snapshot.forgotten.next() {
                Some(key) => {
                    let written = write_forget(key.values(), out);
                    written.map_err(|error| unwritable("keys", key.values(), error))?;
                    snapshot.records += 1;
                }
                None => snapshot.next = Part::Column(0),
            },
            Part::Column(state) => match kept.parts.states.get(state as usize) {
                Some(registration) if kept.spill.is_some() && registration.kind.is_keyed() => {
                    snapshot.next = Part::Column(state + 1);
                }
                Some(_) => self.write_cell(state, snapshot, out, &mut kept.parts)?,
                None if kept.spill.is_some() => snapshot.next = Part::Spill,
                None => snapshot.next = Part::Late,
            },
            Part::Spill => {
                let spill = kept.spill.as_mut().ok_or(StateError::NoSnapshot)?;
                match spill.write_next(out, &mut kept.parts)? {
                    SpillStep::Nothing => {}
                    SpillStep::Records(records) => snapshot.records += records,
                    SpillStep::Complete => snapshot.next = Part::Late,
                }
            }
            Part::Late => {
                match late {
                    LateRecord::None => {}
                    LateRecord::Unknown => return Ok(WriteStep::Waits),
                    LateRecord::Value { state, bytes } => {
                        let written = write_value(state, &[], Some(Written::Plain(bytes)), out);
                        written.map_err(|error| unwritable("states", &[], error))?;
                        snapshot.records += 1;
                    }
                }
                write_end(snapshot.records, out).map_err(|error| unwritable("states", &[], error))?;
                return Ok(WriteStep::Complete);
            }
        }
        Ok(WriteStep::More)
    }

    fn write_begin(
        &self,
        kind: SnapshotKind,
        out: &mut Vec<u8>,
        states: &[Registration],
    ) -> Result<(), StateError> {
        let column = |state: &Registration| StateColumn {
            name: state.name.to_string(),
            kind: state.kind.to_string(),
            of: state.of().to_owned(),
        };
        let has_dates = states.iter().any(|state| state.ttl.is_some());
        let begin = Begin {
            number: self.number,
            after: (kind == SnapshotKind::Delta).then(|| self.number - 1),
            states: states.iter().map(column).collect(),
        };
        write_begin(&begin, has_dates, out).map_err(|error| unwritable("states", &[], error))
    }

    fn write_cell(
        &self,
        state: u32,
        snapshot: &mut InProgress,
        out: &mut Vec<u8>,
        kept: &mut Parts<'_>,
    ) -> Result<(), StateError> {
        let registration = &kept.states[state as usize];
        let key = |place| match registration.kind.is_keyed() {
            true => self.key_at_begin(place, kept.keys),
            false => Some(Cow::Owned(Key::none())),
        };
        let value = &mut snapshot.value;
        value.clear();
        let time = snapshot.times.of(registration);
        let (place, value) = match kept.columns[state as usize].cells().write_next(time, value) {
            Next::Complete => {
                snapshot.next = Part::Column(state + 1);
                return Ok(());
            }
            Next::Nothing => return Ok(()),
            Next::Removed(place) => (place, None),
            Next::Value(place) if registration.ttl.is_some() => (place, Some(Written::Dated(value))),
            Next::Value(place) => (place, Some(Written::Plain(value))),
            Next::Failed(place, error) => {
                let key = key(place).unwrap_or(Cow::Owned(Key::none()));
                return Err(unwritable(&registration.name, key.values(), error));
            }
        };
        if let Some(key) = key(place) {
            let written = write_value(state, key.values(), value, out);
            written.map_err(|error| unwritable(&registration.name, key.values(), error))?;
            snapshot.records += 1;
        }
        Ok(())
    }
}

fn unwritable(state: &str, key: &[Value], error: EncodingError) -> StateError {
    StateError::Unwritable { state: state.into(), key: shown_key(key), why: error.to_string().into() }
}
