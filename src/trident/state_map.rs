//! The rules of transactions for batches of keys.
//!
//! 1. Transactions come in the order of their ids, each between `begin_commit` and `commit`. The last one may come again.
//! 2. Within a transaction each key is read once. What was written counts from then on, so several updates of a key add
//!    up, also in a transaction that comes again.
//! 3. If `multi_update` fails, nobody knows what was written, and the transaction is begun again.

use std::collections::{HashMap, HashSet};

use crate::api::{BackingMap, MapKey, MapWriter, Stored, TaskError};
use crate::config::StateMode;
use crate::trident::values::{BehindError, OpaqueValue, TransactionalValue};
use crate::tuple::Value;

/// Makes a new value of the one that is there; null stands for nothing, in both directions.
pub type Update<'a> = &'a dyn Fn(&Value) -> Result<Value, TaskError>;

/// What is written for a key.
type Entry = (MapKey, Stored);

/// What is done with a key that has a later transaction than the one that comes.
#[derive(Clone, Copy, Debug)]
enum Behind {
    /// It is an error: Storm's rule.
    Refuse,
    /// Up to this transaction, the map has what came in between, and the key is left as it is.
    SkipUpTo(u64),
}

#[derive(Clone, Copy, Debug)]
struct Transaction {
    txid: u64,
    behind: Behind,
}

/// A value, and whether it was written in this transaction.
struct Read {
    stored: Option<Stored>,
    is_written: bool,
}

/// A map whose values are changed in transactions, by the rules of a [`StateMode`]. Storm's `OpaqueMap`,
/// `TransactionalMap` and `NonTransactionalMap`.
///
/// # Examples
/// An opaque map, over memory:
/// ```
/// use squall::Value;
/// use squall::trident::{MemoryMap, StateMap};
///
/// let storm = vec![Value::from("storm")];
/// let mut counts = StateMap::opaque(MemoryMap::default());
/// let mut count = |txid, more: i64| {
///     counts.begin_commit(txid);
///     let add = |n: &Value| Ok(Value::from(n.as_i64().unwrap_or(0) + more));
///     let after = counts.multi_update(&[(storm.clone(), &add)]).unwrap();
///     counts.commit();
///     after[0].as_i64()
/// };
/// assert_eq!(count(1, 4), Some(4));
/// assert_eq!(count(2, 2), Some(6));
/// assert_eq!(count(2, 1), Some(5), "transaction 2 again, with other tuples");
/// assert_eq!(count(3, 1), Some(6));
/// ```
pub struct StateMap<M> {
    backing: M,
    mode: StateMode,
    transaction: Option<Transaction>,
    /// What this transaction has read and written.
    read: HashMap<MapKey, Read>,
}

impl<M: BackingMap> StateMap<M> {
    /// A map of this mode.
    pub fn new(backing: M, mode: StateMode) -> StateMap<M> {
        StateMap { backing, mode, transaction: None, read: HashMap::new() }
    }

    /// A map that knows of no transactions: what comes again is counted again.
    pub fn non_transactional(backing: M) -> StateMap<M> {
        StateMap::new(backing, StateMode::NonTransactional)
    }

    /// A map for transactions that have the same tuples when they come again.
    pub fn transactional(backing: M) -> StateMap<M> {
        StateMap::new(backing, StateMode::Transactional)
    }

    /// A map for transactions that may have other tuples when they come again.
    pub fn opaque(backing: M) -> StateMap<M> {
        StateMap::new(backing, StateMode::Opaque)
    }

    /// The map below.
    pub fn backing(&mut self) -> &mut M {
        &mut self.backing
    }

    /// Begins a transaction, for the first time or again.
    pub fn begin_commit(&mut self, txid: u64) {
        self.begin(txid, Behind::Refuse);
    }

    /// Begins a transaction that may have come before, and after it others, up to `last`, all with the same tuples. Keys
    /// that have it, or a later one and so this one, too, are left as they are.
    ///
    /// # Examples
    /// Transactions 1 and 2 were committed, and a process that does not know of it commits both again:
    /// ```
    /// use squall::Value;
    /// use squall::trident::{MemoryMap, StateMap};
    ///
    /// let mut counts = StateMap::opaque(MemoryMap::default());
    /// let add = |n: &Value| Ok(Value::from(n.as_i64().unwrap_or(0) + 1));
    /// for txid in [1, 2, 1, 2] {
    ///     counts.begin_replay(txid, 2);
    ///     counts.multi_update(&[(vec![Value::from("storm")], &add)])?;
    ///     counts.commit();
    /// }
    /// assert_eq!(counts.multi_get(&[vec![Value::from("storm")]])?, [Value::from(2)]);
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn begin_replay(&mut self, txid: u64, last: u64) {
        self.begin(txid, Behind::SkipUpTo(last));
    }

    fn begin(&mut self, txid: u64, behind: Behind) {
        self.transaction = Some(Transaction { txid, behind });
        self.read.clear();
    }

    /// Ends the transaction.
    pub fn commit(&mut self) {
        self.transaction = None;
        self.read.clear();
    }

    /// The values of these keys, null for those that have none. In a transaction that comes again, an opaque map shows what
    /// it begins with.
    ///
    /// # Errors
    /// When the map below fails, or has a later transaction.
    pub fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Value>, TaskError> {
        self.fetch(keys.iter())?;
        let values = keys.iter().map(|key| self.begins_with(key)).collect();
        if self.transaction.is_none() {
            self.read.clear();
        }
        values
    }

    /// What a key has for this transaction.
    fn begins_with(&self, key: &MapKey) -> Result<Value, TaskError> {
        let read = &self.read[key];
        let Some(stored) = &read.stored else { return Ok(Value::Null) };
        match (self.mode, self.transaction) {
            (StateMode::Opaque, Some(Transaction { txid, behind: Behind::Refuse })) if !read.is_written => {
                let value = opaque(key, stored)?;
                value.get(Some(txid)).cloned().map_err(|behind| too_late(key, behind))
            }
            _ => Ok(stored.value.clone()),
        }
    }

    /// Changes values, and returns them as they are then. If the transaction has come before, a transactional map leaves
    /// them as they are.
    ///
    /// # Errors
    /// When the map below fails, has a later transaction, or was written in another mode, or when a change fails.
    pub fn multi_update(&mut self, updates: &[(MapKey, Update<'_>)]) -> Result<Vec<Value>, TaskError> {
        let (values, changed) = self.updated(updates)?;
        self.backing.multi_put(&changed)?;
        Ok(values)
    }

    /// As [`multi_update`](StateMap::multi_update), together with how far the task that writes has come.
    pub(crate) fn multi_update_as(
        &mut self,
        writer: &MapWriter,
        updates: &[(MapKey, Update<'_>)],
    ) -> Result<(), TaskError> {
        let (_, changed) = self.updated(updates)?;
        self.backing.put_as(writer, &changed)
    }

    /// What keys will have after these transactions of theirs, in their order, if nothing else comes. As for
    /// [`begin_replay`](StateMap::begin_replay), the map may have some of them, up to `last`. Nothing is written.
    pub(crate) fn multi_preview(
        &mut self,
        changes: &[(MapKey, Vec<(u64, Update<'_>)>)],
        last: u64,
    ) -> Result<Vec<Value>, TaskError> {
        self.read.clear();
        self.fetch(changes.iter().map(|(key, _)| key))?;
        let previewed = changes.iter().map(|(key, updates)| self.preview(key, updates, last)).collect();
        self.read.clear();
        previewed
    }

    fn preview(&self, key: &MapKey, updates: &[(u64, Update<'_>)], last: u64) -> Result<Value, TaskError> {
        let Some(stored) = &self.read[key].stored else {
            return updates.iter().try_fold(Value::Null, |value, (_, update)| update(&value));
        };
        let found = match self.mode {
            StateMode::NonTransactional => None,
            StateMode::Transactional | StateMode::Opaque => Some(txid_of(key, stored)?),
        };
        if let Some(found) = found.filter(|found| *found > last) {
            return Err(too_late(key, BehindError { txid: last, stored: found }));
        }
        let is_new = |(txid, _): &&(u64, _)| found.is_none_or(|found| *txid > found);
        updates.iter().filter(is_new).try_fold(stored.value.clone(), |value, (_, update)| update(&value))
    }

    /// Sets values; null removes a key, and keeps nothing but that, so that the transaction may come again.
    ///
    /// # Errors
    /// As [`multi_update`](StateMap::multi_update).
    pub fn multi_put(&mut self, entries: &[(MapKey, Value)]) -> Result<(), TaskError> {
        let set: Vec<_> = entries
            .iter()
            .map(|(key, value)| (key, move |_: &Value| Ok::<_, TaskError>(value.clone())))
            .collect();
        let updates: Vec<(MapKey, Update<'_>)> =
            set.iter().map(|(key, set)| ((*key).clone(), set as Update<'_>)).collect();
        self.multi_update(&updates).map(drop)
    }

    /// The values after these updates, and what is to be written.
    fn updated(&mut self, updates: &[(MapKey, Update<'_>)]) -> Result<(Vec<Value>, Vec<Entry>), TaskError> {
        self.fetch(updates.iter().map(|(key, _)| key))?;
        let mut values = Vec::with_capacity(updates.len());
        for (key, update) in updates {
            let next = self.next(key, *update)?;
            let read = self.read.get_mut(key).expect("it was fetched above");
            if let Some(next) = next {
                (read.stored, read.is_written) = (Some(next), true);
            }
            values.push(read.stored.as_ref().map_or(Value::Null, |stored| stored.value.clone()));
        }
        let mut seen = HashSet::new();
        let changed = updates.iter().filter(|(key, _)| self.read[key].is_written && seen.insert(key));
        let entry =
            |(key, _): &(MapKey, _)| self.read[key].stored.clone().map(|stored| (key.clone(), stored));
        let changed = changed.filter_map(entry).collect();
        if self.transaction.is_none() {
            self.read.clear();
        }
        Ok((values, changed))
    }

    /// What is stored for a key after this change. `None`: what is there stays.
    fn next(&self, key: &MapKey, update: Update<'_>) -> Result<Option<Stored>, TaskError> {
        let read = &self.read[key];
        let transaction = self.transaction.filter(|_| self.mode != StateMode::NonTransactional);
        let Some(Transaction { txid, behind }) = transaction else {
            let now = read.stored.as_ref().map_or(&Value::Null, |stored| &stored.value);
            return Ok(Some(Stored { value: update(now)?, ..Stored::default() }));
        };
        let Some(stored) = &read.stored else {
            return Ok(Some(Stored { value: update(&Value::Null)?, prev: Value::Null, txid: Some(txid) }));
        };
        if read.is_written {
            return Ok(Some(Stored { value: update(&stored.value)?, ..stored.clone() }));
        }
        let found = txid_of(key, stored)?;
        if let Behind::SkipUpTo(last) = behind {
            if found > last {
                return Err(too_late(key, BehindError { txid: last, stored: found }));
            }
            // Also if it is this one: a value that was written in the mode `transactional` has none before it.
            if found >= txid {
                return Ok(None);
            }
        }
        if self.mode == StateMode::Transactional {
            let value = TransactionalValue { txid: found, value: stored.value.clone() };
            let next = value.update(txid, update).map_err(|behind| too_late(key, behind))??;
            return Ok((next != value).then(|| next.into()));
        }
        let value = opaque(key, stored)?;
        let next = update(value.get(Some(txid)).map_err(|behind| too_late(key, behind))?)?;
        value.update(Some(txid), next).map(|next| Some(next.into())).map_err(|behind| too_late(key, behind))
    }

    /// Reads those of the keys that this transaction has not read.
    fn fetch<'k>(&mut self, keys: impl Iterator<Item = &'k MapKey>) -> Result<(), TaskError> {
        let mut missing: Vec<MapKey> = keys.filter(|key| !self.read.contains_key(*key)).cloned().collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let found = self.backing.multi_get(&missing)?;
        if found.len() != missing.len() {
            let text =
                format!("a map was asked for {} keys, and has answered {}", missing.len(), found.len());
            return Err(TaskError::fatal(text));
        }
        let read = found.into_iter().map(|stored| Read { stored, is_written: false });
        self.read.extend(missing.into_iter().zip(read));
        Ok(())
    }
}

fn shown(key: &MapKey) -> Value {
    Value::list(key.iter().cloned())
}

fn txid_of(key: &MapKey, stored: &Stored) -> Result<u64, TaskError> {
    stored.txid.ok_or_else(|| {
        TaskError::fatal(format!(
            "the value of {} has no transaction, so it was written in the mode `non-transactional`: empty the store, or \
             write `mode = \"non-transactional\"`",
            shown(key)
        ))
    })
}

fn opaque(key: &MapKey, stored: &Stored) -> Result<OpaqueValue, TaskError> {
    let Stored { value, prev, .. } = stored.clone();
    Ok(OpaqueValue { txid: txid_of(key, stored)?, value, prev })
}

fn too_late(key: &MapKey, behind: BehindError) -> TaskError {
    TaskError::fatal(format!(
        "{}: {behind}: does another run write to the store, or has this one gone back to an earlier checkpoint?",
        shown(key)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trident::MemoryMap;

    fn key(name: &str) -> MapKey {
        vec![Value::from(name)]
    }

    fn add(more: i64) -> impl Fn(&Value) -> Result<Value, TaskError> {
        move |value| Ok(Value::from(value.as_i64().unwrap_or(0) + more))
    }

    fn update(map: &mut StateMap<MemoryMap>, name: &str, more: i64) -> Option<i64> {
        let values = map.multi_update(&[(key(name), &add(more))]);
        values.unwrap_or_else(|error| panic!("{error}"))[0].as_i64()
    }

    fn get(map: &mut StateMap<MemoryMap>, name: &str) -> Value {
        map.multi_get(&[key(name)]).unwrap_or_else(|error| panic!("{error}")).remove(0)
    }

    /// `OpaqueMapTest` of Storm.
    #[test]
    fn an_opaque_map_counts_a_transaction_anew() {
        let mut map = StateMap::opaque(MemoryMap::default());
        map.begin_commit(1);
        assert_eq!(get(&mut map, "a"), Value::Null);
        assert_eq!((update(&mut map, "a", 1), update(&mut map, "a", 2)), (Some(1), Some(3)));
        map.commit();
        assert_eq!(get(&mut map, "a"), Value::from(3));
        map.begin_commit(1);
        assert_eq!(get(&mut map, "a"), Value::Null);
        assert_eq!(update(&mut map, "a", 2), Some(2));
        map.commit();
        map.begin_commit(2);
        assert_eq!(get(&mut map, "a"), Value::from(2));
        assert_eq!((update(&mut map, "a", 3), update(&mut map, "a", 1)), (Some(5), Some(6)));
        map.commit();
        map.begin_commit(1);
        let error = map.multi_update(&[(key("a"), &add(1))]).expect_err("it is behind");
        assert!(error.to_string().contains("transaction 1 is behind transaction 2"), "{error}");
    }

    /// `TransactionalMapTest` of Storm.
    #[test]
    fn a_transactional_map_skips_a_transaction() {
        let mut map = StateMap::transactional(MemoryMap::default());
        map.begin_commit(1);
        assert_eq!((update(&mut map, "a", 1), update(&mut map, "a", 2)), (Some(1), Some(3)));
        map.commit();
        map.begin_commit(1);
        assert_eq!(get(&mut map, "a"), Value::from(3));
        assert_eq!((update(&mut map, "a", 1), update(&mut map, "a", 2)), (Some(3), Some(3)));
        map.commit();
        map.begin_commit(2);
        assert_eq!((update(&mut map, "a", 3), update(&mut map, "a", 1)), (Some(6), Some(7)));
        map.commit();
    }

    /// `MemoryMapStateTest.testRemove` of Storm: a removal comes undone if its transaction comes again without it.
    #[test]
    fn a_removal_that_is_not_repeated_is_taken_back() {
        let mut map = StateMap::opaque(MemoryMap::default());
        let put = |map: &mut StateMap<MemoryMap>, txid, value: Value| {
            map.begin_commit(txid);
            map.multi_put(&[(key("a"), value)]).unwrap_or_else(|error| panic!("{error}"));
            map.commit();
        };
        put(&mut map, 1, Value::from(1));
        put(&mut map, 2, Value::Null);
        assert_eq!(get(&mut map, "a"), Value::Null);
        map.begin_commit(2);
        assert_eq!(get(&mut map, "a"), Value::from(1));
        map.commit();
        put(&mut map, 2, Value::Null);
        put(&mut map, 3, Value::from(7));
        assert_eq!(get(&mut map, "a"), Value::from(7));
    }

    /// The examples of Storm's documentation.
    #[test]
    fn the_documented_examples_hold() {
        let mut map = StateMap::transactional(MemoryMap::default());
        let before = [("man", 3, 1), ("dog", 4, 3), ("apple", 10, 2)];
        let before = before
            .map(|(name, n, txid)| (key(name), TransactionalValue { txid, value: Value::from(n) }.into()));
        map.backing().multi_put(&before).unwrap_or_else(|error| panic!("{error}"));
        map.begin_commit(3);
        assert_eq!((update(&mut map, "man", 2), update(&mut map, "dog", 1)), (Some(5), Some(4)));
        map.commit();
        let after = map.backing().multi_get(&[key("man"), key("dog"), key("apple")]);
        let txids: Vec<_> = after.into_iter().flatten().flatten().map(|stored| stored.txid).collect();
        assert_eq!(txids, [Some(3), Some(3), Some(2)]);

        let stored = || OpaqueValue { txid: 2, value: Value::from(4), prev: Value::from(1) };
        let check = |txid, expected: (i64, i64, u64)| {
            let mut map = StateMap::opaque(MemoryMap::default());
            map.backing().multi_put(&[(key("a"), stored().into())]).unwrap_or_else(|error| panic!("{error}"));
            map.begin_commit(txid);
            update(&mut map, "a", 2);
            let (value, prev, txid) = expected;
            let expected = OpaqueValue { txid, value: Value::from(value), prev: Value::from(prev) };
            let found = map.backing().multi_get(&[key("a")]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(found, [Some(expected.into())]);
        };
        check(3, (6, 4, 3));
        check(2, (3, 1, 2));
    }

    /// The word count of Storm's Trident tests, one transaction for each batch.
    #[test]
    fn words_are_counted_batch_by_batch() {
        for mode in [StateMode::NonTransactional, StateMode::Transactional, StateMode::Opaque] {
            let mut map = StateMap::new(MemoryMap::default(), mode);
            let mut feed = |txid, text: &str| {
                map.begin_commit(txid);
                let one = add(1);
                let words: Vec<(MapKey, Update<'_>)> =
                    text.split(' ').map(|word| (key(word), &one as Update<'_>)).collect();
                map.multi_update(&words).unwrap_or_else(|error| panic!("{error}"));
                map.commit();
                let counts = ["hello", "said", "the", "man", "foo"].map(|word| get(&mut map, word).as_i64());
                counts.map(Option::unwrap_or_default)
            };
            assert_eq!(feed(1, "hello the man said"), [1, 1, 1, 1, 0]);
            assert_eq!(feed(2, "the"), [1, 1, 2, 1, 0]);
            assert_eq!(feed(3, "the foo"), [1, 1, 3, 1, 1]);
        }
    }

    #[test]
    fn a_map_without_transactions_counts_again() {
        let mut map = StateMap::non_transactional(MemoryMap::default());
        for expected in [1, 2] {
            map.begin_commit(1);
            assert_eq!(update(&mut map, "a", 1), Some(expected));
            map.commit();
        }
        let mut map = StateMap::opaque(std::mem::take(map.backing()));
        map.begin_commit(1);
        let error = map.multi_update(&[(key("a"), &add(1))]).expect_err("it has no transaction");
        assert!(error.to_string().contains("`non-transactional`"), "{error}");
    }

    /// The value before transaction 2 is not known in the mode `transactional`, so it was taken for none: the total became
    /// what transaction 2 adds.
    #[test]
    fn a_transaction_that_comes_again_in_the_mode_opaque_adds_nothing_to_a_transactional_value() {
        let mut map = StateMap::transactional(MemoryMap::default());
        for txid in [1, 2] {
            map.begin_replay(txid, 2);
            update(&mut map, "a", 10);
            map.commit();
        }
        let mut map = StateMap::opaque(std::mem::take(map.backing()));
        for (txid, expected) in [(1, 20), (2, 20), (3, 30)] {
            map.begin_replay(txid, 3);
            assert_eq!(update(&mut map, "a", 10), Some(expected), "transaction {txid}");
            map.commit();
        }
    }

    #[test]
    fn what_is_committed_again_is_skipped_up_to_the_last() {
        for mode in [StateMode::Transactional, StateMode::Opaque] {
            let mut map = StateMap::new(MemoryMap::default(), mode);
            let mut commit = |txid, last, names: &[&str]| {
                map.begin_replay(txid, last);
                let one = add(1);
                let updates: Vec<(MapKey, Update<'_>)> =
                    names.iter().map(|name| (key(name), &one as Update<'_>)).collect();
                let done = map.multi_update(&updates).map(drop).map_err(|error| error.to_string());
                map.commit();
                done.map(|()| ["a", "b"].map(|name| get(&mut map, name).as_i64()))
            };
            for _ in 0..2 {
                commit(1, 3, &["a", "b"]).expect("it is the first, or comes again");
                commit(2, 3, &["a"]).expect("the same");
                assert_eq!(commit(3, 3, &["a"]), Ok([Some(3), Some(1)]), "{mode}");
            }
            let error = commit(2, 2, &["a"]).expect_err("the store is ahead");
            assert!(error.contains("transaction 2 is behind transaction 3"), "{error}");
        }
    }

    /// Whatever the map has already of the transactions that a process knows of.
    #[test]
    fn a_preview_is_what_comes_of_it() {
        let [one, two, four] = [add(1), add(2), add(4)];
        let batches: [(u64, Update<'_>); 3] = [(1, &one), (2, &two), (3, &four)];
        for mode in [StateMode::Transactional, StateMode::Opaque] {
            // Transactions up to `put` are there, and the process knows of those up to `last`.
            for (put, last) in (0..=3).flat_map(|put| (put..=3).map(move |last| (put, last))) {
                let mut map = StateMap::new(MemoryMap::default(), mode);
                for (txid, update) in &batches[..put] {
                    map.begin_replay(*txid, 3);
                    map.multi_update(&[(key("a"), *update)]).unwrap_or_else(|error| panic!("{error}"));
                    map.commit();
                }
                let changes = [(key("a"), batches[..].to_vec()), (key("b"), batches[1..].to_vec())];
                let preview = map.multi_preview(&changes, last as u64);
                let preview = preview.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(preview, [Value::from(7), Value::from(6)], "{mode}: {put} of {last}");
                let expected = [0, 1, 3, 7][put];
                assert_eq!(get(&mut map, "a").as_i64().unwrap_or(0), expected, "nothing is written");
            }
            let mut map = StateMap::new(MemoryMap::default(), mode);
            map.begin_commit(5);
            update(&mut map, "a", 1);
            map.commit();
            let error = map.multi_preview(&[(key("a"), vec![(5, &one as Update<'_>)])], 4);
            assert!(error.is_err_and(|error| error.is_fatal()), "another one writes to the store");
        }
        let mut map = StateMap::non_transactional(MemoryMap::default());
        update(&mut map, "a", 10);
        let preview = map.multi_preview(&[(key("a"), batches.to_vec())], 9);
        assert_eq!(preview.ok(), Some(vec![Value::from(17)]));
    }
}
