//! Tuples as a bolt meets them: in passing ([`Input`]) or kept ([`HeldTuple`]).

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use ::serde::de::DeserializeOwned;
use smol_str::SmolStr;

use crate::api::error::TaskError;
use crate::ids::TaskId;
use crate::tuple::{self, Anchor, Fields, FromValue, Timestamp, Value, ValueError, ValueType};

/// Where a batch of tuples comes from; the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceMeta {
    /// The component that emitted.
    pub component: SmolStr,
    /// The stream.
    pub stream: SmolStr,
    /// Its place among the streams of the component.
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
        pub fn source_component(&self) -> &str {
            &self.meta().component
        }

        /// The stream it was emitted to.
        pub fn source_stream(&self) -> &str {
            &self.meta().stream
        }

        /// The task that emitted it.
        pub fn source_task(&self) -> TaskId {
            self.meta().task
        }

        /// The names of its values.
        pub fn fields(&self) -> &Fields {
            &self.meta().fields
        }

        /// How many values it has.
        pub fn len(&self) -> usize {
            self.values().len()
        }

        /// Whether it has no values.
        pub fn is_empty(&self) -> bool {
            self.values().is_empty()
        }

        /// The value at a position, from 0.
        pub fn get(&self, index: usize) -> Option<&Value> {
            self.values().get(index)
        }

        /// The value of a field.
        ///
        /// # Errors
        /// When the stream has no such field.
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
        /// ```
        /// # use squall::prelude::*;
        /// fn execute(input: Input<'_>) -> Result<(), TaskError> {
        ///     let port: u16 = input.to("port")?;
        ///     let size = input.to::<Option<u64>>("size")?.unwrap_or(0);
        /// #   let _ = (port, size);
        ///     Ok(())
        /// }
        /// ```
        pub fn to<'v, T: FromValue<'v>>(&'v self, name: &str) -> Result<T, TaskError> {
            let value = self.field(name)?;
            T::from_value(value).map_err(|error| unreadable(self.meta(), name, error))
        }

        /// The text of a field.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no string.
        pub fn str(&self, name: &str) -> Result<&str, TaskError> {
            let value = self.field(name)?;
            value.as_str().ok_or_else(|| wrong_type(self.meta(), name, value, "a string"))
        }

        /// The integer of a field.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no integer.
        pub fn i64(&self, name: &str) -> Result<i64, TaskError> {
            let value = self.field(name)?;
            value.as_i64().ok_or_else(|| wrong_type(self.meta(), name, value, "an i64"))
        }

        /// The number of a field; an integer if a double holds it exactly.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no number, or no double holds it.
        pub fn f64(&self, name: &str) -> Result<f64, TaskError> {
            self.to(name)
        }

        /// The bool of a field.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no bool.
        pub fn bool(&self, name: &str) -> Result<bool, TaskError> {
            let value = self.field(name)?;
            value.as_bool().ok_or_else(|| wrong_type(self.meta(), name, value, "a bool"))
        }

        /// The point in time of a field.
        ///
        /// # Errors
        /// When the stream has no such field, or it is no timestamp.
        pub fn timestamp(&self, name: &str) -> Result<Timestamp, TaskError> {
            let value = self.field(name)?;
            value.as_timestamp().ok_or_else(|| wrong_type(self.meta(), name, value, "a timestamp"))
        }

        /// The tuple as a struct, matched by field names.
        ///
        /// # Errors
        /// When the struct wants a field or type that the tuple does not have.
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

/// A tuple on its way through `Bolt::execute`.
///
/// It lends itself: to keep it, [`hold`](crate::api::Outputs::hold) it, which consumes it. When
/// `execute` returns, an input that was not held is acked or failed by the runtime.
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

    /// All values, in the order of the fields.
    #[inline]
    pub fn values(&self) -> &[Value] {
        match &self.row {
            Row::Owned(row) => row,
            Row::Shared(row) => row,
        }
    }

    tuple_access!();

    /// Takes the value at a position out, leaving null, without a copy if this task is the only
    /// reader. `Null` if there is no such position.
    #[inline]
    pub fn take(&mut self, index: usize) -> Value {
        match &mut self.row {
            Row::Owned(row) => row.get_mut(index).map(std::mem::take).unwrap_or_default(),
            Row::Shared(row) => row.get(index).cloned().unwrap_or_default(),
        }
    }

    /// Takes all values out, without a copy if this task is the only reader.
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

/// What became of a held tuple that was dropped without `ack` or `fail`, for the runtime.
#[derive(Debug)]
pub struct Settled {
    /// The anchors to fail.
    pub anchors: Vec<Anchor>,
}

/// The tuples of one task that were dropped while held; the runtime fails them at its next step.
#[derive(Debug, Default)]
pub struct HoldRegistry {
    abandoned: Mutex<Vec<Settled>>,
    /// Tuples held at present.
    held: AtomicI64,
}

impl HoldRegistry {
    /// Takes what was dropped since the last call.
    pub fn take_abandoned(&self) -> Vec<Settled> {
        std::mem::take(&mut *self.lock())
    }

    /// Tuples that are held at present.
    pub fn held(&self) -> i64 {
        self.held.load(Ordering::SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Settled>> {
        // A panic between lock and unlock cannot leave the list half-written.
        self.abandoned.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A tuple that a bolt keeps beyond `execute`. It stays open in its tree until it is given to
/// [`Outputs::ack`](crate::api::Outputs::ack) or [`Outputs::fail`](crate::api::Outputs::fail), both
/// of which consume it: acking twice does not compile. Dropped without either, it fails.
///
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
    /// Empty for an untracked tuple, and once the tuple is settled. Their edges are renewed by every
    /// emit that is anchored to the tuple.
    anchors: RefCell<Vec<Anchor>>,
    registry: Arc<HoldRegistry>,
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
        HeldTuple { values, meta, anchors: RefCell::new(anchors), registry }
    }

    fn meta(&self) -> &SourceMeta {
        &self.meta
    }

    /// All values, in the order of the fields.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    tuple_access!();

    pub(crate) fn anchors(&self) -> &RefCell<Vec<Anchor>> {
        &self.anchors
    }

    /// For the runtime: the anchors, so that dropping the tuple no longer fails it.
    pub(crate) fn settle(mut self) -> Vec<Anchor> {
        std::mem::take(self.anchors.get_mut())
    }
}

impl Drop for HeldTuple {
    fn drop(&mut self) {
        self.registry.held.fetch_sub(1, Ordering::SeqCst);
        let anchors = std::mem::take(self.anchors.get_mut());
        if !anchors.is_empty() {
            self.registry.lock().push(Settled { anchors });
        }
    }
}

impl fmt::Debug for HeldTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{:?}", self.meta.component, self.meta.stream, self.values)
    }
}
