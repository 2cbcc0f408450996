//! Storm's tests of transport between workers: what its `MessagingTest` and `InOrderDeliveryTest` run.

use std::collections::BTreeMap;

use squall::prelude::*;

use crate::program::Numbers;

/// Tuples that each spout of [`in_order`] emits.
pub const IN_ORDER: u64 = 5000;

/// 2 spouts, a bolt with so many executors and tasks by shuffle, and one task that prints what arrives:
/// the process that emitted it, and its own.
pub fn messaging(executors: u32, tasks: u32) -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("messaging");
    builder.spout("numbers", || Numbers::below(24)).parallelism(2);
    builder
        .bolt_fn("count", Streams::new(["process"]), |_, out| {
            out.emit([std::process::id()])?;
            Ok(())
        })
        .parallelism(executors)
        .tasks(tasks)
        .shuffle("numbers");
    builder
        .bolt_fn("sink", Streams::none(), |input, _| {
            println!("arrived {} {}", input.to::<u32>("process")?, std::process::id());
            Ok(())
        })
        .global("count");
    builder
}

/// Emits (task index, n) for n from 0 (Storm's `InOrderTestSpout`).
struct InOrder {
    index: u64,
    next: u64,
    count: u64,
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
#[derive(Default)]
struct CheckOrder(BTreeMap<u64, u64>);

impl Bolt for CheckOrder {
    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (index, n) = (input.to::<u64>("index")?, input.to::<u64>("n")?);
        let expected = self.0.entry(index).or_default();
        if *expected != n {
            return Err(TaskError::new(format!("{n} of {index} came instead of {expected}")));
        }
        *expected += 1;
        Ok(())
    }
}

/// 8 spouts, fields(index), 8 bolts.
pub fn in_order(count: u64) -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("in-order");
    builder.spout("numbers", move || InOrder { index: 0, next: 0, count }).parallelism(8);
    builder.bolt("check", CheckOrder::default).parallelism(8).fields("numbers", ["index"]);
    builder
}
