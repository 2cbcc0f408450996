//! How a bolt registers its states, in `prepare`.

use std::hash::Hash;

use crate::api::context::TaskContext;
use crate::api::error::TaskError;
use crate::api::state::{ListState, MapState, OperatorState, ValueState};
use crate::api::timer::Timer;
use crate::state::{
    Column, ListCells, MapCells, OperatorCells, StateError, StateKind, StateValue, TimerCells, ValueCells,
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

    /// Registers a state without a key: one list of the task. [`OperatorState`] has an example.
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
        let registered = self.states().register::<C>(name, kind);
        registered.map_err(|error: StateError| TaskError::fatal(error.to_string()))
    }
}
