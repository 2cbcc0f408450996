//! What a process needs for each key with a count: in a plain map of a program without squall, in state of a topology
//! without checkpoints (`state`), and in state of which snapshots were taken (`snapshots`).
//!
//! The figure is what the resident memory has grown by since before the first key, when all keys are there and
//! everything is at rest. So the room that a vector has in reserve, and nothing has written to, does not count. What was
//! freed counts as long as the allocator keeps it; `scripts/bench.sh` sets `MIMALLOC_PURGE_DELAY=0`, so that it keeps
//! nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustc_hash::FxHashMap;
use serde_json::{Value as Json, json};
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::tuple::Text;

use crate::Failure;
use crate::machine::{resident_bytes, wait_until};
use crate::tap::{Keys, Tap, key_at, text_of};

const PATIENCE: Duration = Duration::from_secs(600);
/// After so long, freed memory was given back.
const SETTLES: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// A plain map.
    Map,
    /// State without checkpoints.
    State,
    /// State with checkpoints.
    Snapshots,
}

#[derive(Args)]
pub struct Options {
    #[arg(long, value_enum)]
    of: Of,
    /// Keys are texts of 19 bytes instead of numbers.
    #[arg(long)]
    texts: bool,
    /// How many keys there are.
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
}

#[derive(Default)]
struct Count {
    counts: ValueState<i64>,
    tap: Arc<Tap>,
    fresh: u64,
}

impl Bolt for Count {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.counts.update(out, |count| *count += 1)?;
        self.fresh += 1;
        Ok(())
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.tap.counted.fetch_add(std::mem::take(&mut self.fresh), Ordering::Relaxed);
        Ok(())
    }
}

pub fn measure(options: &Options) -> Result<Json, Failure> {
    let (keys, name) = (options.keys, options.of.to_possible_value());
    let grown = match (options.of, options.texts) {
        (Of::Map, false) => map_of(keys, |key| key as i64),
        (Of::Map, true) => map_of(keys, |key| Text::from(text_of(key).as_str())),
        (Of::State | Of::Snapshots, texts) => state(keys, texts, options.of == Of::Snapshots)?,
    };
    Ok(json!({
        "peer": "squall", "workload": "memory", "keys": keys, "texts": options.texts,
        "of": name.map(|name| name.get_name().to_owned()),
        "bytes_per_key": grown as f64 / keys as f64,
    }))
}

/// The map is filled as a program would that does not know how many keys come.
fn map_of<K: Eq + std::hash::Hash>(keys: u64, key: impl Fn(u64) -> K) -> u64 {
    let before = resident_bytes();
    let mut counts: FxHashMap<K, i64> = FxHashMap::default();
    for place in 0..keys {
        *counts.entry(key(key_at(place, keys))).or_default() += 1;
    }
    std::thread::sleep(SETTLES);
    let grown = resident_bytes().saturating_sub(before);
    std::hint::black_box(counts);
    grown
}

fn state(keys: u64, texts: bool, snapshots: bool) -> Result<u64, Failure> {
    let directory = tempfile::tempdir()?;
    let tap = Arc::new(Tap::default());
    let mut builder = TopologyBuilder::new("memory");
    builder.options(|topology| {
        topology.delivery = if snapshots { Delivery::ExactlyOnce } else { Delivery::AtMostOnce };
        if snapshots {
            topology.checkpoint.storage = Some(directory.path().to_owned());
            topology.checkpoint.interval = Duration::from_millis(500);
        }
    });
    let of_spout = Arc::clone(&tap);
    builder.spout("keys", move || Keys { tap: Arc::clone(&of_spout), keys, texts, next: 0 });
    let of_bolt = Arc::clone(&tap);
    builder
        .bolt("count", move || Count { tap: Arc::clone(&of_bolt), ..Count::default() })
        .fields("keys", ["key"]);
    let running = RunningTopology::start(builder.build()?, LocalOptions::default())?;
    let completed = || running.stats().checkpoints.map_or(0, |checkpoints| checkpoints.completed);
    if snapshots {
        wait_until("a checkpoint", PATIENCE, || completed() > 0)?;
    }
    std::thread::sleep(SETTLES);
    let before = resident_bytes();
    tap.allowed.store(keys, Ordering::Relaxed);
    wait_until("all keys", PATIENCE, || tap.counted.load(Ordering::Relaxed) == keys)?;
    if snapshots {
        // Of everything, and once more of nothing.
        let now = completed();
        wait_until("checkpoints", PATIENCE, || completed() >= now + 3)?;
    }
    std::thread::sleep(SETTLES);
    let grown = resident_bytes().saturating_sub(before);
    running.kill();
    Ok(grown)
}
