//! State in `redb` that is much larger than memory is restored within the memory that its tasks may use.
//!
//! An allocator counts what the threads of this process hold. A test of its own, for it takes the process's allocator.

#[path = "kit/mod.rs"]
mod kit;
#[path = "memory_kit/mod.rs"]
mod memory_kit;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kit::wait_until;
use memory_kit::peak_of_all_threads;
use squall::config::StateBackendKind;
use squall::prelude::*;
use squall::runtime::{CheckpointBegin, LocalOptions, RunningTopology};
use squall::topology::Topology;

/// How many keys there are, and the bytes of the value of each: 40 MB.
const KEYS: i64 = 20_000;
const LENGTH: usize = 2_000;

/// What a task may keep in memory.
const MEMORY: u64 = 1 << 20;

/// What a task may take besides: pieces of files, what waits to be written, and what the store itself needs.
const BESIDES: usize = 1 << 20;

/// What a topology without state takes.
const IDLE: usize = 4 << 20;

/// Emits the keys, and then nothing.
struct Keys(i64);

impl Spout for Keys {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.0 == KEYS {
            return Ok(SpoutStatus::Idle);
        }
        out.emit([self.0])?;
        self.0 += 1;
        Ok(SpoutStatus::Emitted)
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut squall::api::Positions) -> Result<(), TaskError> {
        positions.set("keys", &self.0)
    }

    fn restore(&mut self, positions: &squall::api::Positions) -> Result<(), TaskError> {
        self.0 = positions.get("keys")?.unwrap_or(0);
        Ok(())
    }
}

/// Keeps a text for each key.
struct Texts {
    texts: ValueState<String>,
    written: Arc<AtomicU64>,
    restored: Arc<AtomicU64>,
}

impl Bolt for Texts {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.texts = context.value_state("texts")?;
        Ok(())
    }

    fn init_state(&mut self, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.restored.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let text = format!("{}-{}", input.i64("n")?, "x".repeat(LENGTH));
        self.texts.set(out, text)?;
        self.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Default)]
struct Counted {
    written: Arc<AtomicU64>,
    restored: Arc<AtomicU64>,
}

fn topology(directory: &Path, tasks: u32, interval: Duration, counted: &Counted) -> Topology {
    let mut builder = TopologyBuilder::new("texts");
    let (storage, state) = (directory.join("checkpoints"), directory.join("state"));
    builder.options(move |options| {
        options.delivery = Delivery::ExactlyOnce;
        options.checkpoint.interval = interval;
        options.checkpoint.storage = Some(storage);
        options.state.backend = StateBackendKind::Redb;
        options.state.memory = MEMORY;
        options.state.directory = Some(state);
    });
    builder.spout("keys", || Keys(0));
    let (written, restored) = (Arc::clone(&counted.written), Arc::clone(&counted.restored));
    let texts = move || {
        let (written, restored) = (Arc::clone(&written), Arc::clone(&restored));
        Texts { texts: ValueState::default(), written, restored }
    };
    builder.bolt("texts", texts).parallelism(tasks).fields("keys", ["n"]);
    builder.build().unwrap_or_else(|errors| panic!("{errors}"))
}

fn start(topology: Topology, checkpoints: CheckpointBegin) -> RunningTopology {
    let options = LocalOptions { checkpoints, ..LocalOptions::default() };
    RunningTopology::start(topology, options).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn state_larger_than_memory_is_restored_within_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let counted = Counted::default();
    let running =
        start(topology(directory.path(), 2, Duration::from_millis(100), &counted), CheckpointBegin::New);
    wait_until("all is written", || counted.written.load(Ordering::SeqCst) == KEYS as u64);
    let completed = || running.stats().checkpoints.map_or(0, |checkpoints| checkpoints.completed);
    // The first of these may have begun before.
    let before = completed();
    wait_until("all is in a checkpoint", || completed() >= before + 2);
    running.kill();
    running.join();

    let bytes = KEYS as usize * LENGTH;
    for tasks in [2, 3, 1] {
        let counted = Counted::default();
        let (peak, running) = peak_of_all_threads(|| {
            let topology = topology(directory.path(), tasks, Duration::from_secs(3_600), &counted);
            let running = start(topology, CheckpointBegin::Resume);
            wait_until("all is restored", || counted.restored.load(Ordering::SeqCst) == u64::from(tasks));
            running
        });
        let most = IDLE + tasks as usize * (MEMORY as usize + BESIDES);
        assert!(peak <= most && most < bytes / 3, "{peak} bytes, not {most}, for {tasks} tasks");
        assert!(peak > MEMORY as usize / 2, "the allocator counts: {peak} bytes");
        assert_eq!(
            counted.written.load(Ordering::SeqCst),
            0,
            "what is in the checkpoint does not come again"
        );
        running.kill();
        running.join();
    }
}
