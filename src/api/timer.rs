//! Timers by key: a call of the bolt after some time, for one key.

use std::time::Duration;

use crate::api::outputs::Outputs;
use crate::state::StateError;

/// A timer for each key. Registered by [`TaskContext::timer`](crate::api::TaskContext::timer); when it is due,
/// [`Bolt::timer`](crate::api::Bolt::timer) is called with that key. It is state like any other: what a call that
/// fails has set or cleared is taken back.
///
/// # Examples
/// A visit is over when nothing came from the visitor for half an hour:
/// ```
/// use std::time::Duration;
///
/// use squall::prelude::*;
/// use squall::testing::{BoltHarness, HarnessOptions, TestTuple};
///
/// #[derive(Default)]
/// struct Visits {
///     pages: ValueState<i64>,
///     over: Timer,
/// }
///
/// impl Bolt for Visits {
///     fn declare(&self) -> Streams {
///         Streams::new(["visitor", "pages"])
///     }
///
///     fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
///         self.pages = context.value_state("pages")?;
///         self.over = context.timer("over")?;
///         Ok(())
///     }
///
///     fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         self.pages.update(out, |pages| *pages += 1)?;
///         self.over.set(out, Duration::from_secs(30 * 60))?;
///         Ok(())
///     }
///
///     fn timer(&mut self, _: Timer, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let pages = self.pages.get(out)?.copied().unwrap_or(0);
///         let visitor = out.key()[0].clone();
///         self.pages.clear(out)?;
///         out.emit((visitor, pages))?;
///         Ok(())
///     }
/// }
///
/// let options = HarnessOptions { key: Fields::from(["visitor"]), ..HarnessOptions::default() };
/// let mut visits = BoltHarness::start(Box::new(Visits::default()), &options)?;
/// visits.execute_all(["ann", "bob", "ann"].map(|who| TestTuple::new([who]).fields(["visitor"])));
/// visits.clock().advance(Duration::from_secs(30 * 60));
/// assert_eq!(visits.call_due_timers(), 2);
/// assert_eq!(visits.take_rows("default").len(), 2);
/// # Ok::<(), TaskError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    state: u32,
}

/// A timer of nothing, to begin with: `prepare` replaces it.
impl Default for Timer {
    fn default() -> Timer {
        Timer { state: u32::MAX }
    }
}

impl Timer {
    pub(crate) fn new(state: u32) -> Timer {
        Timer { state }
    }

    /// Sets the timer of the key, `after` so long from now by the clock of the task. It replaces the time that
    /// was set before.
    ///
    /// # Errors
    /// When the call has no key, or the timer was not registered.
    pub fn set(&self, out: &mut Outputs<'_>, after: Duration) -> Result<(), StateError> {
        let state = out.state();
        let due = state.now().after(after);
        state.set_timer(self.state, due)
    }

    /// Clears the timer of the key.
    ///
    /// # Errors
    /// As [`set`](Timer::set).
    pub fn clear(&self, out: &mut Outputs<'_>) -> Result<(), StateError> {
        out.state().clear_timer(self.state)
    }

    /// Whether the timer of the key is set.
    ///
    /// # Errors
    /// As [`set`](Timer::set).
    pub fn is_set(&self, out: &mut Outputs<'_>) -> Result<bool, StateError> {
        Ok(out.state().timer(self.state)?.is_some())
    }
}
