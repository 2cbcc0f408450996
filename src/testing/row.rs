//! Values of a test as a row.

use crate::api::Values;
use crate::tuple::Value;

/// The row of a test's values.
///
/// # Panics
/// When one does not fit into a value.
#[track_caller]
pub(super) fn row_of(values: impl Values) -> Vec<Value> {
    let mut row = Vec::new();
    values.push_into(&mut row).unwrap_or_else(|error| panic!("a tuple of a test: {error}"));
    row
}
