//! How long a killed worker is missed.
//!
//! Lines come at a pace, each with the time it was made at, and a sink task on every worker writes
//! them down. Workers are killed one after another, each in a run that has recovered from the kill
//! before. From the files, from outside, is seen:
//!
//! ```text
//!   rows/s ────────┐ kill                            ┌──────────────────
//!                  └──┐ ┄┄┄ first row of a task of the dead worker ┄┄┄ │
//!                     └──────────────────────────────┘ 90 % of the rate before
//! ```
//!
//! * *first output*: until the sink task of the dead worker has written a row in its next life;
//! * *90 % of the rate*: until a window of [`WINDOW`] begins that has 90 % of the rows of the mean
//!   window before the kill, after one that had fewer; 0 if none had fewer;
//! * *last replay*: until the last message was emitted again, as far as counters print_recovery, which come
//!   every [`STATS_EACH`];
//! * *last row*: until the last row of a line that was made before the kill was written;
//! * *others*: the rate of the sinks on the other workers from the first output on, for [`OTHERS_MIN`] at
//!   least, as a part of theirs before the kill. A worker that is back must not slow the others down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use serde_json::json;
use squall::api::FailureCause;
use squall::cluster::WorkersOptions;

use crate::figures::{Times, machine, record};
use crate::network::Network;
use crate::processes::{Handle, status};
use crate::round::{Arena, fresh_dir, workers_of};

/// In which the rate is looked at.
const WINDOW: Duration = Duration::from_millis(200);
/// How finely rows are counted.
const BIN: Duration = Duration::from_millis(10);
/// How often workers say their counters.
const STATS_EACH: Duration = Duration::from_millis(20);
/// A dip that begins later than this after a death has another cause.
const DIP_MAX: Duration = Duration::from_millis(500);
/// How long a run is looked at before a kill, and at least after one.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_millis(2500);
/// How long the others are looked at, at least, once the worker is back.
const OTHERS_MIN: Duration = Duration::from_secs(1);
/// What has not come back after so long, on however busy a machine, never will.
const AFTER_MAX: Duration = Duration::from_secs(60);
/// A recovery that took longer is told in full.
const SLOW: Duration = Duration::from_millis(300);
/// How long a run may take to stand as if nothing had happened.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// What one kill cost.
#[derive(Clone, Debug)]
struct Recovery {
    worker: u16,
    first_output: Option<Duration>,
    rate: Option<Duration>,
    last_replay: Option<Duration>,
    last_row: Option<Duration>,
    /// The rate of the others once the worker is back, as a part of what it was.
    others: Option<f64>,
    replayed: u64,
    /// What the master noted after the kill, for people who wonder what took so long.
    noted: Vec<(Duration, String)>,
}

fn document(dir: &Path, tasks: u16, rate: u64) -> String {
    let dir = dir.display();
    format!(
        r#"
topology.name = "recovery"

[spout.source]
type = "generate"
parallelism = {tasks}
config = {{ rate = {rate}, fields = {{ n = "{{seq}}", at = "{{now}}" }} }}

[bolt.read]
type = "map"
parallelism = {tasks}
inputs = ["source"]
config = {{ keep = ["n"], set = {{ at = 'unix(at)', word = '"w" + n % 100' }} }}

[bolt.count]
type = "count"
parallelism = {tasks}
inputs = [{{ from = "read", fields = ["word"] }}]
config = {{ by = ["word"] }}

[bolt.tally]
type = "null"
parallelism = {tasks}
inputs = ["count"]

[bolt.ids]
type = "file"
parallelism = {tasks}
inputs = ["read"]
config = {{ path = "{dir}/out/{{task}}-{{seq}}.txt", fields = ["n", "at"] }}
"#
    )
}

/// Which task of the sink runs on each worker.
fn sink_tasks(document: &str, workers: u16) -> Vec<usize> {
    let places = workers_of(document, "ids", workers);
    let task_on = |worker: u16| places.iter().position(|place| *place == worker);
    (0..workers).map(|worker| task_on(worker).expect("the sink is on every worker")).collect()
}

/// Until when a run is looked at after a kill whose worker was back at this time.
fn looked_at_until(back: Duration) -> Duration {
    AFTER.max(back + OTHERS_MIN)
}

/// A row that was written since the last look.
struct Row {
    task: usize,
    inode: u64,
    /// When its line was made, in seconds since 1970.
    made: f64,
}

/// Reads the files of the sink while they grow.
struct Tail {
    dir: PathBuf,
    /// Bytes that were read, by inode.
    read: BTreeMap<u64, u64>,
    /// Files that are published and read to their ends.
    done: BTreeSet<String>,
}

impl Tail {
    fn new(dir: PathBuf) -> Tail {
        Tail { dir, read: BTreeMap::new(), done: BTreeSet::new() }
    }

    fn rows(&mut self, mut each: impl FnMut(Row)) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.done.contains(&name) {
                continue;
            }
            let task = name.split('-').next().and_then(|task| task.parse().ok()).unwrap_or(usize::MAX);
            // It may have been renamed since it was listed; it is found by its next name then.
            let Ok(file) = fs::File::open(entry.path()) else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            let inode = metadata.ino();
            let from = self.read.entry(inode).or_default();
            let mut bytes = vec![0; metadata.len().saturating_sub(*from) as usize];
            let whole = match file.read_at(&mut bytes, *from) {
                Ok(len) => bytes[..len].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
                Err(_) => 0,
            };
            *from += whole as u64;
            for row in String::from_utf8_lossy(&bytes[..whole]).lines() {
                let made = row.split_once('\t').and_then(|(_, made)| made.parse().ok());
                each(Row { task, inode, made: made.unwrap_or(f64::NAN) });
            }
            if whole == 0 && name.ends_with(".txt") {
                self.done.insert(name);
            }
        }
    }
}

fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A run that is watched.
struct Watch {
    arena: Arena,
    tail: Tail,
    begin: Instant,
    /// Rows by bin since the beginning, by task of the sink.
    bins: Vec<BTreeMap<usize, u32>>,
    files_seen: BTreeSet<u64>,
}

impl Watch {
    /// Reads what is new; tells each row to somebody too.
    fn look(&mut self, mut each: impl FnMut(&Row)) {
        let bin = (self.begin.elapsed().as_nanos() / BIN.as_nanos()) as usize;
        self.bins.resize(self.bins.len().max(bin + 1), BTreeMap::new());
        let (bins, files) = (&mut self.bins, &mut self.files_seen);
        self.tail.rows(|row| {
            *bins[bin].entry(row.task).or_default() += 1;
            each(&row);
            files.insert(row.inode);
        });
    }

    fn watch_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.look(|_| {});
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn rows_between(&self, from: Duration, to: Duration, is_counted: impl Fn(usize) -> bool) -> u64 {
        let bin = |time: Duration| ((time.as_nanos() / BIN.as_nanos()) as usize).min(self.bins.len());
        let rows = self.bins[bin(from)..bin(to)].iter().flatten();
        rows.filter(|(task, _)| is_counted(**task)).map(|(_, rows)| u64::from(*rows)).sum()
    }

    /// Rows per second of the tasks but one.
    fn rate_of_others(&self, from: Duration, to: Duration, task: usize) -> f64 {
        self.rows_between(from, to, |other| other != task) as f64 / (to - from).as_secs_f64()
    }

    /// Kills a worker and looks on.
    fn kill(&mut self, worker: u16, task: usize) -> Option<Recovery> {
        self.arena.wait_connected(SETTLE_MAX).then_some(())?;
        // What was written meanwhile is no part of the rate.
        self.watch_for(BIN);
        self.watch_for(BEFORE);
        let pid = self.arena.running.worker_pids()[usize::from(worker)]?;
        let process = Handle::of_child(pid)?;
        let replays = |arena: &Arena| arena.running.stats().topology.replays.of(FailureCause::Lost);
        let (replayed_before, old_files) = (replays(&self.arena), self.files_seen.clone());
        let noted_before = self.arena.running.events().len();
        let killed_run = self.arena.running.elapsed();
        let (killed_at, killed_wall) = (self.begin.elapsed(), since_1970(SystemTime::now()));
        process.signal(Signal::KILL);
        let mut recovery = Recovery {
            worker,
            first_output: None,
            rate: None,
            last_replay: None,
            last_row: None,
            others: None,
            replayed: 0,
            noted: Vec::new(),
        };
        let usual = self.rows_between(killed_at - BEFORE, killed_at, |_| true) as f64;
        let enough = 0.9 * usual * WINDOW.as_secs_f64() / BEFORE.as_secs_f64();
        let mut next_stats = Duration::ZERO;
        loop {
            let since = self.begin.elapsed().saturating_sub(killed_at);
            let is_seen = recovery.first_output.is_some_and(|back| since > looked_at_until(back));
            if since > AFTER_MAX || (is_seen && self.back_at(killed_at, enough).is_some()) {
                break;
            }
            let (mut first, mut late) = (false, false);
            self.look(|row| {
                first |= row.task == task && !old_files.contains(&row.inode);
                late |= row.made < killed_wall;
            });
            let since = self.begin.elapsed().saturating_sub(killed_at);
            if first {
                recovery.first_output.get_or_insert(since);
            }
            if late {
                recovery.last_row = Some(since);
            }
            if since >= next_stats {
                next_stats = since + Duration::from_millis(10);
                let replayed = replays(&self.arena) - replayed_before;
                if replayed > recovery.replayed {
                    (recovery.replayed, recovery.last_replay) = (replayed, Some(since));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        recovery.rate = self.back_at(killed_at, enough);
        recovery.others = recovery.first_output.map(|back| {
            self.rate_of_others(killed_at + back, killed_at + looked_at_until(back), task)
                / self.rate_of_others(killed_at - BEFORE, killed_at, task)
        });
        for event in self.arena.running.events().into_iter().skip(noted_before) {
            let what = format!("{} {:?}", event.worker, event.kind);
            recovery.noted.push((event.at.saturating_sub(killed_run), what));
        }
        Some(recovery)
    }

    /// When the first window with enough rows begins after the first that had fewer, since a death.
    /// At once if there was none soon after it: a machine that is busy with other things has dips of
    /// its own. None if it has not come back yet.
    fn back_at(&self, killed_at: Duration, enough: f64) -> Option<Duration> {
        let until_now = BIN * self.bins.len() as u32;
        let windows = |time: Duration| 0..(time.as_nanos() / BIN.as_nanos()) as u32;
        let is_low = |nth: &u32| {
            let from = killed_at + BIN * *nth;
            (self.rows_between(from, from + WINDOW, |_| true) as f64) < enough
        };
        let Some(dip) = windows(DIP_MAX).find(is_low) else { return Some(Duration::ZERO) };
        let back =
            windows(until_now.saturating_sub(killed_at + WINDOW)).skip(dip as usize).find(|nth| !is_low(nth));
        back.map(|nth| BIN * nth)
    }
}

/// Kills so many workers, and measures each. Says what was never seen.
pub fn measure(workers: u16, kills: u64, rate: u64, seed: u64) -> Vec<String> {
    let dir = fresh_dir("recovery");
    let document = document(&dir, workers, rate);
    let tasks = sink_tasks(&document, workers);
    let mut options = WorkersOptions::new(workers);
    // Each kill is the first of a good life: what is measured is not the back-off.
    options.worker.restart_reset = Duration::from_secs(1);
    options.worker.stats_interval = STATS_EACH;
    let arena = Arena::start(&dir, &document, Network::new(false, seed), options);
    let machine = machine();
    println!("recovery: {machine}; {workers} workers, {rate} lines/s, {kills} kills, seed {seed}");
    record("recovery.jsonl", &json!({"machine": machine, "workers": workers, "rate": rate, "seed": seed}));
    let tail = Tail::new(dir.join("out"));
    let mut watch =
        Watch { arena, tail, begin: Instant::now(), bins: Vec::new(), files_seen: BTreeSet::new() };
    let random = &mut StdRng::seed_from_u64(seed);
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for nth in 1..=kills {
        let worker = random.random_range(0..workers);
        match watch.kill(worker, tasks[usize::from(worker)]) {
            Some(recovery) => {
                print_recovery(nth, &recovery);
                all.push(recovery);
            }
            None => {
                wrong.push(format!("kill {nth}: the run did not stand again within {SETTLE_MAX:?}"));
                break;
            }
        }
    }
    let peaks: Vec<Option<u64>> =
        watch.arena.running.worker_pids().into_iter().map(|pid| status(pid?, "VmHWM")).collect();
    println!("  peak memory of the workers, KiB: {peaks:?}");
    let _ = fs::write(dir.join("history.txt"), watch.arena.history());
    watch.arena.running.kill();
    watch.arena.running.join();
    conclude(&all, &mut wrong);
    if wrong.is_empty() {
        let _ = fs::remove_dir_all(dir);
    }
    wrong
}

fn print_recovery(nth: u64, recovery: &Recovery) {
    let millis = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
    record(
        "recovery.jsonl",
        &json!({
            "kill": nth,
            "worker": recovery.worker,
            "first_output_ms": millis(recovery.first_output),
            "rate90_ms": millis(recovery.rate),
            "last_replay_ms": millis(recovery.last_replay),
            "last_row_ms": millis(recovery.last_row),
            "others": recovery.others,
            "replayed": recovery.replayed,
            "noted_ms": recovery.noted.iter().map(|(at, what)| json!([at.as_millis() as u64, what])).collect::<Vec<_>>(),
        }),
    );
    let shown = |time| millis(time).map_or_else(|| "never".to_owned(), |time| format!("{time:.0} ms"));
    println!(
        "  kill {nth}, worker {}: first output {}, 90 % of the rate {}, last replay {}, last row {}, others {}, {} replayed",
        recovery.worker,
        shown(recovery.first_output),
        shown(recovery.rate),
        recovery.last_replay.map_or_else(|| "none".to_owned(), |_| shown(recovery.last_replay)),
        shown(recovery.last_row),
        recovery.others.map_or_else(|| "unknown".to_owned(), |others| format!("at {:.0} %", 100.0 * others)),
        recovery.replayed,
    );
    if recovery.first_output.is_none_or(|first| first > SLOW) {
        recovery.noted.iter().for_each(|(at, what)| println!("      {:>5} ms: {what}", at.as_millis()));
    }
}

fn conclude(all: &[Recovery], wrong: &mut Vec<String>) {
    type Kind = (&'static str, fn(&Recovery) -> Option<Duration>, bool);
    let kinds: [Kind; 4] = [
        ("death to first output of its tasks", |recovery| recovery.first_output, true),
        ("death to 90 % of the rate", |recovery| recovery.rate, true),
        ("death to the last replay", |recovery| recovery.last_replay, false),
        ("death to the last row of a line before", |recovery| recovery.last_row, false),
    ];
    for (what, time_of, always) in kinds {
        let (line, figures) = Times::of(all.iter().filter_map(time_of)).line(what);
        println!("  {line}");
        record("recovery.jsonl", &figures);
        let never = all.iter().filter(|recovery| time_of(recovery).is_none()).count();
        if always && never > 0 {
            wrong.push(format!("{what}: not within {AFTER_MAX:?} after {never} of {} kills", all.len()));
        }
    }
    let mut others: Vec<f64> = all.iter().filter_map(|recovery| recovery.others).collect();
    others.sort_by(f64::total_cmp);
    let at = |part: f64| others.get((others.len() as f64 * part) as usize).map_or(f64::NAN, |o| 100.0 * o);
    let (least, few, half) = (at(0.0), at(0.01), at(0.5));
    println!("  others, once it is back, % of their rate: p50 {half:.0}, p1 {few:.0}, least {least:.0}");
    record("recovery.jsonl", &json!({"others_percent": {"p50": half, "p1": few, "min": least}}));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On one core that was busy with other things a worker was back only after [`AFTER`]: the others were then
    /// looked at until a time before they were begun to be looked at, and the test panicked.
    #[test]
    fn the_others_are_looked_at_however_late_a_worker_is_back() {
        for back in [20, 1499, 1500, 1501, 2499, 2500, 2501, 6930, 60_000].map(Duration::from_millis) {
            let until = looked_at_until(back);
            assert!(until >= AFTER && until - back >= OTHERS_MIN, "{back:?}: until {until:?}");
        }
    }
}
