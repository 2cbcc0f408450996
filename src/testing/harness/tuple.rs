//! Tuples that a test feeds to a harness.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::api::{SourceMeta, Values};
use crate::ids::{DEFAULT_STREAM, TaskId};
use crate::testing::row::row_of;
use crate::tuple::{Attempt, Fields, Value};

/// A tuple to feed, with Storm's defaults: component `component`, stream `default`, task 1, fields
/// `field1`, `field2` and so on.
///
/// # Examples
/// ```
/// use squall::testing::TestTuple;
/// let plain = TestTuple::new(["storm"]);
/// let named = TestTuple::new(("storm", 7)).fields(["word", "count"]).from("split", "words");
/// ```
#[derive(Clone, Debug)]
pub struct TestTuple {
    pub(super) values: Vec<Value>,
    pub(super) meta: Arc<SourceMeta>,
    pub(super) attempt: Attempt,
}

impl TestTuple {
    /// A tuple of these values.
    pub fn new(values: impl Values) -> TestTuple {
        let row = row_of(values);
        let fields = (1..=row.len()).map(|n| format!("field{n}")).collect();
        let (component, stream) = (SmolStr::new("component"), SmolStr::new(DEFAULT_STREAM));
        let meta = SourceMeta { component, stream, stream_index: 0, task: TaskId(1), fields };
        TestTuple { values: row, meta: Arc::new(meta), attempt: Attempt::FIRST }
    }

    /// Sets the names of the values.
    ///
    /// # Panics
    /// When there are more or fewer names than values.
    #[must_use]
    pub fn fields(mut self, fields: impl Into<Fields>) -> TestTuple {
        let fields = fields.into();
        assert_eq!(fields.len(), self.values.len(), "a tuple has one name per value");
        Arc::make_mut(&mut self.meta).fields = fields;
        self
    }

    /// Sets the component and the stream that the tuple comes from.
    #[must_use]
    pub fn from(mut self, component: &str, stream: &str) -> TestTuple {
        let meta = Arc::make_mut(&mut self.meta);
        meta.component = SmolStr::new(component);
        meta.stream = SmolStr::new(stream);
        self
    }

    /// Sets the task that the tuple comes from.
    #[must_use]
    pub fn task(mut self, task: TaskId) -> TestTuple {
        Arc::make_mut(&mut self.meta).task = task;
        self
    }

    /// Sets how often the message of the tuple was replayed before.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> TestTuple {
        self.attempt = Attempt::new(attempt, false);
        self
    }
}
