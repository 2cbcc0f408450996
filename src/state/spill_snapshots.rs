//! Snapshots of keys that may be out of memory: rules 3 and 4 of `spill`.

use crate::clock::Time;
use crate::state::error::StateError;
use crate::state::key_store::ViewOf;
use crate::state::parts::Parts;
use crate::state::records::{read_varint, write_forget_bytes};
use crate::state::spill::{Aside, CHANGED, PENDING, Spill, SpillSnapshot, UNSAVED};

/// What a step of a snapshot has written.
pub(super) enum SpillStep {
    /// Nothing: a key was visited that the snapshot does not need.
    Nothing,
    /// So many records.
    Records(u64),
    /// There is nothing more.
    Complete,
}

impl Spill {
    /// Begins the snapshot of this number. Takes a view of the store, and passes over the marks of resident keys.
    pub(super) fn begin(&mut self, is_full: bool, number: u32, now: Time) {
        let since = self.number;
        let failed = self.ensure_cleared(now).and_then(|()| self.write(now));
        let of = if is_full { ViewOf::Everything } else { ViewOf::ChangesAfter(since) };
        let view = failed.and_then(|()| self.store.view(of));
        self.number = number;
        let wanted = if is_full { UNSAVED } else { CHANGED };
        for resident in &mut self.residents {
            let pending = if resident.is(wanted) { PENDING } else { 0 };
            resident.flags = resident.flags & !(CHANGED | PENDING) | pending;
        }
        let (view, failed) = match view {
            Ok(view) => (Some(view), None),
            Err(error) => (None, Some(error.into())),
        };
        self.snapshot = Some(SpillSnapshot { is_full, view, next: 0, aside: Vec::new(), failed });
    }

    /// Gives up the snapshot in progress.
    pub(super) fn abandon(&mut self) {
        self.snapshot = None;
    }

    /// Writes the records of one key.
    pub(super) fn write_next(
        &mut self,
        out: &mut Vec<u8>,
        parts: &mut Parts<'_>,
    ) -> Result<SpillStep, StateError> {
        let Some(snapshot) = &mut self.snapshot else { return Err(StateError::NoSnapshot) };
        if let Some(error) = snapshot.failed.take() {
            return Err(error);
        }
        if let Some(view) = &mut snapshot.view {
            let Some((key, entry)) = view.next()? else {
                snapshot.view = None;
                return Ok(SpillStep::Nothing);
            };
            let forgotten = (!snapshot.is_full).then_some(&*key);
            return write_entry(forgotten, entry.as_deref(), parts, out).map(SpillStep::Records);
        }
        if let Some(aside) = snapshot.aside.pop() {
            out.extend_from_slice(&aside.bytes);
            return Ok(SpillStep::Records(aside.records));
        }
        let place = snapshot.next;
        if place >= self.residents.len() {
            self.snapshot = None;
            return Ok(SpillStep::Complete);
        }
        snapshot.next += 1;
        if !self.residents[place].is(PENDING) {
            return Ok(SpillStep::Nothing);
        }
        self.residents[place].flags &= !PENDING;
        let place = place as u32;
        if parts.keys.key(place).is_none() {
            return Ok(SpillStep::Nothing);
        }
        let bytes = parts.key_bytes(place)?;
        let entry = parts.entry(place)?;
        self.measured(place, entry.len());
        write_entry(Some(&*bytes), Some(&*entry), parts, out).map(SpillStep::Records)
    }

    /// Writes aside what the snapshot must have of a place.
    pub(super) fn write_aside(&mut self, place: u32, parts: &mut Parts<'_>) {
        if parts.keys.key(place).is_none() {
            return;
        }
        match parts.key_bytes(place).and_then(|bytes| Ok((bytes, parts.entry(place)?))) {
            Ok((bytes, entry)) => self.add_aside(&bytes, &entry, parts),
            Err(error) => {
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.failed.get_or_insert(error);
                }
            }
        }
    }

    pub(super) fn add_aside(&mut self, key: &[u8], entry: &[u8], parts: &Parts<'_>) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let mut bytes = Vec::new();
        match write_entry(Some(key), Some(entry), parts, &mut bytes) {
            Ok(records) => snapshot.aside.push(Aside { bytes, records }),
            Err(error) => drop(snapshot.failed.get_or_insert(error)),
        }
    }
}

/// Appends the records of an entry. If the key is given, it is forgotten first, unless the entry has something in every
/// state. Returns how many records were written.
fn write_entry(
    forgotten: Option<&[u8]>,
    entry: Option<&[u8]>,
    parts: &Parts<'_>,
    out: &mut Vec<u8>,
) -> Result<u64, StateError> {
    let damaged = || StateError::entry("it is damaged");
    let (count, records) = entry.map_or(Some((0, &[][..])), read_varint).ok_or_else(damaged)?;
    let states = parts.states.iter().filter(|state| state.kind.is_keyed()).count() as u64;
    let forgotten = forgotten.filter(|_| count < states);
    if let Some(key) = forgotten {
        write_forget_bytes(key, out).map_err(StateError::entry)?;
    }
    out.extend_from_slice(records);
    Ok(count + u64::from(forgotten.is_some()))
}
