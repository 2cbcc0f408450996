//! Two accidents that made people ask for exactly-once, with a crash at every step.
//!
//! 1. A spout read position 100, what it read was kept elsewhere, and the process died before the position was noted:
//!    what followed was counted twice.
//! 2. A sink died half-way through a batch: its first half was there twice.

use super::*;

/// Counts all numbers, so that a number which counts twice or not at all changes every later row.
#[derive(Default)]
struct Total(ValueState<i64>);

impl Bolt for Total {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0 = context.value_state("total")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        out.set_key(["all"])?;
        let total = self.0.update(out, |total| {
            *total += 1;
            *total
        })?;
        Ok(out.emit([total])?)
    }
}

/// The process dies after each step in turn, and then the run is continued.
#[test]
fn a_crash_after_any_step_changes_no_number() {
    const COUNT: i64 = 130;
    let start = |published: &Published, storage: &MemoryStorage| {
        let mut builder = builder();
        builder.spout("numbers", || Numbers::new(COUNT));
        builder.bolt("total", Total::default).shuffle("numbers");
        builder.bolt("sink", published.sink()).shuffle("total");
        started(built(builder), storage)
    };
    let expected: Vec<i64> = (1..=COUNT).collect();
    let (died, had_published) = dies_after_any_step(&expected, || start);
    // Otherwise the deaths were all at the beginning, or all at the end.
    assert!(died > 100 && had_published > 20 && had_published < died, "{had_published} of {died}");
}

/// Where the sink dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiesIn {
    Write { after: bool },
    PreCommit { after: bool },
    Commit { after: bool },
}

/// A sink that panics in the nth call of a kind, once.
struct Dying {
    sink: Sink,
    dies: DiesIn,
    calls_left: Arc<Mutex<u32>>,
}

impl Dying {
    /// Calls, and dies if it is the time for it.
    fn call<T>(
        &mut self,
        [before, after]: [DiesIn; 2],
        call: impl FnOnce(&mut Sink) -> Result<T, TaskError>,
    ) -> Result<T, TaskError> {
        let is_last = (self.dies == before || self.dies == after) && {
            let mut left = lock(&self.calls_left);
            let was_one = *left == 1;
            *left = left.saturating_sub(1);
            was_one
        };
        assert!(!is_last || self.dies != before, "the sink dies before the call");
        let done = call(&mut self.sink);
        assert!(!is_last, "the sink dies after the call");
        done
    }
}

impl TwoPhaseSink for Dying {
    type Transaction = u64;

    fn begin(&mut self) -> Result<u64, TaskError> {
        self.sink.begin()
    }

    fn write(&mut self, transaction: &mut u64, input: Input<'_>) -> Result<(), TaskError> {
        let dies = [false, true].map(|after| DiesIn::Write { after });
        self.call(dies, |sink| sink.write(transaction, input))
    }

    fn pre_commit(&mut self, transaction: &mut u64) -> Result<(), TaskError> {
        let dies = [false, true].map(|after| DiesIn::PreCommit { after });
        self.call(dies, |sink| sink.pre_commit(transaction))
    }

    fn commit(&mut self, transaction: &u64) -> Result<(), TaskError> {
        let dies = [false, true].map(|after| DiesIn::Commit { after });
        self.call(dies, |sink| sink.commit(transaction))
    }

    fn abort_others(&mut self, keep: &[u64]) -> Result<(), TaskError> {
        self.sink.abort_others(keep)
    }
}

#[test]
fn a_sink_that_dies_in_any_call_leaves_each_row_once() {
    const COUNT: i64 = 64;
    let kinds = [false, true]
        .into_iter()
        .flat_map(|after| [DiesIn::Write { after }, DiesIn::PreCommit { after }, DiesIn::Commit { after }]);
    for dies in kinds {
        let mut call = 1;
        loop {
            let (published, calls_left) = (Published::default(), Arc::new(Mutex::new(call)));
            let mut builder = builder();
            builder.spout("numbers", || Numbers { bursts: true, ..Numbers::new(COUNT) });
            let (store, left) = (published.clone(), Arc::clone(&calls_left));
            builder
                .bolt("sink", move || {
                    let sink = Sink { published: store.clone(), next: 0, open: Vec::new() };
                    TwoPhaseBolt::new(Dying { sink, dies, calls_left: Arc::clone(&left) })
                })
                .shuffle("numbers");
            let stats = ended(started(built(builder), &MemoryStorage::new()));
            assert_eq!(published.sorted(), (0..COUNT).collect::<Vec<_>>(), "{dies:?}, call {call}");
            if *lock(&calls_left) > 0 {
                break;
            }
            assert!(!stats.cut_short, "{dies:?}, call {call}");
            call += 1;
        }
        let at_least = if matches!(dies, DiesIn::Write { .. }) { COUNT as u32 } else { 1 };
        assert!(call > at_least, "{dies:?}: it died in {} calls", call - 1);
    }
}
