//! What the functions of `window` are called with: fields, or expressions over them.

use smol_str::SmolStr;

use crate::api::{Check, Input, TaskError};
use crate::components::expression::{Expressions, is_plain};
use crate::topology::effort::Effort;
use crate::topology::registry::SettingError;
use crate::tuple::{Fields, Timestamp, Value};
use crate::window::functions::{Arguments, Calls};
use crate::window::{Call, Items};

/// Reads the arguments of calls from tuples.
pub(super) struct ReadArguments {
    calls: Vec<Argument>,
    /// Those of arguments and conditions.
    expressions: Option<Expressions>,
    /// For each expression, the setting that it came from.
    keys: Vec<String>,
    /// The source that `places` are of.
    source: Option<Fields>,
    /// Where the fields are that calls name, in their order.
    places: Vec<usize>,
}

/// One call.
struct Argument {
    key: String,
    what: What,
    /// The expression that decides whether a tuple counts.
    condition: Option<usize>,
}

/// What a function is applied to.
enum What {
    /// To each tuple.
    Tuple,
    /// To a field, by its place among those that are read.
    Field(usize, SmolStr),
    /// To the value of an expression.
    Expression(usize),
}

impl ReadArguments {
    /// # Errors
    /// When an expression does not compile.
    pub(super) fn compile(calls: &[(String, Call)], effort: &Effort) -> Result<ReadArguments, SettingError> {
        let (mut sources, mut keys, mut fields) = (Vec::<&str>::new(), Vec::new(), 0);
        let calls = calls.iter().map(|(name, call)| {
            let key = format!("aggregate.{name}");
            let mut expression = |source| {
                sources.push(source);
                keys.push(key.clone());
                sources.len() - 1
            };
            let what = match call.argument.as_deref() {
                None => What::Tuple,
                Some(field) if is_plain(field) => {
                    fields += 1;
                    What::Field(fields - 1, SmolStr::new(field))
                }
                Some(source) => What::Expression(expression(source)),
            };
            let condition = call.condition.as_deref().map(expression);
            Argument { key: key.clone(), what, condition }
        });
        let calls = calls.collect();
        let expressions = match sources.is_empty() {
            true => None,
            false => Some(
                Expressions::compile(&sources, effort)
                    .map_err(|(at, why)| SettingError::at(&keys[at], why))?,
            ),
        };
        Ok(ReadArguments { calls, expressions, keys, source: None, places: Vec::new() })
    }

    #[cold]
    fn find_places(&mut self, input: &Input<'_>) -> Result<(), TaskError> {
        self.source = None;
        self.places.clear();
        for call in &self.calls {
            if let What::Field(_, name) = &call.what {
                match input.fields().position(name) {
                    Some(place) => self.places.push(place),
                    // The input's own accessor words the error.
                    None => return input.field(name).map(|_| ()),
                }
            }
        }
        self.source = Some(input.fields().clone());
        Ok(())
    }
}

impl Items<Calls> for ReadArguments {
    fn item(&mut self, input: &Input<'_>, at: Timestamp) -> Result<Arguments, TaskError> {
        if self.source.as_ref() != Some(input.fields()) {
            self.find_places(input)?;
        }
        let ReadArguments { calls, expressions, places, .. } = self;
        if let Some(expressions) = expressions {
            expressions.bind(input);
        }
        let mut eval = |expression: usize| match expressions {
            Some(expressions) => expressions.eval(expression),
            None => Ok(Value::Null),
        };
        let mut values = smallvec::SmallVec::new();
        for call in calls.iter() {
            let counts = match call.condition.map(&mut eval).transpose()? {
                None | Some(Value::Bool(true)) => true,
                Some(Value::Bool(false) | Value::Null) => false,
                Some(other) => {
                    let why = format!("`{}`: behind `where` stands a condition, and not {other}", call.key);
                    return Err(TaskError::new(why));
                }
            };
            let value = match &call.what {
                _ if !counts => None,
                What::Tuple => Some(Value::Null),
                What::Field(nth, _) => {
                    Some(input.values()[places[*nth]].clone()).filter(|value| !value.is_null())
                }
                What::Expression(expression) => Some(eval(*expression)?).filter(|value| !value.is_null()),
            };
            values.push(value);
        }
        Ok(Arguments { at, values })
    }

    fn check(&self, check: &mut Check<'_>) {
        for call in &self.calls {
            if let What::Field(_, name) = &call.what {
                check.require_field(&call.key, name);
            }
        }
        if let Some(expressions) = &self.expressions {
            self.keys.iter().enumerate().for_each(|(at, key)| expressions.check(at, key, check));
        }
    }
}
