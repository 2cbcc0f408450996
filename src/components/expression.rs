//! Expressions over the fields of a tuple, for `filter` and `map`.
//!
//! The language is Rhai's, reduced to expressions: operators, `if` and `switch`, and functions on
//! numbers, text, lists and maps. A field is a variable by its name. What is not there: statements,
//! loops, closures, `eval`, files, time, the network.
//!
//! 1. An expression is compiled once, when the settings are read; an error says line and column.
//! 2. Evaluating one takes at most [`OPERATIONS_MAX`] operations and makes no text, list or map
//!    longer than the limits below, so a hostile expression ends in an error.
//! 3. Only fields that the expressions mention are converted, and their places are looked up once
//!    per source.
//!
//! A bare comparison costs about half a microsecond (2 cores of a server, one thread). Where that is
//! too much, write a bolt.
//!
//! | field | in the expression |
//! |---|---|
//! | null | `()` |
//! | bool, i64, f64, string | the same |
//! | bytes | blob |
//! | list, map | array, object map |
//! | timestamp | compares and subtracts (seconds, f64); `unix(t)` is seconds since 1970 |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;
use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicBlobPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{AST, Dynamic, Engine, EvalAltResult, ImmutableString, Map, Scope};
use smol_str::SmolStr;

use crate::api::{Input, TaskError};
use crate::tuple::{Fields, Timestamp, Value};

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

/// Compiled expressions over the same tuples.
pub(super) struct Expressions {
    engine: Engine,
    compiled: Vec<(SmolStr, AST)>,
    /// Every word in the sources: what may be a field.
    words: Vec<SmolStr>,
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
    pub(super) fn compile<S: AsRef<str>>(sources: &[S]) -> Result<Expressions, (usize, String)> {
        let engine = engine();
        let mut compiled = Vec::new();
        let mut words: Vec<SmolStr> = Vec::new();
        for (index, source) in sources.iter().map(AsRef::as_ref).enumerate() {
            if source.len() > SOURCE_LEN_MAX {
                return Err((index, format!("is longer than {SOURCE_LEN_MAX} bytes")));
            }
            let ast = engine.compile_expression(source);
            let ast = ast.map_err(|error| (index, format!("`{source}`: {error}")))?;
            compiled.push((SmolStr::new(source), ast));
            words.extend(words_of(source).map(SmolStr::new));
        }
        words.sort_unstable();
        words.dedup();
        Ok(Expressions { engine, compiled, words, source: None, bound: Vec::new(), scope: Scope::new() })
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
    /// When it fails; says where.
    pub(super) fn eval(&mut self, index: usize) -> Result<Value, TaskError> {
        let fields = self.bound.len();
        let (source, ast) = &self.compiled[index];
        let result = self.engine.eval_ast_with_scope::<Dynamic>(&mut self.scope, ast);
        self.scope.rewind(fields);
        let value = result.map_err(|error| failed(source, &error))?;
        to_value(value).map_err(|type_name| {
            TaskError::new(format!("`{source}` makes a {type_name}, which cannot be a field"))
        })
    }

    fn find(&mut self, fields: &Fields) {
        let places = fields.iter().enumerate();
        let mentioned = places.filter(|(_, name)| self.words.binary_search(name).is_ok());
        self.bound = mentioned.map(|(position, name)| (position, name.clone())).collect();
        self.source = Some(fields.clone());
    }
}

fn failed(source: &str, error: &EvalAltResult) -> TaskError {
    TaskError::new(format!("`{source}`: {error}"))
}

/// Everything in the source that could be a variable; some of it is text or a function's name,
/// which costs a conversion and is otherwise without effect.
fn words_of(source: &str) -> impl Iterator<Item = &str> {
    let words = source.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

fn engine() -> Engine {
    let mut engine = Engine::new_raw();
    // Only these: the core of the language brings `sleep` and `exit` with it.
    let packages = [
        ArithmeticPackage::new().as_shared_module(),
        LogicPackage::new().as_shared_module(),
        BasicMathPackage::new().as_shared_module(),
        BasicStringPackage::new().as_shared_module(),
        MoreStringPackage::new().as_shared_module(),
        BasicArrayPackage::new().as_shared_module(),
        BasicBlobPackage::new().as_shared_module(),
        BasicMapPackage::new().as_shared_module(),
    ];
    for package in packages {
        engine.register_global_module(package);
    }
    engine.set_max_operations(OPERATIONS_MAX);
    engine.set_max_string_size(TEXT_LEN_MAX);
    engine.set_max_array_size(ITEMS_MAX);
    engine.set_max_map_size(ITEMS_MAX);
    engine.set_max_expr_depths(DEPTH_MAX, DEPTH_MAX);
    engine.set_allow_looping(false);
    engine.set_allow_anonymous_fn(false);
    engine.set_allow_statement_expression(false);
    engine.disable_symbol("eval");
    engine.register_fn("matches", pattern_matcher());
    register_timestamps(&mut engine);
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
        let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
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

fn to_dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(b) => Dynamic::from_bool(*b),
        Value::I64(n) => Dynamic::from_int(*n),
        Value::F64(x) => Dynamic::from_float(*x),
        Value::Str(s) => Dynamic::from(ImmutableString::from(s.as_str())),
        Value::Bytes(bytes) => Dynamic::from_blob(bytes.to_vec()),
        Value::List(list) => Dynamic::from_array(list.iter().map(to_dynamic).collect()),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| (key.as_str().into(), to_dynamic(value)));
            Dynamic::from_map(entries.collect::<Map>())
        }
        Value::Timestamp(t) => Dynamic::from(*t),
    }
}

/// The value, or the name of a type that cannot be one.
fn to_value(dynamic: Dynamic) -> Result<Value, &'static str> {
    if dynamic.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(b) = dynamic.as_bool() {
        return Ok(Value::Bool(b));
    }
    if let Ok(n) = dynamic.as_int() {
        return Ok(Value::I64(n));
    }
    if let Ok(x) = dynamic.as_float() {
        return Ok(Value::F64(x));
    }
    if let Ok(c) = dynamic.as_char() {
        return Ok(Value::str(c.encode_utf8(&mut [0; 4])));
    }
    if dynamic.is_string() {
        let text = dynamic.into_immutable_string().expect("it was a string a line above");
        return Ok(Value::str(text.as_str()));
    }
    container_value(dynamic)
}

/// The values that own others, and the rare ones.
fn container_value(dynamic: Dynamic) -> Result<Value, &'static str> {
    if dynamic.is_array() {
        let array = dynamic.into_array()?;
        let values: Result<Vec<Value>, _> = array.into_iter().map(to_value).collect();
        return values.map(Value::list);
    }
    if dynamic.is_map() {
        let map = dynamic.try_cast::<Map>().ok_or("map")?;
        let entries: Result<Vec<_>, _> =
            map.into_iter().map(|(key, value)| Ok((key, to_value(value)?))).collect();
        return entries.map(Value::map);
    }
    if dynamic.is_blob() {
        return dynamic.into_blob().map(Value::from);
    }
    match dynamic.try_cast_result::<Timestamp>() {
        Ok(t) => Ok(Value::Timestamp(t)),
        Err(other) => Err(other.type_name()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::SourceMeta;
    use crate::ids::TaskId;

    fn eval(source: &str) -> Result<Value, String> {
        let mut expressions = Expressions::compile(&[source]).map_err(|(_, error)| error)?;
        let fields = ["status", "path", "size", "none", "at", "tags", "who", "raw"];
        let mut row = [
            Value::from(404),
            "/api/users".into(),
            1536.0.into(),
            Value::Null,
            Timestamp(1_500_000_000).into(),
            Value::list(["a".into(), 2.into()]),
            Value::map([("name", Value::from("Ada"))]),
            Value::bytes(&b"\x01\x02"[..]),
        ];
        let (component, stream) = (SmolStr::new("c"), SmolStr::new("default"));
        let meta = Arc::new(SourceMeta {
            component,
            stream,
            stream_index: 0,
            task: TaskId(1),
            fields: fields.into(),
        });
        expressions.bind(&Input::owned(&mut row, &meta));
        expressions.eval(0).map_err(|error| error.to_string())
    }

    #[test]
    fn expressions_compute_over_fields() {
        let check = |source: &str, expected: Value| assert_eq!(eval(source), Ok(expected), "{source}");
        check("status >= 400", true.into());
        check("status >= 400 && path.starts_with(\"/api\")", true.into());
        check("size / 1024", 1.5.into());
        check("size / 1024.0 + 1", 2.5.into());
        check("`${path}:${status}`", "/api/users:404".into());
        check("path.to_upper()", "/API/USERS".into());
        check("path.len()", 10.into());
        check("path.matches(\"^/api/[a-z]+$\")", true.into());
        check("none == ()", true.into());
        check("none > 5", false.into());
        check("if status < 400 { \"ok\" } else { \"bad\" }", "bad".into());
        check("tags[0]", "a".into());
        check("tags", Value::list(["a".into(), 2.into()]));
        check("who.name", "Ada".into());
        check("who", Value::map([("name", Value::from("Ada"))]));
        check("raw", Value::bytes(&b"\x01\x02"[..]));
        check("path[1]", "a".into());
        check("unix(at)", 1.5.into());
        check("at", Timestamp(1_500_000_000).into());
        check("at - at", 0.0.into());
    }

    #[test]
    fn what_fails_says_where() {
        let check = |source: &str, why: &str| {
            let error = eval(source).expect_err(source);
            assert!(error.contains(why), "{source}: {error}");
        };
        check("status >=", "line 1");
        check("statuss > 1", "Variable not found: statuss (line 1, position 1)");
        check("status / 0", "ivision by zero");
        check("status + 9223372036854775807", "overflow");
        check("let x = 1", "line 1, position 1");
        check("|x| x", "line 1");
        check("path.matches(\"[\")", "regex parse error");
    }

    #[test]
    fn a_hostile_expression_ends_in_an_error() {
        let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
        for source in [
            "while true {}",
            "loop {}",
            "sleep(1000)",
            "exit()",
            "eval(\"1\")",
            "timestamp()",
            "fn f() { f() } f()",
            "\"x\".pad(999999999, \"x\")",
            "[1, 2].pad(999999999, 1)",
            "import \"x\" as y",
            deep.as_str(),
        ] {
            assert!(eval(source).is_err(), "{source} is let through: {:?}", eval(source));
        }
    }
}
