//! Sizes of checkpoints of many keys, and the pauses of the task that has them.
//!
//! One task counts numbers. First each number comes once; then the run rests, and a savepoint shows how large a full
//! snapshot is; then 1 % of the keys change, and the checkpoints up to the next rest show how large the change is. At
//! last numbers come as fast as they are taken, and each checkpoint has its pauses:
//!
//! * *barrier*: from the last call before a barrier to the first one after it;
//! * *longest*: the longest time between two calls from one barrier to the next. Everything is in it that a snapshot
//!   costs a task at once: its slices, the copies, and the growth of what it keeps for the next one.
//!
//! Each by the clock, and by the processor time of the thread, which does not show who else used the machine. So that
//! processor times can be compared, everything runs on one thread. The time between two calls therefore also has what
//! the spout does meanwhile. With `--delivery at-most-once` there are no barriers, and periods of the same length show
//! what these times are without.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value as Json, json};
use squall::config::{AutoOr, ChainMode};
use squall::ids::CheckpointId;
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};

use crate::Failure;
use crate::machine::{quantile, thread_time, wait_until};
use crate::tap::{Keys, Tap};

/// How long a part of the measurement may take, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Args)]
pub struct Options {
    /// How many keys there are.
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// exactly-once or at-most-once.
    #[arg(long, default_value = "exactly-once")]
    delivery: String,
    /// Milliseconds from checkpoint to checkpoint.
    #[arg(long, default_value_t = 250)]
    interval_ms: u64,
    /// How many checkpoints are taken under load.
    #[arg(long, default_value_t = 200)]
    barriers: usize,
}

/// The pauses of one period, from barrier to barrier, in microseconds.
#[derive(Clone, Copy, Default)]
struct Pauses {
    barrier: Pause,
    longest: Pause,
}

/// Time between two calls, by the clock and of the processor.
#[derive(Clone, Copy, Default)]
struct Pause {
    wall: f64,
    processor: f64,
}

impl Pause {
    fn grow(&mut self, other: Pause) {
        self.wall = self.wall.max(other.wall);
        self.processor = self.processor.max(other.processor);
    }
}

/// Counts keys, and notes the time from call to call.
struct KeyCount {
    counts: ValueState<i64>,
    fresh: u64,
    tap: Arc<Tap>,
    last: Option<(Instant, Duration)>,
    now: Pauses,
    /// The next call is the first after a barrier.
    after_barrier: bool,
    /// Without barriers: how long a period is, and when this one ends.
    period: Option<Duration>,
    ends: Instant,
    pauses: Arc<Mutex<Vec<Pauses>>>,
}

impl KeyCount {
    fn end_period(&mut self) {
        let ended = std::mem::take(&mut self.now);
        self.pauses.lock().expect("nobody panics while it is locked").push(ended);
    }
}

impl Bolt for KeyCount {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (now, processor) = (Instant::now(), thread_time());
        if let Some((last, last_processor)) = self.last {
            let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
            let pause = Pause {
                wall: micros(now - last),
                processor: micros(processor.saturating_sub(last_processor)),
            };
            self.now.longest.grow(pause);
            if std::mem::take(&mut self.after_barrier) {
                self.now.barrier = pause;
            }
        }
        if let Some(period) = self.period
            && now > self.ends
        {
            self.end_period();
            self.ends = now + period;
        }
        self.counts.update(out, |count| *count += 1)?;
        self.fresh += 1;
        // What the call itself takes is part of the next pause.
        self.last = Some((now, processor));
        Ok(())
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.tap.counted.fetch_add(std::mem::take(&mut self.fresh), Ordering::Relaxed);
        Ok(())
    }

    fn pre_commit(&mut self, _: CheckpointId, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.end_period();
        self.after_barrier = true;
        Ok(())
    }
}

pub fn measure(options: &Options) -> Result<Json, Failure> {
    let directory = tempfile::tempdir()?;
    let (tap, pauses) = (Arc::new(Tap::default()), Arc::new(Mutex::new(Vec::new())));
    let running = start(options, directory.path(), &tap, &pauses)?;
    let keys = options.keys;
    load(&tap, keys)?;
    let is_exactly_once = options.delivery == "exactly-once";
    let sizes = if is_exactly_once { Some(sizes(&running, &tap, keys, directory.path())?) } else { None };
    tap.allowed.store(u64::MAX, Ordering::Relaxed);
    let count = || pauses.lock().expect("nobody panics while it is locked").len();
    // The first checkpoints are of the rest before, and of what is allocated once.
    std::thread::sleep(Duration::from_millis(options.interval_ms * 4));
    let (skipped, before, begin) = (count(), tap.counted.load(Ordering::Relaxed), Instant::now());
    wait_until("barriers", PATIENCE, || count() >= skipped + options.barriers)?;
    let rate = (tap.counted.load(Ordering::Relaxed) - before) as f64 / begin.elapsed().as_secs_f64();
    let checkpoints = running.stats().checkpoints;
    running.kill();
    let pauses = pauses.lock().expect("nobody panics while it is locked")[skipped..].to_vec();
    let shown = |of: fn(&Pauses) -> f64| {
        let mut sorted: Vec<f64> = pauses.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        json!({ "p50": quantile(&sorted, 0.5), "p99": quantile(&sorted, 0.99), "max": sorted.last() })
    };
    let p99 = |of: fn(&Pauses) -> f64| shown(of)["p99"].clone();
    let full_bytes = sizes.map(|(full, _)| full);
    let delta_percent = sizes.map(|(full, delta)| 100.0 * delta as f64 / full as f64);
    Ok(json!({
        "peer": "squall", "workload": "keys", "delivery": options.delivery, "keys": keys,
        "config": {"interval_ms": options.interval_ms, "barriers": pauses.len(),
            "failed": checkpoints.map(|checkpoints| checkpoints.failed)},
        "full_bytes": full_bytes,
        "full_bytes_per_key": full_bytes.map(|full| full as f64 / keys as f64),
        "delta_bytes": sizes.map(|(_, delta)| delta),
        "delta_percent": delta_percent,
        "barrier_us": p99(|pauses| pauses.barrier.wall),
        "barrier_processor_us": p99(|pauses| pauses.barrier.processor),
        "longest_us": p99(|pauses| pauses.longest.wall),
        "longest_processor_us": p99(|pauses| pauses.longest.processor),
        "all": {
            "barrier": shown(|pauses| pauses.barrier.wall),
            "barrier_processor": shown(|pauses| pauses.barrier.processor),
            "longest": shown(|pauses| pauses.longest.wall),
            "longest_processor": shown(|pauses| pauses.longest.processor),
        },
        "rate": rate.round(),
    }))
}

fn start(
    options: &Options,
    directory: &std::path::Path,
    tap: &Arc<Tap>,
    pauses: &Arc<Mutex<Vec<Pauses>>>,
) -> Result<RunningTopology, Failure> {
    let mut builder = TopologyBuilder::new("keys");
    let interval = Duration::from_millis(options.interval_ms);
    let (delivery, period) = match options.delivery.as_str() {
        "exactly-once" => (Delivery::ExactlyOnce, None),
        "at-most-once" => (Delivery::AtMostOnce, Some(interval)),
        other => return Err(format!("--delivery is exactly-once or at-most-once, not `{other}`").into()),
    };
    builder.options(|topology| {
        topology.delivery = delivery;
        topology.threads = AutoOr::Fixed(1);
        if period.is_none() {
            topology.checkpoint.storage = Some(directory.join("checkpoints"));
            topology.checkpoint.interval = interval;
        }
    });
    let (keys, of_spout) = (options.keys, Arc::clone(tap));
    builder.spout("numbers", move || Keys { tap: Arc::clone(&of_spout), keys, texts: false, next: 0 });
    let (tap, pauses) = (Arc::clone(tap), Arc::clone(pauses));
    let count = move || KeyCount {
        counts: ValueState::default(),
        fresh: 0,
        tap: Arc::clone(&tap),
        last: None,
        now: Pauses::default(),
        after_barrier: false,
        period,
        ends: Instant::now(),
        pauses: Arc::clone(&pauses),
    };
    builder.bolt("count", count).chain(ChainMode::Off).fields("numbers", ["key"]);
    Ok(RunningTopology::start(builder.build()?, LocalOptions::default())?)
}

/// Lets each key come once.
fn load(tap: &Tap, keys: u64) -> Result<(), Failure> {
    tap.allowed.store(keys, Ordering::Relaxed);
    wait_until("all keys", PATIENCE, || tap.counted.load(Ordering::Relaxed) == keys)
}

/// The bytes of a full checkpoint, and of what is written when 1 % of the keys has changed.
fn sizes(
    running: &RunningTopology,
    tap: &Tap,
    keys: u64,
    directory: &std::path::Path,
) -> Result<(u64, u64), Failure> {
    let latest = || {
        let stats = running.stats().checkpoints.unwrap_or_default();
        (stats.latest, stats.bytes)
    };
    // Until so many are counted, and then so many checkpoints more that one has begun after that. Returns what all wrote.
    let rest = |counted: u64| -> Result<u64, Failure> {
        let (mut seen, mut bytes, mut since) = (latest().0, 0, 0);
        while since < 3 {
            let is_counted = tap.counted.load(Ordering::Relaxed) >= counted;
            wait_until("a checkpoint", PATIENCE, || latest().0 > seen)?;
            let (checkpoint, written) = latest();
            (seen, bytes) = (checkpoint, bytes + written);
            since += u32::from(is_counted);
        }
        Ok(bytes)
    };
    rest(keys)?;
    let savepoint = directory.join("savepoint");
    running.savepoint(savepoint.clone(), false)?;
    let mut full = 0;
    for entry in std::fs::read_dir(&savepoint)? {
        full += entry?.metadata()?.len();
    }
    std::fs::remove_dir_all(&savepoint)?;
    rest(keys)?;
    tap.allowed.store(keys + keys / 100, Ordering::Relaxed);
    let delta = rest(keys + keys / 100)?;
    Ok((full, delta))
}
