//! The places of the keys of the next rows, looked up together.
//!
//! A look-up waits for memory several times, each time for an address that it has just read: for the slot of the table,
//! and for the key in its place. Between two calls of user code, one look-up cannot begin before the last one has ended.
//! In a loop of nothing but look-ups, the processor waits for many of them at once.
//!
//! The calls for the first rows may change the table before the later rows are executed:
//!
//! 1. A key that was not found may have come. So what was not found is looked up again.
//! 2. A key that was found may have lost its place, and the place may have another key. So when a key has lost its place
//!    since, whichever it was, all are looked up again.

use crate::state::keys::{KeyTable, hash_of};
use crate::tuple::Value;

/// How many rows are looked up at once. More would not wait less, and their keys would not stay in the nearest cache.
pub(crate) const ROWS_AHEAD: u32 = 32;

/// What stands for the place of a key that has none. No task has so many keys.
const NO_PLACE: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct KeysAhead {
    hashes: Vec<u64>,
    /// In the order of the rows.
    places: Vec<u32>,
    /// The row that is executed next.
    next: usize,
    /// How many keys of the table had lost their places.
    removals: u64,
}

impl KeysAhead {
    /// Looks up the keys of rows.
    pub(super) fn look_up<'v>(&mut self, table: &KeyTable, keys: impl Iterator<Item = &'v Value> + Clone) {
        self.clear();
        self.removals = table.removals();
        self.hashes.extend(keys.clone().map(|key| hash_of(std::iter::once(key))));
        let place = |(key, hash): (&Value, &u64)| table.find_one(*hash, key, |known| known.is_one(key));
        self.places.extend(keys.zip(&self.hashes).map(|found| place(found).unwrap_or(NO_PLACE)));
    }

    /// The place of the key of the next row; `None` if that must be looked up.
    #[inline]
    pub(super) fn next(&mut self, table: &KeyTable) -> Option<u32> {
        let place = *self.places.get(self.next)?;
        self.next += 1;
        (place != NO_PLACE && self.removals == table.removals()).then_some(place)
    }

    pub(super) fn clear(&mut self) {
        self.hashes.clear();
        self.places.clear();
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_of(keys: &[&str]) -> KeyTable {
        let mut table = KeyTable::default();
        for key in keys {
            insert(&mut table, key);
        }
        table
    }

    fn insert(table: &mut KeyTable, key: &str) -> u32 {
        let key = Value::from(key);
        table.insert(hash_of(std::iter::once(&key)), &[key])
    }

    fn ahead_of(table: &KeyTable, keys: &[&str]) -> KeysAhead {
        let keys: Vec<Value> = keys.iter().map(|key| Value::from(*key)).collect();
        let mut ahead = KeysAhead::default();
        ahead.look_up(table, keys.iter());
        ahead
    }

    #[test]
    fn what_is_known_is_found_in_the_order_of_the_rows() {
        let table = table_of(&["storm", "rain", "hail"]);
        let mut ahead = ahead_of(&table, &["hail", "snow", "storm"]);
        let found: Vec<_> = (0..4).map(|_| ahead.next(&table)).collect();
        assert_eq!(found, [Some(2), None, Some(0), None]);
        ahead.clear();
        assert_eq!(ahead.next(&table), None);
    }

    #[test]
    fn a_key_that_comes_changes_nothing_for_the_others() {
        let mut table = table_of(&["storm"]);
        let mut ahead = ahead_of(&table, &["rain", "storm", "rain"]);
        assert_eq!(ahead.next(&table), None);
        insert(&mut table, "rain");
        assert_eq!([ahead.next(&table), ahead.next(&table)], [Some(0), None]);
    }

    #[test]
    fn nothing_counts_any_more_when_a_key_has_lost_its_place() {
        let mut table = table_of(&["storm", "rain"]);
        let mut ahead = ahead_of(&table, &["rain", "storm"]);
        table.remove(1);
        // The place of "rain" belongs to another key now.
        assert_eq!(insert(&mut table, "hail"), 1);
        assert_eq!([ahead.next(&table), ahead.next(&table)], [None, None]);
    }
}
