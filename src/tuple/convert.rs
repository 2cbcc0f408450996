//! Rust values into a [`Value`] and back: exactly, or not at all.
//!
//! A type that always fits converts by `From` (see `value`). A type that is wider than the types of a
//! value may not fit; it converts by `TryFrom`. An emit checks such values, and if one does not fit, the
//! emit fails with an error that names it. Nothing is rounded, wrapped, or saturated.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smol_str::SmolStr;

use crate::tuple::text::Text;
use crate::tuple::value::{Map, Timestamp, Value, ValueType};

/// Why a Rust value does not convert into a [`Value`], or back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// It has the right kind but is too large, too small or too precise.
    #[error("{value} does not fit into {into} exactly")]
    Unfit {
        /// The value that does not fit, as text.
        value: String,
        /// The type that it does not fit.
        into: &'static str,
    },
    /// The value has another type.
    #[error("it is {found}, not {wanted}")]
    Type {
        /// The type it has.
        found: ValueType,
        /// The type that was asked for.
        wanted: &'static str,
    },
}

fn unfit(value: impl fmt::Display, into: &'static str) -> ValueError {
    ValueError::Unfit { value: value.to_string(), into }
}

/// A type that can be emitted in a tuple: the types that [`Value`] implements `From` for, the types that may
/// not fit, whose values are checked (`u64`, `usize`, `i128`, `u128`, [`SystemTime`]), and an `Option` of one
/// of them. A program implements it for types of its own that it emits.
///
/// # Examples
/// ```
/// use squall::tuple::{IntoValue, ValueError};
/// use squall::Value;
///
/// assert_eq!(7_u64.try_into_value(), Ok(Value::I64(7)));
/// assert_eq!("storm".try_into_value(), Ok(Value::from("storm")));
/// let error = u64::MAX.try_into_value().unwrap_err();
/// assert_eq!(error.to_string(), "18446744073709551615 does not fit into an i64 exactly");
///
/// struct Celsius(f64);
///
/// impl IntoValue for Celsius {
///     fn into_value(self, _refused: &mut Option<ValueError>) -> Value {
///         Value::from(self.0)
///     }
/// }
/// assert_eq!(Celsius(21.5).try_into_value(), Ok(Value::F64(21.5)));
/// ```
pub trait IntoValue: Sized {
    /// The value. When it does not fit, returns null and sets `refused` to the error.
    ///
    /// `refused` is a parameter and not a `Result`, because a type that always fits then costs nothing: the
    /// value is written directly to its final place, and no result is checked.
    fn into_value(self, refused: &mut Option<ValueError>) -> Value;

    /// Appends the value to a row under construction. When it does not fit, appends null and sets `refused`
    /// to the error.
    #[inline]
    fn push_into(self, row: &mut Vec<Value>, refused: &mut Option<ValueError>) {
        // `extend` with an iterator of known length writes the value to its final place. `push` would build
        // the value on the stack first, and reading it back at once stalls the processor.
        row.extend(std::iter::once_with(|| self.into_value(refused)));
    }

    /// The value.
    ///
    /// # Errors
    /// When it does not fit.
    fn try_into_value(self) -> Result<Value, ValueError> {
        let mut refused = None;
        let value = self.into_value(&mut refused);
        refused.map_or(Ok(value), Err)
    }
}

/// Types that always fit.
macro_rules! fitting {
    ($($from:ty)*) => {
        $(impl IntoValue for $from {
            #[inline]
            fn into_value(self, _refused: &mut Option<ValueError>) -> Value {
                self.into()
            }
        })*
    };
}

fitting! {
    () bool i64 i32 i16 i8 isize u32 u16 u8 f64 f32 char
    Text SmolStr &SmolStr &[u8] Vec<u8> Arc<[u8]> Vec<Value> Map Timestamp Value
}

/// Types that may be short text. Its bytes are written straight to where they stay: see `text`.
macro_rules! texts {
    ($($from:ty => $push:expr;)*) => {
        $(impl IntoValue for $from {
            #[inline]
            fn into_value(self, _refused: &mut Option<ValueError>) -> Value {
                self.into()
            }

            #[inline]
            fn push_into(self, row: &mut Vec<Value>, _refused: &mut Option<ValueError>) {
                $push(row, self);
            }
        })*
    };
}

texts! {
    &str => |row, text| push_text(row, |pushed| pushed.set(text));
    String => |row, text: String| push_text(row, |pushed| pushed.set(&text));
    &String => |row, text| push_text(row, |pushed| pushed.set(text));
    &Text => push_text_copy;
    &Value => push_copy;
}

/// Appends an empty text, to which `write` then writes.
#[inline]
pub(super) fn push_text(row: &mut Vec<Value>, write: impl FnOnce(&mut Text)) {
    row.push(Value::Str(Text::EMPTY));
    if let Some(Value::Str(pushed)) = row.last_mut() {
        write(pushed);
    }
}

#[inline]
fn push_text_copy(row: &mut Vec<Value>, text: &Text) {
    match text.inline_copy() {
        Some(copy) => row.push(Value::Str(copy)),
        None => push_shared(row, text),
    }
}

/// A function of its own, so that the compiler copies short text from place to place.
#[inline(never)]
fn push_shared(row: &mut Vec<Value>, text: &Text) {
    row.push(Value::Str(text.clone()));
}

#[inline]
fn push_copy(row: &mut Vec<Value>, value: &Value) {
    match value {
        Value::Str(text) => push_text_copy(row, text),
        other => push_other(row, other),
    }
}

/// As [`push_shared`].
#[inline(never)]
fn push_other(row: &mut Vec<Value>, value: &Value) {
    row.push(value.clone());
}

impl<T: IntoValue> IntoValue for Option<T> {
    #[inline]
    fn into_value(self, refused: &mut Option<ValueError>) -> Value {
        self.map_or(Value::Null, |some| some.into_value(refused))
    }
}

/// Types that may not fit: implements `TryFrom` by the function, and the conversion that follows from it.
macro_rules! checked {
    ($($from:ty => $convert:expr;)*) => {
        $(
            impl TryFrom<$from> for Value {
                type Error = ValueError;

                fn try_from(from: $from) -> Result<Value, ValueError> {
                    $convert(from)
                }
            }

            impl IntoValue for $from {
                #[inline]
                fn into_value(self, refused: &mut Option<ValueError>) -> Value {
                    match Value::try_from(self) {
                        Ok(value) => value,
                        Err(error) => {
                            *refused = Some(error);
                            Value::Null
                        }
                    }
                }
            }
        )*
    };
}

checked! {
    u64 => integer;
    usize => integer;
    i128 => integer;
    u128 => integer;
    SystemTime => |time| Timestamp::try_from(time).map(Value::Timestamp);
}

fn integer<T: TryInto<i64> + fmt::Display + Copy>(number: T) -> Result<Value, ValueError> {
    number.try_into().map(Value::I64).map_err(|_| unfit(number, "an i64"))
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = ValueError;

    /// To the nanosecond, before 1970 too.
    fn try_from(time: SystemTime) -> Result<Timestamp, ValueError> {
        let (sign, distance) = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => (1, after),
            Err(before) => (-1, before.duration()),
        };
        // At most 2^64 seconds, so 2^94 nanoseconds.
        let nanoseconds = sign * distance.as_nanos() as i128;
        i64::try_from(nanoseconds).map(Timestamp).map_err(|_| {
            let side = if sign < 0 { "before" } else { "after" };
            let value = format!("the time {} s {side} 1970", distance.as_secs());
            unfit(value, "a timestamp (of the years 1677 to 2262)")
        })
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> SystemTime {
        let distance = Duration::from_nanos(timestamp.0.unsigned_abs());
        if timestamp.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

/// A type that a value can be read as, exactly; see [`Input::to`](crate::api::Input::to).
///
/// Integers are read as any integer type that they fit into, and as a double if that is exact; null is
/// read as `None`.
///
/// # Examples
/// ```
/// use squall::tuple::FromValue;
/// use squall::Value;
///
/// assert_eq!(u16::from_value(&Value::from(8080)), Ok(8080));
/// assert!(u16::from_value(&Value::from(-1)).is_err());
/// assert_eq!(Option::<u64>::from_value(&Value::Null), Ok(None));
/// assert_eq!(<&str>::from_value(&Value::from("storm")), Ok("storm"));
/// ```
pub trait FromValue<'v>: Sized {
    /// Reads the value as this type.
    ///
    /// # Errors
    /// When the value has another type, or does not fit.
    fn from_value(value: &'v Value) -> Result<Self, ValueError>;
}

fn wrong_type<T>(value: &Value, wanted: &'static str) -> Result<T, ValueError> {
    Err(ValueError::Type { found: value.value_type(), wanted })
}

macro_rules! integers {
    ($($to:ident)*) => {
        $(impl FromValue<'_> for $to {
            fn from_value(value: &Value) -> Result<$to, ValueError> {
                match value {
                    Value::I64(n) => (*n).try_into().map_err(|_| unfit(n, concat!("the type ", stringify!($to)))),
                    other => wrong_type(other, "an integer"),
                }
            }
        })*
    };
}

integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

impl FromValue<'_> for f64 {
    fn from_value(value: &Value) -> Result<f64, ValueError> {
        match value {
            Value::I64(n) => value.as_f64().ok_or_else(|| unfit(n, "the type f64")),
            Value::F64(x) => Ok(*x),
            other => wrong_type(other, "a number"),
        }
    }
}

/// The rest: the type of value, by the method that reads it.
macro_rules! read_by {
    ($($to:ty, $wanted:literal => $read:expr;)*) => {
        $(impl<'v> FromValue<'v> for $to {
            fn from_value(value: &'v Value) -> Result<$to, ValueError> {
                let read: Option<$to> = $read(value);
                read.map_or_else(|| wrong_type(value, $wanted), Ok)
            }
        })*
    };
}

read_by! {
    bool, "a bool" => Value::as_bool;
    &'v str, "a string" => Value::as_str;
    String, "a string" => |value: &Value| value.as_str().map(str::to_owned);
    &'v [u8], "bytes" => Value::as_bytes;
    &'v [Value], "a list" => Value::as_list;
    Timestamp, "a timestamp" => Value::as_timestamp;
    Text, "a string" => |value: &'v Value| if let Value::Str(text) = value { Some(text.clone()) } else { None };
    SystemTime, "a timestamp" => |value: &Value| value.as_timestamp().map(SystemTime::from);
    &'v Value, "a value" => Some;
    Value, "a value" => |value: &Value| Some(value.clone());
}

impl FromValue<'_> for char {
    fn from_value(value: &Value) -> Result<char, ValueError> {
        let Some(text) = value.as_str() else { return wrong_type(value, "a string of one character") };
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(unfit(format_args!("a string of {} characters", text.chars().count()), "the type char")),
        }
    }
}

impl<'v, T: FromValue<'v>> FromValue<'v> for Option<T> {
    fn from_value(value: &'v Value) -> Result<Option<T>, ValueError> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_fit_or_are_refused() {
        let largest = i64::MAX.unsigned_abs();
        let check = |value: Result<Value, ValueError>, expected: Result<i64, &str>| {
            let expected = expected.map(Value::I64).map_err(|number| unfit(number, "an i64"));
            assert_eq!(value, expected);
        };
        check(0_u64.try_into_value(), Ok(0));
        check(largest.try_into_value(), Ok(i64::MAX));
        check((largest + 1).try_into_value(), Err("9223372036854775808"));
        check(u64::MAX.try_into_value(), Err("18446744073709551615"));
        check(usize::MAX.try_into_value(), Err("18446744073709551615"));
        check(i128::from(i64::MIN).try_into_value(), Ok(i64::MIN));
        check((i128::from(i64::MIN) - 1).try_into_value(), Err("-9223372036854775809"));
        check(u128::MAX.try_into_value(), Err("340282366920938463463374607431768211455"));
        check(i16::MIN.try_into_value(), Ok(-32768));
        check(i8::MIN.try_into_value(), Ok(-128));
        check(isize::MIN.try_into_value(), Ok(i64::MIN));
        check(Some(5_usize).try_into_value(), Ok(5));
        assert_eq!(None::<u64>.try_into_value(), Ok(Value::Null));
        assert_eq!('ß'.try_into_value(), Ok(Value::from("ß")));
    }

    #[test]
    fn integers_are_read_back_as_they_were_or_refused() {
        for n in [i64::MIN, -1, 0, 127, 128, 255, 256, 65_535, i64::MAX] {
            let value = Value::I64(n);
            assert_eq!(i64::from_value(&value), Ok(n));
            assert_eq!(u8::from_value(&value).ok(), u8::try_from(n).ok());
            assert_eq!(i8::from_value(&value).ok(), i8::try_from(n).ok());
            assert_eq!(u64::from_value(&value).ok(), u64::try_from(n).ok());
        }
        let error = u64::from_value(&Value::I64(-1)).unwrap_err();
        assert_eq!(error.to_string(), "-1 does not fit into the type u64 exactly");
        let error = u64::from_value(&Value::F64(1.0)).unwrap_err();
        assert_eq!(error.to_string(), "it is f64, not an integer");
    }

    #[test]
    fn doubles_are_read_from_integers_where_that_is_exact() {
        let check = |n: i64, expected: Option<f64>| {
            assert_eq!(f64::from_value(&Value::I64(n)).ok(), expected, "{n}");
            assert_eq!(Value::I64(n).as_f64(), expected, "{n}");
        };
        check(1 << 53, Some(9_007_199_254_740_992.0));
        check((1 << 53) + 1, None);
        check(1 << 62, Some(4_611_686_018_427_387_904.0));
        check(i64::MAX, None);
        check(i64::MIN, Some(-9_223_372_036_854_775_808.0));
    }

    #[test]
    fn times_are_exact_on_both_sides_of_1970_or_refused() {
        let check = |time: SystemTime, expected: Option<i64>| {
            assert_eq!(Timestamp::try_from(time).ok(), expected.map(Timestamp), "{time:?}");
        };
        let nanoseconds = Duration::from_nanos;
        check(UNIX_EPOCH, Some(0));
        check(UNIX_EPOCH + nanoseconds(1), Some(1));
        check(UNIX_EPOCH - nanoseconds(1), Some(-1));
        check(UNIX_EPOCH - Duration::new(7, 1), Some(-7_000_000_001));
        check(UNIX_EPOCH + nanoseconds(i64::MAX.unsigned_abs()), Some(i64::MAX));
        check(UNIX_EPOCH - nanoseconds(i64::MIN.unsigned_abs()), Some(i64::MIN));
        check(UNIX_EPOCH + nanoseconds(i64::MAX.unsigned_abs() + 1), None);
        check(UNIX_EPOCH - nanoseconds(i64::MIN.unsigned_abs() + 1), None);
        for n in [i64::MIN, -1_000_000_001, -1, 0, 1, i64::MAX] {
            assert_eq!(Timestamp::try_from(SystemTime::from(Timestamp(n))), Ok(Timestamp(n)));
        }
        let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
        let error = far.try_into_value().unwrap_err().to_string();
        assert!(error.starts_with("the time 1099511627776 s after 1970 does not fit"), "{error}");
    }

    #[test]
    fn one_character_is_read_from_a_string_of_one() {
        assert_eq!(char::from_value(&Value::from('é')), Ok('é'));
        for other in [Value::from(""), Value::from("ab"), Value::from(1)] {
            assert!(char::from_value(&other).is_err(), "{other}");
        }
    }
}
