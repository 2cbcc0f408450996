//! Kinds of settings that several components have: sizes, periods, one-or-many, ordered tables. A setting that is a
//! secret is a [`Secret`](crate::secrets::Secret).
//!
//! Each reads itself from TOML with an error that says what to write instead, and describes
//! itself to editors.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::units;
use crate::topology::effort::Effort;
use crate::topology::registry::SettingError;
use crate::tuple::Value;

/// Spends the steps to compare so many names with each other.
///
/// # Errors
/// When they are not left.
pub(super) fn spend_names(effort: &Effort, key: &str, names: usize) -> Result<(), SettingError> {
    let names = names as u64;
    effort.spend(names.saturating_mul(names)).map_err(|error| SettingError::at(key, error))
}

/// A number of bytes, written as text with a unit: `"64KiB"`, `"1MiB"`, `"2GB"`, `"512B"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        units::parse_size(&text).map(ByteSize).map_err(D::Error::custom)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ *(B|kB|MB|GB|KiB|MiB|GiB)$" })
    }
}

/// A time span, written as text with a unit: `"250ms"`, `"5s"`, `"1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        units::parse_duration(&text).map(Period).map_err(D::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ *[a-zµ]+" })
    }
}

/// The shortest and the longest of pauses that grow, written as `"100ms..10s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first pause. Each is twice the one before.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Pauses {
    /// The pause after so many failures in a row, from 1.
    pub fn after(&self, failures: u32) -> Duration {
        let doubled = self.min.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        doubled.min(self.max)
    }
}

impl<'de> Deserialize<'de> for Pauses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pauses, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let (min, max) = units::parse_range(&text).map_err(D::Error::custom)?;
        Ok(Pauses { min, max })
    }
}

impl JsonSchema for Pauses {
    fn schema_name() -> Cow<'static, str> {
        "Pauses".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ *[a-zµ]+ *\\.\\. *[0-9]+ *[a-zµ]+" })
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text in quotes, or a list of texts")]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// As a slice.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// A value that TOML writes without brackets.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected text, a number or a bool")]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// A whole number.
    I64(i64),
    /// A number.
    F64(f64),
    /// Text.
    Str(String),
}

impl Scalar {
    /// As a value of a tuple.
    pub fn to_value(&self) -> Value {
        match self {
            Scalar::Bool(b) => Value::Bool(*b),
            Scalar::I64(n) => Value::I64(*n),
            Scalar::F64(x) => Value::F64(*x),
            Scalar::Str(s) => Value::str(s),
        }
    }
}

/// A table whose order counts: `{ name = "…", age = "…" }` makes the fields `name, age`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Ordered<T> {
        Ordered(Vec::new())
    }
}

impl<T> Ordered<T> {
    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ordered<T>, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Ordered<T>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Ordered_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_periods_have_units() {
        #[derive(Debug, Deserialize)]
        struct Settings {
            size: ByteSize,
            period: Period,
        }
        let read = |text: &str| {
            toml::from_str::<Settings>(text).map(|read| (read.size.0, read.period.0.as_millis()))
        };
        assert_eq!(read("size = '64KiB'\nperiod = '2s'"), Ok((65_536, 2_000)));
        let error = |text: &str| read(text).expect_err(text).to_string();
        assert!(error("size = '64'\nperiod = '2s'").contains("has no unit"));
        assert!(error("size = '1B'\nperiod = 'soon'").contains("not a duration"));
    }

    #[test]
    fn a_table_keeps_its_order() {
        let read: Ordered<i64> = toml::from_str("z = 1\na = 2\nm = 3").expect("it is TOML");
        assert_eq!(read.keys().collect::<Vec<_>>(), ["z", "a", "m"]);
    }
}
