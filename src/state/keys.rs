//! The keys of a task, and the place of each.
//!
//! ```text
//!   places: 0 … 4            │ 5 …
//!   numbers [17, 4, –, 9, 5] │ others ["storm", 3, (1, "rain"), –]
//!                            └ numbers_end
//! ```
//!
//! 1. Most keys are one integer, such as an id. As long as each key is one, it takes 8 bytes; any other takes 32.
//! 2. With the first key of another shape, the places of numbers end. Every key that comes later gets a place behind
//!    them, or a number a place among them that was freed. So no key ever moves, and the change costs nothing, however
//!    many keys there are.
//! 3. The hash of a number is not kept: it is soon made again when the table grows.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::state::placed_values::{Cells, PlacedValues};
use crate::text::shown;
use crate::tuple::Value;

/// A key: one value, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    One(Value),
    Several(Box<[Value]>),
}

impl Key {
    fn new(values: &[Value]) -> Key {
        match values {
            [value] => Key::One(value.clone()),
            values => Key::Several(values.into()),
        }
    }

    /// The key of what has none.
    pub(super) fn none() -> Key {
        Key::Several(Box::default())
    }

    pub(super) fn values(&self) -> &[Value] {
        match self {
            Key::One(value) => std::slice::from_ref(value),
            Key::Several(values) => values,
        }
    }

    /// Whether it is this one value. Text, which is the most frequent, is compared in place.
    #[inline]
    pub(super) fn is_one(&self, value: &Value) -> bool {
        match (self, value) {
            (Key::One(Value::Str(known)), Value::Str(text)) => known == text,
            (Key::One(known), value) => known == value,
            (Key::Several(_), _) => false,
        }
    }
}

/// A key that is not one integer, or that came after the first such key.
struct Entry {
    key: Key,
    /// Kept, so that the table can grow without hashing keys again.
    hash: u64,
}

/// A key as errors show it; `None` for what has no key.
pub(super) fn shown_key(key: &[Value]) -> Option<Box<str>> {
    struct Shown<'k>(&'k [Value]);

    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().enumerate().try_for_each(|(at, value)| {
                f.write_str(if at > 0 { ", " } else { "" })?;
                value.fmt(f)
            })
        }
    }

    (!key.is_empty()).then(|| shown(Shown(key)).into())
}

/// All keys that have a place.
#[derive(Default)]
pub(super) struct KeyTable {
    places: HashTable<u32>,
    /// The keys of the places before `numbers_end`.
    numbers: PlacedValues<i64>,
    /// Grows with each number that gets a place of its own, as long as there are no other keys.
    numbers_end: u32,
    /// The keys of the places from `numbers_end` on; `None` if the place is free.
    others: Vec<Option<Entry>>,
    /// Places that are free, before `numbers_end` and from it on.
    free_of_numbers: Vec<u32>,
    free_of_others: Vec<u32>,
    /// How many keys have lost their places. As long as it is the same, a key that was found has its place.
    removals: u64,
}

/// The hash of a key in this process.
#[inline]
pub(super) fn hash_of<'v>(values: impl Iterator<Item = &'v Value>) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    values.for_each(|value| value.hash(&mut hasher));
    hasher.finish()
}

fn hash_of_number(number: i64) -> u64 {
    hash_of(std::iter::once(&Value::I64(number)))
}

impl KeyTable {
    /// The place of a key of one value, which has this hash. `is_value` is true for a key that is this value. It is
    /// the caller's, so that each caller has a look-up of its own in line: calling one costs a third more.
    #[inline(always)]
    pub(super) fn find_one(&self, hash: u64, value: &Value, is_value: impl Fn(&Key) -> bool) -> Option<u32> {
        match value {
            Value::I64(number) => self.find_number(hash, *number),
            _ => self.find_other(hash, is_value),
        }
    }

    #[inline(never)]
    fn find_number(&self, hash: u64, number: i64) -> Option<u32> {
        let is_key = |key: &Key| matches!(key, Key::One(Value::I64(known)) if *known == number);
        let is_same = |place: &u32| match *place < self.numbers_end {
            true => self.numbers.value(*place) == Some(&number),
            false => self.is_other(*place, hash, is_key),
        };
        self.places.find(hash, is_same).copied()
    }

    /// The place of a key of several values, which has this hash.
    #[inline]
    pub(super) fn find_several<'v>(
        &self,
        hash: u64,
        values: impl Iterator<Item = &'v Value> + Clone,
    ) -> Option<u32> {
        self.find_other(hash, |key| key.values().iter().eq(values.clone()))
    }

    /// The place of a key, which has this hash.
    pub(super) fn find(&self, hash: u64, key: &[Value]) -> Option<u32> {
        match key {
            [value] => self.find_one(hash, value, |key| key.is_one(value)),
            values => self.find_several(hash, values.iter()),
        }
    }

    #[inline(always)]
    fn find_other(&self, hash: u64, is_key: impl Fn(&Key) -> bool) -> Option<u32> {
        self.places.find(hash, |place| self.is_other(*place, hash, &is_key)).copied()
    }

    /// Whether the place has a key of this hash that is no number among numbers, and for which `is_key` is true.
    #[inline]
    fn is_other(&self, place: u32, hash: u64, is_key: impl Fn(&Key) -> bool) -> bool {
        // For a place among numbers this is behind the end, because there are fewer places than numbers of 32 bits.
        let at = place.wrapping_sub(self.numbers_end);
        let entry = self.others.get(at as usize).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.hash == hash && is_key(&entry.key))
    }

    /// Gives a key a place. It must have none.
    pub(super) fn insert(&mut self, hash: u64, values: &[Value]) -> u32 {
        let place = match values {
            [Value::I64(number)] => self.insert_number(*number),
            _ => None,
        };
        let place = place.unwrap_or_else(|| self.insert_other(Entry { key: Key::new(values), hash }));
        let Self { places, numbers, numbers_end, others, .. } = self;
        let hash_again = |place: &u32| match place.checked_sub(*numbers_end) {
            None => numbers.value(*place).map_or(0, |number| hash_of_number(*number)),
            Some(at) => others[at as usize].as_ref().map_or(0, |entry| entry.hash),
        };
        places.insert_unique(hash, place, hash_again);
        place
    }

    /// Gives a number a place among numbers, if there is one.
    fn insert_number(&mut self, number: i64) -> Option<u32> {
        let place = match self.free_of_numbers.pop() {
            Some(place) => place,
            None if self.others.is_empty() => {
                self.numbers_end += 1;
                self.numbers_end - 1
            }
            None => return None,
        };
        self.numbers.replace(place, Some(number));
        Some(place)
    }

    fn insert_other(&mut self, entry: Entry) -> u32 {
        match self.free_of_others.pop() {
            Some(place) => {
                self.others[(place - self.numbers_end) as usize] = Some(entry);
                place
            }
            None => {
                self.others.push(Some(entry));
                self.places() - 1
            }
        }
    }

    /// Frees the place of a key, and returns the key.
    pub(super) fn remove(&mut self, place: u32) -> Option<Key> {
        let (key, hash) = match place.checked_sub(self.numbers_end) {
            None => {
                let number = self.numbers.replace(place, None)?;
                self.free_of_numbers.push(place);
                (Key::One(Value::I64(number)), hash_of_number(number))
            }
            Some(at) => {
                let Entry { key, hash } = self.others[at as usize].take()?;
                self.free_of_others.push(place);
                (key, hash)
            }
        };
        if let Ok(found) = self.places.find_entry(hash, |other| *other == place) {
            found.remove();
        }
        self.removals += 1;
        Some(key)
    }

    /// How many keys have lost their places so far.
    #[inline]
    pub(super) fn removals(&self) -> u64 {
        self.removals
    }

    /// The key of a place.
    pub(super) fn key(&self, place: u32) -> Option<Cow<'_, Key>> {
        match place.checked_sub(self.numbers_end) {
            None => self.numbers.value(place).map(|number| Cow::Owned(Key::One(Value::I64(*number)))),
            Some(at) => self.others.get(at as usize)?.as_ref().map(|entry| Cow::Borrowed(&entry.key)),
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Places given so far, the free ones included.
    pub(super) fn places(&self) -> u32 {
        self.numbers_end + self.others.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tuple::Timestamp;

    fn insert(table: &mut KeyTable, key: &[Value]) -> u32 {
        table.insert(hash_of(key.iter()), key)
    }

    fn find(table: &KeyTable, key: &[Value]) -> Option<u32> {
        let (hash, found) = (hash_of(key.iter()), table.find(hash_of(key.iter()), key));
        match key {
            [value] => assert_eq!(table.find_one(hash, value, |key| key.is_one(value)), found),
            values => assert_eq!(table.find_several(hash, values.iter()), found),
        }
        found
    }

    /// The table must have these keys in these places, and nothing else.
    fn check(table: &KeyTable, model: &BTreeMap<Vec<Value>, u32>) {
        assert_eq!(table.len(), model.len());
        for (key, place) in model {
            assert_eq!(find(table, key), Some(*place), "{key:?}");
            assert_eq!(table.key(*place).as_deref().map(Key::values), Some(&**key));
        }
        let kept = (0..table.places() + 70).filter(|place| table.key(*place).is_some());
        assert_eq!(kept.count(), model.len(), "each place has one key, or none");
    }

    #[test]
    fn numbers_take_no_room_for_keys_of_other_shapes() {
        let (mut table, mut model) = (KeyTable::default(), BTreeMap::new());
        for number in 0..1_000_i64 {
            let key = vec![Value::I64(number * 7 - 300)];
            let place = insert(&mut table, &key);
            assert_eq!(place, number as u32);
            model.insert(key, place);
        }
        assert_eq!((table.numbers_end, table.others.capacity()), (1_000, 0));
        check(&table, &model);
    }

    #[test]
    fn the_first_key_of_another_shape_moves_nothing() {
        for other in
            [vec!["storm".into()], vec![7.into(), 7.into()], vec![Value::F64(7.0)], vec![true.into()]]
        {
            let (mut table, mut model) = (KeyTable::default(), BTreeMap::new());
            for key in
                [vec![7.into()], vec![Value::I64(i64::MIN)], other, vec![8.into()], vec!["rain".into()]]
            {
                let place = insert(&mut table, &key);
                model.insert(key, place);
                check(&table, &model);
            }
            assert_eq!((table.numbers_end, table.others.len()), (2, 3));
            // A number that comes takes the place of one that went, and no text does.
            table.remove(0).expect("it has a key");
            model.remove(&[Value::from(7)][..]);
            let text = vec![Value::from("hail")];
            assert_eq!(insert(&mut table, &text), 5);
            model.insert(text, 5);
            assert_eq!(insert(&mut table, &[9.into()]), 0);
            model.insert(vec![9.into()], 0);
            check(&table, &model);
        }
    }

    /// A few keys of each shape, some of which show alike.
    fn key_of(shape: u8, n: i64) -> Vec<Value> {
        match shape {
            0 => vec![Value::I64(n)],
            1 => vec![Value::from(n.to_string())],
            2 => vec![Value::F64(n as f64)],
            3 => vec![Value::I64(n), Value::I64(n)],
            4 => vec![Value::from("a text that does not fit into a value"), Value::I64(n)],
            5 => vec![Value::from(Timestamp(n))],
            _ => vec![Value::list([Value::I64(n)])],
        }
    }

    /// Keys that come, or that go if they are there.
    fn keys() -> impl Strategy<Value = Vec<(u8, i64)>> {
        let of = |shapes: std::ops::Range<u8>| prop::collection::vec((shapes, 0..12_i64), 0..60);
        // Numbers first in any case, for none may have come.
        (of(0..1), of(0..7)).prop_map(|(numbers, mixed)| numbers.into_iter().chain(mixed).collect())
    }

    proptest! {
        #[test]
        fn keys_have_the_places_that_they_were_given(keys in keys()) {
            let (mut table, mut model) = (KeyTable::default(), BTreeMap::new());
            for (shape, n) in keys {
                let (key, removals) = (key_of(shape, n), table.removals());
                prop_assert_eq!(find(&table, &key), model.get(&key).copied());
                if let Some(place) = model.remove(&key) {
                    let removed = table.remove(place);
                    prop_assert_eq!(removed.as_ref().map(Key::values), Some(&*key));
                    prop_assert_eq!((table.removals(), table.remove(place)), (removals + 1, None));
                } else {
                    let place = insert(&mut table, &key);
                    prop_assert!(!model.values().any(|taken| *taken == place));
                    model.insert(key, place);
                }
                check(&table, &model);
            }
        }
    }
}
