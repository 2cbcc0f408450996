//! `squall run` of an exactly-once topology, killed with -9 again and again, and continued: what its files hold in the
//! end is the reference, row by row. In one process, and in workers, of which single ones are killed and stopped.
//!
//! A strike comes at a random time after another checkpoint was completed, so each comes forward, on any machine. When
//! the topology has ended before enough strikes, another begins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};

use crate::figures::record;
use crate::kit::DEADLINE;
use crate::round::fresh_dir;
use crate::{first_seed, from_environment, turn};

/// Kills in one topology.
pub const KILLS_OF_ROUND: u64 = 25;
/// Words a second.
const RATE: u64 = 40_000;
pub const WORDS: [&str; 5] = ["stream", "tuple", "spout", "bolt", "barrier"];

/// Each count of each word into files: into such that appear when they are whole, and into such that are visible at once.
fn sinks(dir: &Path) -> String {
    format!(
        r#"
        [bolt.store]
        type = "file"
        parallelism = 2
        inputs = ["count"]
        config = {{ path = "{dir}/out/{{task}}-{{seq}}.jsonl" }}

        [bolt.show]
        type = "file"
        parallelism = 2
        inputs = ["count"]
        config = {{ path = "{dir}/dirty/{{task}}.jsonl", dirty = true }}
        "#,
        dir = dir.display()
    )
}

/// A reader of files that are visible at once: what it has seen of each as clean.
#[derive(Default)]
struct Reader(BTreeMap<PathBuf, Vec<u8>>);

impl Reader {
    /// Reads what is clean, as its documentation tells users to. It never changes, and is made of whole rows.
    fn look(&mut self, dir: &Path) {
        for file in fs::read_dir(dir.join("dirty")).into_iter().flatten().flatten() {
            let marker = file.path();
            if marker.extension().is_none_or(|extension| extension != "clean") {
                continue;
            }
            let stated = fs::read_to_string(&marker).expect("it is replaced by a rename");
            let stated: serde_json::Value = serde_json::from_str(&stated).expect("it is JSON");
            let path = marker.with_extension("");
            let mut clean = fs::read(&path).expect("it is there before its marker");
            let bytes = stated["clean_bytes"].as_u64().expect("a number") as usize;
            assert!(clean.len() >= bytes, "{}: {bytes} bytes of {}", path.display(), clean.len());
            clean.truncate(bytes);
            let rows = clean.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(Some(rows), stated["clean_rows"].as_u64(), "{}", path.display());
            assert!(clean.last().is_none_or(|byte| *byte == b'\n'), "{}: half a row", path.display());
            let before = self.0.entry(path.clone()).or_default();
            assert!(clean.starts_with(before), "{}: what was clean has changed", path.display());
            *before = clean;
        }
    }

    fn rows(&self) -> usize {
        self.0.values().flatten().filter(|byte| **byte == b'\n').count()
    }
}

/// A topology that counts words, so many a second, and has these sinks. Each takes the counts of `count`.
pub fn document(dir: &Path, (rate, words): (u64, u64), sinks: &str) -> PathBuf {
    let rows: Vec<String> = WORDS.iter().map(|word| format!("{{ word = \"{word}\" }}")).collect();
    let text = format!(
        r#"
        [topology]
        name = "killed"
        delivery = "exactly-once"
        checkpoint = {{ interval = "30ms", storage = "{dir}/checkpoints" }}

        [spout.words]
        type = "generate"
        parallelism = 2
        config = {{ rate = {rate}, count = {words}, rows = [{rows}] }}

        [bolt.count]
        type = "count"
        parallelism = 2
        inputs = [{{ from = "words", fields = ["word"] }}]
        config = {{ by = ["word"], emit = "updates" }}
        {sinks}
        "#,
        dir = dir.display(),
        rows = rows.join(", "),
    );
    let path = dir.join("killed.toml");
    fs::write(&path, text).expect("the directory is there");
    path
}

/// Starts a run, or goes on with it.
pub fn start(dir: &Path, document: &Path, workers: Option<u16>) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("it can be made");
    let run = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["run", "--resume", "--json"])
        .args(workers.map(|workers| format!("--workers={workers}")))
        .arg(document)
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn();
    run.expect("squall can be started")
}

/// The manifests that are there.
fn manifests(dir: &Path) -> usize {
    let files = fs::read_dir(dir.join("checkpoints")).into_iter().flatten().flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with("manifest-")).count()
}

/// The latest checkpoint: its epoch and number.
fn latest(dir: &Path) -> (u64, u64) {
    let files = fs::read_dir(dir.join("checkpoints")).into_iter().flatten().flatten();
    let checkpoint = |name: &str| {
        let (epoch, number) = name.strip_prefix("manifest-")?.strip_suffix(".json")?.split_once('-')?;
        Some((epoch.parse().ok()?, number.parse().ok()?))
    };
    files.filter_map(|file| checkpoint(&file.file_name().to_string_lossy())).max().unwrap_or_default()
}

/// Waits until a run has completed a checkpoint, and then for a random time. Returns whether it still runs.
pub fn wait_for_progress(dir: &Path, run: &mut Child, random: &mut StdRng) -> bool {
    let (before, deadline) = (latest(dir), Instant::now() + DEADLINE);
    while latest(dir) == before {
        if run.try_wait().expect("it is a child").is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "no checkpoint becomes complete: see {}", dir.display());
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(Duration::from_micros(random.random_range(0..250_000)));
    run.try_wait().expect("it is a child").is_none()
}

/// The processes of a run's workers.
fn workers_of(run: &Child) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", run.id())).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect::<Vec<_>>()
    });
    pids.collect()
}

/// Kills or stops one of the run's workers. It is a child of a child of this process.
pub fn strike_worker(run: &Child, random: &mut StdRng) {
    let workers = workers_of(run);
    if workers.is_empty() {
        return;
    }
    let worker = workers[random.random_range(0..workers.len())];
    if random.random_bool(0.8) {
        // It may have ended by itself.
        let _ = kill_process(worker, Signal::KILL);
        return;
    }
    let _ = kill_process(worker, Signal::STOP);
    thread::sleep(Duration::from_millis(random.random_range(10..400)));
    let _ = kill_process(worker, Signal::CONT);
}

/// The rows of all files with final names in a directory: for each word the counts, in order.
fn published(dir: &Path) -> BTreeMap<String, Vec<u64>> {
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = file.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in fs::read_to_string(&path).expect("it is text").lines() {
            let row: serde_json::Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()));
            let (word, count) = (row["word"].as_str(), row["count"].as_u64());
            counts.entry(word.expect("a word").to_owned()).or_default().push(count.expect("a count"));
        }
    }
    counts.values_mut().for_each(|counts| counts.sort_unstable());
    counts
}

/// Runs topologies, and strikes them as often as wanted. Each start has at most so many workers, or none.
fn runs_are_struck(kind: &str, workers_max: u16) {
    let wanted = from_environment("SQUALL_CHAOS_KILLS", 4);
    let (mut struck, mut seed, mut rounds) = (0, first_seed(), 0);
    while struck < wanted {
        let of_round = (wanted - struck).min(KILLS_OF_ROUND);
        let random = &mut StdRng::seed_from_u64(seed);
        let dir = fresh_dir(&format!("{kind}-{seed}"));
        // From one strike to the next, 0.2 s or more pass, and each word is counted once.
        let words = RATE / 4 * of_round + 20_000;
        let document = document(&dir, (RATE, words), &sinks(&dir));
        let mut reader = Reader::default();
        let mut workers = (workers_max > 0).then_some(workers_max);
        let mut run = start(&dir, &document, workers);
        for _ in 0..of_round {
            if !wait_for_progress(&dir, &mut run, random) {
                break;
            }
            struck += 1;
            reader.look(&dir);
            if workers.is_some() && random.random_bool(0.75) {
                strike_worker(&run, random);
            } else {
                run.kill().expect("it is a child");
                run.wait().expect("it is a child");
                workers = Some(random.random_range(0..=workers_max)).filter(|workers| *workers > 0);
                run = start(&dir, &document, workers);
            }
        }
        let status = run.wait().expect("it is a child");
        assert!(status.success(), "seed {seed}: {status}, see {}", dir.display());
        let each = words / WORDS.len() as u64;
        let expected: BTreeMap<String, Vec<u64>> =
            WORDS.iter().map(|word| ((*word).to_owned(), (1..=each).collect())).collect();
        for place in [dir.join("out"), dir.join("dirty")] {
            let found = published(&place);
            for (word, counts) in &expected {
                let found = found.get(word).map_or(&[][..], Vec::as_slice);
                assert_eq!(
                    found.len(),
                    counts.len(),
                    "seed {seed}: rows of `{word}`, see {}",
                    place.display()
                );
                assert!(found == counts, "seed {seed}: the counts of `{word}`, see {}", place.display());
            }
            assert_eq!(found.len(), expected.len());
        }
        reader.look(&dir);
        assert_eq!(
            reader.rows() as u64,
            each * WORDS.len() as u64,
            "seed {seed}: all rows are clean in the end"
        );
        assert!(manifests(&dir) <= 3, "as many checkpoints are kept as the topology retains");
        rounds += 1;
        seed += 1;
    }
    let line = serde_json::json!({
        "kind": kind, "struck": struck, "rounds": rounds, "machine": crate::figures::machine()
    });
    println!("{kind}: {struck} strikes in {rounds} runs, every count there once");
    record("exactly-once.jsonl", &line);
}

/// If it fails, a kill loses rows, publishes some twice, or makes a count wrong.
#[test]
fn an_exactly_once_run_is_killed_and_continued() {
    let _turn = turn();
    runs_are_struck("exactly-once", 0);
}

/// The same in workers: three of four strikes kill or stop a worker. The others kill the parent, and the run is continued
/// with another number of workers, or with none.
#[test]
fn exactly_once_workers_are_killed_and_continued() {
    let _turn = turn();
    let workers = from_environment("SQUALL_CHAOS_WORKERS", 3);
    runs_are_struck("exactly-once-workers", u16::try_from(workers).expect("so many workers there may be"));
}
