//! The law of aggregates, for each function: what is put together does not depend on the order, the groups, or what was taken
//! away meanwhile; and it is what a naive function makes of all values.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::call::Call;
use super::state::{Accumulators, Arguments, Calls};
use crate::tuple::{Timestamp, Value};
use crate::window::aggregate::Aggregate;

const CALLS: [&str; 18] = [
    "count()",
    "count(x)",
    "sum(x)",
    "min(x)",
    "max(x)",
    "avg(x)",
    "first(x)",
    "last(x)",
    "any(x)",
    "collect(x)",
    "collect(x, 3)",
    "top(x, 2)",
    "distinct(x)",
    "distinct_approx(x)",
    "percentile(x, 0)",
    "percentile(x, 90)",
    "variance(x)",
    "stddev(x)",
];

/// Tuples: when they happened, and their values.
type Tuples = Vec<(i64, Value)>;

fn function(text: &str) -> Calls {
    let call = Call::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Calls::new(vec![("it".to_owned(), call.function)])
}

fn add(calls: &Calls, state: &mut Accumulators, text: &str, (at, value): &(i64, Value)) {
    let is_counted = text == "count()" || !value.is_null();
    let values = [is_counted.then(|| value.clone())].into_iter().collect();
    calls
        .add(state, &Arguments { at: Timestamp(*at), values })
        .unwrap_or_else(|error| panic!("{text}: {error}"));
}

fn state_of(calls: &Calls, text: &str, tuples: &[(i64, Value)]) -> Accumulators {
    let mut state = calls.empty();
    tuples.iter().for_each(|tuple| add(calls, &mut state, text, tuple));
    state
}

fn told(calls: &Calls, state: &Accumulators) -> Value {
    calls.output(state).unwrap_or_else(|error| panic!("{error}")).remove(0)
}

/// Whole numbers and others that have exact sums, with nulls.
fn tuples() -> impl Strategy<Value = Tuples> {
    let value = prop_oneof![
        1 => Just(Value::Null),
        4 => (-20_i64..20).prop_map(Value::from),
        2 => (-80_i64..80).prop_map(|n| Value::from(n as f64 / 4.0)),
    ];
    prop::collection::vec((0_i64..6, value), 0..24)
}

/// A naive function of all values, for those that have one.
fn naive(text: &str, tuples: &[(i64, Value)]) -> Option<Value> {
    let mut dated: Vec<&(i64, Value)> = tuples.iter().filter(|(_, value)| !value.is_null()).collect();
    dated.sort();
    let numbers: Vec<f64> = dated.iter().map(|(_, value)| number(value)).collect();
    let count = numbers.len();
    let mean = numbers.iter().sum::<f64>() / count as f64;
    let or_null = |value: Value| Some(if count == 0 { Value::Null } else { value });
    let times = || {
        let mut times: BTreeMap<&Value, i64> = BTreeMap::new();
        dated.iter().for_each(|(_, value)| *times.entry(value).or_default() += 1);
        times
    };
    match text {
        "count()" => Some(Value::from(tuples.len() as i64)),
        "count(x)" => Some(Value::from(count as i64)),
        "sum(x)" if dated.iter().all(|(_, value)| matches!(value, Value::I64(_))) => {
            or_null(Value::from(numbers.iter().sum::<f64>() as i64))
        }
        "sum(x)" => Some(Value::from(numbers.iter().sum::<f64>())),
        "avg(x)" => or_null(Value::from(mean)),
        "first(x)" => Some(dated.first().map_or(Value::Null, |(_, value)| value.clone())),
        "last(x)" => Some(dated.last().map_or(Value::Null, |(_, value)| value.clone())),
        "collect(x)" => Some(Value::list(dated.iter().map(|(_, value)| value.clone()))),
        "collect(x, 3)" => Some(Value::list(dated.iter().take(3).map(|(_, value)| value.clone()))),
        "distinct(x)" | "distinct_approx(x)" => Some(Value::from(times().len() as i64)),
        "top(x, 2)" => {
            let mut all: Vec<(&Value, i64)> = times().into_iter().collect();
            all.sort_by_key(|(value, times)| (-times, *value));
            let shown = |(value, times): (&Value, i64)| {
                Value::map([("value", value.clone()), ("count", times.into())])
            };
            Some(Value::list(all.into_iter().take(2).map(shown)))
        }
        _ => None,
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::I64(number) => *number as f64,
        Value::F64(number) => *number,
        other => panic!("{other} is no number"),
    }
}

proptest! {
    #[test]
    fn order_and_groups_do_not_matter(
        tuples in tuples(),
        order in any::<u64>(),
        cuts in prop::collection::vec(0_usize..24, 0..4),
    ) {
        for text in CALLS {
            let calls = function(text);
            let expected = told(&calls, &state_of(&calls, text, &tuples));
            // In another order, in groups that are put together from the last to the first.
            let mut others = tuples.clone();
            others.sort_by_cached_key(|(at, value)| {
                crate::tuple::hash::stable_hash(&Value::list([Value::from(*at), value.clone()])) ^ order
            });
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(others.len())).collect();
            cuts.extend([0, others.len()]);
            cuts.sort_unstable();
            let mut all = calls.empty();
            for group in cuts.windows(2).rev() {
                let part = state_of(&calls, text, &others[group[0]..group[1]]);
                calls.combine(&mut all, &part).expect("both are of one function");
            }
            prop_assert_eq!(told(&calls, &all), expected.clone(), "{}", text);
            if let Some(naive) = naive(text, &tuples) {
                prop_assert_eq!(expected, naive, "{}", text);
            }
        }
    }

    #[test]
    fn what_is_taken_away_leaves_the_rest(tuples in tuples(), cut in 0_usize..24) {
        for text in CALLS {
            let calls = function(text);
            if !calls.is_invertible() {
                continue;
            }
            let (gone, rest) = tuples.split_at(cut.min(tuples.len()));
            let mut state = state_of(&calls, text, &tuples);
            calls.invert(&mut state, &state_of(&calls, text, gone)).expect("they are in it");
            prop_assert_eq!(told(&calls, &state), told(&calls, &state_of(&calls, text, rest)), "{}", text);
            calls.invert(&mut state, &state_of(&calls, text, rest)).expect("they are in it");
            prop_assert_eq!(told(&calls, &state), told(&calls, &calls.empty()), "{}", text);
        }
    }

    /// State goes through snapshots.
    #[test]
    fn what_was_stored_tells_the_same(tuples in tuples()) {
        for text in CALLS {
            let calls = function(text);
            let state = state_of(&calls, text, &tuples);
            let bytes = rmp_serde::to_vec_named(&state).expect("it can be written");
            let read: Accumulators = rmp_serde::from_slice(&bytes).expect("it can be read");
            prop_assert_eq!(told(&calls, &read), told(&calls, &state), "{}", text);
        }
    }
}

#[test]
fn estimates_are_close() {
    let values: Vec<(i64, Value)> = (0..50_000).map(|n| (0, Value::from(n * 7 % 50_000 + 1))).collect();
    let of = |text: &str| {
        let calls = function(text);
        number(&told(&calls, &state_of(&calls, text, &values)))
    };
    let close = |found: f64, expected: f64, by: f64| {
        assert!((found - expected).abs() <= expected * by, "{found} for {expected}");
    };
    close(of("distinct_approx(x)"), 50_000.0, 0.05);
    close(of("percentile(x, 50)"), 25_000.0, 0.011);
    close(of("percentile(x, 99)"), 49_500.0, 0.011);
}
