//! Expressions over the fields of a tuple, for `filter` and `map`.
//!
//! The language is Rhai's, reduced to expressions: operators, `if`, and functions on numbers, text,
//! lists and maps. A field is a variable by its name, or `field("NAME")` (`names`). What is not
//! there: statements, loops, closures, `switch` (it compares types silently), `eval`, files, time, the
//! network. Operators are exact or fail (`operators`).
//!
//! 1. An expression is compiled once, when the settings are read; an error says line and column.
//! 2. The fields it names are compared with the inputs while the topology is validated ([`check`]
//!    suggests what there is), so none is unknown when a tuple comes.
//! 3. Evaluating one takes at most [`OPERATIONS_MAX`] operations and makes no text, list or map
//!    longer than the limits below, so a hostile expression ends in an error.
//! 4. Only fields that the expressions mention are converted, and their places are looked up once
//!    per source.
//!
//! A bare comparison costs about a microsecond (2 cores of a server, one thread), of which exact operators
//! are nearly a half: Rhai's fast ones cannot be replaced, so they are off. Where that is too much,
//! write a bolt.
//!
//! | field | in the expression |
//! |---|---|
//! | null | `()` |
//! | bool, i64, f64, string | the same |
//! | bytes | blob |
//! | list, map | array, object map |
//! | timestamp | compares and subtracts (seconds, f64); `unix(t)` is seconds since 1970 |
//!
//! [`check`]: Expressions::check

mod convert;
mod names;
mod operators;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::Regex;
use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicBlobPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{AST, Dynamic, Engine, EvalAltResult, Module, ParseError, ParseErrorType, Scope, Shared};
use smol_str::SmolStr;

use crate::api::{Check, Input, TaskError};
use crate::components::expression::convert::{to_dynamic, to_value};
use crate::components::expression::names::Names;
use crate::components::patterns;
use crate::topology::effort::Effort;
use crate::tuple::{Fields, Timestamp, Value};

pub(super) use names::is_plain;

/// Operations of one evaluation.
const OPERATIONS_MAX: u64 = 100_000;
/// Bytes of a text that an expression makes.
const TEXT_LEN_MAX: usize = 8 << 20;
/// Items of a list or map that an expression makes.
const ITEMS_MAX: usize = 100_000;
/// How deep an expression may nest.
const DEPTH_MAX: usize = 32;
/// Bytes of an expression.
const SOURCE_LEN_MAX: usize = 64 << 10;
/// Regular expressions that `matches` remembers.
const PATTERNS_MAX: usize = 64;

/// Steps to set up what the expressions of one component are compiled with.
const ENGINE_STEPS: u64 = 2048;
/// Steps to compile a byte of an expression.
const BYTE_STEPS: u64 = 64;

/// One expression.
struct Compiled {
    source: SmolStr,
    ast: AST,
    /// The fields it mentions.
    fields: Vec<SmolStr>,
}

/// Compiled expressions over the same tuples.
pub(super) struct Expressions {
    engine: Engine,
    compiled: Vec<Compiled>,
    /// Whose places are in `bound`.
    source: Option<Fields>,
    bound: Vec<(usize, SmolStr)>,
    scope: Scope<'static>,
}

impl Expressions {
    /// Compiles expressions.
    ///
    /// # Errors
    /// The position of the first that does not compile, and why.
    pub(super) fn compile<S: AsRef<str>>(
        sources: &[S],
        effort: &Effort,
    ) -> Result<Expressions, (usize, String)> {
        effort.spend(ENGINE_STEPS).map_err(|error| (0, error.to_string()))?;
        let mut engine = engine();
        let names = Names::register(&mut engine);
        let compiled = sources.iter().map(AsRef::as_ref).enumerate().map(|(index, source)| {
            let compiled = compile(&engine, &names, source, effort);
            compiled.map_err(|why| (index, format!("`{}`: {why}", shortened(source))))
        });
        let compiled = compiled.collect::<Result<_, _>>()?;
        Ok(Expressions { engine, compiled, source: None, bound: Vec::new(), scope: Scope::new() })
    }

    /// Refuses fields that an input does not have. `key` is the setting that expression `index` came
    /// from.
    pub(super) fn check(&self, index: usize, key: &str, check: &mut Check<'_>) {
        let Compiled { source, fields, .. } = &self.compiled[index];
        for field in fields {
            match self.meant(source, field, check) {
                Some(meant) => check.refuse(
                    key,
                    format!("there is no field `{field}`; the field `{meant}` is written field(\"{meant}\")"),
                ),
                None => check.require_field(key, field),
            }
        }
    }

    /// The field that was meant by an unknown one that is a part of its name, as in `user-agent`.
    fn meant(&self, source: &str, field: &str, check: &Check<'_>) -> Option<SmolStr> {
        let inputs = check.inputs().iter().filter_map(|input| input.fields.as_ref());
        let without = inputs.filter(|fields| fields.position(field).is_none());
        without
            .flat_map(|fields| fields.iter())
            .find(|name| !names::is_plain(name) && name.contains(field) && source.contains(name.as_str()))
            .cloned()
    }

    /// Takes a tuple for the evaluations that follow.
    pub(super) fn bind(&mut self, input: &Input<'_>) {
        if self.source.as_ref() != Some(input.fields()) {
            self.find(input.fields());
        }
        self.scope.rewind(0);
        for (position, name) in &self.bound {
            self.scope.push_dynamic(name.as_str(), to_dynamic(&input.values()[*position]));
        }
    }

    /// Evaluates expression `index` over the tuple that was bound.
    ///
    /// # Errors
    /// When it fails; the error names the place.
    pub(super) fn eval(&mut self, index: usize) -> Result<Value, TaskError> {
        let fields = self.bound.len();
        let Compiled { source, ast, .. } = &self.compiled[index];
        let result = self.engine.eval_ast_with_scope::<Dynamic>(&mut self.scope, ast);
        self.scope.rewind(fields);
        let value = result.map_err(|error| failed(source, &error))?;
        to_value(value).map_err(|type_name| {
            TaskError::new(format!("`{}` makes a {type_name}, which cannot be a field", shortened(source)))
        })
    }

    fn find(&mut self, fields: &Fields) {
        let places = fields.iter().enumerate();
        let is_mentioned = |name| self.compiled.iter().any(|one| one.fields.binary_search(name).is_ok());
        let mentioned = places.filter(|(_, name)| is_mentioned(name));
        self.bound = mentioned.map(|(position, name)| (position, name.clone())).collect();
        self.source = Some(fields.clone());
    }
}

fn compile(engine: &Engine, names: &Names, source: &str, effort: &Effort) -> Result<Compiled, String> {
    if source.len() > SOURCE_LEN_MAX {
        return Err(format!("is longer than {SOURCE_LEN_MAX} bytes"));
    }
    effort.spend(source.len() as u64 * BYTE_STEPS).map_err(|error| error.to_string())?;
    let ast = engine.compile_expression(source);
    if let Some(mistake) = names.take_mistake() {
        return Err(mistake);
    }
    let ast = ast.map_err(|error| not_compiled(&error))?;
    let fields = names::of(&ast);
    // A pattern that stands in the expression need not wait for a tuple to be found wrong.
    names::patterns(&ast).iter().try_for_each(|pattern| patterns::compile(pattern, effort).map(drop))?;
    Ok(Compiled { source: SmolStr::new(source), ast, fields })
}

fn not_compiled(error: &ParseError) -> String {
    match error.err_type() {
        ParseErrorType::Reserved(_) | ParseErrorType::BadInput(_) => {
            format!("{error}; a field whose name is no plain word is written field(\"NAME\")")
        }
        _ => error.to_string(),
    }
}

fn failed(source: &str, error: &EvalAltResult) -> TaskError {
    TaskError::new(format!("`{}`: {error}", shortened(source)))
}

/// The beginning of an expression, for an error message.
fn shortened(source: &str) -> String {
    const SHOWN_MAX: usize = 120;
    match source.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &source[..end]),
        None => source.to_owned(),
    }
}

/// The functions of the language, which all engines share. Only these: its core brings `sleep` and `exit`
/// with it.
static PACKAGES: LazyLock<[Shared<Module>; 8]> = LazyLock::new(|| {
    [
        ArithmeticPackage::new().as_shared_module(),
        LogicPackage::new().as_shared_module(),
        BasicMathPackage::new().as_shared_module(),
        BasicStringPackage::new().as_shared_module(),
        MoreStringPackage::new().as_shared_module(),
        BasicArrayPackage::new().as_shared_module(),
        BasicBlobPackage::new().as_shared_module(),
        BasicMapPackage::new().as_shared_module(),
    ]
});

fn engine() -> Engine {
    let mut engine = Engine::new_raw();
    for package in PACKAGES.iter() {
        engine.register_global_module(Shared::clone(package));
    }
    engine.set_max_operations(OPERATIONS_MAX);
    engine.set_max_string_size(TEXT_LEN_MAX);
    engine.set_max_array_size(ITEMS_MAX);
    engine.set_max_map_size(ITEMS_MAX);
    engine.set_max_expr_depths(DEPTH_MAX);
    engine.set_allow_looping(false);
    engine.set_allow_statement_expression(false);
    engine.set_allow_switch_expression(false);
    engine.disable_symbol("eval");
    engine.register_fn("matches", pattern_matcher());
    register_timestamps(&mut engine);
    operators::register(&mut engine);
    engine
}

/// `matches(text, pattern)`: whether a regular expression matches anywhere in a text.
fn pattern_matcher() -> impl Fn(&str, &str) -> Result<bool, Box<EvalAltResult>> + Send + Sync + 'static {
    let known: Mutex<HashMap<String, Arc<Regex>>> = Mutex::default();
    move |text, pattern| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = known.get(pattern) {
            return Ok(regex.is_match(text));
        }
        let regex = patterns::compile(pattern, &Effort::unlimited())?;
        let found = regex.is_match(text);
        if known.len() < PATTERNS_MAX {
            known.insert(pattern.to_owned(), Arc::new(regex));
        }
        Ok(found)
    }
}

fn register_timestamps(engine: &mut Engine) {
    engine.register_type_with_name::<Timestamp>("timestamp");
    engine.register_fn("==", |a: Timestamp, b: Timestamp| a == b);
    engine.register_fn("!=", |a: Timestamp, b: Timestamp| a != b);
    engine.register_fn("<", |a: Timestamp, b: Timestamp| a < b);
    engine.register_fn("<=", |a: Timestamp, b: Timestamp| a <= b);
    engine.register_fn(">", |a: Timestamp, b: Timestamp| a > b);
    engine.register_fn(">=", |a: Timestamp, b: Timestamp| a >= b);
    engine.register_fn("-", |a: Timestamp, b: Timestamp| (i128::from(a.0) - i128::from(b.0)) as f64 / 1e9);
    engine.register_fn("unix", |t: Timestamp| t.0 as f64 / 1e9);
    engine.register_fn("to_string", |t: Timestamp| t.to_string());
}

#[cfg(test)]
mod tests;
