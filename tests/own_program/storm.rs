//! Storm's tests of transport between workers: what its `MessagingTest` and `InOrderDeliveryTest` run.

use std::sync::Arc;

use squall::prelude::*;

use crate::in_order::{CheckOrder, InOrder};
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

/// 8 spouts, fields(index), 8 bolts.
pub fn in_order(count: u64) -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("in-order");
    builder.spout("numbers", move || InOrder::up_to(count)).parallelism(8);
    builder.bolt("check", || CheckOrder::new(Arc::default())).parallelism(8).fields("numbers", ["index"]);
    builder
}
