//! Operators that are exact or fail.
//!
//! Rhai's own operators compare doubles with a tolerance, round an integer that meets a double,
//! let a shift lose its bits, divide doubles by zero to an infinity, and call values of two types
//! simply unequal. In a condition over data each of these is a wrong answer that nobody sees, so
//! all of them are replaced:
//!
//! 1. Numbers compare by their exact value, an integer and a double too.
//! 2. Arithmetic of an integer and a double fails when the double cannot hold the integer; a result
//!    that is not finite, of operands that are, fails.
//! 3. Shifts go by 0 to 63 places and fail when bits would be lost.
//! 4. A comparison of two types fails and names them. Null is the exception: it equals null and
//!    nothing else, and every `<`, `<=`, `>`, `>=` with it is false.
//!
//! The operators of two integers, two bools and two texts stay Rhai's: they are exact or fail.

use std::cmp::Ordering;

use rhai::{Array, Dynamic, Engine, EvalAltResult};

use crate::tuple::Timestamp;

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// Replaces the operators of an engine. Its fast operators, which cannot be replaced, are off after
/// this.
pub(super) fn register(engine: &mut Engine) {
    engine.set_fast_operators(false);
    comparisons(engine);
    arithmetic(engine);
    engine.register_fn("<<", shift_left);
    engine.register_fn(">>", shift_right);
    engine.register_fn("to_int", to_int);
    engine.register_fn("to_float", exact);
    engine.register_fn("parse_float", parse_float);
    engine.register_fn("contains", |list: &mut Array, wanted: Dynamic| contains(list, &wanted));
}

/// Registers an operator for every pair of an integer and a double that has a double in it.
macro_rules! with_doubles {
    ($engine:ident, $name:literal, $operate:expr) => {{
        let operate = $operate;
        $engine.register_fn($name, move |a: f64, b: f64| operate(Dynamic::from(a), Dynamic::from(b)));
        $engine.register_fn($name, move |a: i64, b: f64| operate(Dynamic::from(a), Dynamic::from(b)));
        $engine.register_fn($name, move |a: f64, b: i64| operate(Dynamic::from(a), Dynamic::from(b)));
    }};
}

fn comparisons(engine: &mut Engine) {
    let is_equal = |a: Dynamic, b: Dynamic| compare("==", &a, &b).map(Compared::is_equal);
    let is_unequal = |a: Dynamic, b: Dynamic| compare("!=", &a, &b).map(|found| !found.is_equal());
    let is_less = |a: Dynamic, b: Dynamic| compare("<", &a, &b).map(|found| found.is(Ordering::is_lt));
    let is_at_most = |a: Dynamic, b: Dynamic| compare("<=", &a, &b).map(|found| found.is(Ordering::is_le));
    let is_more = |a: Dynamic, b: Dynamic| compare(">", &a, &b).map(|found| found.is(Ordering::is_gt));
    let is_at_least = |a: Dynamic, b: Dynamic| compare(">=", &a, &b).map(|found| found.is(Ordering::is_ge));
    // Rhai has operators of its own for pairs with doubles, which an operator for all types does not
    // replace.
    with_doubles!(engine, "==", is_equal);
    with_doubles!(engine, "!=", is_unequal);
    with_doubles!(engine, "<", is_less);
    with_doubles!(engine, "<=", is_at_most);
    with_doubles!(engine, ">", is_more);
    with_doubles!(engine, ">=", is_at_least);
    engine.register_fn("==", is_equal);
    engine.register_fn("!=", is_unequal);
    engine.register_fn("<", is_less);
    engine.register_fn("<=", is_at_most);
    engine.register_fn(">", is_more);
    engine.register_fn(">=", is_at_least);
    let larger = |a: Dynamic, b: Dynamic| -> Result<Dynamic> {
        Ok(if compare("max", &a, &b)?.is(Ordering::is_lt) { b } else { a })
    };
    let smaller = |a: Dynamic, b: Dynamic| -> Result<Dynamic> {
        Ok(if compare("min", &a, &b)?.is(Ordering::is_gt) { b } else { a })
    };
    with_doubles!(engine, "max", larger);
    with_doubles!(engine, "min", smaller);
}

fn arithmetic(engine: &mut Engine) {
    with_doubles!(engine, "+", |a, b| computed("+", &a, &b, |a, b| a + b));
    with_doubles!(engine, "-", |a, b| computed("-", &a, &b, |a, b| a - b));
    with_doubles!(engine, "*", |a, b| computed("*", &a, &b, |a, b| a * b));
    with_doubles!(engine, "/", |a, b| computed("/", &a, &b, |a, b| a / b));
    with_doubles!(engine, "%", |a, b| computed("%", &a, &b, |a, b| a % b));
    with_doubles!(engine, "**", |a, b| computed("**", &a, &b, f64::powf));
}

/// What a comparison came to.
#[derive(Clone, Copy)]
enum Compared {
    Ordered(Ordering),
    /// Values without an order that are equal, or not.
    Unordered(bool),
}

impl Compared {
    fn is_equal(self) -> bool {
        match self {
            Compared::Ordered(ordering) => ordering.is_eq(),
            Compared::Unordered(equal) => equal,
        }
    }

    fn is(self, wanted: impl Fn(Ordering) -> bool) -> bool {
        match self {
            Compared::Ordered(ordering) => wanted(ordering),
            Compared::Unordered(_) => false,
        }
    }
}

fn compare(operator: &str, a: &Dynamic, b: &Dynamic) -> Result<Compared> {
    if a.is_unit() || b.is_unit() {
        return Ok(Compared::Unordered(a.is_unit() && b.is_unit()));
    }
    if let Some(ordering) = compare_numbers(a, b) {
        return Ok(ordering.map_or(Compared::Unordered(false), Compared::Ordered));
    }
    if let (Ok(a), Ok(b)) = (a.as_bool(), b.as_bool()) {
        return Ok(Compared::Ordered(a.cmp(&b)));
    }
    if let (Some(a), Some(b)) = (Text::of(a), Text::of(b)) {
        return Ok(Compared::Ordered(a.as_str().cmp(b.as_str())));
    }
    // A type without an order is equal or not, and has no other comparison.
    if (operator == "==" || operator == "!=")
        && let (Ok(a), Ok(b)) = (a.as_blob_ref(), b.as_blob_ref())
    {
        return Ok(Compared::Unordered(*a == *b));
    }
    Err(format!("cannot compare {} with {}", name_of(a), name_of(b)).into())
}

/// The order of two numbers: `None` when one of them is none, and `Some(None)` with a NaN.
fn compare_numbers(a: &Dynamic, b: &Dynamic) -> Option<Option<Ordering>> {
    match (a.as_int(), b.as_int(), a.as_float(), b.as_float()) {
        (Ok(a), Ok(b), ..) => Some(Some(a.cmp(&b))),
        (.., Ok(a), Ok(b)) => Some(a.partial_cmp(&b)),
        (Ok(a), _, _, Ok(b)) => Some(compare_mixed(a, b)),
        (_, Ok(b), Ok(a), _) => Some(compare_mixed(b, a).map(Ordering::reverse)),
        _ => None,
    }
}

/// The exact order of an integer and a double.
fn compare_mixed(n: i64, x: f64) -> Option<Ordering> {
    /// 2^63: the first double that no integer reaches.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if x.is_nan() {
        return None;
    }
    if x >= BEYOND {
        return Some(Ordering::Less);
    }
    if x < -BEYOND {
        return Some(Ordering::Greater);
    }
    // In these bounds the whole part is an integer, exactly.
    let whole = x.trunc();
    let by_fraction = 0.0_f64.partial_cmp(&(x - whole))?;
    Some(n.cmp(&(whole as i64)).then(by_fraction))
}

/// Text, or a character, which is text of one.
enum Text {
    Shared(rhai::ImmutableString),
    Char([u8; 4], usize),
}

impl Text {
    fn of(value: &Dynamic) -> Option<Text> {
        if let Ok(text) = value.as_immutable_string_ref() {
            return Some(Text::Shared(text.clone()));
        }
        let mut bytes = [0; 4];
        let len = value.as_char().ok()?.encode_utf8(&mut bytes).len();
        Some(Text::Char(bytes, len))
    }

    fn as_str(&self) -> &str {
        match self {
            Text::Shared(text) => text,
            Text::Char(bytes, len) => std::str::from_utf8(&bytes[..*len]).unwrap_or_default(),
        }
    }
}

fn computed(operator: &str, a: &Dynamic, b: &Dynamic, operate: fn(f64, f64) -> f64) -> Result<f64> {
    let double = |value: &Dynamic| match value.as_int() {
        Ok(n) => exact(n),
        Err(_) => Ok(value.as_float().unwrap_or(f64::NAN)),
    };
    let (a, b) = (double(a)?, double(b)?);
    if b == 0.0 && (operator == "/" || operator == "%") {
        return Err(format!("division by zero: {a:?} {operator} {b:?}").into());
    }
    let result = operate(a, b);
    if !result.is_finite() && a.is_finite() && b.is_finite() {
        return Err(format!("overflow: {a:?} {operator} {b:?}").into());
    }
    Ok(result)
}

/// An integer as the double of the same value.
fn exact(n: i64) -> Result<f64> {
    let x = n as f64;
    match compare_mixed(n, x) {
        Some(Ordering::Equal) => Ok(x),
        _ => Err(format!("{n} has more digits than an f64 can hold").into()),
    }
}

fn to_int(x: f64) -> Result<i64> {
    let whole = x.trunc();
    if compare_mixed(i64::MAX, whole).is_none_or(Ordering::is_lt)
        || compare_mixed(i64::MIN, whole).is_none_or(Ordering::is_gt)
    {
        return Err(format!("{x:?} does not fit an i64").into());
    }
    Ok(whole as i64)
}

fn parse_float(text: &str) -> Result<f64> {
    match text.trim().parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err(format!("\"{}\" is no f64", text.escape_debug()).into()),
    }
}

fn shift_left(n: i64, places: i64) -> Result<i64> {
    let lost = || format!("{n} << {places} loses bits of an i64").into();
    let shift = u32::try_from(places).ok().filter(|shift| *shift < i64::BITS).ok_or_else(lost)?;
    let shifted = n << shift;
    if shifted >> shift == n { Ok(shifted) } else { Err(lost()) }
}

fn shift_right(n: i64, places: i64) -> Result<i64> {
    match u32::try_from(places) {
        Ok(shift) if shift < i64::BITS => Ok(n >> shift),
        _ => Err(format!("{n} >> {places}: shifts go by 0 to 63 places").into()),
    }
}

/// Whether a list has a value. A list that does not have it but has values of other types fails,
/// because one of them may be the value in another type.
fn contains(list: &[Dynamic], wanted: &Dynamic) -> Result<bool> {
    let mut mismatch = None;
    for item in list {
        match compare("==", item, wanted) {
            Ok(compared) if compared.is_equal() => return Ok(true),
            Ok(_) => {}
            Err(error) => mismatch = Some(error),
        }
    }
    mismatch.map_or(Ok(false), Err)
}

/// The type of a value by the name that [`ValueType`](crate::tuple::ValueType) has for it.
fn name_of(value: &Dynamic) -> &'static str {
    if value.is_array() {
        "list"
    } else if value.is_blob() {
        "bytes"
    } else if value.is_string() || value.is_char() {
        "string"
    } else if value.is_unit() {
        "null"
    } else if value.is::<Timestamp>() {
        "timestamp"
    } else {
        value.type_name()
    }
}
