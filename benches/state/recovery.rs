//! How long a killed worker is missed when everything goes back to a checkpoint.
//!
//! A spout with a task in each worker first emits each key once, and then keys at a steady rate, which is what the
//! machine can do easily. A bolt with a task in each worker counts them in state. Each task writes how many it has
//! counted to a file of its own, so that the parent sees from outside what all have done. Workers are killed by
//! SIGKILL, one after another. What is measured is the time from the kill until a window of 200 ms begins in which 90 %
//! of the usual number was counted, after one that had fewer. Counting again what was counted before the kill is part
//! of the rate: it shows that all tasks are at work.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use squall::api::Positions;
use squall::cluster::{RunningWorkers, TopologySource, WorkersOptions};
use squall::prelude::*;
use squall::topology::declare::{NamedBy, NoVariable, Source};

use crate::Failure;
use crate::machine::{quantile, wait_until};
use crate::tap::{key_at, key_value};

const PATIENCE: Duration = Duration::from_secs(300);
/// In which the rate is looked at.
const WINDOW: Duration = Duration::from_millis(200);
/// A spout that is so much behind begins its pace anew. Otherwise it would make up for the time in which it stood still,
/// and the rate would seem to be back earlier.
const SLACK: Duration = Duration::from_millis(10);
/// How finely it is looked at.
const BIN: Duration = Duration::from_millis(10);
/// How long the run is looked at before a kill, and at least after one.
const BEFORE: Duration = Duration::from_millis(2500);
const AFTER: Duration = Duration::from_millis(1500);
/// A fall of the rate that begins later than this after a kill has another cause.
const FALL_MAX: Duration = Duration::from_secs(1);
/// How often a task writes what it has counted.
const WRITES_EACH: Duration = Duration::from_millis(5);

#[derive(Args)]
pub struct Options {
    /// How many keys there are.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// How many workers are killed.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Worker processes.
    #[arg(long, default_value_t = 3)]
    workers: u16,
    /// Keys per second, of all spout tasks.
    #[arg(long, default_value_t = 150_000)]
    rate: u64,
    /// Milliseconds from checkpoint to checkpoint.
    #[arg(long, default_value_t = 1000)]
    interval_ms: u64,
}

// ---- What the workers run ----

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PacedSettings {
    keys: u64,
    rate: f64,
}

/// Its share of the keys, first as fast as they are taken, then at its share of the rate.
struct Paced {
    settings: PacedSettings,
    task: u64,
    tasks: u64,
    next: u64,
    /// When the steady rate began, or was taken up again, and what was next then.
    begin: Option<(Instant, u64)>,
}

impl Spout for Paced {
    fn declare(&self) -> Streams {
        Streams::new(["key"])
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        (self.task, self.tasks) = (context.task_index() as u64, context.parallelism() as u64);
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let place = self.next * self.tasks + self.task;
        if place >= self.settings.keys {
            let now = Instant::now();
            let (begin, first) = *self.begin.get_or_insert((now, self.next));
            let seconds = (self.next - first) as f64 * self.tasks as f64 / self.settings.rate;
            let due = begin + Duration::from_secs_f64(seconds);
            if due > now {
                return Ok(SpoutStatus::IdleFor(due - now));
            }
            if now - due > SLACK {
                self.begin = Some((now, self.next));
            }
        }
        out.emit([key_value(key_at(place, self.settings.keys), false)])?;
        self.next += 1;
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        positions.set(&self.task.to_string(), &self.next)
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        self.next = positions.get(&self.task.to_string())?.unwrap_or(0);
        Ok(())
    }
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TallySettings {
    directory: PathBuf,
}

/// Counts keys in state, and all of them in a file.
struct Tally {
    settings: TallySettings,
    counts: ValueState<i64>,
    counted: u64,
    file: Option<File>,
    written: Instant,
}

impl Bolt for Tally {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        // Each instance has a file of its own, so what stands in all of them together never falls.
        let (task, process) = (context.task_index(), std::process::id());
        let made = (0..).map(|nth| self.settings.directory.join(format!("{task}-{process}-{nth}")));
        for path in made {
            match File::create_new(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    self.file = Some(file?);
                    break;
                }
            }
        }
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.counts.update(out, |count| *count += 1)?;
        self.counted += 1;
        Ok(())
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.written.elapsed() > WRITES_EACH
            && let Some(file) = &self.file
        {
            file.write_all_at(&self.counted.to_le_bytes(), 0)?;
            self.written = Instant::now();
        }
        Ok(())
    }
}

/// What the workers know.
pub fn registry() -> Registry {
    let mut registry = Registry::with_standard();
    registry.spout("paced", "keys at a rate", |settings: &PacedSettings| {
        Ok(Paced { settings: settings.clone(), task: 0, tasks: 1, next: 0, begin: None })
    });
    registry.bolt("tally", "counts keys", |settings: &TallySettings| {
        let settings = settings.clone();
        let (counts, written) = (ValueState::default(), Instant::now());
        Ok(Tally { settings, counts, counted: 0, file: None, written })
    });
    registry
}

fn document(options: &Options, directory: &Path) -> String {
    let Options { keys, rate, interval_ms, workers, .. } = options;
    let directory = directory.display();
    format!(
        "[topology]\nname = 'recovery'\ndelivery = 'exactly-once'\n\
         checkpoint = {{ interval = '{interval_ms}ms', storage = '{directory}/checkpoints' }}\n\
         [spout.keys]\ntype = 'paced'\nparallelism = {workers}\nconfig = {{ keys = {keys}, rate = {rate}.0 }}\n\
         [bolt.tally]\ntype = 'tally'\nparallelism = {workers}\n\
         inputs = [{{ from = 'keys', fields = ['key'] }}]\nconfig = {{ directory = '{directory}/counted' }}\n"
    )
}

/// The document, which is the only file there is.
pub struct Document(pub String);

impl Source for Document {
    fn read(&self, _path: &str, _named_by: NamedBy, _at_most: usize) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn variable(&self, _name: &str) -> Result<String, NoVariable> {
        Err(NoVariable::Unset)
    }
}

// ---- What the parent sees ----

/// What all tasks have counted, as time goes on.
struct Watch {
    directory: PathBuf,
    files: BTreeMap<PathBuf, File>,
    begin: Instant,
    /// What was counted until the end of each bin.
    bins: Vec<u64>,
}

impl Watch {
    fn new(directory: PathBuf) -> Watch {
        Watch { directory, files: BTreeMap::new(), begin: Instant::now(), bins: vec![0] }
    }

    fn counted(&mut self) -> Result<u64, Failure> {
        for entry in fs::read_dir(&self.directory)? {
            if let Entry::Vacant(new) = self.files.entry(entry?.path()) {
                let file = File::open(new.key())?;
                new.insert(file);
            }
        }
        let mut sum = 0;
        for file in self.files.values() {
            let mut bytes = [0; 8];
            // A file that nothing was written to yet counts nothing.
            if file.read_at(&mut bytes, 0)? == bytes.len() {
                sum += u64::from_le_bytes(bytes);
            }
        }
        Ok(sum)
    }

    fn bin(&self) -> usize {
        (self.begin.elapsed().as_nanos() / BIN.as_nanos()) as usize
    }

    /// Looks on for so long.
    fn watch(&mut self, time: Duration) -> Result<(), Failure> {
        let end = self.begin.elapsed() + time;
        while self.begin.elapsed() < end {
            let counted = self.counted()?;
            // A bin in which nobody looked had what the next look saw.
            let at = self.bin().max(self.bins.len() - 1);
            self.bins.resize(at + 1, counted);
            self.bins[at] = counted;
            std::thread::sleep(BIN / 2);
        }
        Ok(())
    }

    fn rate(&self, from: usize, to: usize) -> f64 {
        (self.bins[to] - self.bins[from]) as f64 / (BIN.as_secs_f64() * (to - from) as f64)
    }

    /// How long after a bin the rate is back, if it is, and whether it ever fell.
    fn back_after(&self, killed: usize, enough: f64) -> Option<Duration> {
        let window = (WINDOW.as_nanos() / BIN.as_nanos()) as usize;
        let falls_by = (FALL_MAX.as_nanos() / BIN.as_nanos()) as usize;
        let last = self.bins.len() - 1;
        let has_enough = |from: &usize| self.rate(*from, from + window) >= enough;
        let mut windows = killed..last.saturating_sub(window).max(killed);
        let fell = windows.find(|from| !has_enough(from)).filter(|fell| *fell < killed + falls_by);
        match fell {
            Some(_) => windows.find(has_enough).map(|back| BIN * (back - killed) as u32),
            None if last > killed + falls_by + window => Some(Duration::ZERO),
            None => None,
        }
    }
}

pub fn measure(options: &Options) -> Result<Json, Failure> {
    let directory = tempfile::tempdir()?;
    let counted = directory.path().join("counted");
    fs::create_dir(&counted)?;
    let source = Document(document(options, directory.path()));
    let registry = registry();
    let (record, topology) = TopologySource::record(&source, "recovery.toml", &registry, &[])?;
    let mut workers = WorkersOptions::new(options.workers);
    // Each kill is the first of a good life: what is measured is not the back-off.
    workers.worker.restart_reset = Duration::from_secs(1);
    let running = RunningWorkers::start(topology, record, workers)?;
    let mut watch = Watch::new(counted);
    let begin = Instant::now();
    while watch.counted()? < options.keys {
        if begin.elapsed() > PATIENCE {
            return Err("the keys do not arrive".into());
        }
        watch.watch(BIN)?;
    }
    let (mut times, mut usual) = (Vec::new(), Vec::new());
    for nth in 0..options.kills {
        let checkpoints = || running.stats().topology.checkpoints.unwrap_or_default();
        let (recoveries, before) = (checkpoints().recoveries, checkpoints().completed);
        // The next kill does not come before the last one is in the past for the checkpoints, too.
        wait_until("checkpoints", PATIENCE, || checkpoints().completed >= before + 2)?;
        watch.watch(BEFORE)?;
        let killed = watch.bins.len() - 1;
        let rate = watch.rate(killed - (BEFORE.as_nanos() / BIN.as_nanos()) as usize / 2, killed);
        kill(&running, nth % usize::from(options.workers))?;
        watch.watch(AFTER)?;
        let back = loop {
            match watch.back_after(killed, 0.9 * rate) {
                Some(back) => break back,
                None if watch.bins.len() as u32 * BIN > killed as u32 * BIN + PATIENCE => {
                    return Err(format!("the rate was not back {PATIENCE:?} after a kill").into());
                }
                None => watch.watch(BIN)?,
            }
        };
        if checkpoints().recoveries == recoveries {
            return Err("a worker was killed, and nothing went back".into());
        }
        eprintln!("kill {}: back after {back:?}, usual {rate:.0}/s", nth + 1);
        times.push(back.as_secs_f64() * 1000.0);
        usual.push(rate);
    }
    running.kill();
    running.join();
    times.sort_by(f64::total_cmp);
    usual.sort_by(f64::total_cmp);
    Ok(json!({
        "peer": "squall", "workload": "recovery", "keys": options.keys, "kills": options.kills,
        "config": {"workers": options.workers, "interval_ms": options.interval_ms},
        "rate": quantile(&usual, 0.5),
        "p50_ms": quantile(&times, 0.5), "p99_ms": quantile(&times, 0.99), "max_ms": times.last(),
    }))
}

fn kill(running: &RunningWorkers, worker: usize) -> Result<(), Failure> {
    let pid = running.worker_pids().get(worker).copied().flatten().ok_or("the worker has no process")?;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("a process has a number above 0")?;
    Ok(kill_process(pid, Signal::KILL)?)
}
