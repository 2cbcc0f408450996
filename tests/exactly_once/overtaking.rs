//! Barriers that overtake a backlog (`alignment_timeout`).

use std::time::Duration;

use super::{Numbers, Published, builder, built, ended, kill, started};
use crate::kit::HOUR;
use squall::checkpoint::MemoryStorage;
use squall::config::{ChainMode, OnError};
use squall::ids::CheckpointId;
use squall::prelude::*;
use squall::topology::Topology;

/// How long `slow` takes for a tuple.
const TIME: Duration = Duration::from_millis(10);
const COUNT: i64 = 1000;

/// Passes numbers on, each in a second call.
#[derive(Default)]
struct Slow {
    has_failed: bool,
}

impl Bolt for Slow {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.has_failed = !self.has_failed;
        if self.has_failed {
            return Err(TaskError::new("not yet"));
        }
        Ok(out.emit([input.i64("n")?])?)
    }
}

/// Sixteen numbers each millisecond into a bolt that takes one in ten milliseconds.
fn backlog(timeout: Option<Duration>, tasks: u32, published: &Published) -> Topology {
    let mut builder = builder();
    builder.options(|options| {
        options.checkpoint.alignment_timeout = timeout;
        options.chain = ChainMode::Off;
    });
    builder.spout("numbers", || Numbers { bursts: true, ..Numbers::new(COUNT) });
    let calls = OnError { retry: 5, backoff_min: TIME, backoff_max: TIME, ..OnError::default() };
    builder.bolt("slow", Slow::default).parallelism(tasks).fields("numbers", ["n"]).on_error(calls);
    builder.bolt("sink", published.sink()).shuffle("slow");
    built(builder)
}

/// How many checkpoints were complete when the run was killed, and how many numbers were published then.
fn runs_and_is_killed(
    timeout: Option<Duration>,
    published: &Published,
    storage: &MemoryStorage,
) -> (u64, usize) {
    let mut running = started(backlog(timeout, 1, published), storage);
    running.advance(Duration::from_millis(400));
    let completed = running.stats().checkpoints.map_or(0, |checkpoints| checkpoints.completed);
    let seen = published.sorted().len();
    kill(running, storage);
    (completed, seen)
}

#[test]
fn checkpoints_become_complete_in_spite_of_a_backlog() {
    let waits = runs_and_is_killed(None, &Published::default(), &MemoryStorage::new());
    assert_eq!(waits, (0, 0), "the first barrier waits behind hundreds of tuples");
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        let (completed, seen) =
            runs_and_is_killed(Some(timeout), &Published::default(), &MemoryStorage::new());
        assert!(completed > 3, "{completed} with {timeout:?}");
        assert!((10..60).contains(&seen), "{seen} numbers with {timeout:?}");
    }
}

#[test]
fn what_was_overtaken_is_executed_once_after_a_kill_also_by_other_tasks() {
    for (tasks, timeout) in [(1, Some(Duration::ZERO)), (3, Some(Duration::ZERO)), (3, None)] {
        let (published, storage) = (Published::default(), MemoryStorage::new());
        let (completed, _) = runs_and_is_killed(Some(Duration::ZERO), &published, &storage);
        assert!(completed > 0);
        // The spout went far beyond what was published: that it goes back to where it was shows what is in the checkpoint.
        let mut running = started(backlog(timeout, tasks, &published), &storage);
        running.advance(Duration::from_millis(1));
        let emitted = running.stats().emitted;
        assert!(emitted < 100, "{emitted}: what was overtaken is not emitted again");
        let stats = running.run_to_end(HOUR).unwrap_or_else(|error| panic!("{error}"));
        assert!(!stats.cut_short);
        assert_eq!(published.sorted(), (0..COUNT).collect::<Vec<_>>(), "{tasks} tasks, {timeout:?}");
    }
}

#[test]
fn a_run_that_nobody_kills_publishes_everything() {
    let published = Published::default();
    let stats = ended(started(backlog(Some(Duration::ZERO), 2, &published), &MemoryStorage::new()));
    assert!(!stats.cut_short);
    assert_eq!(published.sorted(), (0..COUNT).collect::<Vec<_>>());
}

/// Adds up numbers, and emits what has come since the checkpoint before when the next one is taken.
#[derive(Default)]
struct Sums {
    sum: OperatorState<i64>,
}

impl Bolt for Sums {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.sum = context.operator_state("sum")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let sum: i64 = self.sum.items(out)?.iter().sum();
        Ok(self.sum.set(out, vec![sum + input.i64("n")?])?)
    }

    fn pre_commit(&mut self, _: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let sum: i64 = self.sum.items(out)?.iter().sum();
        self.sum.set(out, Vec::new())?;
        Ok(out.emit([sum])?)
    }
}

/// No later checkpoint would have what comes of it.
#[test]
fn the_last_barrier_overtakes_nothing() {
    let (published, storage) = (Published::default(), MemoryStorage::new());
    let mut builder = builder();
    builder.options(|options| {
        options.checkpoint.alignment_timeout = Some(Duration::ZERO);
        options.chain = ChainMode::Off;
    });
    builder.spout("numbers", || Numbers { bursts: true, ..Numbers::new(COUNT) });
    builder.bolt("sums", Sums::default).shuffle("numbers");
    builder.bolt("sink", published.sink()).shuffle("sums");
    assert!(!ended(started(built(builder), &storage)).cut_short);
    assert_eq!(published.sorted().iter().sum::<i64>(), (0..COUNT).sum::<i64>());
}
