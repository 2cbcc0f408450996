//! What `aggregate` makes of many values: one that can be added to what is stored.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{MapKey, TaskError};
use crate::tuple::{Timestamp, Value};

/// What is made of the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// How many tuples there are.
    Count,
    /// The sum of whole numbers, or of numbers.
    Sum,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
}

/// A value as state keeps it, with its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Part {
    Bool(bool),
    I64(i64),
    F64(f64),
    Str(String),
    Timestamp(i64),
}

impl Part {
    pub(super) fn value(&self) -> Value {
        match self {
            Part::Bool(value) => Value::Bool(*value),
            Part::I64(value) => Value::I64(*value),
            Part::F64(value) => Value::F64(*value),
            Part::Str(value) => Value::str(value),
            Part::Timestamp(value) => Value::Timestamp(Timestamp(*value)),
        }
    }

    fn of(value: &Value) -> Option<Part> {
        match value {
            Value::Bool(value) => Some(Part::Bool(*value)),
            Value::I64(value) => Some(Part::I64(*value)),
            Value::F64(value) => Some(Part::F64(*value)),
            Value::Str(value) => Some(Part::Str(value.as_str().to_owned())),
            Value::Timestamp(value) => Some(Part::Timestamp(value.0)),
            Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
        }
    }
}

impl Function {
    /// What one tuple counts. `None`: nothing, because its field is null.
    ///
    /// # Errors
    /// When the function is not for values of this type.
    pub(super) fn part(self, field: &Value) -> Result<Option<Part>, String> {
        let part = match (self, field) {
            (Function::Count, _) => return Ok(Some(Part::I64(1))),
            (_, Value::Null) => return Ok(None),
            (Function::Sum, Value::I64(_) | Value::F64(_)) | (Function::Min | Function::Max, _) => {
                Part::of(field)
            }
            (Function::Sum, _) => None,
        };
        let wanted =
            if self == Function::Sum { "a number" } else { "a number, a text, a bool or a timestamp" };
        let why = || format!("is of type {}, and has to be {wanted}", field.value_type());
        part.map(Some).ok_or_else(why)
    }

    /// Both in one.
    ///
    /// # Errors
    /// When the sum is beyond the range of whole numbers, or there is nothing to add to.
    pub(super) fn combined(self, stored: &Value, part: &Part) -> Result<Value, String> {
        let value = part.value();
        if stored.is_null() {
            return Ok(value);
        }
        match self {
            Function::Count | Function::Sum => sum(stored, &value),
            Function::Min => Ok(if order(&value, stored).is_lt() { value } else { stored.clone() }),
            Function::Max => Ok(if order(&value, stored).is_gt() { value } else { stored.clone() }),
        }
    }

    /// Both parts in one.
    ///
    /// # Errors
    /// As [`combined`](Function::combined).
    pub(super) fn combined_parts(self, earlier: &Part, part: &Part) -> Result<Part, String> {
        let both = self.combined(&earlier.value(), part)?;
        Part::of(&both).ok_or_else(|| "is no value that can be kept".to_owned())
    }
}

/// Adds a part to the total of a key.
pub(super) fn adding<'a>(
    function: Function,
    key: &'a MapKey,
    part: &'a Part,
) -> impl Fn(&Value) -> Result<Value, TaskError> + 'a {
    move |stored| {
        function.combined(stored, part).map_err(|why| {
            TaskError::fatal(format!("the total of {} {why}", Value::list(key.iter().cloned())))
        })
    }
}

fn sum(stored: &Value, more: &Value) -> Result<Value, String> {
    if let (Value::I64(stored), Value::I64(more)) = (stored, more) {
        let sum = stored.checked_add(*more).map(Value::I64);
        return sum.ok_or_else(|| format!("would not fit an i64: {stored} + {more}"));
    }
    match (number(stored), number(more)) {
        (Some(stored), Some(more)) => Ok(Value::F64(stored + more)),
        _ => Err(format!("is {stored} in the store, to which {more} cannot be added")),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::I64(value) => Some(*value as f64),
        Value::F64(value) => Some(*value),
        _ => None,
    }
}

/// Numbers by what they are worth, other values as all values are ordered.
fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::I64(_), Value::F64(_)) | (Value::F64(_), Value::I64(_)) => {
            let (one, other) = (number(one), number(other));
            one.partial_cmp(&other).unwrap_or(Ordering::Equal)
        }
        _ => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_added_to_what_is_stored() {
        let check = |function: Function, values: &[Value], expected: Value| {
            let mut stored = Value::Null;
            for value in values {
                if let Some(part) = function.part(value).unwrap_or_else(|error| panic!("{error}")) {
                    stored = function.combined(&stored, &part).unwrap_or_else(|error| panic!("{error}"));
                }
            }
            assert_eq!(stored, expected, "{function:?} of {values:?}");
        };
        let numbers = || [Value::from(3), Value::Null, Value::from(-2), Value::from(10)];
        check(Function::Count, &numbers(), Value::from(4));
        check(Function::Sum, &numbers(), Value::from(11));
        check(Function::Min, &numbers(), Value::from(-2));
        check(Function::Max, &numbers(), Value::from(10));
        check(Function::Sum, &[Value::Null], Value::Null);
        check(Function::Sum, &[Value::from(1), Value::from(0.5)], Value::from(1.5));
        check(Function::Max, &[Value::from(1), Value::from(1.5), Value::from(1)], Value::from(1.5));
        check(Function::Min, &[Value::from("b"), Value::from("a")], Value::from("a"));
        let times = [Value::Timestamp(Timestamp(5)), Value::Timestamp(Timestamp(7))];
        check(Function::Max, &times, Value::Timestamp(Timestamp(7)));
    }

    #[test]
    fn what_cannot_be_aggregated_is_explained() {
        let error = Function::Sum.part(&Value::from("x")).expect_err("a text");
        assert_eq!(error, "is of type string, and has to be a number");
        assert!(Function::Min.part(&Value::list([])).is_err());
        let error = Function::Sum.combined(&Value::from(i64::MAX), &Part::I64(1)).expect_err("too large");
        assert!(error.contains("would not fit an i64"), "{error}");
        assert!(Function::Sum.combined(&Value::from("x"), &Part::I64(1)).is_err());
    }
}
