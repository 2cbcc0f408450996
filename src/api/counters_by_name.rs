//! Values of counters as a map from their names, which is how they leave a process.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::api::counters::{COUNTERS, CounterId, CounterValues};

impl Serialize for CounterValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let used = self.iter().filter(|(_, value)| *value != 0);
        let mut map = serializer.serialize_map(Some(used.clone().count()))?;
        for (counter, value) in used {
            map.serialize_entry(counter.name, &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for CounterValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CounterValues, D::Error> {
        deserializer.deserialize_map(ByName)
    }
}

/// Reads values by the names of their counters.
struct ByName;

impl<'de> Visitor<'de> for ByName {
    type Value = CounterValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counters by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CounterValues, A::Error> {
        let (mut values, mut seen) = (CounterValues::default(), [false; COUNTERS.len()]);
        while let Some(name) = map.next_key::<SmolStr>()? {
            let Some(counter) = CounterId::find(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut seen[counter.index()], true) {
                return Err(A::Error::custom(format_args!("duplicate counter `{name}`")));
            }
            values.set(counter, map.next_value()?);
        }
        Ok(values)
    }
}
