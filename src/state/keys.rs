//! The keys of a task, and the place of each.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

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
    /// One for each place; `None` if the place is free.
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
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

impl KeyTable {
    /// The place of the key of this hash for which `is_key` is true.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_key: impl Fn(&Key) -> bool) -> Option<u32> {
        let is_same = |place: &u32| {
            let entry = self.entries[*place as usize].as_ref();
            entry.is_some_and(|entry| entry.hash == hash && is_key(&entry.key))
        };
        self.places.find(hash, is_same).copied()
    }

    /// Gives a key a place. It must have none.
    pub(super) fn insert(&mut self, hash: u64, values: &[Value]) -> u32 {
        let entry = Some(Entry { key: Key::new(values), hash });
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        let entries = &self.entries;
        let hash_again = |place: &u32| entries[*place as usize].as_ref().map_or(0, |entry| entry.hash);
        self.places.insert_unique(hash, place, hash_again);
        place
    }

    /// Frees the place of a key, and returns the key.
    pub(super) fn remove(&mut self, place: u32) -> Option<Key> {
        let entry = self.entries[place as usize].take()?;
        if let Ok(found) = self.places.find_entry(entry.hash, |other| *other == place) {
            found.remove();
        }
        self.free.push(place);
        self.removals += 1;
        Some(entry.key)
    }

    /// How many keys have lost their places so far.
    #[inline]
    pub(super) fn removals(&self) -> u64 {
        self.removals
    }

    /// The key of a place.
    pub(super) fn key(&self, place: u32) -> Option<&Key> {
        self.entries.get(place as usize)?.as_ref().map(|entry| &entry.key)
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Places given so far, the free ones included.
    pub(super) fn places(&self) -> u32 {
        self.entries.len() as u32
    }
}
