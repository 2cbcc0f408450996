//! The slices of a key that have tuples, in one of two shapes.
//!
//! Where few slices are open at a time, as in windows that do not overlap, they stand in one value: it is found at once, and
//! a copy of it, in case the call fails, is small. Where there are many, each is an entry of a map, so that a call copies
//! only the one that it changes.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::api::{MapState, Outputs, TaskContext, TaskError, ValueState};
use crate::state::StateValue;
use crate::window::aggregate::Aggregate;

/// How many slices of a window stand in one value.
const FEW: i64 = 3;

pub(super) enum SliceStore<S> {
    Few(ValueState<Slices<S>>),
    Many(MapState<i64, S>),
}

/// Slices by number, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slices<S>(SmallVec<[(i64, S); 1]>);

impl<S> Default for Slices<S> {
    fn default() -> Slices<S> {
        Slices(SmallVec::new())
    }
}

impl<S: StateValue> SliceStore<S> {
    /// For so many slices that are open at a time, at least.
    pub(super) fn register(slices: i64, context: &TaskContext) -> Result<SliceStore<S>, TaskError> {
        Ok(match slices <= FEW {
            true => SliceStore::Few(context.value_state("slices")?),
            false => SliceStore::Many(context.map_state("slices")?),
        })
    }

    /// Changes a slice in place. Returns what `change` does, and whether the slice is new.
    #[inline]
    pub(super) fn update<R>(
        &self,
        out: &mut Outputs<'_>,
        slice: i64,
        empty: impl FnOnce() -> S,
        change: impl FnOnce(&mut S) -> R,
    ) -> Result<(R, bool), TaskError> {
        let mut is_new = false;
        let empty = || {
            is_new = true;
            empty()
        };
        let result = match self {
            SliceStore::Few(value) => value.update(out, |Slices(slices)| {
                // Most tuples are of the last slice.
                let at = match slices.last() {
                    Some((last, _)) if *last == slice => slices.len() - 1,
                    _ => slices.binary_search_by_key(&slice, |(slice, _)| *slice).unwrap_or_else(|at| {
                        slices.insert(at, (slice, empty()));
                        at
                    }),
                };
                change(&mut slices[at].1)
            })?,
            SliceStore::Many(map) => map.update(out, slice, empty, change)?,
        };
        Ok((result, is_new))
    }

    pub(super) fn get<'o>(&self, out: &'o mut Outputs<'_>, slice: i64) -> Result<Option<&'o S>, TaskError> {
        Ok(match self {
            SliceStore::Few(value) => value.get(out)?.and_then(|Slices(slices)| {
                let at = slices.binary_search_by_key(&slice, |(slice, _)| *slice).ok()?;
                Some(&slices[at].1)
            }),
            SliceStore::Many(map) => map.get(out, &slice)?,
        })
    }

    pub(super) fn remove(&self, out: &mut Outputs<'_>, slice: i64) -> Result<(), TaskError> {
        match self {
            SliceStore::Few(value) => {
                let Some(Slices(slices)) = value.get(out)? else { return Ok(()) };
                let left: SmallVec<_> = slices.iter().filter(|(other, _)| *other != slice).cloned().collect();
                match left.is_empty() {
                    true => value.clear(out)?,
                    false => value.set(out, Slices(left))?,
                }
            }
            SliceStore::Many(map) => {
                map.remove(out, slice)?;
            }
        }
        Ok(())
    }

    /// Puts the numbers of all slices in place of these, in order.
    pub(super) fn list(&self, out: &mut Outputs<'_>, numbers: &mut Vec<i64>) -> Result<(), TaskError> {
        numbers.clear();
        match self {
            SliceStore::Few(value) => {
                numbers.extend(
                    value.get(out)?.iter().flat_map(|Slices(slices)| slices.iter().map(|(slice, _)| *slice)),
                );
            }
            SliceStore::Many(map) => {
                numbers.extend(map.entries(out)?.map(|(slice, _)| *slice));
                numbers.sort_unstable();
            }
        }
        Ok(())
    }

    /// What slices are together, or why that cannot be told.
    pub(super) fn sum<A: Aggregate<State = S>>(
        &self,
        aggregate: &A,
        numbers: &[i64],
        out: &mut Outputs<'_>,
    ) -> Result<Result<S, TaskError>, TaskError> {
        let mut total = aggregate.empty();
        for number in numbers {
            let Some(state) = self.get(out, *number)? else { continue };
            if let Err(error) = aggregate.combine(&mut total, state) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(total))
    }
}
