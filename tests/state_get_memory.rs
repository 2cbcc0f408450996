//! `squall state get` and `squall checkpoint inspect` show state that is much larger than the memory that they take.
//!
//! An allocator counts what a command holds. So this test is a program (without the test harness): started with `state`
//! or `checkpoint`, it is the command, and reports on stderr how much it held.

#[path = "kit/mod.rs"]
mod kit;
#[path = "memory_kit/mod.rs"]
mod memory_kit;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kit::wait_until;
use memory_kit::peak_of_all_threads;
use serde_json::Value as Json;
use squall::api::OperatorState;
use squall::prelude::*;
use squall::runtime::{LocalOptions, RunningTopology};

/// How many keys there are, and the bytes of the value of each: 48 MB.
const KEYS: u64 = 8_000;
const LENGTH: usize = 6_000;

/// What is sorted in memory, and what else a command takes.
const MOST: usize = (16 << 20) + (4 << 20);
/// What it takes where nothing is sorted.
const LITTLE: usize = 4 << 20;

/// Emits the keys twice, the last first. With the second round, deltas replace what was there.
struct Keys(u64);

impl Spout for Keys {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.0 == 2 * KEYS {
            return Ok(SpoutStatus::Idle);
        }
        self.0 += 1;
        out.emit([KEYS - 1 - self.0 % KEYS])?;
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }
}

/// Keeps a text for each key, and an item for each thousand.
struct Texts {
    texts: ValueState<String>,
    thousands: OperatorState<u64>,
    written: Arc<AtomicU64>,
}

impl Bolt for Texts {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.texts = context.value_state("texts")?;
        self.thousands = context.operator_state("thousands")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let number = input.to::<u64>("n")?;
        self.texts.set(out, format!("{number}-{}", "x".repeat(LENGTH)))?;
        if number.is_multiple_of(1_000) {
            self.thousands.push(out, number)?;
        }
        self.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Keeps as much in its keys, and nothing else.
#[derive(Default)]
struct Named(ValueState<bool>);

impl Bolt for Named {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        context.name_keys();
        self.0 = context.value_state("seen")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let number = input.to::<u64>("n")?;
        out.set_key([format!("{number}-{}", "x".repeat(LENGTH))])?;
        Ok(self.0.set(out, true)?)
    }
}

/// Leaves a checkpoint with all keys, which consists of several snapshots.
fn write_state(directory: &Path) {
    let written = Arc::new(AtomicU64::new(0));
    let mut builder = TopologyBuilder::new("texts");
    let storage = directory.join("checkpoints");
    builder.options(move |options| {
        options.delivery = Delivery::ExactlyOnce;
        options.checkpoint.interval = Duration::from_secs(3_600);
        options.checkpoint.storage = Some(storage);
    });
    builder.spout("keys", || Keys(0));
    let counted = Arc::clone(&written);
    let texts = move || Texts {
        texts: ValueState::default(),
        thousands: OperatorState::default(),
        written: Arc::clone(&counted),
    };
    builder.bolt("texts", texts).parallelism(2).fields("keys", ["n"]);
    builder.bolt("named", Named::default).shuffle("keys");
    let topology = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
    let running = RunningTopology::start(topology, LocalOptions::default());
    let running = running.unwrap_or_else(|error| panic!("{error}"));
    for part in 1..=8 {
        wait_until("a part is written", || written.load(Ordering::SeqCst) >= part * KEYS / 4);
        let taken = running.checkpoint(Duration::from_secs(180));
        assert!(taken.is_ok(), "{taken:?}");
    }
    running.kill();
    running.join();
}

/// The output of `squall state get`, and the bytes that it held.
fn get(directory: &Path, args: &[&str], code: i32) -> (Output, usize) {
    run(directory, &[&["state", "get", "checkpoints", "--component", "texts"], args].concat(), code)
}

/// The output of a command, and the bytes that it held.
fn run(directory: &Path, args: &[&str], code: i32) -> (Output, usize) {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(args);
    let output = command.current_dir(directory).stdin(Stdio::null()).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let peak = stderr.lines().last().and_then(|line| line.strip_prefix("held ")?.parse().ok());
    let peak = peak.unwrap_or_else(|| panic!("{stderr}"));
    assert!(peak > 10_000, "the allocator counts: {peak} bytes");
    (output, peak)
}

fn state_larger_than_memory_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    write_state(directory.path());

    let (output, peak) = get(directory.path(), &["--dump"], 0);
    assert!(peak < MOST, "{peak} bytes, not {MOST}");
    assert!(output.stdout.len() > 2 * MOST, "all of it is larger: {} bytes", output.stdout.len());
    let lines: Vec<Json> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("each line is JSON"))
        .collect();
    // By task, then by state, then by key.
    let place = |line: &Json| {
        let state = u8::from(line["state"] == "thousands");
        (line["task"].as_u64(), state, line["key"][0].as_u64())
    };
    assert!(lines.iter().map(place).is_sorted_by(|one, next| one < next), "each key once, in order");
    let texts: Vec<&Json> = lines.iter().filter(|line| line["state"] == "texts").collect();
    assert_eq!(texts.len() as u64, KEYS);
    for line in texts {
        let (key, value) =
            (line["key"][0].as_u64().expect("a number"), line["value"].as_str().expect("a text"));
        assert!(value.len() > LENGTH && value.starts_with(&format!("{key}-x")), "{key}");
    }
    let thousands = lines.iter().filter(|line| line["state"] == "thousands");
    assert_eq!(thousands.map(|line| line["value"].as_array().map_or(0, Vec::len)).sum::<usize>(), 16);

    let (output, peak) = get(directory.path(), &["--state", "texts", "--key", "[4711]"], 0);
    assert!(output.stdout.starts_with(b"\"4711-x") && peak < LITTLE, "{peak} bytes, not {LITTLE}");
    // The error names keys that are there.
    let (output, peak) = get(directory.path(), &["--state", "texts", "--key", "[\"4711\"]"], 1);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("did you mean `[4711]`?") && peak < MOST, "{peak} bytes, not {MOST}: {stderr}");

    // It kept all keys of a task.
    let (output, peak) = run(directory.path(), &["checkpoint", "inspect", "checkpoints", "--json"], 0);
    assert!(peak < MOST, "{peak} bytes, not {MOST}");
    let shown: Json = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let states = shown["tasks"].as_array().into_iter().flatten().flat_map(|task| task["states"].as_array());
    let mut keys: Vec<(&str, Option<u64>)> = states
        .flatten()
        .map(|state| (state["name"].as_str().unwrap_or_default(), state["keys"].as_u64()))
        .collect();
    keys.sort_unstable();
    let of = |name: &str| keys.iter().filter(|key| key.0 == name).filter_map(|key| key.1).sum::<u64>();
    assert_eq!((of("texts"), of("seen"), of("thousands")), (KEYS, KEYS, 0), "{keys:?}");

    // Where the scratch file cannot be, the error says what to do.
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["state", "get", "checkpoints", "--component", "texts", "--dump"]).env("TMPDIR", "nowhere");
    let output = command.current_dir(directory.path()).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected =
        "cannot sort the state in a scratch file in `nowhere` (the variable TMPDIR names another directory)";
    assert!(
        output.status.code() == Some(1) && output.stdout.is_empty() && stderr.contains(expected),
        "{stderr}"
    );
}

fn main() -> ExitCode {
    let first = env::args().nth(1).unwrap_or_default();
    if first == "state" || first == "checkpoint" {
        let (peak, code) = peak_of_all_threads(|| squall::cli::run(Registry::with_standard()));
        eprintln!("held {peak}");
        return code;
    }
    // The arguments of `cargo test` that matter to one case: `--list`, and names to filter by.
    let name = "state_larger_than_memory_is_shown";
    if env::args().any(|arg| arg == "--list") {
        println!("{name}: test");
    } else if env::args().skip(1).all(|arg| arg.starts_with('-') || name.contains(&arg)) {
        state_larger_than_memory_is_shown();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}
