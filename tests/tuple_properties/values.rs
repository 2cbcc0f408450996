//! Any value, and any batch that keeps its rules.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use squall::Timestamp;
use squall::ids::{RootId, TaskId};
use squall::tuple::{Anchor, Attempt, Rows, Run, TupleBatch, Value};

/// Any value, nested a few levels deep.
pub fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![any::<i64>(), -200..200i64].prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(-0.0), Just(0.0), Just(f64::NAN), Just(-f64::NAN)].prop_map(Value::F64),
        prop_oneof![".{0,30}", "[a-z]{60,70}"].prop_map(Value::from),
        vec(any::<u8>(), 0..40).prop_map(Value::from),
        any::<i64>().prop_map(|n| Value::Timestamp(Timestamp(n))),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::list),
            btree_map(".{0,5}", inner, 0..6).prop_map(Value::map),
        ]
    })
}

fn any_anchor() -> impl Strategy<Value = Anchor> {
    let root = (1..100u32, 0..1000u32, 0..1000u32);
    (root, 1..u64::MAX, 0..64u8, (any::<u32>(), any::<bool>())).prop_map(
        |((task, slot, generation), edge, message, (replays, is_last))| Anchor {
            root: RootId::new(TaskId(task), slot, generation),
            edge,
            message,
            attempt: Attempt::new(replays, is_last),
        },
    )
}

/// A run, tracked more often than not.
fn any_run() -> impl Strategy<Value = Run> {
    (any_anchor(), 1..5u32, 0..4).prop_map(|(anchor, len, kind)| match kind {
        0 => Run { root: RootId::NONE, edge: 0, len, attempt: Attempt::FIRST },
        _ => Run { root: anchor.root, edge: anchor.edge, len, attempt: anchor.attempt },
    })
}

/// Any batch that keeps the rules, tracked or not.
pub fn any_batch() -> impl Strategy<Value = TupleBatch> {
    let tracked = vec(any_run(), 1..6).prop_flat_map(|runs| {
        let len = runs.iter().map(|run| run.len).sum::<u32>();
        let extras = vec((0..len, any_anchor()), 0..4);
        (Just(runs), vec(0..64u8, len as usize), extras)
    });
    let untracked = (0..20u32).prop_map(|len| (len, vec![], vec![], vec![]));
    let tracked = tracked.prop_map(|(runs, msgs, extras)| (msgs.len() as u32, runs, msgs, extras));
    (0..4u32, prop_oneof![tracked, untracked]).prop_flat_map(|(arity, (len, runs, msgs, mut extras))| {
        extras.sort_by_key(|(tuple, _)| *tuple);
        let rows = vec(any_value(), (arity * len) as usize);
        rows.prop_map(move |rows| TupleBatch {
            arity,
            len,
            heap: rows.iter().map(Value::heap_size).sum(),
            rows: Rows::Owned(rows),
            runs: runs.clone(),
            msgs: msgs.clone(),
            extras: extras.clone(),
        })
    })
}
