//! `sample`: passes some of the tuples, every n-th or a random fraction.
//!
//! With `every`, how many tuples have come is [state](crate::state) of the task, without a key. So it goes back with a
//! checkpoint, and a call that fails does not count. A random choice has no memory, so there is nothing to keep.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::{Bolt, Check, Input, OperatorState, Outputs, Streams, TaskContext, TaskError};
use crate::components::positions::Positions;
use crate::components::settings::spend_names;
use crate::metrics::Counter;
use crate::state::StateError;
use crate::topology::effort::Effort;
use crate::topology::registry::{Registry, SettingError};
use crate::tuple::Fields;

/// Settings of [`Sample`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleSettings {
    /// The fields that are passed on. Required.
    pub fields: Vec<String>,
    /// Pass every so many-th tuple of a task, beginning with the first. Either `every` or
    /// `fraction` is required.
    #[serde(default)]
    pub every: Option<u64>,
    /// Pass each tuple with this probability, from 0 to 1. What is chosen comes from the task's
    /// seed and repeats in a simulation.
    #[serde(default)]
    pub fraction: Option<f64>,
}

#[derive(Debug)]
enum Choice {
    Every { n: u64 },
    Fraction { probability: f64, rng: Box<StdRng> },
}

/// The bolt `sample`.
pub struct Sample {
    fields: Fields,
    positions: Positions,
    choice: Choice,
    /// How many tuples have come since the last that was passed, that one included; nothing before the first.
    since_passed: OperatorState<u64>,
    left_out: Counter,
}

impl Sample {
    /// A bolt with these settings.
    ///
    /// # Errors
    /// When not exactly one of `every` and `fraction` is given, or it is out of range.
    pub fn new(settings: &SampleSettings, effort: &Effort) -> Result<Sample, SettingError> {
        spend_names(effort, "fields", settings.fields.len())?;
        let choice = match (settings.every, settings.fraction) {
            (Some(n), None) if n > 0 => Choice::Every { n },
            (Some(_), None) => return Err(SettingError::at("every", "must be at least 1")),
            (None, Some(probability)) if (0.0..=1.0).contains(&probability) => {
                Choice::Fraction { probability, rng: Box::new(StdRng::seed_from_u64(0)) }
            }
            (None, Some(_)) => return Err(SettingError::at("fraction", "must be from 0 to 1")),
            _ => return Err(SettingError::new("write either `every` or `fraction`")),
        };
        let positions = Positions::of(&settings.fields);
        Ok(Sample {
            fields: settings.fields.iter().collect(),
            positions,
            choice,
            since_passed: OperatorState::default(),
            left_out: Counter::default(),
        })
    }
}

impl Sample {
    /// Whether the next tuple is passed.
    fn is_chosen(&mut self, out: &mut Outputs<'_>) -> Result<bool, StateError> {
        match &mut self.choice {
            Choice::Every { n } => {
                let since = match self.since_passed.items(out)?.first() {
                    Some(since) if since < n => since + 1,
                    Some(_) | None => 1,
                };
                self.since_passed.set(out, vec![since])?;
                Ok(since == 1)
            }
            Choice::Fraction { probability, rng } => Ok(rng.random_bool(*probability)),
        }
    }
}

impl Bolt for Sample {
    fn declare(&self) -> Streams {
        Streams::new(self.fields.clone())
    }

    fn check(&self, check: &mut Check<'_>) {
        self.positions.check("fields", check);
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        if let Choice::Fraction { rng, .. } = &mut self.choice {
            **rng = StdRng::seed_from_u64(context.seed());
        }
        self.since_passed = context.operator_state("since_passed")?;
        self.left_out = context.counter("left_out");
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.is_chosen(out)? {
            let row = self.positions.values(&input)?;
            out.emit(row)?;
        } else {
            self.left_out.add(1);
        }
        Ok(())
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .bolt_within(
            "sample",
            "Passes every n-th tuple, or a random fraction.",
            |settings: &SampleSettings, effort| Sample::new(settings, effort),
        )
        .output("default: the fields of `fields`")
        .example(
            r#"
[bolt.some]
type = "sample"
inputs = ["parse"]
config = { fraction = 0.01, fields = ["path", "status"] }
"#,
        );
}

#[cfg(test)]
mod tests {
    use crate::components::test_support::{bolt, bolt_with, refusal, texts};
    use crate::testing::{HarnessOptions, TestTuple};

    fn numbers(n: i64) -> impl Iterator<Item = TestTuple> {
        (0..n).map(|n| TestTuple::new([n]).fields(["n"]))
    }

    #[test]
    fn every_nth_passes() {
        let mut sample = bolt("sample", "every = 3\nfields = ['n']");
        sample.execute_all(numbers(8));
        assert_eq!(texts(&sample.take_rows("default")), ["0", "3", "6"]);
        assert_eq!((sample.acked().len(), sample.counter("left_out")), (8, 5));
    }

    #[test]
    fn a_call_that_fails_does_not_count() {
        let mut sample = bolt("sample", "every = 2\nfields = ['n']");
        let mut tuples: Vec<TestTuple> = numbers(4).collect();
        tuples.insert(2, TestTuple::new([9]).fields(["other"]));
        sample.execute_all(tuples);
        assert_eq!(texts(&sample.take_rows("default")), ["0", "2"]);
        assert_eq!(sample.failed().len(), 1);
    }

    #[test]
    fn a_fraction_repeats_with_its_seed() {
        let some = |seed| {
            let options = HarnessOptions { seed, ..HarnessOptions::default() };
            let mut sample = bolt_with("sample", "fraction = 0.25\nfields = ['n']", &options);
            sample.execute_all(numbers(1000));
            texts(&sample.take_rows("default"))
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        assert!((150..350).contains(&some(1).len()), "{}", some(1).len());
    }

    #[test]
    fn wrong_settings_are_refused() {
        for (config, why) in [
            ("fields = []", "either `every` or `fraction`"),
            ("fields = []\nevery = 2\nfraction = 0.5", "either `every` or `fraction`"),
            ("fields = []\nevery = 0", "at least 1"),
            ("fields = []\nfraction = 1.5", "from 0 to 1"),
        ] {
            assert!(refusal("sample", config).contains(why), "{config}");
        }
    }
}
