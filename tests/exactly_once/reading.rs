//! How the files of a checkpoint are read when a run begins with it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use squall::config::StateBackendKind;

use super::*;

/// Counts what comes, and emits at its end what it has.
struct AtTheEnd(ValueState<i64>);

impl Bolt for AtTheEnd {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(self.0.update(out, |count| *count += 1)?)
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.0.for_each(out, |out, key, count| {
            let n = key[0].as_i64().expect("keys are numbers");
            Ok(out.emit([1_000 * count + n])?)
        })
    }
}

/// Files are checked when the run begins, and read when each task is built. Whichever of these fails once, and others that
/// come then, the task waits and tries again, and the end of the input waits for it.
#[test]
fn a_read_that_fails_once_costs_nothing() {
    let topology = |published: &Published| {
        let mut builder = builder();
        // Longer than the rest of the input takes.
        builder.options(|options| options.errors.restart_min = Duration::from_millis(500));
        builder.spout("numbers", || Numbers::new(150));
        builder.bolt("count", || AtTheEnd(ValueState::default())).parallelism(2).fields("numbers", ["n"]);
        builder.bolt("sink", published.sink()).shuffle("count");
        built(builder)
    };
    let mut failed = 0;
    for nth in 1..=30 {
        let (storage, published) = (MemoryStorage::new(), Published::default());
        let mut running = started(topology(&published), &storage);
        running.advance(Duration::from_millis(100));
        kill(running, &storage);
        let running = started(topology(&published), &storage);
        storage.fail_operation(nth, ErrorKind::Other);
        assert!(!ended(running).cut_short, "operation {nth} fails");
        failed += storage.faults().get("read failed").copied().unwrap_or(0);
        let expected: Vec<i64> = (1_000..1_150).collect();
        assert_eq!(published.sorted(), expected, "operation {nth} fails");
    }
    assert!(failed >= 5, "{failed} reads failed");
}

/// Counts, and flips a bit in the files of a directory before its state is restored.
struct Flips {
    counts: ValueState<i64>,
    directory: Option<PathBuf>,
    begun: Arc<Mutex<u32>>,
}

/// Flips a bit near the end of each snapshot file.
fn flip(directory: &Path) {
    for entry in fs::read_dir(directory).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snapshot")) {
            let file = File::options().read(true).write(true).open(&path).expect("it can be opened");
            let (mut byte, at) = ([0], file.metadata().expect("it is there").len() - 10);
            file.read_exact_at(&mut byte, at).expect("it can be read");
            // In its place: another task may be reading the file, and is to find it whole.
            file.write_all_at(&[byte[0] ^ 1], at).expect("it can be written");
        }
    }
}

impl Bolt for Flips {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        if let Some(directory) = &self.directory {
            flip(directory);
        }
        Ok(())
    }

    fn init_state(&mut self, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        *lock(&self.begun) += 1;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.counts.update(out, |count| *count += 1)?;
        Ok(out.emit([input.i64("n")?])?)
    }
}

/// The files were whole when the run began, and are damaged when the task reads them. What the task has read before it
/// found out is not used, and nothing is deleted.
#[test]
fn a_file_that_is_damaged_after_it_was_checked_ends_the_run() {
    for backend in [StateBackendKind::Memory, StateBackendKind::Redb] {
        let directory = tempfile::tempdir().expect("a directory");
        let (storage, begun) = (directory.path().join("checkpoints"), Arc::new(Mutex::new(0)));
        let start = |flips: bool, count| {
            let published = Published::default();
            let mut builder = builder();
            let (kept, state) = (storage.clone(), directory.path().join("state"));
            builder.options(move |options| {
                options.checkpoint.storage = Some(kept);
                options.state.backend = backend;
                options.state.directory = Some(state);
            });
            builder.spout("numbers", move || Numbers::new(count)).blocking();
            let (directory, begun) = (flips.then(|| storage.clone()), Arc::clone(&begun));
            let flips = move || Flips {
                counts: ValueState::default(),
                directory: directory.clone(),
                begun: Arc::clone(&begun),
            };
            builder.bolt("count", flips).fields("numbers", ["n"]);
            builder.bolt("sink", published.sink()).shuffle("count");
            let options = LocalOptions { checkpoints: CheckpointBegin::Resume, ..LocalOptions::default() };
            let running = RunningTopology::start(built(builder), options);
            (running.unwrap_or_else(|error| panic!("{error}")), published)
        };
        let (running, published) = start(false, i64::MAX);
        wait_until("rows are published", || published.sorted().len() > 20);
        running.kill();
        running.join();

        *lock(&begun) = 0;
        let (running, published) = start(true, i64::MAX);
        let why = running.join().stopped.expect("the run ends because of it").error;
        assert!(
            why.contains("checkpoint file `snapshot-1-") && why.contains("its checksum is wrong"),
            "{why}"
        );
        assert_eq!((*lock(&begun), published.sorted().len()), (0, 0), "nothing began with it");

        // The bits are put back.
        flip(&storage);
        let (running, published) = start(false, 200);
        assert!(running.join().stopped.is_none());
        assert_eq!(published.sorted().last(), Some(&199));
    }
}
