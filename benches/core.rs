//! squall's own throughput and latency, as JSON lines; `scripts/bench.sh` makes tables of them.
//!
//! ```text
//! cargo bench --bench core -- WORKLOAD [--tasks 1/1/1] [--delivery at-least-once] [--text FILE]
//!                             [--rate WORDS_PER_S] [--warmup S] [--seconds S] [--repeat N]
//! cargo bench --bench core -- wordcount --delivery exactly-once [--checkpoint-ms 1000]
//!                             [--backend memory]
//! ```
//!
//! With `exactly-once`, words are counted in state, and checkpoints go to a directory that is removed afterwards. What
//! else there is to measure of state is in `benches/state`.
//!
//! Workloads are those of `benches/peers`: `null`, `identity`, `wordcount`, `latency`. Besides,
//! `tracking` says how many bytes an acker keeps for each tree in flight.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use squall::api::Positions;
use squall::config::limits::SPOUT_PENDING_AUTO_MAX;
use squall::config::{ChainMode, StateBackendKind};
use squall::ids::{RootId, SLOTS_MAX};
use squall::metrics::Histogram;
use squall::prelude::*;
use squall::runtime::acker::Acker;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::topology::TopologyBuilder;
use squall::tuple::Text;
use xxhash_rust::xxh3::xxh3_64;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser, Clone)]
struct Options {
    /// null, identity, wordcount, latency or tracking.
    workload: String,
    /// Spout/split/count tasks of the word count.
    #[arg(long, default_value = "1/1/1")]
    tasks: String,
    /// at-least-once, at-most-once or exactly-once.
    #[arg(long, default_value = "at-least-once")]
    delivery: String,
    /// Of exactly-once: milliseconds from checkpoint to checkpoint.
    #[arg(long, default_value_t = 1000)]
    checkpoint_ms: u64,
    /// What keeps the counts of exactly-once: memory or redb.
    #[arg(long, default_value = "memory")]
    backend: String,
    /// The text whose lines are counted, over and over.
    #[arg(long, default_value = "topologies/data/founding_documents.txt")]
    text: PathBuf,
    /// Words per second of the latency workload.
    #[arg(long, default_value_t = 100_000)]
    rate: u64,
    /// Seconds before the first measured interval.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Seconds per measured interval.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Measured intervals.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// Driver threads; 0: one per core.
    #[arg(long, default_value_t = 0)]
    threads: u32,
    /// Tuples in a full batch; 0: the default.
    #[arg(long, default_value_t = 0)]
    batch: u32,
    /// Tuples on their way over one link; 0: the default.
    #[arg(long, default_value_t = 0)]
    capacity: u32,
    /// Components that run unchained: `all`, or ids with commas between.
    #[arg(long, default_value = "", value_delimiter = ',')]
    unchained: Vec<String>,
    /// Whether the word count keeps its counts in state, by key, instead of in a map of the bolt.
    #[arg(long)]
    state: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Emits the same short string for ever.
struct Constant(Value, u64);

impl Spout for Constant {
    fn declare(&self) -> Streams {
        Streams::new(["data"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.1 += 1;
        out.emit_tracked([&self.0], MessageId(self.1))?;
        Ok(SpoutStatus::Emitted)
    }
}

/// Cycles through the lines of a text, at full speed or on a schedule.
struct Lines {
    lines: Arc<Vec<(Value, u64)>>,
    next: usize,
    id: u64,
    pace: Option<Pace>,
}

/// An open-loop schedule: a line is due when the words before it have had their time.
struct Pace {
    start: Instant,
    words: u64,
    rate: f64,
    epoch: Instant,
}

impl Spout for Lines {
    fn declare(&self) -> Streams {
        Streams::new(["line", "at"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let (line, words) = &self.lines[self.next];
        let mut at = 0;
        if let Some(pace) = &mut self.pace {
            let due = pace.start + Duration::from_secs_f64(pace.words as f64 / pace.rate);
            let now = Instant::now();
            if due > now {
                return Ok(SpoutStatus::IdleFor(due - now));
            }
            pace.words += words;
            at = due.duration_since(pace.epoch).as_nanos() as i64;
        }
        self.next = (self.next + 1) % self.lines.len();
        self.id += 1;
        out.emit_tracked((line, at), MessageId(self.id))?;
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        positions.set("lines", &self.next)
    }
}

struct Split;

impl Bolt for Split {
    fn declare(&self) -> Streams {
        Streams::new(["word"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let line = input.values()[0].as_str().unwrap_or_default();
        for word in line.split_ascii_whitespace() {
            out.emit([word])?;
        }
        Ok(())
    }
}

/// As `Split`, and each word carries the scheduled time of its line.
struct SplitTimed;

impl Bolt for SplitTimed {
    fn declare(&self) -> Streams {
        Streams::new(["word", "at"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let line = input.values()[0].as_str().unwrap_or_default();
        for word in line.split_ascii_whitespace() {
            out.emit((word, &input.values()[1]))?;
        }
        Ok(())
    }
}

/// XXH3 in one piece, as the hand-written peer hashes its words.
#[derive(Default)]
struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    /// The end mark that `str` writes behind its bytes; its hash is done by then.
    fn write_u8(&mut self, _end: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Count {
    counts: HashMap<Text, u64, BuildHasherDefault<Xxh3>>,
    /// Words counted since the last flush, and by all tasks.
    fresh: u64,
    total: Arc<AtomicU64>,
    latency: Option<(Instant, Histogram)>,
    /// Latencies since the last flush.
    late: Vec<u64>,
}

impl Bolt for Count {
    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if let Some((epoch, _)) = &self.latency {
            let at = input.values()[1].as_i64().unwrap_or_default();
            self.late.push((epoch.elapsed().as_nanos() as u64).saturating_sub(at as u64));
        }
        let Value::Str(word) = &input.values()[0] else { return Err(TaskError::new("a word is text")) };
        match self.counts.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(word.clone(), 1)),
        }
        self.fresh += 1;
        Ok(())
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.total.fetch_add(std::mem::take(&mut self.fresh), Ordering::Relaxed);
        if let Some((_, histogram)) = &self.latency {
            histogram.record_all(self.late.drain(..));
        }
        Ok(())
    }
}

/// As `Count`, with the counts in state.
struct StateCount {
    counts: ValueState<u64>,
    fresh: u64,
    total: Arc<AtomicU64>,
}

impl Bolt for StateCount {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, _input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.counts.update(out, |count| *count += 1)?;
        self.fresh += 1;
        Ok(())
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.total.fetch_add(std::mem::take(&mut self.fresh), Ordering::Relaxed);
        Ok(())
    }
}

struct Identity;

impl Bolt for Identity {
    fn declare(&self) -> Streams {
        Streams::new(["data"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        out.emit(input)?;
        Ok(())
    }
}

struct Null {
    fresh: u64,
    total: Arc<AtomicU64>,
}

impl Bolt for Null {
    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.fresh += 1;
        Ok(())
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.total.fetch_add(std::mem::take(&mut self.fresh), Ordering::Relaxed);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    if options.workload == "tracking" {
        println!("{}", tracking());
        return Ok(());
    }
    let total = Arc::new(AtomicU64::new(0));
    let epoch = Instant::now();
    let histogram = Histogram::default();
    let mut builder = TopologyBuilder::new("bench");
    let exactly_once = options.delivery == "exactly-once";
    let directory = exactly_once.then(tempfile::tempdir).transpose()?;
    let delivery = match options.delivery.as_str() {
        "at-most-once" => Delivery::AtMostOnce,
        "at-least-once" => Delivery::AtLeastOnce,
        "exactly-once" => Delivery::ExactlyOnce,
        other => return Err(format!("there is no delivery `{other}`").into()),
    };
    let backend = match options.backend.as_str() {
        "memory" => StateBackendKind::Memory,
        "redb" => StateBackendKind::Redb,
        other => return Err(format!("there is no backend `{other}`").into()),
    };
    builder.options(|topology| {
        topology.delivery = delivery;
        if let Some(directory) = &directory {
            topology.checkpoint.storage = Some(directory.path().to_owned());
            topology.checkpoint.interval = Duration::from_millis(options.checkpoint_ms);
            topology.state.backend = backend;
            topology.state.directory = Some(directory.path().join("state"));
        }
        if options.threads > 0 {
            topology.threads = squall::config::AutoOr::Fixed(options.threads);
        }
        if options.batch > 0 {
            topology.queue.batch = options.batch;
        }
        if options.capacity > 0 {
            topology.queue.capacity = options.capacity;
        }
    });
    let chain = |id: &str| {
        let off = options.unchained.iter().any(|unchained| unchained == "all" || unchained == id);
        if off { ChainMode::Off } else { ChainMode::Auto }
    };
    let counted = Arc::clone(&total);
    match options.workload.as_str() {
        "null" => {
            builder.spout("spout", || Constant(Value::from("some data"), 0));
            builder
                .bolt("null", move || Null { fresh: 0, total: Arc::clone(&counted) })
                .chain(chain("null"))
                .shuffle("spout");
        }
        "identity" => {
            builder.spout("spout", || Constant(Value::from("some data"), 0));
            builder.bolt("identity", || Identity).chain(chain("identity")).shuffle("spout");
            builder
                .bolt("null", move || Null { fresh: 0, total: Arc::clone(&counted) })
                .chain(chain("null"))
                .shuffle("identity");
        }
        "wordcount" | "latency" => {
            let lines = Arc::new(read_lines(&options.text)?);
            let tasks: Vec<u32> = options.tasks.split('/').map(str::parse).collect::<Result<_, _>>()?;
            let [spouts, splits, counts] = tasks[..] else {
                return Err("--tasks takes three numbers".into());
            };
            let timed = options.workload == "latency";
            let rate = options.rate as f64 / f64::from(spouts);
            let start = epoch + Duration::from_millis(100);
            let pace = move || timed.then_some(Pace { start, words: 0, rate, epoch });
            builder
                .spout("lines", move || Lines { lines: Arc::clone(&lines), next: 0, id: 0, pace: pace() })
                .parallelism(spouts);
            if timed {
                builder
                    .bolt("split", || SplitTimed)
                    .parallelism(splits)
                    .chain(chain("split"))
                    .shuffle("lines");
            } else {
                builder.bolt("split", || Split).parallelism(splits).chain(chain("split")).shuffle("lines");
            }
            if options.state || exactly_once {
                let count = move || StateCount {
                    counts: ValueState::default(),
                    fresh: 0,
                    total: Arc::clone(&counted),
                };
                let count = builder.bolt("count", count).parallelism(counts).chain(chain("count"));
                let _ = count.fields("split", ["word"]);
                return measure(&options, builder, &total, &histogram);
            }
            let latency = timed.then(|| (epoch, histogram.clone()));
            let count = move || Count {
                counts: HashMap::default(),
                fresh: 0,
                total: Arc::clone(&counted),
                latency: latency.clone(),
                late: Vec::new(),
            };
            builder.bolt("count", count).parallelism(counts).chain(chain("count")).fields("split", ["word"]);
        }
        other => return Err(format!("there is no workload `{other}`").into()),
    }
    measure(&options, builder, &total, &histogram)
}

/// Runs the topology, and prints a line for each measured interval.
fn measure(
    options: &Options,
    builder: TopologyBuilder,
    total: &AtomicU64,
    histogram: &Histogram,
) -> Result<(), Box<dyn std::error::Error>> {
    let running = RunningTopology::start(builder.build()?, LocalOptions::default())?;
    std::thread::sleep(Duration::from_secs_f64(options.warmup));
    for _ in 0..options.repeat {
        histogram.reset();
        let (before, start, cpu_before) = (total.load(Ordering::Relaxed), Instant::now(), cpu_time());
        std::thread::sleep(Duration::from_secs_f64(options.seconds));
        let seconds = start.elapsed().as_secs_f64();
        let tuples = (total.load(Ordering::Relaxed) - before) as f64;
        let cpu_ns = (cpu_time() - cpu_before).as_nanos() as f64 / tuples;
        println!("{}", report(options, tuples / seconds, seconds, cpu_ns, histogram));
    }
    if let Some(checkpoints) = running.stats().checkpoints {
        let (completed, failed, bytes) = (checkpoints.completed, checkpoints.failed, checkpoints.bytes);
        eprintln!(
            "{completed} checkpoints complete, {failed} given up; the last took {:?}, {bytes} bytes",
            checkpoints.duration
        );
    }
    if std::env::var_os("SQUALL_BENCH_STATS").is_some() {
        eprintln!("{:#?}", running.stats());
    }
    running.kill();
    Ok(())
}

fn report(
    options: &Options,
    rate: f64,
    seconds: f64,
    cpu_ns: f64,
    histogram: &Histogram,
) -> serde_json::Value {
    let us = |nanos: u64| nanos as f64 / 1000.0;
    let latency = (options.workload == "latency").then(|| {
        let q = |quantile| us(histogram.quantile(quantile));
        serde_json::json!({ "p50": q(0.5), "p90": q(0.9), "p99": q(0.99), "p999": q(0.999), "max": q(1.0) })
    });
    serde_json::json!({
        "peer": "squall",
        "workload": options.workload,
        "tasks": options.tasks,
        "delivery": options.delivery,
        "config": {"threads": options.threads, "rate": (options.workload == "latency").then_some(options.rate)},
        "rate": rate,
        "seconds": seconds,
        "cpu_ns_per_tuple": (cpu_ns * 10.0).round() / 10.0,
        "latency_us": latency,
    })
}

/// Opens as many blocks at an acker as a spout may have, and asks what they weigh.
fn tracking() -> serde_json::Value {
    let trees = SPOUT_PENDING_AUTO_MAX;
    let mut acker = Acker::new(SLOTS_MAX);
    for slot in 0..trees {
        let outcome = acker.init(RootId::new(TaskId(1), slot, 1), 1);
        assert_eq!(outcome, None, "an edge is open");
    }
    let bytes = acker.table_bytes() as f64 / f64::from(trees);
    serde_json::json!({ "peer": "squall", "workload": "tracking", "trees": trees, "bytes_per_tree": bytes })
}

/// Processor time of this process, user and system. It says more than the rate on a machine that
/// others use too.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, counted from behind the command's closing parenthesis; 100 ticks a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// The lines that have words, with how many.
fn read_lines(path: &PathBuf) -> std::io::Result<Vec<(Value, u64)>> {
    let text = std::fs::read_to_string(path)?;
    let words = |line: &str| line.split_ascii_whitespace().count() as u64;
    let lines = text.lines().map(|line| (Value::from(line), words(line)));
    Ok(lines.filter(|(_, words)| *words > 0).collect())
}
