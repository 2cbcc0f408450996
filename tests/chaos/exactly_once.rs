//! `squall run` of an exactly-once topology, killed with -9 again and again, and continued: what its files hold in the
//! end is the reference, row by row.
//!
//! A run is killed at a random time after it has completed a checkpoint of its own, so each start comes forward, on
//! any machine. Only what runs on its own is killed: when the topology has ended before enough kills, another begins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::figures::record;
use crate::kit::DEADLINE;
use crate::round::fresh_dir;
use crate::{first_seed, from_environment, turn};

/// Kills in one topology.
const KILLS_OF_ROUND: u64 = 25;
/// Words a second.
const RATE: u64 = 40_000;
const WORDS: [&str; 5] = ["stream", "tuple", "spout", "bolt", "barrier"];

/// A topology that runs for about as long as its kills take.
fn document(dir: &Path, words: u64) -> PathBuf {
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
        config = {{ rate = {RATE}, count = {words}, rows = [{rows}] }}

        [bolt.count]
        type = "count"
        parallelism = 2
        inputs = [{{ from = "words", fields = ["word"] }}]
        config = {{ by = ["word"], emit = "updates" }}

        [bolt.store]
        type = "file"
        parallelism = 2
        inputs = ["count"]
        config = {{ path = "{dir}/out/{{task}}-{{seq}}.jsonl" }}
        "#,
        dir = dir.display(),
        rows = rows.join(", "),
    );
    let path = dir.join("killed.toml");
    fs::write(&path, text).expect("the directory is there");
    path
}

fn start(dir: &Path, document: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("it can be made");
    let run = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["run", "--resume", "--json"])
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

/// Names of manifests of the highest epoch: `manifest-EPOCH-NUMBER.json`.
fn epoch(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("checkpoints")).into_iter().flatten().flatten();
    let epoch = |name: &str| name.strip_prefix("manifest-")?.split('-').next()?.parse().ok();
    files.filter_map(|file| epoch(&file.file_name().to_string_lossy())).max().unwrap_or(0)
}

/// Kills a run some time after its first checkpoint. Returns whether it was still running.
fn kill(dir: &Path, run: &mut Child, random: &mut StdRng) -> bool {
    let (before, deadline) = (epoch(dir), Instant::now() + DEADLINE);
    while epoch(dir) == before {
        if run.try_wait().expect("it is a child").is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "no checkpoint becomes complete: see {}", dir.display());
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(Duration::from_micros(random.random_range(0..250_000)));
    if run.try_wait().expect("it is a child").is_some() {
        return false;
    }
    run.kill().expect("it is a child");
    run.wait().expect("it is a child");
    true
}

/// The rows of all files with final names: for each word the counts, in order.
fn published(dir: &Path) -> BTreeMap<String, Vec<u64>> {
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for file in fs::read_dir(dir.join("out")).into_iter().flatten().flatten() {
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

/// If it fails, a kill loses rows, publishes some twice, or makes a count wrong.
#[test]
fn an_exactly_once_run_is_killed_and_continued() {
    let _turn = turn();
    let wanted = from_environment("SQUALL_CHAOS_KILLS", 4);
    let (mut killed, mut seed, mut rounds) = (0, first_seed(), 0);
    while killed < wanted {
        let of_round = (wanted - killed).min(KILLS_OF_ROUND);
        let random = &mut StdRng::seed_from_u64(seed);
        let dir = fresh_dir(&format!("exactly-once-{seed}"));
        // A life lasts 0.2 s or more, and each word is counted once.
        let words = RATE / 4 * of_round + 20_000;
        let document = document(&dir, words);
        let mut ended = false;
        for _ in 0..of_round {
            let mut run = start(&dir, &document);
            if !kill(&dir, &mut run, random) {
                let status = run.wait().expect("it is a child");
                assert!(status.success(), "seed {seed}: {status}, see {}", dir.display());
                ended = true;
                break;
            }
            killed += 1;
        }
        if !ended {
            let status = start(&dir, &document).wait().expect("it is a child");
            assert!(status.success(), "seed {seed}: {status}, see {}", dir.display());
        }
        let each = words / WORDS.len() as u64;
        let expected: BTreeMap<String, Vec<u64>> =
            WORDS.iter().map(|word| ((*word).to_owned(), (1..=each).collect())).collect();
        let found = published(&dir);
        for (word, counts) in &expected {
            let found = found.get(word).map_or(&[][..], Vec::as_slice);
            assert_eq!(found.len(), counts.len(), "seed {seed}: rows of `{word}`, see {}", dir.display());
            assert!(found == counts, "seed {seed}: the counts of `{word}`, see {}", dir.display());
        }
        assert_eq!(found.len(), expected.len());
        assert!(manifests(&dir) <= 3, "as many checkpoints are kept as the topology retains");
        rounds += 1;
        seed += 1;
    }
    let line =
        serde_json::json!({ "killed": killed, "rounds": rounds, "machine": crate::figures::machine() });
    println!("exactly once: {killed} kills in {rounds} runs, every count there once");
    record("exactly-once.jsonl", &line);
}
