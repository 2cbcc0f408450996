//! State takes little more memory for each key than a plain map does.
//!
//! An allocator counts what this thread holds. A test of its own, for it takes the process's allocator.

#[path = "memory_kit/mod.rs"]
mod memory_kit;

use memory_kit::held_after;
use rustc_hash::FxHashMap;
use squall::prelude::*;
use squall::testing::BoltHarness;

const KEYS: i64 = 100_000;
const KEYS_PER_CALL: i64 = 1_000;

/// Keys that do not come in their order.
fn key(nth: i64) -> i64 {
    nth.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)
}

fn text(nth: i64) -> String {
    format!("a key of {nth:010}")
}

/// Counts the next keys at each tick.
#[derive(Default)]
struct Count {
    counts: ValueState<i64>,
    next: i64,
    texts: bool,
}

impl Bolt for Count {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for nth in self.next..self.next + KEYS_PER_CALL {
            let key = if self.texts { Value::from(text(nth)) } else { Value::from(key(nth)) };
            out.set_key([key])?;
            self.counts.update(out, |count| *count += 1)?;
        }
        self.next += KEYS_PER_CALL;
        Ok(())
    }
}

/// Bytes that state of which snapshots are taken takes for all keys.
fn state(texts: bool) -> usize {
    let mut count = BoltHarness::new(Count { texts, ..Count::default() });
    drop(count.checkpoint(1));
    let (held, ()) = held_after(|| {
        (0..KEYS / KEYS_PER_CALL).for_each(|_| count.tick());
        // Of all keys, and of none.
        (2..4).for_each(|number| drop(count.checkpoint(number)));
    });
    held
}

fn map<K: Eq + std::hash::Hash>(key: impl Fn(i64) -> K) -> usize {
    let (held, _map) = held_after(|| {
        let mut counts = FxHashMap::default();
        (0..KEYS).for_each(|nth| *counts.entry(key(nth)).or_insert(0_i64) += 1);
        counts
    });
    held
}

#[test]
fn state_takes_at_most_half_more_than_a_map() {
    let check = |texts: bool, of_map: usize| {
        let of_state = state(texts);
        assert!(
            of_map > 17 * KEYS as usize && of_state * 2 <= of_map * 3,
            "texts: {texts}; {} bytes a key, and {} in a map",
            of_state as f64 / KEYS as f64,
            of_map as f64 / KEYS as f64
        );
    };
    check(false, map(key));
    check(true, map(|nth| Value::from(text(nth))));
}
