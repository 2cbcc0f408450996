//! One run of the ledger in worker processes, with its troubles: start, strike, heal, finish, check.
//!
//! A round that fails leaves what it was and wrote in `target/chaos/NAME-SEED/`: the topology, the
//! schedule, the logs of all processes, and the files of the sinks. One that passes leaves nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use squall::api::FailureCause;
use squall::cluster::{
    Executable, RunningWorkers, TopologySource, WorkerEvent, WorkerEventKind, WorkersOptions, WorkersStats,
};
use squall::prelude::*;
use squall::topology::declare::{self, MemorySource};
use squall::topology::place;
use squall::topology::plan::Part;

use crate::kit::{Log, lock};
use crate::ledger::{Books, Ledger, Source};
use crate::nemesis::{Kind, Nemesis, Schedule};
use crate::network::Network;
use crate::processes::{self, MARK};

// What has not come true after so long never will. On a machine that is busy with other things
// everything takes its time, and no test is about that.

/// Workers are up and connected.
const START_MAX: Duration = Duration::from_secs(120);
/// A schedule is through.
const SCHEDULE_MAX: Duration = Duration::from_secs(900);
/// Processes and descriptors are gone after the end of their run.
const GONE_MAX: Duration = Duration::from_secs(60);

/// What a round is.
#[derive(Clone, Debug)]
pub struct Round {
    /// What it is for.
    pub name: String,
    /// Of its schedule, and of what proxies hit.
    pub seed: u64,
    /// Worker processes.
    pub workers: u16,
    /// Where lines come from.
    pub source: Source,
    /// How many there are; of [`Source::Endless`], at most.
    pub lines: u64,
    /// Tasks of the source; of everything else there is one on each worker.
    pub source_tasks: u16,
    /// Whether there are proxies between the workers.
    pub proxies: bool,
    /// What is done to it.
    pub schedule: Schedule,
    /// Whether that begins with the start, not when all is connected and lines flow.
    pub at_once: bool,
    /// Whether a worker may die when nothing is replayed any more: then what is lost must be said.
    pub may_lose: bool,
    /// How long a worker may say nothing before it is replaced.
    pub heartbeat_timeout: Duration,
    /// How long it may take from when it is healed to its end.
    pub end_max: Duration,
}

/// What became of a round.
#[derive(Debug)]
pub struct Outcome {
    /// What the sinks wrote.
    pub books: Books,
    /// How often each kind of fault was carried out.
    pub struck: Vec<(Kind, u64)>,
    /// Processes that were killed by signal.
    pub killed: u64,
    /// Which workers were stopped, and when, since the start of the run.
    pub stopped: Vec<(Duration, u16)>,
    /// What the proxies did.
    pub network: Network,
    /// What could not be done.
    pub skipped: Vec<(String, u64)>,
    /// The last counters.
    pub stats: WorkersStats,
    /// What happened to the workers.
    pub events: Vec<WorkerEvent>,
    /// From healing to the end.
    pub healed_in: Duration,
    /// Everything that is not as it should be.
    pub wrong: Vec<String>,
}

impl Outcome {
    /// Whether the counters say that all is well, and the run ends with exit code 0.
    pub fn says_all_is_well(&self) -> bool {
        let topology = &self.stats.topology;
        let lost = topology.failed + topology.waiting + topology.lost + topology.losses() + topology.pending;
        lost == 0 && !topology.cut_short && self.stats.failure.is_none()
    }
}

/// On which workers the tasks of a component run.
pub fn workers_of(document: &str, component: &str, workers: u16) -> Vec<u16> {
    let files = MemorySource::new().file("chaos.toml", document);
    let topology = declare::load(&files, "chaos.toml", &Registry::with_standard(), &[]);
    let topology = topology.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let (plan, assignment) = place(&topology, workers, None);
    let at = topology.components().iter().position(|found| found.id == component);
    let executors = plan.executors_of(Part::Component(at.expect("the topology has the component")));
    executors.iter().map(|executor| assignment.worker_of(executor.id).0).collect()
}

/// Where a round keeps its files, empty.
pub fn fresh_dir(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
    let dir = target.join("chaos").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("the target directory can be written to");
    dir
}

/// The program of the workers, with a mark in its environment.
pub fn marked_worker(mark: &str) -> Executable {
    let arguments = [&format!("{MARK}={mark}"), env!("CARGO_BIN_EXE_squall"), "worker"];
    Executable::At("/usr/bin/env".into(), arguments.iter().map(Into::into).collect())
}

/// A topology in worker processes, with logs that are kept.
pub struct Arena {
    /// The workers.
    pub running: RunningWorkers,
    /// What is between them.
    pub network: Network,
    /// In the environment of each.
    pub mark: String,
    log: Log,
}

impl Arena {
    /// Starts a document.
    pub fn start(dir: &Path, document: &str, network: Network, options: WorkersOptions) -> Arena {
        let registry = Registry::with_standard();
        let files = MemorySource::new().file("chaos.toml", document);
        let recorded = TopologySource::record(&files, "chaos.toml", &registry, &[]);
        let (source, topology) = recorded.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        let file = Arc::new(Mutex::new(File::create(dir.join("workers.log")).expect("it can be written")));
        let mark = format!("{}-{}", std::process::id(), dir.display());
        let log = Log::default();
        let options = WorkersOptions {
            executable: marked_worker(&mark),
            logger: log.logger(),
            stderr: Some(Arc::new(move |worker, line| {
                // The log helps when something is wrong; a full disk is seen elsewhere.
                let _ = writeln!(lock(&file), "{worker}: {line}");
            })),
            dial_through: Some(network.dial_through()),
            ..options
        };
        let running = RunningWorkers::start(topology, source, options).expect("workers can be started");
        Arena { running, network, mark, log }
    }

    /// Waits until a condition holds, or so long; says whether it does.
    pub fn wait(&self, at_most: Duration, mut holds: impl FnMut(&RunningWorkers) -> bool) -> bool {
        let begin = Instant::now();
        while !holds(&self.running) {
            if begin.elapsed() > at_most {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Waits until all workers are up and all connections too.
    pub fn wait_connected(&self, at_most: Duration) -> bool {
        self.wait(at_most, |running| is_connected(&running.stats()))
    }

    /// What was logged by the master, and what happened.
    pub fn history(&self) -> String {
        let lines = self.log.lines(slog::Level::Debug);
        let lines = lines.iter().map(|line| format!("{} {}\n", line.level.as_short_str(), line.text));
        lines.chain(self.running.events().iter().map(|event| format!("{event:?}\n"))).collect()
    }
}

fn is_connected(stats: &WorkersStats) -> bool {
    stats.processes.up == stats.processes.workers && stats.processes.links_up == stats.processes.links
}

impl Round {
    /// Runs it.
    pub fn run(&self) -> Outcome {
        let dir = fresh_dir(&format!("{}-{}", self.name, self.seed));
        let ledger = Ledger::new(&dir, self.source, self.lines, (self.workers, self.source_tasks));
        let _ = fs::write(dir.join("topology.toml"), ledger.document());
        let _ = fs::write(dir.join("schedule.txt"), self.schedule.to_string());
        let descriptors = processes::descriptors(std::process::id());
        let outcome = self.run_in(&dir, &ledger, descriptors);
        if outcome.wrong.is_empty() {
            let _ = fs::remove_dir_all(&dir);
        } else {
            let wrong = outcome.wrong.join("\n");
            let _ = fs::write(dir.join("wrong.txt"), format!("{wrong}\n\n{:#?}\n", outcome.stats));
        }
        outcome
    }

    fn run_in(&self, dir: &Path, ledger: &Ledger, descriptors: usize) -> Outcome {
        let network = Network::new(self.proxies, self.seed);
        let mut options = WorkersOptions::new(self.workers);
        options.worker.restart_max = Duration::from_millis(200);
        options.worker.stats_interval = Duration::from_millis(50);
        options.worker.heartbeat_timeout = self.heartbeat_timeout;
        let arena = Arena::start(dir, &ledger.document(), network, options);
        let mut wrong = Vec::new();
        let started = arena.wait(START_MAX, |running| {
            let is_at_work = || is_connected(&running.stats()) && ledger.written() > 0;
            self.at_once || running.wait(Duration::ZERO) || is_at_work()
        });
        if !started {
            wrong.push(format!("not all were up and connected within {START_MAX:?}"));
        }
        let begun = arena.running.elapsed();
        let mut nemesis = Nemesis::begin(&arena.network, self.workers, self.schedule.clone());
        let mut is_drained = false;
        let schedule_max = Instant::now() + SCHEDULE_MAX;
        while !nemesis.is_through()
            && !arena.running.wait(Duration::from_millis(1))
            && Instant::now() < schedule_max
        {
            nemesis.act(&arena.running.worker_pids());
            if nemesis.wants_drain() && arena.running.stats().topology.pending > 0 {
                arena.running.drain();
                nemesis.drained();
                is_drained = true;
            }
        }
        let left = nemesis.left();
        if self.source.is_endless() && !left.is_empty() {
            wrong.push(format!("NOT ALL STRUCK before the input ended: {left:?}"));
        }
        nemesis.heal();
        if self.source.is_endless() && !is_drained {
            let made = ledger.made();
            // By what was begun: the next process counts as a restart only once it has been started.
            let is_lost = |event: &WorkerEvent| {
                matches!(event.kind, WorkerEventKind::Replaced(_) | WorkerEventKind::Died(_))
            };
            let replaced = arena.running.events().iter().any(is_lost);
            if replaced && !patiently(self.end_max, || ledger.has_all(&made)) {
                wrong.push(format!(
                    "LOST: a spout that began again did not come to where it was within {:?}",
                    self.end_max
                ));
            }
            arena.running.drain();
        }
        let struck = nemesis.struck().iter().map(|(kind, count)| (*kind, *count)).collect();
        let skipped = nemesis.skipped().iter().map(|(why, count)| (why.clone(), *count)).collect();
        let stopped = nemesis.stopped().iter().map(|(at, worker)| (begun + *at, *worker)).collect();
        let killed = nemesis.killed();
        let healed = Instant::now();
        let ended = arena.running.wait(self.end_max);
        if !ended {
            wrong.push(format!("STUCK: it did not end within {:?} after it was healed", self.end_max));
            let _ = fs::write(
                dir.join("stuck.txt"),
                format!("{:#?}\n{}", arena.running.stats(), arena.history()),
            );
            wrong.extend(stacks(&arena));
        }
        drop(nemesis);
        let healed_in = healed.elapsed();
        arena.network.close();
        let network = arena.network.clone();
        let _ = fs::write(dir.join("history.txt"), arena.history());
        let events = arena.running.events();
        let mark = arena.mark.clone();
        let stats = end(arena, ended);
        wrong.extend(judge(&stats, &events, ended, self.may_lose));
        let gone = || processes::marked(&mark).is_empty();
        if !patiently(GONE_MAX, gone) {
            wrong.push(format!("ORPHANS: {:?}", processes::marked(&mark)));
        }
        let none_open = || processes::descriptors(std::process::id()) <= descriptors;
        if !patiently(GONE_MAX, none_open) {
            let open = processes::descriptor_targets(std::process::id());
            wrong.push(format!("DESCRIPTORS: {descriptors} before, now {}: {open:?}", open.len()));
        }
        let books = ledger.read();
        let acked = crate::kit::of(&stats.topology, "source").acked;
        // A spout that began again acks lines twice.
        if self.source.is_endless() && stats.processes.restarts == 0 && books.arrived < acked {
            wrong.push(format!("LOST: {acked} lines were acked, {} arrived", books.arrived));
        }
        if ended {
            wrong.extend(books.wrong.iter().cloned());
        }
        // After a restart an endless source begins at 0 again. If it is drained before it has passed its old
        // position, messages that were in flight are lost, in whole or in part, and squall must have counted them.
        let is_counted = self.source.is_endless()
            && stats.processes.restarts > 0
            && (1..=stats.topology.lost).contains(&books.incomplete);
        if ended && !self.may_lose && !is_counted {
            wrong.extend(books.lost.iter().cloned());
        }
        Outcome { books, struck, stopped, network, killed, skipped, stats, events, healed_in, wrong }
    }
}

fn end(arena: Arena, ended: bool) -> WorkersStats {
    if ended {
        return arena.running.join();
    }
    let stats = arena.running.stats();
    arena.running.kill();
    arena.running.join();
    stats
}

/// Waits until something holds, for at most so long; says whether it does.
pub fn patiently(at_most: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begin.elapsed() > at_most {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What the counters must say.
fn judge(stats: &WorkersStats, events: &[WorkerEvent], ended: bool, may_lose: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(stats.failure.as_ref().map(|failure| format!("GIVEN UP: {failure}")));
    let timed_out = stats.topology.replays.of(FailureCause::TimedOut);
    if timed_out > 0 {
        wrong.push(format!("FALSE TIME-OUTS: {timed_out} messages"));
    }
    for cause in [FailureCause::Failed, FailureCause::Panicked] {
        let count = stats.topology.replays.of(cause);
        if count > 0 {
            wrong.push(format!("{count} messages were replayed because they {cause:?}"));
        }
    }
    if stats.topology.failed > 0 && !may_lose {
        wrong.push(format!("{} messages failed for good", stats.topology.failed));
    }
    if ended && stats.topology.cut_short && !may_lose && !somebody_was_killed_at_the_end(events) {
        wrong.push("CUT SHORT: its end was not in order".to_owned());
    }
    for event in events {
        if let WorkerEventKind::Died(how) = &event.kind
            && !how.contains("SIGKILL")
            && how != "exit code 0"
        {
            wrong.push(format!("DIED BY ITSELF: worker {}, {how}", event.worker));
        }
    }
    wrong
}

/// Whether a worker was killed and not started again: then all was done, and it was closing.
fn somebody_was_killed_at_the_end(events: &[WorkerEvent]) -> bool {
    let last_of = |worker| events.iter().rev().find(|event| event.worker == worker).map(|event| &event.kind);
    let died = |event: &&WorkerEvent| matches!(last_of(event.worker), Some(WorkerEventKind::Died(how)) if how.contains("SIGKILL"));
    events.iter().any(|event| died(&event))
}

/// Where the threads of all processes are, if there is a debugger: why a round is stuck is seldom
/// told by its counters.
fn stacks(arena: &Arena) -> Vec<String> {
    let pids = arena.running.worker_pids().into_iter().flatten();
    let stack = |pid: u32| {
        let bt = ["-p", &pid.to_string(), "-batch", "-ex", "thread apply all bt 24"].map(str::to_owned);
        let output = std::process::Command::new("gdb").args(bt).output().ok()?;
        Some(format!("--- {pid}\n{}", String::from_utf8_lossy(&output.stdout)))
    };
    pids.filter_map(stack).collect()
}
