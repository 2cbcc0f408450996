//! What rounds came to, as lines for people and as JSON lines in `target/chaos/`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall::api::FailureCause;
use squall::cluster::{WorkerEvent, WorkerEventKind};
use squall::ids::WorkerId;

use crate::nemesis::Kind;
use crate::round::{Outcome, Round};

/// Rounds that may fail before no more are begun.
const FAILED_MAX: usize = 5;

/// The machine and how busy it is: without it no figure is worth anything.
pub fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": cpu.map(|(_, name)| name),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "load": load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

/// Appends a line to a file of `target/chaos/`.
pub fn record(file: &str, line: &Value) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
    let dir = target.join("chaos");
    let _ = fs::create_dir_all(&dir);
    let opened = OpenOptions::new().create(true).append(true).open(dir.join(file));
    let written = opened.and_then(|mut file| writeln!(file, "{line}"));
    written.unwrap_or_else(|error| eprintln!("{file} cannot be written: {error}"));
}

/// The value below which a share of the sorted ones lies.
pub fn quantile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// Times of one kind.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort_unstable();
    }

    /// Those of several.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Times {
        let mut all = Times::default();
        times.into_iter().for_each(|time| all.add(time));
        all
    }

    /// A line of a table, and the same as JSON.
    pub fn line(&self, what: &str) -> (String, Value) {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(&self.0, share).unwrap_or_default());
        let [p50, p99, max] = [p50, p99, max].map(|time| time.as_secs_f64());
        let count = self.0.len();
        let line =
            format!("{what:<40} {count:>5} times   p50 {p50:>7.3} s   p99 {p99:>7.3} s   max {max:>7.3} s");
        (line, json!({"what": what, "count": count, "p50_s": p50, "p99_s": p99, "max_s": max}))
    }
}

/// What became of a fault that a test is about.
#[derive(Debug, PartialEq, Eq)]
enum CameAbout {
    Struck,
    /// Although it could have been carried out.
    Never,
    /// It could not be carried out, for these reasons.
    Skipped(String),
}

/// The rounds of a test, added up.
pub struct Sums {
    name: &'static str,
    begin: Instant,
    rounds: u64,
    killed: u64,
    lines: u64,
    rows: u64,
    restarts: u64,
    replays: BTreeMap<&'static str, u64>,
    struck: BTreeMap<Kind, u64>,
    skipped: BTreeMap<String, u64>,
    network: BTreeMap<&'static str, u64>,
    times: BTreeMap<&'static str, Times>,
    /// Seeds, and what was wrong.
    failed: Vec<(u64, Vec<String>)>,
}

impl Sums {
    /// None so far.
    pub fn new(name: &'static str) -> Sums {
        println!("{name}: {}", machine());
        Sums {
            name,
            begin: Instant::now(),
            rounds: 0,
            killed: 0,
            lines: 0,
            rows: 0,
            restarts: 0,
            replays: BTreeMap::new(),
            struck: BTreeMap::new(),
            skipped: BTreeMap::new(),
            network: BTreeMap::new(),
            times: BTreeMap::new(),
            failed: Vec::new(),
        }
    }

    /// Processes that were killed by signal.
    pub fn killed(&self) -> u64 {
        self.killed
    }

    /// Whether another round is worth it.
    pub fn goes_on(&self) -> bool {
        self.failed.len() < FAILED_MAX
    }

    /// Adds a round, and tells it.
    pub fn add(&mut self, round: &Round, outcome: &Outcome) {
        let replays = &outcome.stats.topology.replays;
        for (cause, name) in CAUSES {
            *self.replays.entry(name).or_default() += replays.of(cause);
        }
        self.rounds += 1;
        self.killed += outcome.killed;
        self.lines += outcome.books.lines;
        self.rows += outcome.books.ids;
        self.restarts += outcome.stats.processes.restarts;
        outcome.struck.iter().for_each(|(kind, count)| *self.struck.entry(*kind).or_default() += count);
        let skipped = outcome.skipped.iter();
        skipped.for_each(|(why, count)| *self.skipped.entry(why.clone()).or_default() += count);
        self.times.entry("from healing to the end").or_default().add(outcome.healed_in);
        let all_well = outcome.wrong.is_empty();
        println!(
            "{} seed {}: {:?}, {:?} {} lines, {} rows, {} restarts, {} replayed, ended in {:.1?} after healing: {}",
            self.name,
            round.seed,
            outcome.struck,
            round.source,
            outcome.books.lines,
            outcome.books.ids,
            outcome.stats.processes.restarts,
            outcome.stats.topology.replayed,
            outcome.healed_in,
            if all_well { "all well" } else { "WRONG" },
        );
        outcome.wrong.iter().for_each(|wrong| println!("    {wrong}"));
        if !all_well {
            self.failed.push((round.seed, outcome.wrong.clone()));
        }
        record("rounds.jsonl", &self.as_json(round, outcome));
    }

    fn as_json(&self, round: &Round, outcome: &Outcome) -> Value {
        let struck: BTreeMap<String, u64> =
            outcome.struck.iter().map(|(kind, count)| (format!("{kind:?}"), *count)).collect();
        json!({
            "test": self.name,
            "seed": round.seed,
            "workers": round.workers,
            "lines": outcome.books.lines,
            "rows": outcome.books.ids,
            "struck": struck,
            "killed": outcome.killed,
            "restarts": outcome.stats.processes.restarts,
            "replayed": outcome.stats.topology.replayed,
            "healed_in_s": outcome.healed_in.as_secs_f64(),
            "wrong": outcome.wrong,
        })
    }

    /// Notes how long it took from each stop until somebody knew, and until there was a replacement.
    pub fn note_stops(&mut self, outcome: &Outcome) {
        for (stopped_at, worker) in &outcome.stopped {
            let worker = WorkerId(*worker);
            let mut later = outcome.events.iter().filter(|event| event.at >= *stopped_at);
            let knows = |event: &&WorkerEvent| match &event.kind {
                WorkerEventKind::LinkDown(peer) => *peer == worker,
                WorkerEventKind::Replaced(_) => event.worker == worker,
                _ => false,
            };
            let known = later.clone().find(knows);
            let replaced =
                later.find(|event| event.worker == worker && event.kind == WorkerEventKind::Listening);
            // One that was stopped for a short time only is not replaced.
            if let (Some(known), Some(replaced)) = (known, replaced) {
                self.time("from the stop until it was known", known.at - *stopped_at);
                self.time("from the stop to the replacement", replaced.at - *stopped_at);
            }
        }
    }

    fn time(&mut self, what: &'static str, time: Duration) {
        self.times.entry(what).or_default().add(time);
    }

    /// Adds what the proxies of a round did.
    pub fn note_network(&mut self, outcome: &Outcome) {
        let counts = outcome.network.counts();
        let of = [
            ("connections made", &counts.connections),
            ("bytes passed on", &counts.passed),
            ("bytes swallowed", &counts.swallowed),
            ("bytes flipped", &counts.flipped),
            ("connections truncated", &counts.truncated),
            ("connections cut or refused", &counts.cut),
            ("pieces delayed", &counts.delayed),
            ("pieces slowed", &counts.slowed),
            ("looks while clogged", &counts.clogged),
        ];
        for (what, counter) in of {
            *self.network.entry(what).or_default() += counter.load(Ordering::Relaxed);
        }
    }

    /// What proxies can do and never did.
    pub fn never_happened(&self) -> Vec<&'static str> {
        self.network.iter().filter(|(_, count)| **count == 0).map(|(what, _)| *what).collect()
    }

    /// A fault that a test is about: it must have struck. Where this machine cannot do it, that is said
    /// past the capture of the test's output, so that nobody takes the test for one that has passed.
    pub fn require(&mut self, seed: u64, kind: Kind) {
        match self.came_about(kind) {
            CameAbout::Struck => {}
            CameAbout::Never => self.complain(seed, format!("{kind:?} never happened")),
            // Not `eprintln!`, which is shown for tests that fail only.
            CameAbout::Skipped(why) => drop(writeln!(std::io::stderr(), "SKIPPED {}: {why}", self.name)),
        }
    }

    fn came_about(&self, kind: Kind) -> CameAbout {
        if self.struck.contains_key(&kind) {
            return CameAbout::Struck;
        }
        let reasons: Vec<&str> = self.skipped.keys().map(String::as_str).collect();
        if reasons.is_empty() { CameAbout::Never } else { CameAbout::Skipped(reasons.join("; ")) }
    }

    /// Something that is wrong with a seed, beyond what its round found.
    pub fn complain(&mut self, seed: u64, wrong: String) {
        println!("    {wrong}");
        self.failed.push((seed, vec![wrong]));
    }

    /// Tells all, and fails if anything was wrong.
    ///
    /// # Panics
    /// If so.
    pub fn conclude(self) {
        let name = self.name;
        println!(
            "{name}: {} rounds in {:.0?}, {} processes killed",
            self.rounds,
            self.begin.elapsed(),
            self.killed
        );
        let extra = 100.0 * (self.rows as f64 / self.lines.max(1) as f64 - 1.0);
        println!(
            "  {} lines, {} rows ({extra:.0} % came again), {} restarts, replays by cause {:?}",
            self.lines, self.rows, self.restarts, self.replays
        );
        println!("  struck: {:?}", self.struck);
        if !self.network.is_empty() {
            println!("  network: {:?}", self.network);
        }
        for (why, count) in &self.skipped {
            println!("  SKIPPED {count} times: {why}");
        }
        for (what, times) in &self.times {
            println!("  {}", times.line(what).0);
        }
        let seeds: Vec<u64> = self.failed.iter().map(|(seed, _)| *seed).collect();
        assert!(
            seeds.is_empty(),
            "{} of {} rounds are wrong: seeds {seeds:?}; the first: {}\n  again: SQUALL_CHAOS_SEED={} \
             cargo test --test chaos {} -- --nocapture; its files: target/chaos/",
            seeds.len(),
            self.rounds,
            self.failed[0].1.join("; "),
            seeds[0],
            name.replace(' ', "_"),
        );
    }
}

const CAUSES: [(FailureCause, &str); 5] = [
    (FailureCause::Lost, "lost"),
    (FailureCause::TimedOut, "timed out"),
    (FailureCause::Failed, "failed"),
    (FailureCause::Panicked, "panicked"),
    (FailureCause::Abandoned, "abandoned"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A fault that never struck is a failure, or is reported as skipped with the reason. It used to pass as if
    /// it had struck.
    #[test]
    fn what_never_struck_fails_or_is_skipped_for_a_reason() {
        let mut sums = Sums::new("starved");
        assert_eq!(sums.came_about(Kind::Starve), CameAbout::Never);
        sums.require(7, Kind::Starve);
        assert_eq!(sums.failed, [(7, vec!["Starve never happened".to_owned()])]);
        sums.skipped.insert("starving needs root".to_owned(), 2);
        let why = "starving needs root".to_owned();
        assert_eq!(sums.came_about(Kind::Starve), CameAbout::Skipped(why));
        sums.struck.insert(Kind::Starve, 1);
        assert_eq!(sums.came_about(Kind::Starve), CameAbout::Struck);
    }
}
