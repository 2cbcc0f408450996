//! How a bolt registers its states, in `prepare`.

use std::hash::Hash;

use crate::api::context::TaskContext;
use crate::api::error::TaskError;
use crate::api::event_timer::EventTimer;
use crate::api::state::{ListState, MapState, OperatorState, ValueState};
use crate::api::timer::Timer;
use crate::state::{
    Column, ExpiringListCells, ExpiringMapCells, ExpiringValueCells, ListCells, MapCells, OperatorCells,
    OperatorSharing, StateError, StateKind, StateValue, TimerCells, Ttl, ValueCells,
};

/// States that the runtime keeps for the task. A name is the stable identity of a state: it is up to 64 letters,
/// digits, dots, dashes and underscores, and a component uses it for one state only.
impl TaskContext {
    /// Registers a state of one value for each key. [`ValueState`] has an example.
    ///
    /// # Errors
    /// A fatal error if the name cannot be one, or is that of a state of another type.
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// context.value_state::<i64>("counts")?;
    /// let error = context.value_state::<String>("counts").unwrap_err();
    /// assert!(error.to_string().starts_with("state `counts` is value<i64>"), "{error}");
    /// assert!(error.is_fatal());
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn value_state<T: StateValue>(&self, name: &str) -> Result<ValueState<T>, TaskError> {
        self.register_state::<ValueCells<T>>(name, StateKind::Value).map(ValueState::new)
    }

    /// Registers a state of a map for each key. [`MapState`] has an example.
    ///
    /// # Errors
    /// As [`value_state`](TaskContext::value_state).
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// #[derive(Default)]
    /// struct Pages(MapState<String, u64>);
    ///
    /// impl Bolt for Pages {
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.0 = context.map_state("pages")?;
    ///         Ok(())
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    /// # Pages::default().prepare(&squall::testing::HarnessOptions::default().task_context())?;
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn map_state<K: StateValue + Eq + Hash, V: StateValue>(
        &self,
        name: &str,
    ) -> Result<MapState<K, V>, TaskError> {
        self.register_state::<MapCells<K, V>>(name, StateKind::Map).map(MapState::new)
    }

    /// Registers a state of a list for each key. [`ListState`] has an example.
    ///
    /// # Errors
    /// As [`value_state`](TaskContext::value_state).
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    ///
    /// #[derive(Default)]
    /// struct Recent(ListState<i64>);
    ///
    /// impl Bolt for Recent {
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.0 = context.list_state("readings")?;
    ///         Ok(())
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    /// # Recent::default().prepare(&squall::testing::HarnessOptions::default().task_context())?;
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn list_state<T: StateValue>(&self, name: &str) -> Result<ListState<T>, TaskError> {
        self.register_state::<ListCells<T>>(name, StateKind::List).map(ListState::new)
    }

    /// States that are registered by what this returns have a time to live: an entry is gone so long after it was
    /// written, or also read, last. An entry is the value of a key, an entry of its map, or an item of its list.
    ///
    /// From its deadline on no call sees the entry, as if it had been removed then. A call has one time: the one at
    /// which it uses such a state first. The memory is given back soon afterwards, between calls, and the next
    /// checkpoint does not have the entry.
    ///
    /// # Examples
    /// A visitor who was away for half an hour begins again at page 1:
    /// ```
    /// use std::time::Duration;
    ///
    /// use squall::prelude::*;
    /// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
    ///
    /// #[derive(Default)]
    /// struct Visits {
    ///     pages: ValueState<i64>,
    /// }
    ///
    /// impl Bolt for Visits {
    ///     fn declare(&self) -> Streams {
    ///         Streams::new(["visitor", "page"])
    ///     }
    ///
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         let half_an_hour = Ttl::after_write(Duration::from_secs(30 * 60));
    ///         self.pages = context.expiring(half_an_hour).value_state("pages")?;
    ///         Ok(())
    ///     }
    ///
    ///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         let page = self.pages.update(out, |pages| {
    ///             *pages += 1;
    ///             *pages
    ///         })?;
    ///         Ok(out.emit((input.str("visitor")?, page))?)
    ///     }
    /// }
    ///
    /// let options = HarnessOptions { key: Fields::from(["visitor"]), ..HarnessOptions::default() };
    /// let mut visits = BoltHarness::start(Box::new(Visits::default()), &options)?;
    /// for minutes in [0, 29, 30] {
    ///     visits.clock().advance(Duration::from_secs(60 * minutes));
    ///     visits.execute(TestTuple::new(["ann"]).fields(["visitor"]));
    /// }
    /// let pages: Vec<_> = visits.take_rows("default").iter().map(|row| row[1].as_i64()).collect();
    /// assert_eq!(pages, [Some(1), Some(2), Some(1)]);
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn expiring(&self, ttl: Ttl) -> ExpiringStates<'_> {
        ExpiringStates { context: self, ttl }
    }

    /// Registers a state without a key: one list of the task. [`OperatorState`] has an example. When a run is continued
    /// with another number of tasks, the items of all tasks are dealt out among them, in turn.
    ///
    /// # Errors
    /// As [`value_state`](TaskContext::value_state).
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// context.operator_state::<(String, u64)>("positions")?;
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn operator_state<T: StateValue>(&self, name: &str) -> Result<OperatorState<T>, TaskError> {
        self.register_state::<OperatorCells<T>>(name, StateKind::Operator).map(OperatorState::new)
    }

    /// The same, but after a restore with another number of tasks each task gets that of all tasks, and takes what
    /// belongs to it.
    pub(crate) fn operator_state_for_all<T: StateValue>(
        &self,
        name: &str,
    ) -> Result<OperatorState<T>, TaskError> {
        self.shared_operator_state(name, OperatorSharing::ForAll)
    }

    /// The same, but each task keeps its own list then, and what tasks had that are gone goes to others.
    pub(crate) fn operator_state_of_task<T: StateValue>(
        &self,
        name: &str,
    ) -> Result<OperatorState<T>, TaskError> {
        self.shared_operator_state(name, OperatorSharing::Own)
    }

    fn shared_operator_state<T: StateValue>(
        &self,
        name: &str,
        sharing: OperatorSharing,
    ) -> Result<OperatorState<T>, TaskError> {
        let registered = self.states().register_operator::<OperatorCells<T>>(name, sharing);
        registered.map(OperatorState::new).map_err(refused)
    }

    /// Registers a timer for each key. [`Timer`] has an example.
    ///
    /// # Errors
    /// As [`value_state`](TaskContext::value_state).
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// let over = context.timer("over")?;
    /// assert_eq!(over, context.timer("over")?, "the same timer by the same name");
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn timer(&self, name: &str) -> Result<Timer, TaskError> {
        self.register_state::<TimerCells>(name, StateKind::Timer).map(Timer::new)
    }

    /// Registers a timer in event time for each key. [`EventTimer`] has an example.
    ///
    /// # Errors
    /// As [`value_state`](TaskContext::value_state).
    ///
    /// # Examples
    /// ```
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// context.event_timer("end")?;
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn event_timer(&self, name: &str) -> Result<EventTimer, TaskError> {
        self.register_state::<TimerCells>(name, StateKind::EventTimer).map(EventTimer::new)
    }

    /// Declares that the bolt names the key of each call itself, by
    /// [`Outputs::set_key`](crate::api::Outputs::set_key). So no call begins with the key that its input was
    /// grouped by, which saves the time to look at it.
    ///
    /// # Examples
    /// A bolt that takes everything in one task, and counts by the first letter:
    /// ```
    /// use squall::prelude::*;
    ///
    /// #[derive(Default)]
    /// struct Letters(ValueState<i64>);
    ///
    /// impl Bolt for Letters {
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         context.name_keys();
    ///         self.0 = context.value_state("letters")?;
    ///         Ok(())
    ///     }
    ///
    ///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    ///         let letter = input.str("word")?.chars().next().ok_or_else(|| TaskError::new("an empty word"))?;
    ///         out.set_key([letter])?;
    ///         Ok(self.0.update(out, |count| *count += 1)?)
    ///     }
    /// }
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// # let mut letters = BoltHarness::new(Letters::default());
    /// # letters.execute(TestTuple::new(["storm"]).fields(["word"]));
    /// # assert_eq!(letters.errors(), [] as [&str; 0]);
    /// ```
    pub fn name_keys(&self) {
        self.states().name_keys();
    }

    fn register_state<C: Column + Default>(&self, name: &str, kind: StateKind) -> Result<u32, TaskError> {
        self.states().register::<C>(name, kind).map_err(refused)
    }
}

fn refused(error: StateError) -> TaskError {
    TaskError::fatal(error.to_string())
}

/// Registers states with a time to live. Made by [`TaskContext::expiring`], which has an example.
#[derive(Clone, Copy)]
pub struct ExpiringStates<'c> {
    context: &'c TaskContext,
    ttl: Ttl,
}

impl ExpiringStates<'_> {
    /// Registers a state of one value for each key.
    ///
    /// # Errors
    /// A fatal error if the time to live is 0 or more than 36,500 days, if the name cannot be one, or is that of a
    /// state of another type or with another time to live.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use squall::state::Ttl;
    ///
    /// let context = squall::testing::HarnessOptions::default().task_context();
    /// let hour = Ttl::after_write(Duration::from_secs(3600));
    /// context.expiring(hour).value_state::<i64>("counts")?;
    /// let error = context.value_state::<i64>("counts").unwrap_err().to_string();
    /// assert!(error.starts_with("state `counts` is value<i64> with a time to live of 1h after write"), "{error}");
    /// assert!(context.expiring(Ttl::after_write(Duration::ZERO)).value_state::<i64>("other").is_err());
    /// # Ok::<(), squall::prelude::TaskError>(())
    /// ```
    pub fn value_state<T: StateValue>(&self, name: &str) -> Result<ValueState<T>, TaskError> {
        self.register::<ExpiringValueCells<T>>(name, StateKind::Value).map(ValueState::new)
    }

    /// Registers a state of a map for each key. Each entry of the map expires by itself.
    ///
    /// # Errors
    /// As [`value_state`](ExpiringStates::value_state).
    ///
    /// # Examples
    /// Which pages a visitor has seen in the last hour:
    /// ```
    /// use std::time::Duration;
    ///
    /// use squall::prelude::*;
    ///
    /// #[derive(Default)]
    /// struct Pages(MapState<String, u64>);
    ///
    /// impl Bolt for Pages {
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.0 = context.expiring(Ttl::after_write(Duration::from_secs(3600))).map_state("pages")?;
    ///         Ok(())
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    /// # Pages::default().prepare(&squall::testing::HarnessOptions::default().task_context())?;
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn map_state<K: StateValue + Eq + Hash, V: StateValue>(
        &self,
        name: &str,
    ) -> Result<MapState<K, V>, TaskError> {
        self.register::<ExpiringMapCells<K, V>>(name, StateKind::Map).map(MapState::new)
    }

    /// Registers a state of a list for each key. Each item of the list expires by itself.
    ///
    /// # Errors
    /// As [`value_state`](ExpiringStates::value_state).
    ///
    /// # Examples
    /// The readings of the last minute:
    /// ```
    /// use std::time::Duration;
    ///
    /// use squall::prelude::*;
    ///
    /// #[derive(Default)]
    /// struct Recent(ListState<i64>);
    ///
    /// impl Bolt for Recent {
    ///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
    ///         self.0 = context.expiring(Ttl::after_write(Duration::from_secs(60))).list_state("readings")?;
    ///         Ok(())
    ///     }
    /// #    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> { Ok(()) }
    /// }
    /// # Recent::default().prepare(&squall::testing::HarnessOptions::default().task_context())?;
    /// # Ok::<(), TaskError>(())
    /// ```
    pub fn list_state<T: StateValue>(&self, name: &str) -> Result<ListState<T>, TaskError> {
        self.register::<ExpiringListCells<T>>(name, StateKind::List).map(ListState::new)
    }

    fn register<C: Column + From<Ttl>>(&self, name: &str, kind: StateKind) -> Result<u32, TaskError> {
        self.context.states().register_expiring::<C>(name, kind, self.ttl).map_err(refused)
    }
}
