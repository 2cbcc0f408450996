//! The spout and the bolt of Storm's `MessagingTest.testInOrderDelivery`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use squall::prelude::*;

/// Emits (task index, n) for n from 0 (Storm's `InOrderTestSpout`).
pub struct InOrder {
    index: u64,
    next: u64,
    count: u64,
}

impl InOrder {
    /// So many tuples of each task.
    pub fn up_to(count: u64) -> InOrder {
        InOrder { index: 0, next: 0, count }
    }
}

impl Spout for InOrder {
    fn declare(&self) -> Streams {
        Streams::new(["index", "n"])
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.index = context.task_index() as u64;
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.next == self.count {
            return Ok(SpoutStatus::Exhausted);
        }
        out.emit_tracked((self.index, self.next), MessageId(self.next))?;
        self.next += 1;
        Ok(SpoutStatus::Emitted)
    }
}

/// Refuses what is not the next of its index (Storm's `Check` bolt).
pub struct CheckOrder {
    expected: BTreeMap<u64, u64>,
    seen: Arc<AtomicU64>,
}

impl CheckOrder {
    /// Adds each tuple that came in order to `seen`.
    pub fn new(seen: Arc<AtomicU64>) -> CheckOrder {
        CheckOrder { expected: BTreeMap::new(), seen }
    }
}

impl Bolt for CheckOrder {
    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (index, n) = (input.to::<u64>("index")?, input.to::<u64>("n")?);
        let expected = self.expected.entry(index).or_default();
        if *expected != n {
            return Err(TaskError::new(format!("{n} of {index} came instead of {expected}")));
        }
        *expected += 1;
        self.seen.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
