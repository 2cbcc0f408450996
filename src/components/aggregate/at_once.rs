//! `aggregate` at least once and at most once, where no checkpoint says what came again: totals count what comes, in the
//! mode `non-transactional`.
//!
//! ```text
//!  execute: a part for each key, hold ──▶ no more waits, or 1,000 are held ──▶ read, add, put ──▶ emit new totals, ack
//!                                                                                └─ the store is away: all fail
//! ```
//!
//! 1. A tuple that was acked is in its total. One that is replayed counts again, and so does one that failed because nobody
//!    knows whether it was put. At most once, a tuple that failed is lost, and counts as such.
//! 2. A new total is anchored to the last tuple of its key. If the total is lost on its way, that tuple is replayed, counts
//!    again, and makes another total.
//! 3. Nobody but this task may write its keys: a total is read and put in two steps.

use std::collections::BTreeMap;

use crate::api::{BackingMap, HeldTuple, Input, MapKey, Outputs, TaskError};
use crate::components::aggregate::counts::Counts;
use crate::components::aggregate::function::{Function, Part, adding};
use crate::components::aggregate::new_totals::NewTotal;
use crate::config::StateMode;
use crate::ids::DEFAULT_STREAM;
use crate::trident::{StateMap, Update};

/// How many tuples are held at most.
const HELD_MAX: usize = 1000;

/// What came of a key, and the last of its tuples by its place among those that are held.
struct Open {
    part: Part,
    last: usize,
}

/// The bolt `aggregate` at least once and at most once. See the [module](self).
pub(super) struct AtOnce {
    map: StateMap<Box<dyn BackingMap>>,
    function: Function,
    open: BTreeMap<MapKey, Open>,
    held: Vec<HeldTuple>,
}

impl AtOnce {
    /// Of a map in the store.
    ///
    /// # Errors
    /// When the mode needs batches that come again as they were.
    pub(super) fn new(
        map: Box<dyn BackingMap>,
        mode: StateMode,
        function: Function,
    ) -> Result<AtOnce, String> {
        if mode != StateMode::NonTransactional {
            return Err(format!("has the mode `{mode}`, which goes with `delivery = \"exactly-once\"` only"));
        }
        let map = StateMap::non_transactional(map);
        Ok(AtOnce { map, function, open: BTreeMap::new(), held: Vec::new() })
    }

    /// Adds a tuple to the part of its key, and holds it until that is put.
    pub(super) fn add(
        &mut self,
        key: MapKey,
        part: Part,
        input: Input<'_>,
        counts: &Counts,
        out: &mut Outputs<'_>,
    ) -> Result<(), TaskError> {
        self.map.backing().check(&key, &part.value()).map_err(TaskError::new)?;
        let both = match self.open.get(&key) {
            Some(open) => self.function.combined_parts(&open.part, &part),
            None => Ok(part),
        };
        let part = both.map_err(|why| TaskError::new(format!("the total {why}")))?;
        self.open.insert(key, Open { part, last: self.held.len() });
        self.held.push(out.hold(input));
        if self.held.len() >= HELD_MAX {
            // Reported and not returned: a call that fails takes back the acks of what is put.
            self.put(counts, out).unwrap_or_else(|error| out.report_error(error));
        }
        Ok(())
    }

    /// Puts what is open, and acks or fails its tuples.
    pub(super) fn put(&mut self, counts: &Counts, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let (open, held) = (std::mem::take(&mut self.open), std::mem::take(&mut self.held));
        let add: Vec<_> = open.iter().map(|(key, open)| adding(self.function, key, &open.part)).collect();
        let updates: Vec<(MapKey, Update<'_>)> =
            open.keys().zip(&add).map(|(key, add)| (key.clone(), add as Update<'_>)).collect();
        let totals = match self.map.multi_update(&updates) {
            Ok(totals) => totals,
            Err(error) => {
                let why = error.to_string();
                held.into_iter().for_each(|held| out.fail_with(held, &why));
                return Err(error);
            }
        };
        counts.put(open.len());
        for ((key, open), total) in open.iter().zip(totals) {
            if let Err(error) =
                out.emit_anchored(DEFAULT_STREAM, &[&held[open.last]], NewTotal { key, total })
            {
                out.report_error(error);
                counts.refused.add(1);
            }
        }
        held.into_iter().for_each(|held| out.ack(held));
        Ok(())
    }
}
