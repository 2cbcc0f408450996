//! Keys whose state is not in memory, for a task whose backend has a store.
//!
//! ```text
//!   memory                                     store
//!   KeyTable + columns (resident keys)         entry of each key that was put out
//!        │  evict: the coldest keys      ─▶ unwritten ─▶ write
//!        ◀─  find: the key of a call                         get
//! ```
//!
//! A key is *resident* while it has a place in memory, and otherwise *cold*. Calls see resident keys only: the key of
//! a call is looked up in the store before the call, if it has no place. Between calls, the keys that were not used
//! for longest leave memory when it has too much (a clock with a mark for each place).
//!
//! 1. The entry of a key in the store is the count of its records and the records themselves, as a snapshot has them
//!    (`records`). It may be older than what memory has; memory counts.
//! 2. Changes go through `unwritten`, so that the store writes many at once. What stands there counts as stored.
//! 3. A snapshot consists of a view of the store, taken when it began, and of the resident keys that differ from
//!    it (`PENDING`). The first change of a pending key writes its records aside first, so the snapshot has what the
//!    key had when it began. The view comes before the resident keys, because later records replace earlier ones.
//! 4. A delta has the keys that changed since the last snapshot began: resident ones are marked (`CHANGED`), and cold
//!    ones are noted in the store. Each has all of its records, and is forgotten first unless these replace all that
//!    an earlier snapshot can have.
//! 5. A key whose timer is set stays in memory, because timers are called in the order of time.
//! 6. What has expired is dropped when its key comes into memory. So that it does not stay in the store for ever, a
//!    sweep looks at all cold keys, a few at a time, about once in a quarter of the time to live.
//! 7. If the store cannot be written, keys wait in `unwritten`, and writing is tried again after a pause. When too
//!    many wait, calls that need room fail.

use std::time::Duration;

use crate::clock::Time;
use crate::config::doubled;
use crate::state::error::StateError;
use crate::state::key_store::{KeyStore, StoreChange, StoreChanges, StoreError, StoreView};
use crate::state::keys::Key;
use crate::state::parts::Parts;
use crate::state::records::key_bytes;
use crate::tuple::Value;

/// What a resident key takes besides the bytes of its entry, about.
const KEY_COST: usize = 128;

/// What a key takes is measured again after at most so many changes, if it does not grow. What is large and does not
/// grow is measured less often, because that takes longer.
const CHANGES_PER_MEASURE: u32 = 64;

/// What a change that waits takes besides its bytes, about.
const CHANGE_COST: usize = 96;

/// So many changes are written at once, if memory allows.
const CHANGES_PER_WRITE: usize = 1024;

/// The pauses after a write that failed.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// There is a key in the place.
pub(super) const RESIDENT: u8 = 1;
/// It was used since the clock passed it.
pub(super) const RECENT: u8 = 2;
/// It differs from what is stored.
pub(super) const UNSAVED: u8 = 4;
/// It was changed since the last snapshot began.
pub(super) const CHANGED: u8 = 8;
/// The snapshot in progress must still have what it has now.
pub(super) const PENDING: u8 = 16;
/// Something is stored for it.
pub(super) const STORED: u8 = 32;

/// The entry of a key that has nothing: no records.
const EMPTY_ENTRY: &[u8] = &[0];

/// What is known of a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resident {
    pub(super) flags: u8,
    /// Bytes that it takes, about.
    pub(super) size: u32,
    /// Since it was measured, and how many there are to be until the next time.
    pub(super) changes: u32,
    pub(super) measure_after: u32,
    /// How many walks had begun when it was loaded.
    pub(super) loaded: u32,
}

impl Resident {
    pub(super) fn is(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A part of a snapshot that was written aside.
pub(super) struct Aside {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
}

/// The snapshot that is being written.
pub(super) struct SpillSnapshot {
    pub(super) is_full: bool,
    /// The store when it began; `None` when all of it is written.
    pub(super) view: Option<Box<dyn StoreView>>,
    /// The next place to visit.
    pub(super) next: usize,
    pub(super) aside: Vec<Aside>,
    /// Why it cannot be completed.
    pub(super) failed: Option<StateError>,
}

/// What a task knows of its keys, resident and cold.
pub(super) struct Spill {
    pub(super) store: Box<dyn KeyStore>,
    /// Bytes that resident keys may take.
    pub(super) memory: usize,
    /// Bytes that they take, about.
    pub(super) used: usize,
    /// Keys leave memory when more is used.
    pub(super) evict_at: usize,
    /// By place.
    pub(super) residents: Vec<Resident>,
    /// Where the clock stands.
    pub(super) hand: usize,
    pub(super) cold: usize,
    pub(super) unwritten: StoreChanges,
    pub(super) unwritten_bytes: usize,
    /// How often in a row a write has failed, the last error, and when the next one may be tried.
    pub(super) failures: u32,
    pub(super) failure: Option<StoreError>,
    pub(super) retry_at: Time,
    /// The last snapshot that has begun.
    pub(super) number: u32,
    pub(super) snapshot: Option<SpillSnapshot>,
    pub(super) walks: u32,
    /// The bytes of the key at which the sweep has arrived, and when it goes on.
    pub(super) swept: Vec<u8>,
    pub(super) next_sweep: Time,
    /// Why the store has what is to be forgotten.
    pub(super) not_cleared: Option<StoreError>,
}

impl Spill {
    /// The keys of a task that has none yet. The resident ones may take so many bytes.
    pub(super) fn new(store: Box<dyn KeyStore>, memory: usize) -> Spill {
        Spill {
            store,
            memory,
            used: 0,
            evict_at: memory,
            residents: Vec::new(),
            hand: 0,
            cold: 0,
            unwritten: StoreChanges::new(),
            unwritten_bytes: 0,
            failures: 0,
            failure: None,
            retry_at: Time::ZERO,
            number: 0,
            snapshot: None,
            walks: 0,
            swept: Vec::new(),
            next_sweep: Time::ZERO,
            not_cleared: None,
        }
    }

    /// How many keys are not in memory.
    pub(super) fn cold(&self) -> usize {
        self.cold
    }

    // ---- Resident keys ----

    /// The key of a call has this place.
    #[inline]
    pub(super) fn touch(&mut self, place: u32) {
        self.residents[place as usize].flags |= RECENT;
    }

    /// A key has got this place that nothing was kept for.
    pub(super) fn add(&mut self, place: u32) {
        self.note(place, Resident { flags: RESIDENT | RECENT, size: KEY_COST as u32, ..Resident::default() });
    }

    fn note(&mut self, place: u32, resident: Resident) {
        let at = place as usize;
        if at >= self.residents.len() {
            self.residents.resize(at + 1, Resident::default());
        }
        self.residents[at] = Resident { loaded: self.walks, ..resident };
        self.used += resident.size as usize;
    }

    pub(super) fn forget_place(&mut self, place: u32) -> Resident {
        let resident = std::mem::take(&mut self.residents[place as usize]);
        self.used = self.used.saturating_sub(resident.size as usize);
        self.evict_at = self.evict_at.min(self.used + self.memory / 16).max(self.memory);
        resident
    }

    /// A key has left this place because nothing is kept for it any more.
    pub(super) fn removed(&mut self, place: u32, key: &Key, parts: &Parts<'_>) {
        let resident = self.forget_place(place);
        // Whatever a snapshot or the store has for it is to be forgotten.
        if (resident.is(STORED) || self.number > 0)
            && let Ok(bytes) = key_bytes(key.values())
        {
            // What was left when the snapshot in progress began has expired since.
            if resident.is(PENDING) && self.snapshot.is_some() {
                self.add_aside(&bytes, EMPTY_ENTRY, parts);
            }
            self.put(bytes, StoreChange { entry: None, is_changed: true });
        }
    }

    /// The call that wrote the first value of a key has succeeded.
    pub(super) fn measure_new(&mut self, place: u32, parts: &mut Parts<'_>) {
        if self.residents.get(place as usize).is_some_and(|resident| resident.is(RESIDENT)) {
            self.measure(place, parts);
        }
    }

    /// A call is about to change what is kept in a place.
    pub(super) fn before_change(&mut self, place: u32, parts: &mut Parts<'_>) {
        if self.residents[place as usize].is(PENDING) && self.snapshot.is_some() {
            self.write_aside(place, parts);
        }
        let resident = &mut self.residents[place as usize];
        resident.flags = (resident.flags | UNSAVED | CHANGED) & !PENDING;
        resident.changes += 1;
        if resident.changes >= resident.measure_after {
            self.measure(place, parts);
        }
    }

    fn measure(&mut self, place: u32, parts: &mut Parts<'_>) {
        let before = self.residents[place as usize];
        // What cannot be written counts as before.
        let size = parts.entry(place).map_or(before.size as usize, |entry| entry.len());
        self.measured(place, size);
        let resident = &mut self.residents[place as usize];
        let grows = resident.size / 5 > before.size / 4;
        let most = CHANGES_PER_MEASURE.max(resident.size / 64);
        resident.changes = 0;
        resident.measure_after =
            if grows { before.measure_after / 2 } else { before.measure_after * 2 }.clamp(1, most);
    }

    /// The restore of a checkpoint has changed what is kept in a place, by a value of so many bytes.
    pub(super) fn restored(&mut self, place: u32, bytes: usize) {
        let resident = &mut self.residents[place as usize];
        resident.flags |= UNSAVED;
        let grown = u32::try_from(bytes).unwrap_or(u32::MAX);
        resident.size = resident.size.saturating_add(grown);
        self.used += bytes;
    }

    pub(super) fn measured(&mut self, place: u32, bytes: usize) {
        let resident = &mut self.residents[place as usize];
        let size = u32::try_from(bytes + KEY_COST).unwrap_or(u32::MAX);
        self.used = (self.used + size as usize).saturating_sub(resident.size as usize);
        resident.size = size;
    }

    // ---- Between memory and store ----

    /// Gives a cold key a place. `None`: nothing is kept for it.
    pub(super) fn find(
        &mut self,
        hash: u64,
        key: &[Value],
        parts: &mut Parts<'_>,
    ) -> Result<Option<u32>, StateError> {
        self.ensure_cleared(parts.times.processing.now())?;
        if self.cold == 0 {
            return Ok(None);
        }
        let bytes = key_bytes(key).map_err(StateError::entry)?;
        let entry = match self.unwritten.get(&bytes) {
            Some(change) => change.entry.clone(),
            None => self.store.get(&bytes)?,
        };
        let Some(entry) = entry else { return Ok(None) };
        self.load(hash, key, &entry, parts)
    }

    /// The same for the key of a call, which stays in memory after it.
    pub(super) fn find_to_use(
        &mut self,
        hash: u64,
        key: &[Value],
        parts: &mut Parts<'_>,
    ) -> Result<Option<u32>, StateError> {
        self.check_room()?;
        self.find(hash, key, parts)
    }

    /// Forgets what could not be forgotten before.
    pub(super) fn ensure_cleared(&mut self, now: Time) -> Result<(), StoreError> {
        let Some(error) = &self.not_cleared else { return Ok(()) };
        if now < self.retry_at {
            return Err(error.clone());
        }
        let cleared = self.store.clear();
        self.retry_at = if cleared.is_ok() { Time::ZERO } else { now.after(PAUSE_MAX) };
        self.not_cleared = cleared.clone().err();
        cleared
    }

    fn load(
        &mut self,
        hash: u64,
        key: &[Value],
        entry: &[u8],
        parts: &mut Parts<'_>,
    ) -> Result<Option<u32>, StateError> {
        let place = parts.keys.insert(hash, key);
        if let Err(error) = parts.load(place, entry) {
            parts.empty(place);
            return Err(error);
        }
        let size = u32::try_from(entry.len() + KEY_COST).unwrap_or(u32::MAX);
        self.note(place, Resident { flags: RESIDENT | RECENT | STORED, size, ..Resident::default() });
        self.cold -= 1;
        if !parts.is_used(place) {
            // All that was kept has expired.
            if let Some(key) = parts.keys.remove(place) {
                self.removed(place, &key, parts);
            }
            return Ok(None);
        }
        Ok(Some(place))
    }

    /// Whether a key may come into memory: not if too many wait for a store that cannot be written.
    pub(super) fn check_room(&self) -> Result<(), StateError> {
        match &self.failure {
            Some(error) if self.unwritten_bytes > self.memory => Err(error.clone().into()),
            _ => Ok(()),
        }
    }

    /// Whether `evict` has something to do.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.used > self.evict_at || self.is_to_write()
    }

    fn is_to_write(&self) -> bool {
        self.unwritten.len() >= CHANGES_PER_WRITE || self.unwritten_bytes > self.memory / 8
    }

    /// Puts keys out of memory until it has room again. Between calls only.
    pub(super) fn evict(&mut self, parts: &mut Parts<'_>) {
        if self.used > self.evict_at {
            let target = self.memory - self.memory / 16;
            // The first time that the clock passes a place it may take its mark only.
            for _ in 0..2 * self.residents.len() {
                if self.used <= target {
                    break;
                }
                let place = self.hand as u32;
                self.hand = (self.hand + 1) % self.residents.len();
                let resident = &mut self.residents[place as usize];
                if resident.is(RECENT) {
                    resident.flags &= !RECENT;
                } else if resident.is(RESIDENT) && !parts.has_timer(place) {
                    // What cannot be written stays; the next snapshot reports it.
                    let _ = self.evict_place(place, parts);
                }
            }
            // What must stay is not looked at again and again.
            self.evict_at = self.memory.max(self.used + self.memory / 16);
        }
        let now = parts.times.processing.now();
        if self.is_to_write() && now >= self.retry_at {
            let _ = self.write(now);
        }
    }

    /// Puts the key of a place out of memory.
    pub(super) fn evict_place(&mut self, place: u32, parts: &mut Parts<'_>) -> Result<(), StateError> {
        let resident = self.residents[place as usize];
        if parts.keys.key(place).is_none() {
            return Ok(());
        }
        if resident.is(UNSAVED) {
            let bytes = parts.key_bytes(place)?;
            let entry = parts.entry(place)?;
            if resident.is(PENDING) && self.snapshot.is_some() {
                self.add_aside(&bytes, &entry, parts);
            }
            self.put(bytes, StoreChange { entry: Some(entry), is_changed: resident.is(CHANGED) });
        }
        parts.empty(place);
        self.forget_place(place);
        self.cold += 1;
        Ok(())
    }

    fn put(&mut self, key: Vec<u8>, mut change: StoreChange) {
        let size = |key: &[u8], change: &StoreChange| {
            CHANGE_COST + key.len() + change.entry.as_ref().map_or(0, Vec::len)
        };
        self.unwritten_bytes += size(&key, &change);
        if let Some(old) = self.unwritten.get(&key) {
            self.unwritten_bytes -= size(&key, old);
            change.is_changed |= old.is_changed;
        }
        self.unwritten.insert(key, change);
    }

    pub(super) fn write(&mut self, now: Time) -> Result<(), StoreError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        match self.store.write(self.number, &self.unwritten) {
            Ok(()) => {
                self.unwritten.clear();
                (self.unwritten_bytes, self.failures, self.failure) = (0, 0, None);
                Ok(())
            }
            Err(error) => {
                self.failures += 1;
                self.retry_at = now.after(doubled(PAUSE_MIN, self.failures, PAUSE_MAX));
                self.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Forgets all keys. If that is not possible now, it is tried again before anything is read.
    pub(super) fn clear(&mut self) {
        self.snapshot = None;
        self.residents.clear();
        self.unwritten.clear();
        (self.used, self.evict_at, self.hand, self.cold, self.unwritten_bytes) = (0, self.memory, 0, 0, 0);
        (self.failures, self.failure, self.retry_at) = (0, None, Time::ZERO);
        self.swept.clear();
        self.not_cleared = self.store.clear().err();
    }
}
