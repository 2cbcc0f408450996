//! `filter`: passes the tuples for which an expression is true.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{Bolt, Check, Input, Outputs, Streams, TaskContext, TaskError};
use crate::components::expression::Expressions;
use crate::components::positions::Positions;
use crate::components::settings::spend_names;
use crate::ids::{DEFAULT_STREAM, is_legal_name};
use crate::metrics::Counter;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::{Fields, Value};

/// Settings of [`Filter`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterSettings {
    /// An expression over the fields that is true for the tuples to pass, for example
    /// `'status >= 400'`. Required.
    #[serde(rename = "where")]
    pub condition: String,
    /// The fields that are passed on. Required.
    pub fields: Vec<String>,
    /// A stream for the tuples that do not pass, with the same fields. Default: none, they are
    /// dropped.
    #[serde(default)]
    pub rejected: Option<String>,
}

/// The bolt `filter`.
pub struct Filter {
    settings: FilterSettings,
    condition: Expressions,
    positions: Positions,
    rejected: Counter,
}

impl Filter {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When the expression does not compile, or the stream has no legal name.
    pub fn new(settings: FilterSettings, effort: &Effort) -> Result<Filter, SettingError> {
        spend_names(effort, "fields", settings.fields.len())?;
        let condition = Expressions::compile(&[&settings.condition], effort);
        let condition = condition.map_err(|(_, why)| SettingError::at("where", why))?;
        if let Some(stream) = &settings.rejected
            && (!is_legal_name(stream) || stream == DEFAULT_STREAM)
        {
            let why = format!(
                "`{stream}` cannot name the stream of rejected tuples; write for example \"rejected\""
            );
            return Err(SettingError::at("rejected", why));
        }
        let positions = Positions::of(&settings.fields);
        Ok(Filter { settings, condition, positions, rejected: Counter::default() })
    }
}

impl Bolt for Filter {
    fn declare(&self) -> Streams {
        let fields: Fields = self.settings.fields.iter().collect();
        let streams = Streams::new(fields.clone());
        match &self.settings.rejected {
            Some(stream) => streams.stream(stream, fields),
            None => streams,
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        self.condition.check(0, "where", check);
        self.positions.check("fields", check);
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.rejected = context.counter("rejected");
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.condition.bind(&input);
        let stream = match (self.condition.eval(0)?, &self.settings.rejected) {
            (Value::Bool(true), _) => DEFAULT_STREAM,
            (Value::Bool(false), Some(stream)) => {
                self.rejected.add(1);
                stream
            }
            (Value::Bool(false), None) => {
                self.rejected.add(1);
                return Ok(());
            }
            (other, _) => {
                let (source, found) = (&self.settings.condition, other.value_type());
                return Err(TaskError::new(format!("`{source}` is {found}, not a bool")));
            }
        };
        let row = self.positions.values(&input)?;
        out.emit_to(stream, row)?;
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within(
            "filter",
            "Passes the tuples for which an expression is true.",
            |settings: &FilterSettings, effort| Filter::new(settings.clone(), effort),
        )
        .output("default, and the stream named by `rejected`: the fields of `fields`")
        .example(
            r#"
[bolt.errors]
type = "filter"
inputs = ["parse"]
config = { where = 'status >= 400 && path != "/health"', fields = ["status", "path"], rejected = "fine" }
"#,
        );
}

#[cfg(test)]
mod tests {
    use crate::components::test_support::{bolt, refusal, texts};
    use crate::testing::TestTuple;

    fn hit(status: i64, path: &str) -> TestTuple {
        TestTuple::new((status, path, "-")).fields(["status", "path", "agent"])
    }

    #[test]
    fn what_is_true_passes_and_the_rest_goes_aside() {
        let mut filter =
            bolt("filter", "where = 'status >= 400'\nfields = ['path', 'status']\nrejected = 'fine'");
        filter.execute_all([hit(200, "/"), hit(404, "/x"), hit(500, "/y")]);
        assert_eq!(texts(&filter.take_rows("default")), ["/x 404", "/y 500"]);
        assert_eq!(texts(&filter.take_rows("fine")), ["/ 200"]);
        assert_eq!(filter.acked(), [0, 1, 2]);
        assert_eq!(filter.counter("rejected"), 1);
    }

    #[test]
    fn without_a_stream_the_rest_is_dropped_and_acked() {
        let mut filter = bolt("filter", "where = 'status == 404'\nfields = []");
        filter.execute_all([hit(200, "/"), hit(404, "/x")]);
        assert_eq!((filter.take_emitted().len(), filter.acked().len()), (1, 2));
    }

    #[test]
    fn what_is_no_bool_or_no_field_fails() {
        let mut filter = bolt("filter", "where = 'status'\nfields = []");
        filter.execute(hit(200, "/"));
        assert!(filter.errors()[0].contains("`status` is i64, not a bool"), "{:?}", filter.errors());
        let mut filter = bolt("filter", "where = 'true'\nfields = ['size']");
        filter.execute(hit(200, "/"));
        assert!(filter.errors()[0].contains("no field `size`"), "{:?}", filter.errors());
    }

    #[test]
    fn wrong_settings_are_refused() {
        let check = |config: &str, why: &str| {
            let refusal = refusal("filter", config);
            assert!(refusal.contains(why), "{config}: {refusal}");
        };
        check("where = 'status >'\nfields = []", "line 1");
        check("where = 'true'", "fields");
        check("where = 'true'\nfields = []\nrejected = 'default'", "cannot name");
    }
}
