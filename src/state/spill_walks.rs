//! Visits of all keys, and the sweep that removes what has expired.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Time;
use crate::state::error::StateError;
use crate::state::key_store::{StoreView, ViewOf};
use crate::state::keys::hash_of;
use crate::state::parts::Parts;
use crate::state::records::read_key_bytes;
use crate::state::spill::{RESIDENT, Spill, UNSAVED};
use crate::tuple::Value;

/// So many cold keys are looked at in a step for what has expired.
const SWEPT_PER_STEP: usize = 64;

/// The parts of a time to live that a sweep takes, and that pass until the next one.
const SWEEPS_PER_TTL: u32 = 8;

/// A visit of all keys of a task.
pub(crate) struct Walk {
    /// The places that are still to be visited.
    places: Range<u32>,
    cold: Option<ColdWalk>,
}

struct ColdWalk {
    number: u32,
    /// The bytes of keys that wait to be written, in their order, and the next of them.
    waiting: Vec<Vec<u8>>,
    next: usize,
    /// All others.
    view: Box<dyn StoreView>,
    /// The place of the key that was visited last.
    loaded: Option<u32>,
}

impl ColdWalk {
    /// The bytes of the next key.
    fn next_key(&mut self) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(key) = self.waiting.get(self.next) {
            self.next += 1;
            return Ok(Some(key.clone()));
        }
        while let Some((key, _)) = self.view.next()? {
            if self.waiting.binary_search(&key).is_err() {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

impl Walk {
    /// Over resident keys only, which are all.
    pub(super) fn resident(places: u32) -> Walk {
        Walk { places: 0..places, cold: None }
    }

    /// The next place that may have a key.
    pub(super) fn next_place(&mut self) -> Option<u32> {
        self.places.next()
    }
}

impl Spill {
    /// Begins a visit of all keys.
    pub(super) fn walk(&mut self, places: u32, now: Time) -> Result<Walk, StateError> {
        self.ensure_cleared(now)?;
        let mut walk = Walk::resident(places);
        if self.cold > 0 {
            let view = self.store.view(ViewOf::Everything)?;
            let waiting = self.unwritten.iter().filter(|(_, change)| change.entry.is_some());
            let waiting = waiting.map(|(key, _)| key.clone()).collect();
            self.walks += 1;
            walk.cold = Some(ColdWalk { number: self.walks, waiting, next: 0, view, loaded: None });
        }
        Ok(walk)
    }

    /// Whether a walk visits the key of a place as one that was resident when it began.
    pub(super) fn is_visited(&self, walk: &Walk, place: u32) -> bool {
        let loaded = self.residents.get(place as usize).map_or(0, |resident| resident.loaded);
        walk.cold.as_ref().is_none_or(|cold| loaded < cold.number)
    }

    /// The place of the next key that was cold when the walk began. The one before leaves memory, if it was not changed.
    pub(super) fn next_cold(
        &mut self,
        walk: &mut Walk,
        key: &mut Vec<Value>,
        parts: &mut Parts<'_>,
    ) -> Result<Option<u32>, StateError> {
        let Some(cold) = &mut walk.cold else { return Ok(None) };
        if let Some(place) = cold.loaded.take()
            && self.residents[place as usize].flags & (RESIDENT | UNSAVED) == RESIDENT
        {
            self.evict_place(place, parts)?;
        }
        while let Some(bytes) = cold.next_key()? {
            read_key_bytes(&bytes, key)?;
            let hash = hash_of(key.iter());
            match parts.keys.find(hash, key) {
                // It was loaded since; or it was resident, and was visited as such.
                Some(place) if self.residents[place as usize].loaded >= cold.number => {
                    return Ok(Some(place));
                }
                Some(_) => {}
                None => {
                    if let Some(place) = self.find(hash, key, parts)? {
                        cold.loaded = Some(place);
                        return Ok(Some(place));
                    }
                }
            }
        }
        Ok(None)
    }

    /// When a task that does nothing else should call `sweep`.
    pub(super) fn next_sweep(&self) -> Time {
        if self.cold == 0 { Time::NEVER } else { self.next_sweep }
    }

    /// Removes from the store what has expired, a bounded amount. The shortest time to live of the states is given.
    pub(super) fn sweep(&mut self, ttl: Duration, parts: &mut Parts<'_>) {
        let now = parts.times.processing.now();
        if self.cold == 0 || now < self.next_sweep {
            return;
        }
        let pass = ttl / SWEEPS_PER_TTL;
        let steps = u32::try_from(self.cold / SWEPT_PER_STEP).unwrap_or(u32::MAX).saturating_add(1);
        // After an error the sweep goes on behind the key that cannot be read.
        let is_complete = self.sweep_some(parts).unwrap_or(false);
        if is_complete {
            self.swept.clear();
        }
        self.next_sweep = now.after(if is_complete { pass } else { pass / steps });
    }

    /// Looks at the next keys, and returns whether there are no more.
    fn sweep_some(&mut self, parts: &mut Parts<'_>) -> Result<bool, StateError> {
        self.write(parts.times.processing.now())?;
        let view = self.store.view(ViewOf::KeysAfter(&self.swept));
        let (mut view, mut key) = (view?, Vec::new());
        for _ in 0..SWEPT_PER_STEP {
            let Some((bytes, _)) = view.next()? else {
                return Ok(true);
            };
            read_key_bytes(&bytes, &mut key)?;
            self.swept = bytes;
            let hash = hash_of(key.iter());
            if parts.keys.find(hash, &key).is_none()
                && let Some(place) = self.find(hash, &key, parts)?
            {
                self.evict_place(place, parts)?;
            }
        }
        Ok(false)
    }
}
