//! Where totals are kept outside of squall: a map of keys that batches are read from and written to.

use std::fmt;

use smol_str::SmolStr;

use crate::api::context::TaskContext;
use crate::api::error::TaskError;
use crate::config::StateMode;
use crate::ids::CheckpointId;
use crate::tuple::{Fields, Value};

/// A key of a [`BackingMap`]: the values of the fields that are grouped by, in their order.
pub type MapKey = Vec<Value>;

/// What a [`BackingMap`] keeps for a key. Which parts there are depends on the [`StateMode`] of the state.
///
/// # Examples
/// ```
/// use squall::Value;
/// use squall::api::Stored;
///
/// let stored = Stored { value: Value::from(4), prev: Value::from(1), txid: Some(2) };
/// assert_eq!(stored.to_string(), "4 (before transaction 2: 1)");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The value. Null if the key was removed.
    pub value: Value,
    /// With [`StateMode::Opaque`] the value before the last transaction that changed it: null if there was none.
    pub prev: Value,
    /// With [`StateMode::Transactional`] and [`StateMode::Opaque`] the last transaction that changed the value.
    pub txid: Option<u64>,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.txid {
            Some(txid) => write!(f, "{} (before transaction {txid}: {})", self.value, self.prev),
            None => write!(f, "{}", self.value),
        }
    }
}

/// A task that puts batches into a [`BackingMap`], and how far it has come.
///
/// # Examples
/// ```
/// use squall::api::MapWriter;
/// use squall::ids::CheckpointId;
///
/// let checkpoint = CheckpointId { epoch: 1, number: 15 };
/// let found = MapWriter { task: 0, lineage: 7, owner: 1, txid: 12, checkpoint };
/// let replaced = MapWriter { owner: 2, ..found };
/// assert!(!replaced.is_same_instance(&found), "another instance of the task has taken over");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapWriter {
    /// The task.
    pub task: u32,
    /// The sequence of transactions that the task continues: a random number that is part of its checkpoints. A run that
    /// begins anew has another one. Tasks that are added take that of another.
    pub lineage: i64,
    /// The instance of the task: a random number.
    pub owner: i64,
    /// The last transaction that the task has put.
    pub txid: u64,
    /// The last checkpoint of which it has put something.
    pub checkpoint: CheckpointId,
}

impl MapWriter {
    /// Whether both are one instance of one task.
    ///
    /// # Examples
    /// ```
    /// use squall::api::MapWriter;
    ///
    /// let writer = MapWriter { task: 0, lineage: 7, owner: 1, txid: 12, checkpoint: Default::default() };
    /// assert!(writer.is_same_instance(&MapWriter { txid: 13, ..writer }));
    /// ```
    pub fn is_same_instance(&self, other: &MapWriter) -> bool {
        (self.task, self.lineage, self.owner) == (other.task, other.lineage, other.owner)
    }

    /// The error of [`BackingMap::put_as`] for this writer, if another instance has claimed its task.
    ///
    /// # Examples
    /// ```
    /// use squall::api::MapWriter;
    ///
    /// let writer = MapWriter { task: 3, lineage: 7, owner: 1, txid: 12, checkpoint: Default::default() };
    /// let error = writer.taken_over();
    /// assert!(error.is_fatal() && error.to_string().starts_with("task 3 was taken over"));
    /// ```
    pub fn taken_over(&self) -> TaskError {
        TaskError::fatal(format!(
            "task {} was taken over: a later start of the topology, or one with other checkpoints, writes to this state",
            self.task
        ))
    }
}

/// A map in a store outside of squall, that is read and written in batches. `[state.NAME]` of a topology names one, and
/// squall has three: `memory`, `redb` and `postgres`. A program adds its own by
/// [`Registry::state_type`](crate::topology::registry::Registry::state_type).
///
/// Each task has a map of its own (an own connection, for example) to one store. No two tasks write the same keys. The map
/// need not know anything of transactions: what is [`Stored`] has their ids, and
/// [`StateMap`](crate::trident::StateMap) has the rules.
///
/// With [`writers`](BackingMap::writers), [`claim`](BackingMap::claim) and [`put_as`](BackingMap::put_as) a store can
/// notice that two runs write to it, or that a run has gone back to a checkpoint before what the store has. They come
/// together, or not at all.
///
/// # Examples
/// ```
/// use std::collections::HashMap;
/// use squall::api::{BackingMap, MapKey, Stored};
/// use squall::prelude::*;
/// use squall::trident::StateMap;
///
/// #[derive(Default)]
/// struct Plain(HashMap<MapKey, Stored>);
///
/// impl BackingMap for Plain {
///     fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Option<Stored>>, TaskError> {
///         Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
///     }
///
///     fn multi_put(&mut self, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
///         self.0.extend(entries.iter().cloned());
///         Ok(())
///     }
/// }
///
/// let mut counts = StateMap::transactional(Plain::default());
/// let one_more = |count: &Value| Ok(Value::from(count.as_i64().unwrap_or(0) + 1));
/// for _ in 0..2 {
///     // The same batch twice, as after a crash.
///     counts.begin_commit(1);
///     counts.multi_update(&[(vec![Value::from("storm")], &one_more)])?;
///     counts.commit();
/// }
/// assert_eq!(counts.multi_get(&[vec![Value::from("storm")]])?, [Value::from(1)]);
/// # Ok::<(), TaskError>(())
/// ```
pub trait BackingMap: Send {
    /// What is kept for these keys, in their order.
    ///
    /// # Errors
    /// The call is made again later, unless the error is [fatal](TaskError::fatal).
    fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Option<Stored>>, TaskError>;

    /// Keeps entries, each in place of what its key had. No key is there twice. If the store can, all of them or none; an
    /// entry by itself must be there as a whole or not at all. They are durable when the call returns.
    ///
    /// # Errors
    /// As for [`multi_get`](BackingMap::multi_get).
    fn multi_put(&mut self, entries: &[(MapKey, Stored)]) -> Result<(), TaskError>;

    /// Refuses what the store cannot keep. Called for each tuple, before anything is kept of it, and from memory. By
    /// default everything is taken.
    ///
    /// # Errors
    /// Why the key or the value cannot be kept: the tuple fails.
    fn check(&self, _key: &[Value], _value: &Value) -> Result<(), String> {
        Ok(())
    }

    /// All tasks that have put something, or claimed that they will. `None`, the default: the map does not keep them.
    ///
    /// # Errors
    /// As for [`multi_get`](BackingMap::multi_get).
    fn writers(&mut self) -> Result<Option<Vec<MapWriter>>, TaskError> {
        Ok(None)
    }

    /// From now on, only this instance of the task may put anything: [`put_as`](BackingMap::put_as) of another one of the
    /// same task fails. `found` is what [`writers`](BackingMap::writers) has returned for the task. If the map has
    /// something else by now, because another instance has put or claimed meanwhile, nothing is claimed, and the answer is
    /// false. To compare and to claim must be one step.
    ///
    /// # Errors
    /// As for [`multi_get`](BackingMap::multi_get).
    fn claim(&mut self, _found: Option<&MapWriter>, _writer: &MapWriter) -> Result<bool, TaskError> {
        Ok(true)
    }

    /// As [`multi_put`](BackingMap::multi_put), and keeps how far the writer has come, all or nothing.
    ///
    /// # Errors
    /// As for [`multi_get`](BackingMap::multi_get); a [fatal](TaskError::fatal) error if another instance has claimed the
    /// task.
    fn put_as(&mut self, _writer: &MapWriter, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        self.multi_put(entries)
    }
}

impl BackingMap for Box<dyn BackingMap> {
    fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Option<Stored>>, TaskError> {
        (**self).multi_get(keys)
    }

    fn multi_put(&mut self, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        (**self).multi_put(entries)
    }

    fn check(&self, key: &[Value], value: &Value) -> Result<(), String> {
        (**self).check(key, value)
    }

    fn writers(&mut self) -> Result<Option<Vec<MapWriter>>, TaskError> {
        (**self).writers()
    }

    fn claim(&mut self, found: Option<&MapWriter>, writer: &MapWriter) -> Result<bool, TaskError> {
        (**self).claim(found, writer)
    }

    fn put_as(&mut self, writer: &MapWriter, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
        (**self).put_as(writer, entries)
    }
}

/// For whom a map is opened.
///
/// # Examples
/// [`StateStore`] has an example.
pub struct MapOpening<'a> {
    /// The name of the state: `totals` of `[state.totals]`.
    pub name: &'a str,
    /// Its mode.
    pub mode: StateMode,
    /// The names of the values of a key.
    pub key: &'a Fields,
    /// The task.
    pub task: &'a TaskContext,
}

/// What a `[state.NAME]` stands for: opens the map of each task. There is one in each process.
///
/// # Examples
/// A store of a program's own, with its settings, and a topology that uses it:
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use squall::api::{BackingMap, MapKey, MapOpening, StateStore, Stored};
/// use squall::prelude::*;
/// use squall::topology::declare::parse_str;
///
/// type Shelf = Arc<Mutex<BTreeMap<MapKey, Stored>>>;
///
/// struct Shelves(Shelf);
///
/// impl StateStore for Shelves {
///     fn open(&self, _: &MapOpening<'_>) -> Result<Box<dyn BackingMap>, TaskError> {
///         Ok(Box::new(OnShelf(self.0.clone())))
///     }
/// }
///
/// struct OnShelf(Shelf);
///
/// impl BackingMap for OnShelf {
///     fn multi_get(&mut self, keys: &[MapKey]) -> Result<Vec<Option<Stored>>, TaskError> {
///         let shelf = self.0.lock().unwrap();
///         Ok(keys.iter().map(|key| shelf.get(key).cloned()).collect())
///     }
///
///     fn multi_put(&mut self, entries: &[(MapKey, Stored)]) -> Result<(), TaskError> {
///         self.0.lock().unwrap().extend(entries.iter().cloned());
///         Ok(())
///     }
/// }
///
/// let shelf = Shelf::default();
/// let mut registry = Registry::with_standard();
/// registry.state_type("shelf", "A shelf of the program.", move |_: &NoSettings| Ok(Shelves(shelf.clone())));
/// let text = r#"
///     [topology]
///     name = "words"
///     delivery = "exactly-once"
///     [state.totals]
///     type = "shelf"
///     [spout.words]
///     type = "generate"
///     config.fields = { word = "{choice:storm|squall}" }
///     [bolt.totals]
///     type = "aggregate"
///     inputs = [{ from = "words", fields = ["word"] }]
///     config = { state = "totals", by = ["word"], function = "count" }
/// "#;
/// assert!(parse_str("words.toml", text, &registry).is_ok());
/// ```
pub trait StateStore: Send + Sync {
    /// The map of a task. Called when the task is prepared, and again after a failure.
    ///
    /// # Errors
    /// The task fails, and is prepared again after a pause, unless the error is [fatal](TaskError::fatal).
    fn open(&self, opening: &MapOpening<'_>) -> Result<Box<dyn BackingMap>, TaskError>;

    /// Whether only the tasks of one process can use it, as memory or a file that one process locks. Then a bolt with
    /// several tasks runs in one process. By default it is not so.
    fn is_local(&self) -> bool {
        false
    }

    /// Where the store is, for comparing and for errors, without passwords: two states of a topology with one place are
    /// refused. `None`, the default: it is not known.
    fn place(&self) -> Option<String> {
        None
    }

    /// Refuses a key whose fields have these names. By default none is refused.
    ///
    /// # Errors
    /// Why.
    fn check_key(&self, _fields: &[SmolStr]) -> Result<(), String> {
        Ok(())
    }
}

/// A `[state.NAME]` of a topology, in a process that runs it. Tasks find it among their
/// [`resources`](TaskContext::resources), under [`NamedState::resource`] of its name.
///
/// # Examples
/// ```
/// use squall::api::NamedState;
/// use squall::config::StateMode;
/// use squall::testing::HarnessOptions;
/// use squall::trident::MemoryStore;
///
/// let totals = NamedState { mode: StateMode::Opaque, store: Box::new(MemoryStore::default()) };
/// let options = HarnessOptions::default();
/// options.resources.set(&NamedState::resource("totals"), totals);
/// let found = options.task_context().resources().get::<NamedState>("state.totals");
/// assert_eq!(found.unwrap().mode, StateMode::Opaque);
/// ```
pub struct NamedState {
    /// `mode`.
    pub mode: StateMode,
    /// What its `type` opens.
    pub store: Box<dyn StateStore>,
}

impl NamedState {
    /// The key of the resource of a state.
    pub fn resource(name: &str) -> String {
        format!("state.{name}")
    }
}
