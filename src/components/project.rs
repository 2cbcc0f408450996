//! `project`: chooses, reorders and renames fields.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{Bolt, Check, Input, Outputs, Streams, TaskError};
use crate::components::positions::Positions;
use crate::components::settings::{Ordered, spend_names};
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::Fields;

/// Which fields, under which names.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a list of fields, or a table of new names to fields")]
pub enum Projection {
    /// These, in this order.
    Names(Vec<String>),
    /// New names to the names in the input.
    Renamed(Ordered<String>),
}

/// Settings of [`Project`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSettings {
    /// The fields to pass on, in this order: a list of names, `["path", "status"]`, or a table of
    /// new names to names in the input, `{ page = "path" }`. Required.
    pub fields: Projection,
}

/// The bolt `project`.
pub struct Project {
    fields: Fields,
    positions: Positions,
}

impl Project {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When a field is emitted twice.
    pub fn new(settings: &ProjectSettings, effort: &Effort) -> Result<Project, SettingError> {
        let (new, old): (Vec<&str>, Vec<&str>) = match &settings.fields {
            Projection::Names(names) => names.iter().map(|name| (name.as_str(), name.as_str())).unzip(),
            Projection::Renamed(names) => {
                names.0.iter().map(|(new, old)| (new.as_str(), old.as_str())).unzip()
            }
        };
        spend_names(effort, "fields", new.len())?;
        if let Some(twice) = new.iter().enumerate().find(|(index, name)| new[..*index].contains(name)) {
            return Err(SettingError::at("fields", format!("field `{}` stands twice", twice.1)));
        }
        Ok(Project { fields: new.iter().collect(), positions: Positions::of(old) })
    }
}

impl Bolt for Project {
    fn declare(&self) -> Streams {
        Streams::new(self.fields.clone())
    }

    fn check(&self, check: &mut Check<'_>) {
        self.positions.check("fields", check);
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let row = self.positions.values(&input)?;
        out.emit(row)?;
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within(
            "project",
            "Chooses, reorders and renames fields.",
            |settings: &ProjectSettings, effort| Project::new(settings, effort),
        )
        .output("default: the fields of `fields`")
        .example(
            r#"
[bolt.pages]
type = "project"
inputs = ["parse"]
config = { fields = { page = "path", code = "status" } }
"#,
        );
}

#[cfg(test)]
mod tests {
    use crate::components::test_support::{bolt, refusal, texts};
    use crate::testing::TestTuple;

    fn check(config: &str, fields: &str, row: &str) {
        let mut project = bolt("project", config);
        project.execute(TestTuple::new((1, 2, 3)).fields(["a", "b", "c"]));
        let declared = project.streams().get("default").map(|stream| stream.fields.to_string());
        assert_eq!(declared.as_deref(), Some(fields), "{config}");
        assert_eq!(texts(&project.take_rows("default")), [row], "{config}: {:?}", project.errors());
    }

    #[test]
    fn fields_are_chosen_reordered_and_renamed() {
        check("fields = ['c', 'a']", "c, a", "3 1");
        check("fields = { z = 'b', y = 'a' }", "z, y", "2 1");
        check("fields = { x = 'a', y = 'a' }", "x, y", "1 1");
    }

    #[test]
    fn wrong_settings_are_refused() {
        assert!(refusal("project", "fields = ['a', 'a']").contains("`a` stands twice"));
        assert!(refusal("project", "fields = 7").contains("expected a list of fields"));
    }

    #[test]
    fn a_missing_field_fails_the_tuple() {
        let mut project = bolt("project", "fields = ['z']");
        project.execute(TestTuple::new([1]).fields(["a"]));
        assert_eq!(project.failed().len(), 1);
    }
}
