//! What the program registers.

use std::env;

use squall::prelude::*;

/// Emits `n` from 0 to `end`, every task its share, each again until it is acked.
struct Numbers {
    next: u64,
    step: u64,
    end: u64,
}

impl Spout for Numbers {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.next = context.task_index() as u64;
        self.step = context.parallelism() as u64;
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.next >= self.end {
            return Ok(SpoutStatus::Exhausted);
        }
        out.emit_tracked([self.next], MessageId(self.next))?;
        self.next += self.step;
        Ok(SpoutStatus::Emitted)
    }

    fn fail(
        &mut self,
        id: MessageId,
        failure: &Failure,
        out: &mut SpoutOutputs<'_>,
    ) -> Result<(), TaskError> {
        if !failure.is_final {
            out.emit_tracked([id.0], id)?;
        }
        Ok(())
    }
}

/// Prints the square of each number and the process that made it. Grouped by fields, so that it does
/// not depend on load which tasks get some.
fn squares(end: u64) -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("squares");
    builder.options(|options| options.workers = 3);
    builder.spout("numbers", move || Numbers { next: 0, step: 1, end });
    builder
        .bolt_fn("square", Streams::new(["square", "process"]), |input, out| {
            let n = input.to::<u64>("n")?;
            out.emit((n * n, std::process::id()))?;
            Ok(())
        })
        .parallelism(6)
        .fields("numbers", ["n"]);
    builder
        .bolt_fn("print", Streams::none(), |input, _| {
            println!("{} {}", input.to::<u64>("square")?, input.to::<u32>("process")?);
            Ok(())
        })
        .shuffle("square");
    builder
}

/// Everything the cases run.
pub fn registry() -> Registry {
    let mut registry = Registry::with_standard();
    registry.topology("squares", || squares(1000).build());
    // What it builds depends on the arguments of the process, which it must not.
    registry.topology("changing", || {
        squares(env::args().count() as u64).build().and_then(|topology| {
            let groups = 100 + u32::from(env::args().any(|arg| arg == "worker"));
            topology.with_options(|options| options.key_groups = groups)
        })
    });
    registry
        .topology("broken", || -> Result<squall::topology::Topology, String> { Err("no luck".to_owned()) });
    registry.topology("panicking", || -> Result<squall::topology::Topology, String> { panic!("too much") });
    registry.topology("wrong", || TopologyBuilder::new("wrong").build());
    registry
}
