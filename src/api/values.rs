//! What can be emitted: rows of values, and how they are written into a batch.

use crate::api::input::Input;
use crate::tuple::{IntoValue, Value, ValueError};

/// Something that can be emitted: arrays and Rust tuples of types that convert into [`Value`],
/// slices and vectors of values. A `u64` or a `SystemTime` may not fit into a value; the emit then
/// fails.
///
/// # Examples
/// ```
/// # use squall::prelude::*;
/// fn all_the_same(out: &mut Outputs<'_>) -> Result<(), EmitError> {
///     out.emit(("storm", 1))?;
///     out.emit([Value::from("storm"), Value::from(1)])?;
///     out.emit(vec![Value::from("storm"), Value::from(1)])?;
///     out.emit(("storm", 1_u64)) // an `EmitError::Value` above `i64::MAX`
/// }
/// ```
pub trait Values {
    /// Appends the values to a row under construction.
    ///
    /// # Errors
    /// When one does not fit into a value. The caller then removes what was appended.
    ///
    /// # Examples
    /// A type of the program's own that can be emitted:
    /// ```
    /// use squall::prelude::*;
    /// use squall::tuple::ValueError;
    ///
    /// struct Point {
    ///     x: f64,
    ///     y: f64,
    /// }
    ///
    /// impl Values for Point {
    ///     fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
    ///         row.extend([Value::from(self.x), Value::from(self.y)]);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut row = Vec::new();
    /// Point { x: 1.0, y: -1.0 }.push_into(&mut row)?;
    /// assert_eq!(row, [Value::from(1.0), Value::from(-1.0)]);
    /// # Ok::<(), ValueError>(())
    /// ```
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError>;
}

impl<T: IntoValue, const N: usize> Values for [T; N] {
    #[inline]
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        let mut refused = None;
        if N > 1 {
            row.reserve(N);
        }
        for value in self {
            value.push_into(row, &mut refused);
        }
        refused.map_or(Ok(()), Err)
    }
}

impl Values for Vec<Value> {
    #[inline]
    fn push_into(mut self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        row.append(&mut self);
        Ok(())
    }
}

impl Values for &[Value] {
    #[inline]
    fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        row.reserve(self.len());
        for value in self {
            value.push_into(row, &mut None);
        }
        Ok(())
    }
}

impl Values for Input<'_> {
    /// All values of the input, moved if this task is its only reader.
    #[inline]
    fn push_into(mut self, row: &mut Vec<Value>) -> Result<(), ValueError> {
        for index in 0..self.len() {
            row.push(self.take(index));
        }
        Ok(())
    }
}

macro_rules! values_for_tuples {
    ($(($($t:ident)*))*) => {
        $(impl<$($t: IntoValue),*> Values for ($($t,)*) {
            #[inline]
            #[allow(non_snake_case, reason = "the type parameters double as variable names")]
            fn push_into(self, row: &mut Vec<Value>) -> Result<(), ValueError> {
                let ($($t,)*) = self;
                let mut refused = None;
                $($t.push_into(row, &mut refused);)*
                refused.map_or(Ok(()), Err)
            }
        })*
    };
}

values_for_tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H)
}
