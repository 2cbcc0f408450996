//! What windows cost, as JSON lines; `scripts/bench.sh windows` makes tables of them.
//!
//! ```text
//! cargo bench --bench windows -- tumbling|sliding|session|hand [--keys 1000000] [--per-second 1000000]
//!     [--delivery at-most-once] [--functions 'n = "count()"'] [--warmup 5] [--seconds 5]
//! ```
//!
//! A spout emits a key and a time. Keys are drawn at random, and `--per-second` tuples happen in a second of event time, so
//! with 1,000,000 of both, each key comes once a second. Behind it the bolt `window` makes one of these:
//!
//! * `tumbling`: windows of 60 s;
//! * `sliding`: windows of 60 s, one each second;
//! * `session`: sessions with a gap of 5 s;
//! * `hand`: tumbling windows of 60 s by a bolt written by hand, with a `HashMap` of its own and no state of the engine: it
//!   counts, and tells all keys when the watermark has reached the end of a window.
//!
//! What windows tell is counted and dropped. `rate` is the tuples in a second that come into windows, `rows` the results,
//! `process_bytes_per_key` the memory of the process by the keys.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use squall::components::window::{WindowSettings, window};
use squall::config::EventTimeOptions;
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::topology::effort::Effort;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;

type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Options {
    /// tumbling, sliding, session or hand.
    what: String,
    /// How many keys there are.
    #[arg(long, default_value_t = 1_000_000)]
    keys: i64,
    /// How many tuples happen in a second of event time.
    #[arg(long, default_value_t = 1_000_000)]
    per_second: i64,
    /// at-most-once, at-least-once, or exactly-once with a checkpoint each second.
    #[arg(long, default_value = "at-most-once")]
    delivery: String,
    /// What is made of the tuples, as the table `aggregate` has it.
    #[arg(long, default_value = "n = \"count()\"")]
    functions: String,
    /// Seconds before the measurement begins.
    #[arg(long, default_value_t = 5.0)]
    warmup: f64,
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Emits keys and times without end.
struct Events {
    random: StdRng,
    keys: i64,
    step: i64,
    at: i64,
}

impl Spout for Events {
    fn declare(&self) -> Streams {
        Streams::new(["key", "at"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        for _ in 0..64 {
            self.at += self.step;
            out.emit_tracked((self.random.random_range(0..self.keys), Timestamp(self.at)), MessageId(0))?;
        }
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut squall::api::Positions) -> Result<(), TaskError> {
        positions.set("events", &self.at)
    }

    fn restore(&mut self, positions: &squall::api::Positions) -> Result<(), TaskError> {
        self.at = positions.get("events")?.unwrap_or(0);
        Ok(())
    }
}

/// Counts keys in minutes, by hand.
#[derive(Default)]
struct Hand {
    counts: HashMap<i64, HashMap<i64, i64, rustc_hash::FxBuildHasher>>,
    watermark: Option<Timestamp>,
}

impl Bolt for Hand {
    fn declare(&self) -> Streams {
        Streams::new(["key", "window_start", "window_end", "n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let minute = input.timestamp("at")?.0.div_euclid(MINUTE);
        *self.counts.entry(minute).or_default().entry(input.i64("key")?).or_default() += 1;
        if out.watermark() != self.watermark {
            self.watermark = out.watermark();
            let over = |minute: &i64| Some(Timestamp((minute + 1) * MINUTE)) <= self.watermark;
            let ended: Vec<i64> = self.counts.keys().copied().filter(over).collect();
            for minute in ended {
                for (key, count) in self.counts.remove(&minute).unwrap_or_default() {
                    let (start, end) = (Timestamp(minute * MINUTE), Timestamp((minute + 1) * MINUTE));
                    out.emit((key, start, end, count))?;
                }
            }
        }
        Ok(())
    }
}

fn settings(options: &Options) -> Result<WindowSettings, Failure> {
    let windows = match options.what.as_str() {
        "tumbling" => "length = '60s'",
        "sliding" => "length = '60s'\nslide = '1s'",
        "session" => "session = '5s'",
        other => return Err(format!("there is no `{other}`").into()),
    };
    let settings = format!("by = ['key']\ntime = 'at'\n{windows}\n[aggregate]\n{}", options.functions);
    Ok(toml::from_str(&settings)?)
}

fn resident_bytes() -> Result<u64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("no resident pages")?.parse()?;
    Ok(pages * 4096)
}

fn run(options: &Options) -> Result<(), Failure> {
    let mut builder = TopologyBuilder::new("windows");
    let delivery = match options.delivery.as_str() {
        "at-most-once" => Delivery::AtMostOnce,
        "at-least-once" => Delivery::AtLeastOnce,
        "exactly-once" => Delivery::ExactlyOnce,
        other => return Err(format!("there is no delivery `{other}`").into()),
    };
    let directory = tempfile::tempdir()?;
    builder.options(|topology| {
        topology.delivery = delivery;
        if delivery.is_exactly_once() {
            topology.checkpoint.interval = Duration::from_secs(1);
            topology.checkpoint.storage = Some(directory.path().join("checkpoints"));
        }
    });
    let (keys, step) = (options.keys, SECOND / options.per_second);
    let spout =
        builder.spout("events", move || Events { random: StdRng::seed_from_u64(7), keys, step, at: 0 });
    spout.event_time(EventTimeOptions::of("at"));
    if options.what == "hand" {
        builder.bolt("windows", Hand::default).fields("events", ["key"]);
    } else {
        let settings = settings(options)?;
        let make = move || window(&settings, &Effort::unlimited()).unwrap_or_else(|error| panic!("{error}"));
        builder.bolt("windows", make).fields("events", ["key"]);
    }
    builder.bolt("null", || bolt_fn(Streams::none(), |_, _| Ok(()))).shuffle("windows");
    let running = RunningTopology::start(builder.build()?, LocalOptions::default())?;
    std::thread::sleep(Duration::from_secs_f64(options.warmup));
    let seen = || {
        let stats = running.stats();
        let of = |id: &str| stats.components.iter().find(|it| it.id == id).map_or(0, |it| it.executed);
        (of("windows"), of("null"), Instant::now())
    };
    let (before, rows_before, begin) = seen();
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    let (after, rows_after, end) = seen();
    let seconds = (end - begin).as_secs_f64();
    let bytes = resident_bytes()? / options.keys.unsigned_abs();
    println!(
        "{}",
        json!({
            "case": options.what,
            "config": { "keys": options.keys, "per_second": options.per_second, "delivery": options.delivery, "functions": options.functions },
            "rate": (after - before) as f64 / seconds,
            "rows": (rows_after - rows_before) as f64 / seconds,
            "process_bytes_per_key": bytes,
        })
    );
    running.kill();
    drop(running);
    Ok(())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
