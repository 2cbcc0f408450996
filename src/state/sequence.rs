//! Snapshots in a row, read as one state: a full one comes first, and each delta follows the one that it names.
//!
//! What becomes of the records is decided by whoever reads: a restore (`restore`), or somebody who looks at a
//! checkpoint (`saved`). Both refuse the same.

use crate::state::error::StateError;
use crate::state::records::{Begin, Record, Records, StateColumn, damaged};
use crate::state::stored::Written;
use crate::tuple::Value;

/// Takes what the records of snapshots state, in their order.
pub(super) trait Changes {
    /// Why they could not be taken.
    type Error: From<StateError>;

    /// A snapshot begins. Its records name these states by their positions.
    fn begin(&mut self, states: Vec<StateColumn>) -> Result<(), Self::Error>;

    /// The key has nothing any more.
    fn forget(&mut self, key: &[Value]) -> Result<(), Self::Error>;

    /// What a state has for a key; `None` if it has nothing any more. A state without keys has the key of 0 values.
    fn set(&mut self, state: u64, key: &[Value], value: Option<Written<'_>>) -> Result<(), Self::Error>;
}

/// How far snapshots were read.
#[derive(Default)]
pub(super) struct SnapshotSequence {
    /// The snapshot that is being read.
    snapshot: Option<Snapshot>,
    /// The last one that was read whole.
    complete: Option<u32>,
    /// The key of the record in hand.
    key: Vec<Value>,
}

struct Snapshot {
    number: u32,
    /// Read so far.
    records: u64,
}

impl SnapshotSequence {
    /// Reads a chunk: whole records.
    pub(super) fn read<C: Changes>(&mut self, chunk: &[u8], changes: &mut C) -> Result<(), C::Error> {
        let mut records = Records::new(chunk);
        while let Some(record) = records.next(&mut self.key)? {
            match (record, &mut self.snapshot) {
                (Record::Begin(begin), None) => self.begin(begin, changes)?,
                (Record::Begin(_), Some(_)) => return Err(damaged("a snapshot begins within another").into()),
                (_, None) => return Err(damaged("a record stands outside of a snapshot").into()),
                (Record::End { records }, Some(snapshot)) => {
                    if records != snapshot.records {
                        let Snapshot { number, records: read } = snapshot;
                        let why = format!("snapshot {number} has {read} of {records} records");
                        return Err(damaged(why).into());
                    }
                    self.complete = Some(snapshot.number);
                    self.snapshot = None;
                }
                (Record::Forget, Some(snapshot)) => {
                    snapshot.records += 1;
                    if self.key.is_empty() {
                        return Err(damaged("a key that is forgotten is none").into());
                    }
                    changes.forget(&self.key)?;
                }
                (Record::Value { state, value }, Some(snapshot)) => {
                    snapshot.records += 1;
                    changes.set(state, &self.key, Some(value))?;
                }
                (Record::Remove { state }, Some(snapshot)) => {
                    snapshot.records += 1;
                    changes.set(state, &self.key, None)?;
                }
            }
        }
        Ok(())
    }

    /// All chunks were read.
    pub(super) fn finish(self) -> Result<(), StateError> {
        match (self.snapshot, self.complete) {
            (Some(snapshot), _) => Err(damaged(format!("snapshot {} has no end", snapshot.number))),
            (None, None) => Err(damaged("it has no snapshot")),
            (None, Some(_)) => Ok(()),
        }
    }

    fn begin<C: Changes>(&mut self, begin: Begin, changes: &mut C) -> Result<(), C::Error> {
        if begin.after != self.complete {
            let text = |number: Option<u32>| number.map_or("none".to_owned(), |number| number.to_string());
            let (after, complete) = (text(begin.after), text(self.complete));
            let why = format!("snapshot {} follows {after}, and here it follows {complete}", begin.number);
            return Err(damaged(why).into());
        }
        changes.begin(begin.states)?;
        self.snapshot = Some(Snapshot { number: begin.number, records: 0 });
        Ok(())
    }
}
