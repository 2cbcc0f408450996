//! A spout of keys that emits as many as it may, and then waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use squall::api::Positions;
use squall::prelude::*;

/// Keys are visited in steps of these. They are prime, so each key comes once before one comes again, and neighbours
/// in one order are far from each other in the other.
const FIRST_STEP: u64 = 1_000_000_007;
const NEXT_STEP: u64 = 2_654_435_761;

/// How many keys may be emitted, and how many were counted. Shared with the measurement.
#[derive(Default)]
pub struct Tap {
    pub allowed: AtomicU64,
    pub counted: AtomicU64,
}

/// The key that comes at this place of the sequence: first each one in one order, then all in another, for ever.
pub fn key_at(place: u64, keys: u64) -> u64 {
    let step = if place < keys { FIRST_STEP } else { NEXT_STEP };
    place.wrapping_mul(step) % keys
}

/// A key as the tuples have it.
pub fn key_value(key: u64, texts: bool) -> Value {
    if texts { Value::from(text_of(key).as_str()) } else { Value::from(key as i64) }
}

pub fn text_of(key: u64) -> String {
    format!("customer-{key:010}")
}

/// Emits the sequence of keys.
pub struct Keys {
    pub tap: Arc<Tap>,
    pub keys: u64,
    pub texts: bool,
    pub next: u64,
}

impl Spout for Keys {
    fn declare(&self) -> Streams {
        Streams::new(["key"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        // Relaxed: a count, which publishes nothing else.
        if self.next >= self.tap.allowed.load(Ordering::Relaxed) {
            return Ok(SpoutStatus::IdleFor(Duration::from_millis(1)));
        }
        out.emit([key_value(key_at(self.next, self.keys), self.texts)])?;
        self.next += 1;
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        positions.set("keys", &self.next)
    }
}
