//! The state of a task whose keys may leave memory: how they go to the store of its backend, and come back.

use std::sync::Arc;

use crate::state::error::StateError;
use crate::state::key_store::{StateBackend, StoreError};
use crate::state::parts::Parts;
use crate::state::spill::Spill;
use crate::state::spill_walks::Walk;
use crate::state::task_state::{PresentKey, TaskState};
use crate::tuple::Value;

impl TaskState {
    /// Keys leave memory when the state takes more than `memory` bytes, and go to a store of this backend. To be called
    /// before anything is kept.
    pub(crate) fn set_backend(&mut self, backend: Arc<dyn StateBackend>, memory: usize) {
        self.backend = Some((backend, memory));
    }

    /// Opens the store of the backend, if there is a backend and something is kept by key. To be called after
    /// `take_registered`.
    pub(crate) fn open_store(&mut self) -> Result<(), StoreError> {
        if let Some((backend, memory)) = &self.backend
            && self.spill.is_none()
            && self.states.iter().any(|state| state.kind.is_keyed())
        {
            // A part is for what the store itself keeps in memory.
            let of_store = memory / 4;
            let store = backend.open(of_store).map_err(|error| StoreError {
                why: format!("the store of its state cannot be opened: {error}"),
                ..error
            })?;
            self.spill = Some(Box::new(Spill::new(store, memory - of_store)));
            self.needs_care.set(true);
        }
        Ok(())
    }

    #[cold]
    pub(super) fn evict(&mut self) {
        if let Some((spill, mut parts)) = self.spill_parts() {
            spill.evict(&mut parts);
        }
    }

    /// What is known of keys that are not in memory, and what is in memory.
    pub(super) fn spill_parts(&mut self) -> Option<(&mut Spill, Parts<'_>)> {
        // Before the clock is asked, because most tasks have no store.
        self.spill.as_ref()?;
        let times = self.times();
        let TaskState { spill: Some(spill), columns, states, keys, .. } = self else { return None };
        Some((spill, Parts { columns, states, keys, times }))
    }

    /// The values of the present key stand in `new_key`, and it has no place in memory. It gets one if something is
    /// kept for it in the store.
    pub(super) fn find_cold_key(&mut self) {
        self.present = PresentKey::New;
        let (hash, key) = (self.hash, std::mem::take(&mut self.new_key));
        if let Some((spill, mut parts)) = self.spill_parts() {
            match spill.find_to_use(hash, &key, &mut parts) {
                Ok(Some(place)) => self.present = PresentKey::Known(place),
                Ok(None) => {}
                Err(error) => {
                    self.note_store_error(&error);
                    (self.present, self.unknown) = (PresentKey::Unknown, Some(error));
                }
            }
        }
        self.new_key = key;
    }

    /// The call may change what is kept in a place.
    #[inline]
    pub(super) fn before_change(&mut self, place: u32) {
        if self.spill.is_some()
            && let Some((spill, mut parts)) = self.spill_parts()
        {
            spill.before_change(place, &mut parts);
        }
    }

    /// Begins a visit of all keys. Keys that come later may be visited or not.
    pub(crate) fn walk(&mut self) -> Result<Walk, StateError> {
        let (places, now) = (self.keys.places(), self.now());
        let walk = match &mut self.spill {
            Some(spill) => spill.walk(places, now),
            None => Ok(Walk::resident(places)),
        };
        walk.inspect_err(|error| self.note_store_error(error))
    }

    /// The place of the next key, which replaces what stands in `key`. The present call has no key then.
    pub(crate) fn next_key(
        &mut self,
        walk: &mut Walk,
        key: &mut Vec<Value>,
    ) -> Result<Option<u32>, StateError> {
        self.forget_key();
        while let Some(place) = walk.next_place() {
            let is_visited = self.spill.as_ref().is_none_or(|spill| spill.is_visited(walk, place));
            if let Some(known) = self.keys.key(place).filter(|_| is_visited) {
                key.clear();
                key.extend_from_slice(known.values());
                return Ok(Some(place));
            }
        }
        let next = match self.spill_parts() {
            Some((spill, mut parts)) => spill.next_cold(walk, key, &mut parts),
            None => Ok(None),
        };
        next.inspect_err(|error| self.note_store_error(error))
    }

    /// Notes whether an error is about the store as a whole, and not about one key.
    pub(super) fn note_store_error(&mut self, error: &StateError) {
        self.store_failed |= matches!(error, StateError::Store { .. });
    }

    /// Whether keys may leave memory.
    pub(crate) fn has_store(&self) -> bool {
        self.spill.is_some()
    }

    /// Whether the present call could not use the state because the store failed. That is no fault of its input.
    pub(crate) fn has_store_failed(&self) -> bool {
        self.store_failed
    }
}
