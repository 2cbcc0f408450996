//! One dynamically typed value.
//!
//! A [`Value`] is 24 bytes. Strings up to 23 bytes are stored inside, so that the most common tuple, one
//! word, needs no allocation and no indirection. Longer strings, bytes, lists and maps are behind an
//! `Arc` and are shared, not copied, when a tuple goes to several readers.
//!
//! 1. `Value` is 24 bytes wide (asserted below), because batches are arrays of them.
//! 2. Cloning never copies more than those 24 bytes.
//! 3. Equality, order and hash agree with each other and across machines: `-0.0 == 0.0`, every NaN
//!    equals every other, an integer never equals a float, a map is ordered by key.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use super::text::Text;

/// A map value: ordered by key, so that its bytes, hash and display are the same everywhere.
pub type Map = BTreeMap<SmolStr, Value>;

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z, from the year 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    /// RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

/// The values of a list, shared by its clones. See `nested` for how it is made and dropped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedList(pub(super) Arc<[Value]>);

/// The entries of a map, shared by its clones. See `nested` for how it is made and dropped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedMap(pub(super) Arc<Map>);

/// One value of a tuple.
///
/// # Examples
/// ```
/// use squall::Value;
/// let values = [Value::from("storm"), Value::from(7), Value::Null];
/// assert_eq!(values[0].as_str(), Some("storm"));
/// assert_eq!(values[1].as_i64(), Some(7));
/// assert!(values[2].is_null());
/// ```
#[derive(Clone, Default)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer.
    I64(i64),
    /// A double. All NaN are one value, and `-0.0` is `0.0`, in comparisons and hashes.
    F64(f64),
    /// A point in time.
    Timestamp(Timestamp),
    /// Text: up to 23 bytes inside, longer shared.
    Str(Text),
    /// Raw bytes, shared.
    Bytes(Arc<[u8]>),
    /// An ordered list, shared.
    List(SharedList),
    /// Text keys to values, shared.
    Map(SharedMap),
}

const _: () = assert!(size_of::<Value>() == 24, "a value is 24 bytes");

/// The types a [`Value`] can have, by the names that error messages use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ValueType {
    /// [`Value::Null`]
    Null,
    /// [`Value::Bool`]
    Bool,
    /// [`Value::I64`]
    I64,
    /// [`Value::F64`]
    F64,
    /// [`Value::Str`]
    Str,
    /// [`Value::Bytes`]
    Bytes,
    /// [`Value::List`]
    List,
    /// [`Value::Map`]
    Map,
    /// [`Value::Timestamp`]
    Timestamp,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::Null => "null",
            ValueType::Bool => "bool",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
            ValueType::Str => "string",
            ValueType::Bytes => "bytes",
            ValueType::List => "list",
            ValueType::Map => "map",
            ValueType::Timestamp => "timestamp",
        })
    }
}

impl Value {
    /// A string value. Up to 23 bytes cost no allocation.
    #[inline]
    pub fn str(text: impl AsRef<str>) -> Value {
        Value::Str(Text::from(text.as_ref()))
    }

    /// A bytes value.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Value {
        Value::Bytes(bytes.into())
    }

    /// A list value.
    pub fn list(values: impl IntoIterator<Item = Value>) -> Value {
        Value::List(values.into_iter().collect())
    }

    /// A map value.
    pub fn map<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
        let map: Map = entries.into_iter().map(|(k, v)| (SmolStr::new(k), v)).collect();
        Value::Map(map.into())
    }

    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Null => ValueType::Null,
            Value::Bool(_) => ValueType::Bool,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
            Value::Str(_) => ValueType::Str,
            Value::Bytes(_) => ValueType::Bytes,
            Value::List(_) => ValueType::List,
            Value::Map(_) => ValueType::Map,
            Value::Timestamp(_) => ValueType::Timestamp,
        }
    }

    /// Whether it holds nothing outside itself.
    #[inline]
    pub(crate) fn is_inline(&self) -> bool {
        match self {
            Value::Null | Value::Bool(_) | Value::I64(_) | Value::F64(_) | Value::Timestamp(_) => true,
            Value::Str(text) => !text.is_shared(),
            Value::Bytes(_) | Value::List(_) | Value::Map(_) => false,
        }
    }

    /// Whether it is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The bool, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(b) = self { Some(*b) } else { None }
    }

    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        if let Value::I64(n) = self { Some(*n) } else { None }
    }

    /// The number as a double, if it is a double, or an integer that a double holds exactly.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::F64(x) => Some(*x),
            // Compared as i128, because `i64::MAX` rounds up to a double that no i64 is.
            Value::I64(n) => Some(*n as f64).filter(|x| *x as i128 == i128::from(*n)),
            _ => None,
        }
    }

    /// The text, if it is a string.
    #[inline]
    pub fn as_str(&self) -> Option<&str> {
        if let Value::Str(s) = self { Some(s) } else { None }
    }

    /// The bytes, if it is bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Value::Bytes(b) = self { Some(b) } else { None }
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List(l) = self { Some(l) } else { None }
    }

    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        if let Value::Map(m) = self { Some(m) } else { None }
    }

    /// The point in time, if it is one.
    pub fn as_timestamp(&self) -> Option<Timestamp> {
        if let Value::Timestamp(t) = self { Some(*t) } else { None }
    }

    /// Bytes held outside the 24 bytes of the value, for which links are charged too.
    #[inline(always)]
    pub fn heap_size(&self) -> usize {
        if self.is_inline() { 0 } else { self.shared_size() }
    }

    /// A function of its own, so that the common case in the emit path is only a comparison.
    #[cold]
    fn shared_size(&self) -> usize {
        match self {
            Value::Str(s) => s.len(),
            Value::Bytes(b) => b.len(),
            Value::List(l) => l.iter().map(|v| size_of::<Value>() + v.heap_size()).sum(),
            Value::Map(m) => m.iter().map(|(k, v)| 2 * size_of::<Value>() + k.len() + v.heap_size()).sum(),
            Value::Null | Value::Bool(_) | Value::I64(_) | Value::F64(_) | Value::Timestamp(_) => 0,
        }
    }
}

impl Value {
    /// The value that stands for all that are equal to it: equal values have the same bytes then.
    pub(crate) fn canonical(&self) -> Cow<'_, Value> {
        match self {
            Value::F64(x) if x.to_bits() != canonical_bits(*x) => {
                Cow::Owned(Value::F64(f64::from_bits(canonical_bits(*x))))
            }
            Value::List(items) if items.iter().any(|item| matches!(item.canonical(), Cow::Owned(_))) => {
                Cow::Owned(Value::list(items.iter().map(|item| item.canonical().into_owned())))
            }
            Value::Map(entries) if entries.iter().any(|(_, it)| matches!(it.canonical(), Cow::Owned(_))) => {
                let entries = entries.iter().map(|(key, it)| (key.clone(), it.canonical().into_owned()));
                Cow::Owned(Value::map(entries))
            }
            _ => Cow::Borrowed(self),
        }
    }
}

/// The bit pattern by which doubles are compared and hashed: all NaN have the same pattern, and so have
/// the two zeros.
pub(super) fn canonical_bits(x: f64) -> u64 {
    if x.is_nan() {
        f64::NAN.to_bits() & !(1 << 63)
    } else if x == 0.0 {
        0
    } else {
        x.to_bits()
    }
}

impl PartialEq for Value {
    #[inline]
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::I64(a), Value::I64(b)) => a == b,
            (Value::F64(a), Value::F64(b)) => canonical_bits(*a) == canonical_bits(*b),
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    /// Values of one type by value, others by [`ValueType`]. NaN comes after every number.
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::I64(a), Value::I64(b)) => a.cmp(b),
            (Value::F64(a), Value::F64(b)) => {
                f64::from_bits(canonical_bits(*a)).total_cmp(&f64::from_bits(canonical_bits(*b)))
            }
            (Value::Str(a), Value::Str(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::List(a), Value::List(b)) => a.cmp(b),
            (Value::Map(a), Value::Map(b)) => a.cmp(b),
            (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            _ => self.value_type().cmp(&other.value_type()),
        }
    }
}

impl fmt::Display for Value {
    /// Text as it is, bytes in hex, lists and maps as in JSON, time as RFC 3339.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(b) => b.fmt(f),
            Value::I64(n) => n.fmt(f),
            Value::F64(x) => x.fmt(f),
            Value::Str(s) => f.pad(s),
            Value::Bytes(b) => b.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Value::List(_) | Value::Map(_) => fmt::Debug::fmt(self, f),
            Value::Timestamp(t) => t.fmt(f),
        }
    }
}

impl fmt::Debug for Value {
    /// As in [`Display`](fmt::Display), but text is quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Str(s) => fmt::Debug::fmt(s.as_str(), f),
            Value::F64(x) => fmt::Debug::fmt(x, f),
            Value::List(l) => f.debug_list().entries(l.iter()).finish(),
            Value::Map(m) => f.debug_map().entries(m.iter()).finish(),
            other => fmt::Display::fmt(other, f),
        }
    }
}

/// Wider numbers and times may not fit: see `convert`.
const _: () = assert!(size_of::<isize>() <= size_of::<i64>(), "an isize fits into a value");

macro_rules! from {
    ($($from:ty => |$v:ident| $into:expr;)*) => {
        $(impl From<$from> for Value {
            #[inline]
            fn from($v: $from) -> Value { $into }
        })*
    };
}

from! {
    bool => |v| Value::Bool(v);
    i64 => |v| Value::I64(v);
    i32 => |v| Value::I64(v.into());
    i16 => |v| Value::I64(v.into());
    i8 => |v| Value::I64(v.into());
    isize => |v| Value::I64(v as i64);
    u32 => |v| Value::I64(v.into());
    u16 => |v| Value::I64(v.into());
    u8 => |v| Value::I64(v.into());
    f64 => |v| Value::F64(v);
    f32 => |v| Value::F64(v.into());
    char => |v| Value::str(v.encode_utf8(&mut [0; 4]));
    &str => |v| Value::str(v);
    String => |v| Value::Str(v.into());
    &String => |v| Value::str(v);
    Text => |v| Value::Str(v);
    &Text => |v| Value::Str(v.clone());
    SmolStr => |v| Value::Str(v.into());
    &SmolStr => |v| Value::Str(v.into());
    &[u8] => |v| Value::bytes(v);
    Vec<u8> => |v| Value::bytes(v);
    Arc<[u8]> => |v| Value::Bytes(v);
    Vec<Value> => |v| Value::list(v);
    Map => |v| Value::Map(v.into());
    Timestamp => |v| Value::Timestamp(v);
    &Value => |v| v.clone();
    () => |_v| Value::Null;
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_defines_zero_and_nan() {
        assert_eq!(Value::F64(0.0), Value::F64(-0.0));
        assert_eq!(Value::F64(f64::NAN), Value::F64(-f64::NAN));
        assert_ne!(Value::F64(1.0), Value::I64(1));
        assert!(Value::F64(f64::NAN) > Value::F64(f64::INFINITY));
    }

    #[test]
    fn short_strings_own_no_heap_and_long_ones_are_shared() {
        assert_eq!(Value::from("x".repeat(23)).heap_size(), 0);
        let long = Value::from("x".repeat(24));
        assert_eq!(long.heap_size(), 24);
        let (a, b) = (long.as_str().map(str::as_ptr), long.clone());
        assert_eq!(a, b.as_str().map(str::as_ptr), "a clone shares the bytes");
    }

    #[test]
    fn values_show_themselves() {
        let check = |value: Value, shown: &str| assert_eq!(value.to_string(), shown);
        check(Value::Null, "null");
        check(Value::from("a b"), "a b");
        check(Value::from(&b"\x00\xff"[..]), "00ff");
        check(Value::list([1.into(), "x".into()]), r#"[1, "x"]"#);
        check(Value::map([("k", Value::F64(1.0))]), r#"{"k": 1.0}"#);
        check(Value::Timestamp(Timestamp(0)), "1970-01-01T00:00:00Z");
    }
}
