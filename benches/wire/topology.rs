//! squall's whole way: topologies in worker processes, measured from the parent.
//!
//! The parent samples what the sink executed, second by second, and the processor time of all workers.
//! Latency is measured by the sink, from when a tuple was due to be emitted, by the wall clock, which
//! is the same in all processes of a machine.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::Deserialize;
use squall::cluster::{RunningWorkers, TopologySource, WorkersOptions};
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};
use squall::topology::declare::{NamedBy, NoVariable, Source};
use squall::topology::registry::NoSettings;

use super::figures::cpu_time;
use super::{Failure, Options};

/// Texts of so many bytes, as fast as they are taken, or at a rate with the time at which each was due.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TextsSettings {
    bytes: usize,
    /// Tuples per second; 0: as fast as possible.
    rate: f64,
}

struct Texts {
    settings: TextsSettings,
    text: Value,
    number: u64,
    start: i64,
}

fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

impl Spout for Texts {
    fn declare(&self) -> Streams {
        if self.settings.rate > 0.0 { Streams::new(["text", "due"]) } else { Streams::new(["text"]) }
    }

    fn open(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        self.start = wall();
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.settings.rate == 0.0 {
            self.number += 1;
            out.emit_tracked([self.text.clone()], MessageId(self.number))?;
            return Ok(SpoutStatus::Emitted);
        }
        let due = self.start + (self.number as f64 * 1e9 / self.settings.rate) as i64;
        let early = due - wall();
        if early > 0 {
            return Ok(SpoutStatus::IdleFor(Duration::from_nanos(early as u64)));
        }
        self.number += 1;
        out.emit_tracked([self.text.clone(), due.into()], MessageId(self.number))?;
        Ok(SpoutStatus::Emitted)
    }
}

/// Takes tuples; of those with a `due` it measures how late they are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DropSettings {
    /// Where latencies are written at the end: count, p50, p99 and p99.9 in microseconds.
    #[serde(default)]
    latencies: Option<PathBuf>,
    /// Seconds that do not count.
    #[serde(default)]
    warmup: f64,
}

struct Sink {
    settings: DropSettings,
    latencies: Histogram<u64>,
    start: i64,
}

impl Bolt for Sink {
    fn prepare(&mut self, _context: &TaskContext) -> Result<(), TaskError> {
        self.start = wall();
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.settings.latencies.is_some() {
            let now = wall();
            let late = (now - input.i64("due")?).max(1);
            if (now - self.start) as f64 > self.settings.warmup * 1e9 {
                // It grows as it must, so that nothing is out of its range.
                let _ = self.latencies.record(late as u64);
            }
        }
        Ok(())
    }

    fn cleanup(&mut self) {
        if let Some(path) = &self.settings.latencies {
            let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
            let line = format!("{} {} {} {}", self.latencies.len(), at(0.5), at(0.99), at(0.999));
            let _ = fs::write(path, line);
        }
    }
}

/// Lines of a text, over and over.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CycleSettings {
    path: PathBuf,
}

struct Cycle {
    lines: Vec<Value>,
    next: usize,
    number: u64,
}

impl Spout for Cycle {
    fn declare(&self) -> Streams {
        Streams::new(["line"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let line = self.lines[self.next].clone();
        self.next = (self.next + 1) % self.lines.len();
        self.number += 1;
        out.emit_tracked([line], MessageId(self.number))?;
        Ok(SpoutStatus::Emitted)
    }
}

/// Lines into words.
struct Words;

impl Bolt for Words {
    fn declare(&self) -> Streams {
        Streams::new(["word"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for word in input.str("line")?.split_ascii_whitespace() {
            out.emit([word])?;
        }
        Ok(())
    }
}

/// Counts words.
#[derive(Default)]
struct Counts(std::collections::HashMap<String, u64>);

impl Bolt for Counts {
    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let word = input.str("word")?;
        match self.0.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(word.into(), 1)),
        }
        Ok(())
    }
}

/// Squall's ready-made components and those of the measurement.
fn registry() -> Registry {
    let mut registry = Registry::with_standard();
    registry.spout("texts", "texts of so many bytes", |settings: &TextsSettings| {
        let text = Value::from("x".repeat(settings.bytes - 2).as_str());
        Ok(Texts { settings: settings.clone(), text, number: 0, start: 0 })
    });
    registry.bolt("sink", "takes tuples", |settings: &DropSettings| {
        let latencies = Histogram::new(3).expect("three digits are in range");
        Ok(Sink { settings: settings.clone(), latencies, start: 0 })
    });
    registry.spout("cycle", "lines of a text, over and over", |settings: &CycleSettings| {
        let text = fs::read_to_string(&settings.path)
            .map_err(|error| squall::topology::registry::SettingError::at("path", error))?;
        let lines = text.lines().filter(|line| !line.is_empty()).map(Value::from).collect();
        Ok(Cycle { lines, next: 0, number: 0 })
    });
    registry.bolt("words", "lines into words", |_: &NoSettings| Ok(Words));
    registry.bolt("counts", "counts words", |_: &NoSettings| Ok(Counts::default()));
    registry
}

/// What a worker process does: as any program that embeds squall.
pub fn worker() -> ExitCode {
    squall::cli::run(registry())
}

fn document(options: &Options, latencies: Option<&str>) -> String {
    let head = format!("[topology]\nname = \"wire\"\ndelivery = \"{}\"\n", options.delivery);
    let warmup = options.warmup;
    if options.words {
        let path = &options.text;
        return format!(
            "{head}[spout.lines]\ntype = \"cycle\"\nconfig.path = \"{path}\"\n\
             [bolt.split]\ntype = \"words\"\nparallelism = {n}\ninputs = [\"lines\"]\n\
             [bolt.sink]\ntype = \"counts\"\nparallelism = {n}\ninputs = [{{ from = \"split\", grouping = \"fields\", fields = [\"word\"] }}]\n",
            n = options.parallelism,
        );
    }
    let latencies =
        latencies.map_or(String::new(), |path| format!("latencies = \"{path}\", warmup = {warmup:?}"));
    format!(
        "{head}[spout.texts]\ntype = \"texts\"\nconfig = {{ bytes = {}, rate = {:?} }}\n\
         [bolt.sink]\ntype = \"sink\"\nconfig = {{ {latencies} }}\ninputs = [\"texts\"]\n",
        options.bytes, options.rate,
    )
}

/// The document, which is the only file there is.
struct Document(String);

impl Source for Document {
    fn read(&self, _path: &str, _named_by: NamedBy, _at_most: usize) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn variable(&self, _name: &str) -> Result<String, NoVariable> {
        Err(NoVariable::Unset)
    }
}

enum Running {
    Here(RunningTopology),
    Workers(RunningWorkers),
}

impl Running {
    fn executed(&self) -> u64 {
        let components = match self {
            Running::Here(running) => running.stats().components,
            Running::Workers(running) => running.stats().topology.components,
        };
        components.iter().find(|component| component.id == "sink").map_or(0, |sink| sink.executed)
    }

    fn processes(&self) -> Vec<String> {
        match self {
            Running::Here(_) => vec!["self".to_owned()],
            Running::Workers(running) => {
                running.worker_pids().into_iter().flatten().map(|pid| pid.to_string()).collect()
            }
        }
    }

    fn cpu(&self) -> Duration {
        self.processes().iter().map(|process| cpu_time(process)).sum()
    }

    fn memory(&self) -> u64 {
        let most = |process: &String| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let line =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().to_owned();
            line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        self.processes().iter().map(most).max().unwrap_or(0)
    }
}

/// Runs a topology and prints what it came to.
pub fn measure(options: &Options) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let latencies = directory.path().join("latencies");
    let latencies_text = latencies.to_string_lossy().into_owned();
    let is_paced = options.rate > 0.0;
    let source = Document(document(options, is_paced.then_some(latencies_text.as_str())));
    let registry = registry();
    let (record, topology) = TopologySource::record(&source, "wire.toml", &registry, &options.set)?;
    let running = if options.workers == 0 {
        Running::Here(RunningTopology::start(topology, LocalOptions::default())?)
    } else {
        let mut workers = WorkersOptions::new(options.workers);
        if let Some(micros) = options.linger {
            workers.net.linger = Duration::from_micros(micros);
        }
        workers.worker.stats_interval = Duration::from_millis(50);
        Running::Workers(RunningWorkers::start(topology, record, workers)?)
    };
    let started = Instant::now();
    while running.executed() == 0 {
        if started.elapsed() > Duration::from_secs(30) {
            return Err("nothing arrives".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs_f64(options.warmup));
    let (mut rates, first, cpu) = (Vec::new(), running.executed(), running.cpu());
    let mut before = (Instant::now(), first);
    for _ in 0..options.seconds.round().max(1.0) as usize {
        std::thread::sleep(Duration::from_secs(1));
        let now = (Instant::now(), running.executed());
        rates.push((now.1 - before.1) as f64 / (now.0 - before.0).as_secs_f64());
        before = now;
    }
    let tuples = before.1 - first;
    let cpu = running.cpu().saturating_sub(cpu).as_nanos() as f64 / tuples.max(1) as f64;
    let memory = running.memory();
    rates.sort_by(f64::total_cmp);
    match running {
        Running::Here(running) => {
            running.drain();
            running.join();
        }
        Running::Workers(running) => {
            running.drain();
            running.join();
        }
    }
    let late: Vec<f64> = fs::read_to_string(&latencies)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    let late = |index: usize| late.get(index).copied();
    println!(
        "{}",
        serde_json::json!({
            "peer": "squall",
            "workload": if options.words { "words" } else { "wire" },
            "delivery": options.delivery,
            "workers": options.workers,
            "config": {"bytes": options.bytes, "rate": options.rate, "parallelism": options.parallelism},
            "rate": rates[rates.len() / 2].round(),
            "rate_min": rates[0].round(),
            "rate_max": rates[rates.len() - 1].round(),
            "intervals": rates.len(),
            "cpu_ns_per_tuple": (cpu * 10.0).round() / 10.0,
            "memory_kib_max": memory,
            "p50_us": late(1),
            "p99_us": late(2),
            "p999_us": late(3),
        })
    );
    Ok(())
}
