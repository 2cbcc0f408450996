//! The components that are shipped, exactly once: a topology is ended without warning at random moments, and goes on
//! with its last checkpoint. Its files must be those of a run that nothing happened to.
//!
//! The simulation loses the process: everything but the checkpoints and the files that the bolt `file` wrote.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use squall::checkpoint::MemoryStorage;
use squall::prelude::*;
use squall::testing::{SimulatedTopology, SimulationOptions};
use squall::topology::declare::parse_str;

/// How often a run may be ended before it is left alone.
const KILLS: u64 = 6;
/// Simulated time within which a run that is left alone has to end.
const DEADLINE: Duration = Duration::from_secs(600);

fn start(document: &str, storage: &MemoryStorage, seed: u64) -> SimulatedTopology {
    let topology = parse_str("test.toml", document, &Registry::with_standard());
    let topology = topology.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    SimulatedTopology::start(topology, SimulationOptions::seeded(seed).checkpoints(storage.clone()))
}

/// The process is killed: what the storage was not asked to make durable is lost, too.
fn kill(run: SimulatedTopology, storage: &MemoryStorage) {
    drop(run);
    storage.crash();
}

fn run_to_end(mut run: SimulatedTopology) {
    let deadline = run.now() + DEADLINE;
    while !run.has_ended() {
        run.advance(Duration::from_millis(100));
        assert!(run.now() < deadline, "it does not end: {:?}", run.stats());
    }
    assert_eq!(run.stats().failed, 0);
}

/// Runs a topology to its end, and kills it several times before. Returns how often.
fn run_with_kills(document: &str, seed: u64) -> u64 {
    let storage = MemoryStorage::seeded(seed);
    let mut random = StdRng::seed_from_u64(seed);
    for nth in 0..KILLS {
        let mut run = start(document, &storage, seed * KILLS + nth);
        run.run_steps(random.random_range(1..3000));
        if run.has_ended() {
            return nth;
        }
        kill(run, &storage);
    }
    run_to_end(start(document, &storage, seed));
    KILLS
}

/// The rows of the files with final names, sorted.
fn rows(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out).expect("files were written");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut rows = Vec::new();
    for path in paths {
        assert_eq!(
            path.extension().and_then(|it| it.to_str()),
            Some("jsonl"),
            "left over: {}",
            path.display()
        );
        let text = fs::read_to_string(&path).expect("it is text");
        rows.extend(text.lines().map(str::to_owned));
    }
    rows.sort();
    rows
}

fn compare(dir: &Path, expected: &[String], seed: u64) {
    let found = rows(&dir.join("out"));
    assert_eq!(found.len(), expected.len(), "seed {seed}");
    assert!(found == expected, "seed {seed}: other rows");
}

fn check(seeds: u64, document: impl Fn(&Path) -> String, expected: &[String]) {
    let mut kills = 0;
    for seed in 0..seeds {
        let dir = tempfile::tempdir().expect("a temporary directory");
        kills += run_with_kills(&document(dir.path()), seed);
        compare(dir.path(), expected, seed);
    }
    assert!(kills > seeds, "{kills} kills in {seeds} runs: the topology ends too soon to be killed");
}

/// The topology that is shipped, with fewer words, and its files elsewhere.
#[test]
fn the_shipped_topology_has_each_count_once() {
    let shipped =
        fs::read_to_string("topologies/exactly_once.toml").expect("tests run in the repository's root");
    let shorter =
        shipped.replace("count = 200_000", "count = 2_000").replace("rate = 50_000", "rate = 2_000");
    assert_ne!(shorter, shipped);
    let document = |dir: &Path| shorter.replace("path = \"out/", &format!("path = \"{}/out/", dir.display()));
    let words = ["barrier", "bolt", "checkpoint", "spout", "squall", "storm", "stream", "tuple"];
    let count = |n: i64| words.map(|word| format!("{{\"word\":\"{word}\",\"count\":{n}}}"));
    let mut expected: Vec<String> = (1..=250).flat_map(count).collect();
    expected.sort();
    check(6, document, &expected);
}

/// The files are so small that a checkpoint has several of each task.
#[test]
fn rows_of_several_tasks_in_several_files_are_there_once() {
    let document = |dir: &Path| {
        format!(
            "[topology]\nname = 'random'\ndelivery = 'exactly-once'\n[topology.checkpoint]\ninterval = '50ms'\n\
             [spout.rows]\ntype = 'generate'\nparallelism = 2\n[spout.rows.config]\nrate = 1000\ncount = 1_000\n\
             fields = {{ n = '{{seq}}' }}\n\
             [bolt.store]\ntype = 'file'\nparallelism = 2\ninputs = ['rows']\n\
             config = {{ path = '{}/out/r-{{task}}.jsonl', rotate_size = '1KiB' }}\n",
            dir.display()
        )
    };
    let mut expected: Vec<String> = (0..1000).map(|n| format!("{{\"n\":{n}}}")).collect();
    expected.sort();
    check(6, document, &expected);
}

/// Rows are in the file before their checkpoint is complete, and what belongs to none is taken back. In the end all of them
/// are there, and clean.
#[test]
fn dirty_rows_are_taken_back_and_in_the_end_each_is_there_once() {
    let (mut kills, mut taken_back) = (0, 0);
    for seed in 0..6 {
        let (dir, storage) =
            (tempfile::tempdir().expect("a temporary directory"), MemoryStorage::seeded(seed));
        let out = dir.path().join("out");
        let document = format!(
            "[topology]\nname = 'dirty'\ndelivery = 'exactly-once'\n[topology.checkpoint]\ninterval = '50ms'\n\
             [spout.rows]\ntype = 'generate'\n[spout.rows.config]\nrate = 1000\ncount = 1_000\n\
             fields = {{ n = '{{seq}}' }}\n\
             [bolt.store]\ntype = 'file'\nparallelism = 2\ninputs = ['rows']\n\
             config = {{ path = '{}/r-{{task}}.jsonl', dirty = true }}\n",
            out.display()
        );
        let lines = |task: usize| {
            let text = fs::read_to_string(out.join(format!("r-{task}.jsonl"))).unwrap_or_default();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut random = StdRng::seed_from_u64(seed);
        for nth in 0..KILLS {
            let mut run = start(&document, &storage, seed * KILLS + nth);
            run.run_steps(random.random_range(1..2000));
            if run.has_ended() {
                break;
            }
            kill(run, &storage);
            let before = lines(0).len() + lines(1).len();
            // The next instance takes back before it writes anything.
            let mut next = start(&document, &storage, seed);
            next.run_steps(60);
            taken_back += u32::from(lines(0).len() + lines(1).len() < before);
            kill(next, &storage);
            kills += 1;
        }
        run_to_end(start(&document, &storage, seed));
        let mut rows: Vec<String> = [0, 1].into_iter().flat_map(lines).collect();
        rows.sort();
        let mut expected: Vec<String> = (0..1000).map(|n| format!("{{\"n\":{n}}}")).collect();
        expected.sort();
        assert!(rows == expected, "seed {seed}: other rows");
        for task in [0, 1] {
            let path = out.join(format!("r-{task}.jsonl"));
            let (bytes, rows) = (fs::metadata(&path).expect("it is there").len(), lines(task).len());
            let clean = fs::read_to_string(out.join(format!("r-{task}.jsonl.clean"))).expect("it is there");
            assert_eq!(clean, format!("{{\"clean_bytes\":{bytes},\"clean_rows\":{rows}}}\n"), "seed {seed}");
        }
        assert_eq!(fs::read_dir(&out).expect("it is there").count(), 4, "seed {seed}: nothing else is left");
    }
    assert!(kills > 12 && taken_back > 0, "{kills} kills, and {taken_back} times rows were taken back");
}

/// Logs that grow and are rotated, also while nobody reads them, and lines that `delay` holds.
#[test]
fn lines_of_rotated_logs_are_there_once() {
    for seed in 0..6 {
        let (dir, storage) =
            (tempfile::tempdir().expect("a temporary directory"), MemoryStorage::seeded(seed));
        let (mut random, mut lines, mut rotated) = (StdRng::seed_from_u64(seed), 0, 0);
        let log = dir.path().join("app.log");
        let document = format!(
            "[topology]\nname = 'lines'\ndelivery = 'exactly-once'\n[topology.checkpoint]\ninterval = '20ms'\n\
             [spout.lines]\ntype = 'lines'\nparallelism = 2\n\
             config = {{ path = '{log}*', follow = true, poll = '10ms' }}\n\
             [bolt.later]\ntype = 'delay'\ntick = '10ms'\ninputs = ['lines']\n\
             config = {{ period = '30ms', fields = ['line'] }}\n\
             [bolt.store]\ntype = 'file'\ninputs = ['later']\nconfig = {{ path = '{out}/out/l.jsonl' }}\n",
            log = log.display(),
            out = dir.path().display(),
        );
        let mut change = |random: &mut StdRng| {
            let mut file = OpenOptions::new().create(true).append(true).open(&log).expect("it can be opened");
            for _ in 0..random.random_range(0..4) {
                writeln!(file, "line {lines}").expect("it can be written");
                lines += 1;
            }
            if random.random_bool(0.1) {
                fs::rename(&log, log.with_extension(format!("log.{rotated}"))).expect("it can be renamed");
                rotated += 1;
            }
            lines
        };
        for nth in 0..KILLS {
            let mut run = start(&document, &storage, seed * KILLS + nth);
            for _ in 0..random.random_range(1..30) {
                change(&mut random);
                run.advance(Duration::from_millis(5));
            }
            kill(run, &storage);
            change(&mut random);
        }
        let lines = change(&mut random);
        let mut run = start(&document, &storage, seed);
        run.advance(Duration::from_secs(1));
        run.drain();
        run_to_end(run);
        let mut expected: Vec<String> = (0..lines).map(|n| format!("{{\"line\":\"line {n}\"}}")).collect();
        expected.sort();
        compare(dir.path(), &expected, seed);
    }
}

/// Standard input and pipes cannot be read once more, so rows would be lost after a crash.
#[test]
fn what_cannot_be_read_again_is_refused() {
    let refused = |path: &str| {
        let document = format!(
            "[topology]\nname = 'piped'\ndelivery = 'exactly-once'\n[spout.in]\ntype = 'lines'\n\
             config = {{ path = '{path}' }}\n[bolt.out]\ntype = 'print'\ninputs = ['in']\n"
        );
        let errors = parse_str("piped.toml", &document, &Registry::with_standard()).err();
        errors.map(|errors| errors.render(false)).unwrap_or_default()
    };
    for path in ["-", "/dev/stdin"] {
        let errors = refused(path);
        assert!(errors.contains("spout `in` cannot go back to a position in its input"), "{path}: {errors}");
        assert!(errors.contains("piped.toml:4:"), "{errors}");
    }
    assert_eq!(refused("some/*.log"), "");
}

/// After a restart `sample` began to count at the first tuple once more, and chose others than without one.
#[test]
fn every_nth_tuple_is_chosen_whatever_is_killed() {
    let document = |dir: &Path| {
        format!(
            "[topology]\nname = 'every'\ndelivery = 'exactly-once'\n[topology.checkpoint]\ninterval = '50ms'\n\
             [spout.rows]\ntype = 'generate'\n[spout.rows.config]\nrate = 1000\ncount = 2_000\n\
             fields = {{ n = '{{seq}}' }}\n\
             [bolt.some]\ntype = 'sample'\ninputs = ['rows']\nconfig = {{ every = 7, fields = ['n'] }}\n\
             [bolt.store]\ntype = 'file'\ninputs = ['some']\nconfig = {{ path = '{}/out/r.jsonl' }}\n",
            dir.display()
        )
    };
    let whole = tempfile::tempdir().expect("a temporary directory");
    run_to_end(start(&document(whole.path()), &MemoryStorage::seeded(1), 1));
    let expected = rows(&whole.path().join("out"));
    assert_eq!(expected.len(), 2_000_usize.div_ceil(7));
    check(8, document, &expected);
}
