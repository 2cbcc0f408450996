//! How the files of a checkpoint are read when a run begins with it.

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
