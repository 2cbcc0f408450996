//! `map`: makes new fields from old ones by expressions.
//!
//! Every expression sees the fields of the input, not what other expressions of the same bolt
//! made.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{Bolt, Check, Input, Outputs, Streams, TaskError};
use crate::components::expression::Expressions;
use crate::components::positions::Positions;
use crate::components::settings::{Ordered, spend_names};
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::{Fields, Value};

/// Settings of [`Map`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapSettings {
    /// The fields to make, each by an expression over the fields of the input, for example
    /// `{ kib = 'size / 1024.0' }`. One that stands in `keep` too replaces it. Required.
    pub set: Ordered<String>,
    /// The fields of the input to pass on before them. Default: none.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// The bolt `map`.
pub struct Map {
    fields: Fields,
    expressions: Expressions,
    /// Of the kept fields that are not replaced.
    positions: Positions,
    /// Where the value of each expression goes in the row.
    places: Vec<usize>,
}

impl Map {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When an expression does not compile, or there is none.
    pub fn new(settings: MapSettings, effort: &Effort) -> Result<Map, SettingError> {
        spend_names(effort, "set", settings.set.0.len() + settings.keep.len())?;
        let MapSettings { set, keep } = settings;
        if set.0.is_empty() {
            return Err(SettingError::at("set", "name at least one field to make"));
        }
        let sources: Vec<&String> = set.0.iter().map(|(_, source)| source).collect();
        let expressions = Expressions::compile(&sources, effort).map_err(|(index, why)| {
            SettingError::at(&format!("set.{}", set.0[index].0), format!("field `{}`: {why}", set.0[index].0))
        })?;
        let mut names: Vec<&str> = keep.iter().map(String::as_str).collect();
        let mut places = Vec::new();
        for key in set.keys() {
            let place = names.iter().position(|name| *name == key).unwrap_or(names.len());
            if place == names.len() {
                names.push(key);
            }
            places.push(place);
        }
        let fields = names.iter().collect();
        // A kept field that is replaced need not be there.
        let kept = keep.iter().enumerate().filter(|(place, _)| !places.contains(place));
        let positions = Positions::of(kept.map(|(_, name)| name));
        Ok(Map { fields, expressions, positions, places })
    }
}

impl Bolt for Map {
    fn declare(&self) -> Streams {
        Streams::new(self.fields.clone())
    }

    fn check(&self, check: &mut Check<'_>) {
        for (index, place) in self.places.iter().enumerate() {
            let made = self.fields.iter().nth(*place).map_or("", |name| name);
            self.expressions.check(index, &format!("set.{made}"), check);
        }
        self.positions.check("keep", check);
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.expressions.bind(&input);
        let mut row = vec![Value::Null; self.fields.len()];
        for (index, place) in self.places.iter().enumerate() {
            row[*place] = self.expressions.eval(index)?;
        }
        let mut kept = self.positions.values(&input)?.into_iter();
        let places = &self.places;
        for (place, value) in row.iter_mut().enumerate().filter(|(place, _)| !places.contains(place)) {
            *value = kept.next().unwrap_or_else(|| unreachable!("place {place} is a kept field's"));
        }
        out.emit(row)?;
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within("map", "Makes new fields by expressions.", |settings: &MapSettings, effort| {
            Map::new(settings.clone(), effort)
        })
        .output("default: the fields of `keep`, then those of `set`")
        .example(
            r#"
[bolt.sizes]
type = "map"
inputs = ["parse"]
config = { keep = ["path"], set = { kib = 'size / 1024.0', slow = 'ms > 500' } }
"#,
        );
}

#[cfg(test)]
mod tests {
    use crate::components::test_support::{bolt, refusal, texts};
    use crate::testing::TestTuple;

    fn check(config: &str, fields: &str, row: &str) {
        let mut map = bolt("map", config);
        map.execute(TestTuple::new(("ada", 2048)).fields(["name", "size"]));
        let declared = map.streams().get("default").map(|stream| stream.fields.to_string());
        assert_eq!(declared.as_deref(), Some(fields), "{config}");
        assert_eq!(texts(&map.take_rows("default")), [row], "{config}: {:?}", map.errors());
    }

    #[test]
    fn fields_are_made_kept_and_replaced() {
        check("set = { kib = 'size / 1024' }", "kib", "2");
        check("keep = ['name']\nset = { z = 'size + 1', a = 'name.len()' }", "name, z, a", "ada 2049 3");
        check("keep = ['name', 'size']\nset = { name = 'name.to_upper()' }", "name, size", "ADA 2048");
        check("keep = ['new', 'size']\nset = { new = '1', more = 'size' }", "new, size, more", "1 2048 2048");
    }

    #[test]
    fn a_failing_expression_fails_the_tuple() {
        let mut map = bolt("map", "set = { x = 'size / 0' }");
        map.execute(TestTuple::new([1]).fields(["size"]));
        assert_eq!((map.failed().len(), map.take_emitted().len()), (1, 0));
    }

    #[test]
    fn wrong_settings_name_the_field() {
        assert!(refusal("map", "set = { a = '1', b = '1 +' }").contains("field `b`: `1 +`"));
        assert!(refusal("map", "set = {}").contains("at least one field"));
    }
}
