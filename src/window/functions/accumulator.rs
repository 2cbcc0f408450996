//! What each function keeps of the values that were added, and what it tells of them.

use std::cmp::Ordering;

use datasketches::hll::{HllSketch, HllType, HllUnion};
use rpds::RedBlackTreeMapSync;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sketches_ddsketch::{Config, DDSketch};

use crate::tuple::hash::stable_hash;
use crate::tuple::{Timestamp, Value};
use crate::window::functions::function::Function;
use crate::window::functions::numbers::{Moments, Sum};
use crate::window::kept::Kept;

/// How exact `percentile` is: the value that it tells is at most so much beside the right one.
const PERCENTILE_ERROR: f64 = 0.01;

/// The registers of `distinct_approx` are 2 to the power of this: it is right to 1.6 % in two of three cases.
const REGISTERS: u8 = 12;

/// What is kept. Copies are made of it for each tuple, in case the tuple fails; so what may become large is made of parts
/// that copies share (`rpds`).
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Accumulator {
    Count(i64),
    Sum(Sum),
    Least(Option<Kept>),
    Greatest(Option<Kept>),
    Earliest(Option<Dated>),
    Latest(Option<Dated>),
    /// By time and value, with how often each occurs.
    Collected(RedBlackTreeMapSync<Dated, i64>),
    /// With how often each occurs.
    Counted(RedBlackTreeMapSync<Kept, i64>),
    Distinct(Box<Registers>),
    Quantiles(Box<DDSketch>),
    Moments(Box<Moments>),
}

/// A value, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Dated {
    at: i64,
    value: Kept,
}

/// The registers of a HyperLogLog.
#[derive(Clone, Debug)]
pub(super) struct Registers(HllSketch);

impl Serialize for Registers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Registers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Registers, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        HllSketch::deserialize(&bytes).map(Registers).map_err(D::Error::custom)
    }
}

impl Registers {
    fn new() -> Registers {
        Registers(HllSketch::new(REGISTERS, HllType::Hll6).expect("so many registers are allowed"))
    }

    fn combine(&mut self, other: &Registers) {
        let mut union = HllUnion::new(REGISTERS).expect("so many registers are allowed");
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll6);
    }
}

impl Accumulator {
    /// What a function keeps of no values.
    pub(super) fn new(function: Function) -> Accumulator {
        match function {
            Function::Count => Accumulator::Count(0),
            Function::Sum | Function::Avg => Accumulator::Sum(Sum::default()),
            Function::Min | Function::Any => Accumulator::Least(None),
            Function::Max => Accumulator::Greatest(None),
            Function::First => Accumulator::Earliest(None),
            Function::Last => Accumulator::Latest(None),
            Function::Collect(_) => Accumulator::Collected(RedBlackTreeMapSync::new_sync()),
            Function::Top(_) | Function::Distinct => Accumulator::Counted(RedBlackTreeMapSync::new_sync()),
            Function::DistinctApprox => Accumulator::Distinct(Box::new(Registers::new())),
            Function::Percentile(_) => {
                let config = Config::new(PERCENTILE_ERROR, 2048, 1e-9);
                Accumulator::Quantiles(Box::new(DDSketch::new(config)))
            }
            Function::Variance | Function::Stddev => Accumulator::Moments(Box::default()),
        }
    }

    /// Adds a value that is not null.
    ///
    /// # Errors
    /// When the function does not take it.
    #[inline]
    pub(super) fn add(&mut self, function: Function, at: Timestamp, value: &Value) -> Result<(), String> {
        match self {
            Accumulator::Count(count) => *count += 1,
            Accumulator::Sum(sum) => sum.add(value)?,
            Accumulator::Least(least) => choose(least, comparable(value)?, Ordering::Less)?,
            Accumulator::Greatest(greatest) => choose(greatest, comparable(value)?, Ordering::Greater)?,
            Accumulator::Earliest(found) => choose_dated(found, &dated(at, value), Ordering::Less),
            Accumulator::Latest(found) => choose_dated(found, &dated(at, value), Ordering::Greater),
            Accumulator::Collected(values) => {
                count_in(values, &dated(at, value), 1);
                shorten(values, function);
            }
            Accumulator::Counted(values) => count_in(values, &Kept(value.clone()), 1),
            Accumulator::Distinct(registers) => registers.0.update(stable_hash(value)),
            Accumulator::Quantiles(sketch) => sketch.add(finite(value)?),
            Accumulator::Moments(moments) => moments.add(value)?,
        }
        Ok(())
    }

    /// Adds what another one of the same function keeps.
    ///
    /// # Errors
    /// When values of both cannot be compared, or a sum is out of range.
    pub(super) fn combine(&mut self, function: Function, other: &Accumulator) -> Result<(), String> {
        match (self, other) {
            (Accumulator::Count(count), Accumulator::Count(more)) => *count += more,
            (Accumulator::Sum(sum), Accumulator::Sum(more)) => sum.combine(more)?,
            (Accumulator::Least(least), Accumulator::Least(Some(other))) => {
                choose(least, &other.0, Ordering::Less)?;
            }
            (Accumulator::Greatest(greatest), Accumulator::Greatest(Some(other))) => {
                choose(greatest, &other.0, Ordering::Greater)?;
            }
            (Accumulator::Earliest(found), Accumulator::Earliest(Some(other))) => {
                choose_dated(found, other, Ordering::Less);
            }
            (Accumulator::Latest(found), Accumulator::Latest(Some(other))) => {
                choose_dated(found, other, Ordering::Greater);
            }
            (Accumulator::Collected(values), Accumulator::Collected(more)) => {
                more.iter().for_each(|(value, times)| count_in(values, value, *times));
                shorten(values, function);
            }
            (Accumulator::Counted(values), Accumulator::Counted(more)) => {
                more.iter().for_each(|(value, times)| count_in(values, value, *times));
            }
            (Accumulator::Distinct(registers), Accumulator::Distinct(more)) => registers.combine(more),
            (Accumulator::Quantiles(sketch), Accumulator::Quantiles(more)) => {
                sketch.merge(more).map_err(|error| error.to_string())?;
            }
            (Accumulator::Moments(moments), Accumulator::Moments(more)) => moments.combine(more)?,
            // Both are of one function, so the other one is of no values.
            _ => {}
        }
        Ok(())
    }

    /// Takes away what another one of the same function keeps, all of which is in this one, if the function is
    /// [invertible](Function::is_invertible).
    ///
    /// # Errors
    /// When a sum is out of range.
    pub(super) fn invert(&mut self, other: &Accumulator) -> Result<(), String> {
        match (self, other) {
            (Accumulator::Count(count), Accumulator::Count(less)) => *count -= less,
            (Accumulator::Sum(sum), Accumulator::Sum(less)) => sum.invert(less)?,
            (Accumulator::Collected(values), Accumulator::Collected(less)) => {
                less.iter().for_each(|(value, times)| count_in(values, value, -times));
            }
            (Accumulator::Counted(values), Accumulator::Counted(less)) => {
                less.iter().for_each(|(value, times)| count_in(values, value, -times));
            }
            (Accumulator::Moments(moments), Accumulator::Moments(less)) => moments.invert(less)?,
            _ => return Err("cannot be taken away".to_owned()),
        }
        Ok(())
    }

    /// What the function tells of the values.
    ///
    /// # Errors
    /// When it does not fit a value.
    pub(super) fn output(&self, function: Function) -> Result<Value, String> {
        let kept = |value: &Option<Kept>| value.as_ref().map_or(Value::Null, |value| value.0.clone());
        let dated = |found: &Option<Dated>| found.as_ref().map_or(Value::Null, |found| found.value.0.clone());
        Ok(match self {
            Accumulator::Count(count) => Value::I64(*count),
            Accumulator::Sum(sum) if function == Function::Avg => sum.mean()?,
            Accumulator::Sum(sum) => sum.value()?,
            Accumulator::Least(value) | Accumulator::Greatest(value) => kept(value),
            Accumulator::Earliest(found) | Accumulator::Latest(found) => dated(found),
            Accumulator::Collected(values) => {
                let most = if let Function::Collect(Some(most)) = function { most } else { usize::MAX };
                let all = values.iter().flat_map(|(found, times)| {
                    std::iter::repeat_n(&found.value.0, usize::try_from(*times).unwrap_or(0)).cloned()
                });
                Value::list(all.take(most))
            }
            Accumulator::Counted(values) => match function {
                Function::Top(most) => most_frequent(values, most),
                _ => Value::I64(values.size() as i64),
            },
            Accumulator::Distinct(registers) => Value::I64(registers.0.composite_estimate().round() as i64),
            Accumulator::Quantiles(sketch) => {
                let Function::Percentile(percent) = function else { return Ok(Value::Null) };
                let found = sketch.quantile(percent / 100.0).map_err(|error| error.to_string())?;
                found.map_or(Value::Null, Value::F64)
            }
            Accumulator::Moments(moments) => {
                let variance = moments.variance();
                let told = if function == Function::Stddev { variance.map(f64::sqrt) } else { variance };
                told.map_or(Value::Null, Value::F64)
            }
        })
    }
}

fn dated(at: Timestamp, value: &Value) -> Dated {
    Dated { at: at.0, value: Kept(value.clone()) }
}

/// A value that can be compared with others.
fn comparable(value: &Value) -> Result<&Value, String> {
    match value {
        Value::Bool(_) | Value::I64(_) | Value::F64(_) | Value::Str(_) | Value::Timestamp(_) => Ok(value),
        Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => Err(format!(
            "is of type {}, and has to be a number, a text, a bool or a timestamp",
            value.value_type()
        )),
    }
}

fn finite(value: &Value) -> Result<f64, String> {
    match value {
        Value::I64(number) => Ok(*number as f64),
        Value::F64(number) if number.is_finite() => Ok(*number),
        Value::F64(number) => Err(format!("is {number}, which has no place among the others")),
        other => Err(format!("is of type {}, and has to be a number", other.value_type())),
    }
}

/// Keeps another value, if it compares so with the one that is kept.
fn choose(kept: &mut Option<Kept>, other: &Value, wanted: Ordering) -> Result<(), String> {
    match kept {
        Some(kept) if order(other, &kept.0)? != wanted => {}
        kept => *kept = Some(Kept(other.clone())),
    }
    Ok(())
}

fn choose_dated(kept: &mut Option<Dated>, other: &Dated, wanted: Ordering) {
    if kept.as_ref().is_none_or(|kept| other.cmp(kept) == wanted) {
        *kept = Some(other.clone());
    }
}

/// Numbers by what they are worth, others only with their own type. Two are equal only if they are the same, so that
/// the order in which they come does not matter.
fn order(one: &Value, other: &Value) -> Result<Ordering, String> {
    match (one, other) {
        (Value::I64(one), Value::F64(real)) => Ok(worth(*one, *real).then(Ordering::Less)),
        (Value::F64(real), Value::I64(other)) => Ok(worth(*other, *real).reverse().then(Ordering::Greater)),
        _ if one.value_type() == other.value_type() => Ok(one.cmp(other)),
        _ => Err(format!("is of type {}, and others are of type {}", one.value_type(), other.value_type())),
    }
}

/// Compares exactly, where a conversion of one would round it.
fn worth(whole: i64, real: f64) -> Ordering {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if real.is_nan() || real >= BEYOND {
        return Ordering::Less;
    }
    if real < -BEYOND {
        return Ordering::Greater;
    }
    let fraction = real.fract();
    let by_fraction = 0.0.partial_cmp(&fraction).unwrap_or(Ordering::Equal);
    whole.cmp(&(real.trunc() as i64)).then(by_fraction)
}

/// Counts a value so many times more.
fn count_in<K: Ord + Clone>(values: &mut RedBlackTreeMapSync<K, i64>, value: &K, times: i64) {
    match values.get_mut(value) {
        Some(counted) if *counted + times != 0 => *counted += times,
        Some(_) => {
            values.remove_mut(value);
        }
        None => {
            values.insert_mut(value.clone(), times);
        }
    }
}

/// Drops what `collect` does not tell.
fn shorten(values: &mut RedBlackTreeMapSync<Dated, i64>, function: Function) {
    let Function::Collect(Some(most)) = function else { return };
    // Each has been counted at least once, so that more than so many are never needed.
    while values.size() > most {
        let Some((last, _)) = values.last() else { return };
        let last = last.clone();
        values.remove_mut(&last);
    }
}

/// The values that occur most often, with how often; of equal ones, the least.
fn most_frequent(values: &RedBlackTreeMapSync<Kept, i64>, most: usize) -> Value {
    let mut all: Vec<_> = values.iter().collect();
    all.sort_by_key(|(value, times)| (std::cmp::Reverse(**times), *value));
    all.truncate(most);
    Value::list(
        all.into_iter()
            .map(|(value, times)| Value::map([("value", value.0.clone()), ("count", Value::I64(*times))])),
    )
}
