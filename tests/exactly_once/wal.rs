//! Spouts that cannot go back, behind a write-ahead log.

use super::*;

/// A queue that whoever takes a number from has to keep it: it gives it out once. It outlives every process.
#[derive(Clone)]
struct Queue(Arc<Mutex<std::ops::Range<i64>>>);

impl Queue {
    fn of(count: i64) -> Queue {
        Queue(Arc::new(Mutex::new(0..count)))
    }
}

impl Spout for Queue {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let Some(n) = lock(&self.0).next() else { return Ok(SpoutStatus::Exhausted) };
        out.emit([n])?;
        // Small groups, and a pause after each.
        Ok(if n % 3 == 2 { SpoutStatus::IdleFor(Duration::from_millis(2)) } else { SpoutStatus::Emitted })
    }
}

/// A bolt that has data of its own, and panics once: then all tasks go back.
struct Fragile {
    panics_at: Option<i64>,
    has_panicked: Arc<Mutex<bool>>,
}

impl Bolt for Fragile {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        if self.panics_at == Some(n) && !std::mem::replace(&mut *lock(&self.has_panicked), true) {
            panic!("as the test wants it");
        }
        Ok(out.emit([n])?)
    }

    fn keeps_data(&self) -> bool {
        true
    }
}

fn topology(queue: &Queue, published: &Published, panics_at: Option<i64>) -> Topology {
    let mut builder = builder();
    let (source, has_panicked) = (queue.clone(), Arc::default());
    builder.spout("queue", move || source.clone()).wal();
    builder
        .bolt("fragile", move || Fragile { panics_at, has_panicked: Arc::clone(&has_panicked) })
        .shuffle("queue");
    builder.bolt("sink", published.sink()).shuffle("fragile");
    built(builder)
}

/// The process dies after each step in turn, with everything that the disk was not asked to keep.
#[test]
fn a_crash_after_any_step_loses_nothing_that_was_taken() {
    const COUNT: i64 = 100;
    let expected: Vec<i64> = (0..COUNT).collect();
    let (died, had_published) = dies_after_any_step(&expected, || {
        let queue = Queue::of(COUNT);
        move |published: &Published, storage: &MemoryStorage| {
            started(topology(&queue, published, None), storage)
        }
    });
    assert!(died > 100 && had_published > 10 && had_published < died, "{had_published} of {died}");
}

/// All tasks go back in the running process: the source is not built again, and what it gave out comes from the log.
#[test]
fn nothing_is_lost_when_all_tasks_go_back() {
    const COUNT: i64 = 60;
    for panics_at in [0, 1, 29, COUNT - 1] {
        let (published, storage) = (Published::default(), MemoryStorage::new());
        let stats = ended(started(topology(&Queue::of(COUNT), &published, Some(panics_at)), &storage));
        assert_eq!(stats.checkpoints.map(|checkpoints| checkpoints.recoveries), Some(1), "{panics_at}");
        assert_eq!(published.sorted(), (0..COUNT).collect::<Vec<_>>(), "{panics_at}");
    }
}
