//! Tuples as a bolt receives them: [`Input`] during `execute`, [`HeldTuple`] if the bolt keeps it.
//!
//! One file, because both types are read by the same methods; two fifths of it are examples.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::serde::de::DeserializeOwned;
use smol_str::SmolStr;

use crate::api::error::TaskError;
use crate::api::failure::FailureCause;
use crate::ids::TaskId;
use crate::tuple::{self, Anchor, Fields, FromValue, Timestamp, Value, ValueError, ValueType};

/// The origin of a batch of tuples, which is the same for all of them.
///
/// # Examples
/// [`TestTuple`](crate::testing::TestTuple) fills it in for a test:
/// ```
/// use squall::testing::TestTuple;
/// let tuple = TestTuple::new(["storm"]).fields(["word"]).from("split", "default");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceMeta {
    /// The component that emitted.
    pub component: SmolStr,
    /// The stream.
    pub stream: SmolStr,
    /// The index of the stream in the component's declaration.
    pub stream_index: u16,
    /// The task that emitted.
    pub task: TaskId,
    /// The names of the values.
    pub fields: Fields,
}

#[derive(Debug, thiserror::Error)]
enum FieldError {
    #[error("stream `{component}.{stream}` has no field `{field}` (fields: {fields})")]
    Unknown { component: SmolStr, stream: SmolStr, field: String, fields: String },
    #[error("field `{field}` of stream `{component}.{stream}` is {found}, not {wanted}")]
    Type { component: SmolStr, stream: SmolStr, field: String, found: ValueType, wanted: &'static str },
    #[error("field `{field}` of stream `{component}.{stream}`: {error}")]
    Unfit { component: SmolStr, stream: SmolStr, field: String, error: ValueError },
    #[error("tuple of stream `{component}.{stream}`: {reason}")]
    Struct { component: SmolStr, stream: SmolStr, reason: String },
}

/// Reading access, the same for both kinds of tuple.
macro_rules! tuple_access {
    () => {
        /// The component that emitted it.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     let is_late = input.source_component() == "retries";
        ///     assert!(is_late);
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(["storm"]).from("retries", "default"));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn source_component(&self) -> &str {
            &self.meta().component
        }

        /// The stream it was emitted to.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     match input.source_stream() {
        ///         "rejected" => assert_eq!(input.str("field1")?, "storm"),
        ///         other => return Err(TaskError::new(format!("nothing is expected from `{other}`"))),
        ///     }
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(["storm"]).from("parse", "rejected"));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn source_stream(&self) -> &str {
            &self.meta().stream
        }

        /// The task that emitted it.
        ///
        /// # Examples
        /// A bolt that answers the task that sent the tuple, over a direct stream:
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     out.emit_direct(input.source_task(), "answers", [input.i64("n")? + 1])?;
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none().direct_stream("answers", ["n"]), execute));
        /// # bolt.execute(TestTuple::new([41]).fields(["n"]).task(TaskId(7)));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// # let answers = bolt.take_emitted();
        /// # assert_eq!((answers[0].direct, answers[0].values[0].as_i64()), (Some(TaskId(7)), Some(42)));
        /// ```
        pub fn source_task(&self) -> TaskId {
            self.meta().task
        }

        /// The names of its values.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert!(input.fields().iter().eq(["word", "count"]));
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(("storm", 7)).fields(["word", "count"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn fields(&self) -> &Fields {
            &self.meta().fields
        }

        /// How many values it has.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert_eq!(input.len(), 2);
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(("storm", 7)));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn len(&self) -> usize {
            self.values().len()
        }

        /// Whether it has no values.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert!(input.is_empty(), "a stream without fields carries signals only");
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(Vec::<Value>::new()));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn is_empty(&self) -> bool {
            self.values().is_empty()
        }

        /// The value at a position, from 0.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert_eq!(input.get(1), Some(&Value::from(7)));
        ///     assert_eq!(input.get(2), None);
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(("storm", 7)));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn get(&self, index: usize) -> Option<&Value> {
            self.values().get(index)
        }

        /// The value of a field.
        ///
        /// # Errors
        /// When the stream has no such field.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert_eq!(input.field("count")?, &Value::from(7));
        ///     let missing = input.field("cuont").unwrap_err().to_string();
        ///     assert_eq!(missing, "stream `component.default` has no field `cuont` (fields: word, count)");
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(("storm", 7)).fields(["word", "count"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn field(&self, name: &str) -> Result<&Value, TaskError> {
            match self.fields().position(name) {
                Some(index) => Ok(&self.values()[index]),
                None => Err(unknown_field(self.meta(), name)),
            }
        }

        /// The value of a field as a Rust type, exactly: any integer type, `f64`, `bool`, `&str`,
        /// `String`, `char`, `SystemTime`, and an `Option` of these, which is `None` for null.
        ///
        /// # Errors
        /// When the stream has no such field, or its value has another type or does not fit.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     let port: u16 = input.to("port")?;
        ///     let size = input.to::<Option<u64>>("size")?.unwrap_or(0);
        ///     assert_eq!((port, size), (8080, 0));
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new((8080, Value::Null)).fields(["port", "size"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn to<'v, T: FromValue<'v>>(&'v self, name: &str) -> Result<T, TaskError> {
            let value = self.field(name)?;
            T::from_value(value).map_err(|error| unreadable(self.meta(), name, error))
        }

        /// The text of a field.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no string.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert_eq!(input.str("word")?, "storm");
        ///     assert!(input.str("count").is_err(), "a number is no text");
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(("storm", 7)).fields(["word", "count"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn str(&self, name: &str) -> Result<&str, TaskError> {
            let value = self.field(name)?;
            value.as_str().ok_or_else(|| wrong_type(self.meta(), name, value, "a string"))
        }

        /// The integer of a field.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no integer.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert_eq!(input.i64("count")?, 7);
        ///     assert!(input.i64("word").is_err());
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new(("storm", 7)).fields(["word", "count"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn i64(&self, name: &str) -> Result<i64, TaskError> {
            let value = self.field(name)?;
            value.as_i64().ok_or_else(|| wrong_type(self.meta(), name, value, "an i64"))
        }

        /// The number of a field; an integer if a double holds it exactly.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no number, or no double holds it.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert_eq!(input.f64("load")?, 0.5);
        ///     assert_eq!(input.f64("count")?, 7.0, "an integer that a double holds exactly");
        ///     assert!(input.f64("large").is_err(), "2^53 + 1 would be rounded");
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new((0.5, 7, (1_i64 << 53) + 1)).fields(["load", "count", "large"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn f64(&self, name: &str) -> Result<f64, TaskError> {
            self.to(name)
        }

        /// The bool of a field.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no bool.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert!(input.bool("is_new")?);
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new([true]).fields(["is_new"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn bool(&self, name: &str) -> Result<bool, TaskError> {
            let value = self.field(name)?;
            value.as_bool().ok_or_else(|| wrong_type(self.meta(), name, value, "a bool"))
        }

        /// The point in time of a field.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no timestamp.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     assert_eq!(input.timestamp("at")?.to_string(), "1970-01-01T00:00:01Z");
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new([Timestamp(1_000_000_000)]).fields(["at"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn timestamp(&self, name: &str) -> Result<Timestamp, TaskError> {
            let value = self.field(name)?;
            value.as_timestamp().ok_or_else(|| wrong_type(self.meta(), name, value, "a timestamp"))
        }

        /// The tuple as a struct, matched by field names.
        ///
        /// # Errors
        /// When the tuple lacks a field of the struct, or a field has another type.
        ///
        /// # Examples
        /// ```
        /// # use squall::prelude::*;
        /// # use squall::testing::{BoltHarness, TestTuple};
        /// #[derive(serde::Deserialize)]
        /// struct Hit {
        ///     path: String,
        ///     status: u16,
        ///     referrer: Option<String>,
        /// }
        ///
        /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
        ///     let hit: Hit = input.to_struct()?;
        ///     assert_eq!((&*hit.path, hit.status, hit.referrer), ("/", 200, None));
        ///     Ok(())
        /// };
        /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
        /// # bolt.execute(TestTuple::new((200, "/")).fields(["status", "path"]));
        /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
        /// ```
        pub fn to_struct<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
            tuple::serde::from_row(self.fields(), self.values())
                .map_err(|error| not_a_struct(self.meta(), error.to_string()))
        }
    };
}

#[cold]
fn unknown_field(meta: &SourceMeta, name: &str) -> TaskError {
    FieldError::Unknown {
        component: meta.component.clone(),
        stream: meta.stream.clone(),
        field: name.to_owned(),
        fields: meta.fields.to_string(),
    }
    .into()
}

#[cold]
fn wrong_type(meta: &SourceMeta, name: &str, value: &Value, wanted: &'static str) -> TaskError {
    FieldError::Type {
        component: meta.component.clone(),
        stream: meta.stream.clone(),
        field: name.to_owned(),
        found: value.value_type(),
        wanted,
    }
    .into()
}

#[cold]
fn unreadable(meta: &SourceMeta, name: &str, error: ValueError) -> TaskError {
    let (component, stream, field) = (meta.component.clone(), meta.stream.clone(), name.to_owned());
    match error {
        ValueError::Type { found, wanted } => {
            FieldError::Type { component, stream, field, found, wanted }.into()
        }
        error => FieldError::Unfit { component, stream, field, error }.into(),
    }
}

#[cold]
fn not_a_struct(meta: &SourceMeta, reason: String) -> TaskError {
    FieldError::Struct { component: meta.component.clone(), stream: meta.stream.clone(), reason }.into()
}

/// The row of a batch: the reader's own, or shared with others.
pub(crate) enum Row<'a> {
    Owned(&'a mut [Value]),
    Shared(&'a [Value]),
}

/// The tuple that `Bolt::execute` is called with.
///
/// It is borrowed for the call. To keep it, [`hold`](crate::api::Outputs::hold) it, which consumes it.
/// When `execute` returns, the runtime acks or fails an input that was not held.
///
/// # Examples
/// ```
/// # use squall::prelude::*;
/// # use squall::testing::{BoltHarness, TestTuple};
/// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
///     out.emit([input.str("word")?.to_uppercase()])?;
///     Ok(())
/// };
/// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["word"]), execute));
/// # bolt.execute(TestTuple::new(["storm"]).fields(["word"]));
/// # assert_eq!(bolt.errors(), [] as [&str; 0]);
/// # assert_eq!(bolt.take_rows("default"), [[Value::from("STORM")]]);
/// ```
pub struct Input<'a> {
    row: Row<'a>,
    meta: &'a Arc<SourceMeta>,
}

impl<'a> Input<'a> {
    /// For the runtime: a row that this reader owns.
    pub(crate) fn owned(row: &'a mut [Value], meta: &'a Arc<SourceMeta>) -> Input<'a> {
        Input { row: Row::Owned(row), meta }
    }

    /// For the runtime: a row that several readers share.
    pub(crate) fn shared(row: &'a [Value], meta: &'a Arc<SourceMeta>) -> Input<'a> {
        Input { row: Row::Shared(row), meta }
    }

    fn meta(&self) -> &SourceMeta {
        self.meta
    }

    /// Where it came from.
    pub(crate) fn source(&self) -> Arc<SourceMeta> {
        Arc::clone(self.meta)
    }

    /// All values, in the order of the fields.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, _: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     assert_eq!(input.values(), [Value::from("storm"), Value::from(7)]);
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
    /// # bolt.execute(TestTuple::new(("storm", 7)));
    /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
    /// ```
    #[inline]
    pub fn values(&self) -> &[Value] {
        match &self.row {
            Row::Owned(row) => row,
            Row::Shared(row) => row,
        }
    }

    tuple_access!();

    /// Takes out the value at a position and leaves null there. If this task is the only reader, the value
    /// is not copied. Returns `Null` if there is no such position.
    ///
    /// # Examples
    /// The large value is moved and not copied:
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |mut input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let body = input.take(0);
    ///     out.emit((body, "seen"))?;
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["body", "note"]), execute));
    /// # bolt.execute(TestTuple::new(["x".repeat(1000)]));
    /// # assert_eq!(bolt.take_rows("default")[0][0], Value::from("x".repeat(1000)));
    /// ```
    #[inline]
    pub fn take(&mut self, index: usize) -> Value {
        match &mut self.row {
            Row::Owned(row) => row.get_mut(index).map(std::mem::take).unwrap_or_default(),
            Row::Shared(row) => row.get(index).cloned().unwrap_or_default(),
        }
    }

    /// Takes out all values. If this task is the only reader, they are not copied.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let mut row = input.into_values();
    ///     row.reverse();
    ///     out.emit(row)?;
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::new(["count", "word"]), execute));
    /// # bolt.execute(TestTuple::new(("storm", 7)));
    /// # assert_eq!(bolt.errors(), [] as [&str; 0]);
    /// # assert_eq!(bolt.take_rows("default"), [[Value::from(7), Value::from("storm")]]);
    /// ```
    pub fn into_values(mut self) -> Vec<Value> {
        (0..self.len()).map(|index| self.take(index)).collect()
    }

    /// For the runtime: values and origin, to be held.
    pub(crate) fn into_parts(self) -> (Vec<Value>, Arc<SourceMeta>) {
        let meta = Arc::clone(self.meta);
        (self.into_values(), meta)
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{:?}", self.meta.component, self.meta.stream, self.values())
    }
}

/// A held tuple that has failed, for the runtime.
#[derive(Debug)]
pub struct FailedHold {
    /// Its values.
    pub values: Vec<Value>,
    /// Where it came from.
    pub meta: Arc<SourceMeta>,
    /// What it is anchored to.
    pub anchors: Vec<Anchor>,
    /// Why it failed: user code failed it, or dropped it without `ack` or `fail`.
    pub cause: FailureCause,
    /// The same in words, for its dead letter.
    pub why: String,
}

/// The held tuples of one task: how many there are, and which have failed.
///
/// A [`HeldTuple`] writes it when it is created and when it is dropped, possibly on another thread. The
/// executor of the task takes the tuples that were dropped without `ack` or `fail`, and fails them. Where a
/// bolt takes the dead letters of the task, or a failed tuple ends the run, the executor also takes the tuples that
/// user code failed.
#[derive(Debug, Default)]
pub struct HoldRegistry {
    failed: Mutex<Vec<FailedHold>>,
    keeps_failed: AtomicBool,
    held: AtomicI64,
    keeps_copies: AtomicBool,
    /// Where checkpoints are taken: what is held now, in the order in which it was held.
    copies: Mutex<HeldCopies>,
}

#[derive(Debug, Default)]
struct HeldCopies {
    next: u64,
    rows: BTreeMap<u64, (Vec<Value>, Arc<SourceMeta>)>,
}

impl HoldRegistry {
    /// From now on, tuples that user code fails are kept for [`HoldRegistry::take_failed`], too.
    pub fn keep_failed(&self) {
        self.keeps_failed.store(true, Ordering::SeqCst);
    }

    /// One that keeps the same, of tuples that are held from now on. Those of before have nothing to do with it.
    pub(crate) fn renewed(&self) -> HoldRegistry {
        let renewed = HoldRegistry::default();
        renewed.keeps_failed.store(self.keeps_failed.load(Ordering::SeqCst), Ordering::SeqCst);
        renewed.keeps_copies.store(self.keeps_copies.load(Ordering::SeqCst), Ordering::SeqCst);
        renewed
    }

    /// From now on, a copy of each held tuple is kept for [`copies`](HoldRegistry::copies).
    pub fn keep_copies(&self) {
        self.keeps_copies.store(true, Ordering::SeqCst);
    }

    /// What is held now, in the order in which it was held.
    pub fn copies<T>(&self, of: impl Fn(&[Value], &SourceMeta) -> T) -> Vec<T> {
        lock(&self.copies).rows.values().map(|(values, meta)| of(values, meta)).collect()
    }

    /// Keeps a copy of a tuple that is held from now on, and returns its number.
    fn keep_copy(&self, values: &[Value], meta: &Arc<SourceMeta>) -> Option<u64> {
        if !self.keeps_copies.load(Ordering::SeqCst) {
            return None;
        }
        let mut copies = lock(&self.copies);
        let number = copies.next;
        copies.next += 1;
        copies.rows.insert(number, (values.to_vec(), Arc::clone(meta)));
        Some(number)
    }

    /// Takes the tuples that failed since the last call.
    pub fn take_failed(&self) -> Vec<FailedHold> {
        std::mem::take(&mut *lock(&self.failed))
    }

    /// Keeps a tuple that user code failed for the executor, with the reason for its dead letter. Gives back its
    /// anchors instead if the executor does not take such tuples.
    pub(crate) fn fail(&self, mut held: HeldTuple, why: &str) -> Option<Vec<Anchor>> {
        if !self.keeps_failed.load(Ordering::SeqCst) {
            return Some(held.settle());
        }
        self.keep(&mut held, FailureCause::Failed, why);
        None
    }

    fn keep(&self, held: &mut HeldTuple, cause: FailureCause, why: &str) {
        held.is_settled = true;
        let (values, meta) = (std::mem::take(&mut held.values), Arc::clone(&held.meta));
        let anchors = std::mem::take(held.anchors.get_mut());
        lock(&self.failed).push(FailedHold { values, meta, anchors, cause, why: why.to_owned() });
    }

    /// The number of tuples that are held now.
    pub fn held(&self) -> i64 {
        self.held.load(Ordering::SeqCst)
    }
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic between lock and unlock cannot leave the list half-written.
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A tuple that a bolt keeps beyond `execute`. It stays open in its tree until it is given to
/// [`Outputs::ack`](crate::api::Outputs::ack) or [`Outputs::fail`](crate::api::Outputs::fail). Both
/// consume it, so acking twice does not compile. If it is dropped without either, it fails.
///
/// # Examples
/// A bolt that emits two tuples as one, anchored to both:
/// ```
/// use squall::prelude::*;
///
/// struct Pairs {
///     first: Option<HeldTuple>,
/// }
///
/// impl Bolt for Pairs {
///     fn declare(&self) -> Streams {
///         Streams::new(["left", "right"])
///     }
///
///     fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
///         let second = out.hold(input);
///         let Some(first) = self.first.take() else {
///             self.first = Some(second);
///             return Ok(());
///         };
///         out.emit_anchored("default", &[&first, &second], (first.i64("n")?, second.i64("n")?))?;
///         out.ack(first);
///         out.ack(second);
///         Ok(())
///     }
/// }
/// # use squall::testing::{BoltHarness, TestTuple};
/// # let mut pairs = BoltHarness::new(Pairs { first: None });
/// # pairs.execute_all([1, 2].map(|n| TestTuple::new([n]).fields(["n"])));
/// # assert_eq!((pairs.take_emitted()[0].anchors.len(), pairs.acked()), (2, &[0, 1][..]));
/// ```
/// ```compile_fail
/// # use squall::prelude::*;
/// fn twice(held: HeldTuple, out: &mut Outputs<'_>) {
///     out.ack(held);
///     out.ack(held); // use of moved value
/// }
/// ```
pub struct HeldTuple {
    values: Vec<Value>,
    meta: Arc<SourceMeta>,
    /// Empty for an untracked tuple, and once the tuple was acked or failed. Every emit that is anchored
    /// to the tuple replaces their edges by new ones (see `OutputCollector::renew_edge`).
    anchors: RefCell<Vec<Anchor>>,
    registry: Arc<HoldRegistry>,
    /// The number of its copy, where checkpoints are taken.
    copy: Option<u64>,
    /// Whether it was acked or failed.
    is_settled: bool,
}

impl HeldTuple {
    /// For the runtime.
    pub(crate) fn new(
        values: Vec<Value>,
        meta: Arc<SourceMeta>,
        anchors: Vec<Anchor>,
        registry: Arc<HoldRegistry>,
    ) -> HeldTuple {
        registry.held.fetch_add(1, Ordering::SeqCst);
        let copy = registry.keep_copy(&values, &meta);
        HeldTuple { values, meta, anchors: RefCell::new(anchors), registry, copy, is_settled: false }
    }

    fn meta(&self) -> &SourceMeta {
        &self.meta
    }

    /// All values, in the order of the fields.
    ///
    /// # Examples
    /// ```
    /// # use squall::prelude::*;
    /// # use squall::testing::{BoltHarness, TestTuple};
    /// let execute = |input: Input<'_>, out: &mut Outputs<'_>| -> Result<(), TaskError> {
    ///     let held = out.hold(input);
    ///     assert_eq!(held.values(), [Value::from("storm"), Value::from(7)]);
    ///     out.ack(held);
    ///     Ok(())
    /// };
    /// # let mut bolt = BoltHarness::new(bolt_fn(Streams::none(), execute));
    /// # bolt.execute(TestTuple::new(("storm", 7)));
    /// # assert_eq!((bolt.errors().len(), bolt.acked()), (0, &[0][..]));
    /// ```
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    tuple_access!();

    pub(crate) fn anchors(&self) -> &RefCell<Vec<Anchor>> {
        &self.anchors
    }

    /// For the runtime: takes the anchors, so that dropping the tuple does not fail it.
    pub(crate) fn settle(mut self) -> Vec<Anchor> {
        self.is_settled = true;
        std::mem::take(self.anchors.get_mut())
    }
}

impl Drop for HeldTuple {
    fn drop(&mut self) {
        self.registry.held.fetch_sub(1, Ordering::SeqCst);
        if let Some(number) = self.copy {
            lock(&self.registry.copies).rows.remove(&number);
        }
        if !self.is_settled {
            let registry = Arc::clone(&self.registry);
            registry.keep(self, FailureCause::Abandoned, "it was held, and then dropped");
        }
    }
}

impl fmt::Debug for HeldTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{:?}", self.meta.component, self.meta.stream, self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, ::serde::Deserialize)]
    struct Hit {
        path: String,
        status: u16,
        referrer: Option<String>,
    }

    fn meta(fields: &[&str]) -> Arc<SourceMeta> {
        let fields = fields.iter().copied().collect();
        let (component, stream) = ("parse".into(), "hits".into());
        Arc::new(SourceMeta { component, stream, stream_index: 0, task: TaskId(7), fields })
    }

    /// Asserts the same of a tuple in passing and of one that is held.
    fn check<T: PartialEq + fmt::Debug>(
        fields: &[&str],
        row: &[Value],
        of_input: impl Fn(&Input<'_>) -> T,
        of_held: impl Fn(&HeldTuple) -> T,
        expected: T,
    ) {
        let meta = meta(fields);
        assert_eq!(of_input(&Input::shared(row, &meta)), expected, "in passing");
        assert_eq!(of_input(&Input::owned(&mut row.to_vec(), &meta)), expected, "in passing, its own");
        let held = HeldTuple::new(row.to_vec(), meta, Vec::new(), Arc::default());
        assert_eq!(of_held(&held), expected, "held");
    }

    #[test]
    fn a_tuple_says_where_it_comes_from() {
        let expected = ("parse".to_owned(), "hits".to_owned(), TaskId(7));
        check(
            &["path"],
            &["/".into()],
            |input| {
                (input.source_component().to_owned(), input.source_stream().to_owned(), input.source_task())
            },
            |held| (held.source_component().to_owned(), held.source_stream().to_owned(), held.source_task()),
            expected,
        );
    }

    #[test]
    fn a_tuple_becomes_a_struct_by_the_names_of_its_fields() {
        let check = |fields: &[&str], row: &[Value], expected: Result<Hit, &str>| {
            let expected = expected.map_err(|reason| format!("tuple of stream `parse.hits`: {reason}"));
            let text = |error: TaskError| error.to_string();
            check(
                fields,
                row,
                |input| input.to_struct::<Hit>().map_err(text),
                |held| held.to_struct::<Hit>().map_err(text),
                expected,
            );
        };
        let hit = |referrer: Option<&str>| Hit {
            path: "/".to_owned(),
            status: 200,
            referrer: referrer.map(str::to_owned),
        };
        check(&["status", "path"], &[200.into(), "/".into()], Ok(hit(None)));
        check(
            &["referrer", "status", "agent", "path"],
            &["a".into(), 200.into(), "x".into(), "/".into()],
            Ok(hit(Some("a"))),
        );
        check(&["path"], &["/".into()], Err("missing field `status`"));
        check(
            &["path", "status"],
            &["/".into(), 70_000.into()],
            Err("`status`: invalid value: integer `70000`, expected u16"),
        );
    }
}
