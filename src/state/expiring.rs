//! What stands in a cell of a state with a time to live: entries with their deadlines.
//!
//! An entry is a value, an entry of a map, or an item of a list. At its deadline it has expired: nobody sees it from
//! that time on, whether it has been removed yet or not.
//!
//! A snapshot has, for each entry, the date from which its time to live counts: the deadline less the time to live. So
//! a restore with another time to live applies that one, as in Flink. Entries that have expired are not written.

use std::collections::HashMap;
use std::hash::Hash;

use rustc_hash::FxBuildHasher;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::clock::Time;
use crate::state::encoding::{EncodingError, decode, encode};
use crate::state::stored::{SnapshotTime, Stored, Written};
use crate::state::value::StateValue;

/// The call that uses a state, and its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTime {
    pub(crate) call: u64,
    pub(crate) now: Time,
}

/// No call, so that the first one asks for the time.
impl Default for CallTime {
    fn default() -> CallTime {
        CallTime { call: u64::MAX, now: Time::ZERO }
    }
}

/// What a look at a cell has found.
pub(super) struct Look {
    /// Whether an entry has expired.
    pub(super) has_expired: bool,
    /// The first deadline of those that have not; `None` if there are no others.
    pub(super) next: Option<Time>,
}

/// A cell whose entries expire.
pub(super) trait Perishable: Stored {
    fn look(&self, now: Time) -> Look;
    /// All entries have this deadline now.
    fn set_deadlines(&mut self, deadline: Time);
    /// Removes the entries that have expired. Some have not.
    fn remove_expired(&mut self, now: Time);
}

/// Where deadlines come from in a restore.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// Turns dates into deadlines.
    time: SnapshotTime,
    /// The deadline of what is written now. No other is later, even if the date was set back; and it is that of
    /// what was kept without a date.
    latest: Time,
}

impl Deadlines {
    pub(super) fn new(time: SnapshotTime, latest: Time) -> Deadlines {
        Deadlines { time, latest }
    }

    fn of(self, date: i64) -> Time {
        // In event time, the earliest date stands for what was written before the task had a watermark.
        if date == i64::MIN { self.latest } else { self.time.time(date).min(self.latest) }
    }
}

/// A value with its deadline.
#[derive(Clone)]
pub(super) struct Expiring<T> {
    pub(super) value: T,
    pub(super) deadline: Time,
}

impl<T> Expiring<T> {
    #[inline]
    pub(super) fn is_alive(&self, now: Time) -> bool {
        self.deadline > now
    }
}

impl<T: StateValue> Expiring<T> {
    pub(super) fn read(written: Written<'_>, deadlines: Deadlines) -> Result<Expiring<T>, EncodingError> {
        Ok(match written {
            Written::Plain(bytes) => Expiring { value: decode(bytes)?, deadline: deadlines.latest },
            Written::Dated(bytes) => {
                let (date, value) = decode(bytes)?;
                Expiring { value, deadline: deadlines.of(date) }
            }
        })
    }
}

impl<T: StateValue> Stored for Expiring<T> {
    fn write(&self, time: SnapshotTime, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        encode(&(time.date(self.deadline), &self.value), out)
    }

    fn has_something(&self, now: Time) -> bool {
        self.is_alive(now)
    }
}

impl<T: StateValue> Perishable for Expiring<T> {
    fn look(&self, now: Time) -> Look {
        let is_alive = self.is_alive(now);
        Look { has_expired: !is_alive, next: is_alive.then_some(self.deadline) }
    }

    fn set_deadlines(&mut self, deadline: Time) {
        self.deadline = deadline;
    }

    fn remove_expired(&mut self, _now: Time) {}
}

pub(super) type ExpiringEntries<K, V> = HashMap<K, Expiring<V>, FxBuildHasher>;

/// A map, each entry with its deadline.
#[derive(Clone)]
pub(super) struct ExpiringMap<K, V>(pub(super) Box<ExpiringEntries<K, V>>);

impl<K, V> Default for ExpiringMap<K, V> {
    fn default() -> ExpiringMap<K, V> {
        ExpiringMap(Box::default())
    }
}

impl<K, V> ExpiringMap<K, V> {
    /// The entries that have not expired.
    pub(super) fn alive(&self, now: Time) -> impl Iterator<Item = (&K, &Expiring<V>)> {
        self.0.iter().filter(move |(_, entry)| entry.is_alive(now))
    }
}

impl<K: StateValue + Eq + Hash, V: StateValue> ExpiringMap<K, V> {
    pub(super) fn read(
        written: Written<'_>,
        deadlines: Deadlines,
    ) -> Result<ExpiringMap<K, V>, EncodingError> {
        type Read<K, V> = HashMap<K, V, FxBuildHasher>;
        let entries = match written {
            Written::Plain(bytes) => {
                let fresh = |(key, value)| (key, Expiring { value, deadline: deadlines.latest });
                decode::<Read<K, V>>(bytes)?.into_iter().map(fresh).collect()
            }
            Written::Dated(bytes) => {
                let dated = |(key, (date, value))| (key, Expiring { value, deadline: deadlines.of(date) });
                decode::<Read<K, (i64, V)>>(bytes)?.into_iter().map(dated).collect()
            }
        };
        Ok(ExpiringMap(Box::new(entries)))
    }
}

/// The entries of a map that have not expired, as a snapshot has them.
struct DatedEntries<'m, K, V> {
    map: &'m ExpiringMap<K, V>,
    time: SnapshotTime,
}

impl<K: StateValue, V: StateValue> Serialize for DatedEntries<'_, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let alive = || self.map.alive(self.time.now());
        let mut map = serializer.serialize_map(Some(alive().count()))?;
        alive().try_for_each(|(key, entry)| {
            map.serialize_entry(key, &(self.time.date(entry.deadline), &entry.value))
        })?;
        map.end()
    }
}

impl<K: StateValue + Eq + Hash, V: StateValue> Stored for ExpiringMap<K, V> {
    fn write(&self, time: SnapshotTime, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        encode(&DatedEntries { map: self, time }, out)
    }

    fn has_something(&self, now: Time) -> bool {
        self.alive(now).next().is_some()
    }
}

impl<K: StateValue + Eq + Hash, V: StateValue> Perishable for ExpiringMap<K, V> {
    fn look(&self, now: Time) -> Look {
        let (mut alive, mut next) = (0, None);
        for (_, entry) in self.alive(now) {
            alive += 1;
            next = Some(next.map_or(entry.deadline, |next: Time| next.min(entry.deadline)));
        }
        Look { has_expired: alive < self.0.len(), next }
    }

    fn set_deadlines(&mut self, deadline: Time) {
        self.0.values_mut().for_each(|entry| entry.deadline = deadline);
    }

    fn remove_expired(&mut self, now: Time) {
        self.0.retain(|_, entry| entry.is_alive(now));
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit();
        }
    }
}

/// A list, each item with its deadline. Items are pushed with later and later deadlines, so those that have expired
/// come first.
#[derive(Clone)]
pub(super) struct ExpiringList<T> {
    pub(super) items: Vec<T>,
    /// Of each item, in ascending order.
    pub(super) deadlines: Vec<Time>,
}

impl<T> Default for ExpiringList<T> {
    fn default() -> ExpiringList<T> {
        ExpiringList { items: Vec::new(), deadlines: Vec::new() }
    }
}

impl<T> ExpiringList<T> {
    /// How many items have expired.
    pub(super) fn expired(&self, now: Time) -> usize {
        self.deadlines.partition_point(|deadline| *deadline <= now)
    }
}

impl<T: StateValue> ExpiringList<T> {
    pub(super) fn read(written: Written<'_>, deadlines: Deadlines) -> Result<ExpiringList<T>, EncodingError> {
        match written {
            Written::Plain(bytes) => {
                let items: Vec<T> = decode(bytes)?;
                Ok(ExpiringList { deadlines: vec![deadlines.latest; items.len()], items })
            }
            Written::Dated(bytes) => {
                let mut list = ExpiringList::default();
                for (date, item) in decode::<Vec<(i64, T)>>(bytes)? {
                    // The date may have been set back while the list was written.
                    let before = list.deadlines.last().copied().unwrap_or(Time::ZERO);
                    list.deadlines.push(deadlines.of(date).max(before));
                    list.items.push(item);
                }
                Ok(list)
            }
        }
    }
}

impl<T: StateValue> Stored for ExpiringList<T> {
    fn write(&self, time: SnapshotTime, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        let dates = self.deadlines.iter().map(|deadline| time.date(*deadline));
        let dated: Vec<(i64, &T)> = dates.zip(&self.items).skip(self.expired(time.now())).collect();
        encode(&dated, out)
    }

    fn has_something(&self, now: Time) -> bool {
        self.expired(now) < self.items.len()
    }
}

impl<T: StateValue> Perishable for ExpiringList<T> {
    fn look(&self, now: Time) -> Look {
        let expired = self.expired(now);
        Look { has_expired: expired > 0, next: self.deadlines.get(expired).copied() }
    }

    fn set_deadlines(&mut self, deadline: Time) {
        self.deadlines.fill(deadline);
    }

    fn remove_expired(&mut self, now: Time) {
        let expired = self.expired(now);
        self.items.drain(..expired);
        self.deadlines.drain(..expired);
        if self.items.len() < self.items.capacity() / 4 {
            self.items.shrink_to_fit();
            self.deadlines.shrink_to_fit();
        }
    }
}
