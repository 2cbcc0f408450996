//! What the program registers.

use std::env;

use squall::api::TaskHook;
use squall::ids::Incarnation;
use squall::prelude::*;

/// Emits `n` from 0 to `end`, every task its share, each again until it is acked.
pub struct Numbers {
    next: u64,
    step: u64,
    end: u64,
}

impl Numbers {
    /// Up to here.
    pub fn below(end: u64) -> Numbers {
        Numbers { next: 0, step: 1, end }
    }
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
    builder.spout("numbers", move || Numbers::below(end));
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

/// Numbers from a spout that could go back, which exactly-once asks for. Here nothing goes back.
struct Rewindable(Numbers);

impl Spout for Rewindable {
    fn declare(&self) -> Streams {
        self.0.declare()
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.0.open(context)
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.0.next_tuple(out)
    }

    fn is_rewindable(&self) -> bool {
        true
    }
}

/// Makes the file `entered` in its first call, which never returns.
struct Stuck;

impl Bolt for Stuck {
    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        std::fs::write("entered", "").map_err(|error| TaskError::new(error.to_string()))?;
        loop {
            std::thread::park();
        }
    }
}

/// A topology of which no checkpoint becomes complete.
fn stuck() -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("stuck");
    builder.options(|options| {
        options.delivery = Delivery::ExactlyOnce;
        options.checkpoint.storage = Some("checkpoints".into());
    });
    builder.spout("numbers", || Rewindable(Numbers::below(10)));
    builder.bolt("stuck", || Stuck).shuffle("numbers");
    builder
}

/// What all tasks of a process share: which process made it.
struct Maker(u32);

fn make(_worker: &WorkerContext) -> Result<Maker, TaskError> {
    match env::var("OWN_PROGRAM_FAILS").as_deref() {
        Ok("resource") => Err(TaskError::new("the server is away")),
        Ok("resource-panics") => panic!("the server is on fire"),
        _ => {
            let process = std::process::id();
            eprintln!("resource made by {process}");
            Ok(Maker(process))
        }
    }
}

/// Says on standard error when it starts and ends.
struct Announce;

impl WorkerHook for Announce {
    fn start(&mut self, worker: &WorkerContext) -> Result<(), TaskError> {
        match env::var("OWN_PROGRAM_FAILS").as_deref() {
            Ok("hook") => return Err(TaskError::new("nobody listens")),
            Ok("restarted-hook") if worker.incarnation() > Incarnation(1) => {
                return Err(TaskError::fatal("the licence has expired"));
            }
            _ => {}
        }
        let has_resource = worker.resources().contains("maker");
        eprintln!(
            "worker {} started, listening: {}, resource: {has_resource}",
            worker.id(),
            worker.port().is_some()
        );
        Ok(())
    }

    fn shutdown(&mut self) {
        eprintln!("worker hook shut down in {}", std::process::id());
        if env::var("OWN_PROGRAM_FAILS").as_deref() == Ok("shutdown") {
            panic!("the door is stuck");
        }
    }
}

/// Says on standard error how many tuples its task executed.
#[derive(Default)]
struct Watch {
    component: String,
    executed: u64,
}

impl TaskHook for Watch {
    fn prepare(&mut self, context: &TaskContext) {
        context.component().clone_into(&mut self.component);
    }

    fn bolt_execute(&mut self, _tuple: &[Value]) {
        self.executed += 1;
    }

    fn cleanup(&mut self) {
        eprintln!("watched {} {}", self.component, self.executed);
    }
}

/// Sends every tuple to one task.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PickSettings {
    /// Its place among the tasks, from 0.
    task: usize,
}

struct Pick(usize);

impl CustomGrouping for Pick {
    fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
        chosen.extend(targets.get(self.0));
    }
}

/// Prints where each of its tasks is.
struct Where;

impl Bolt for Where {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let worker = context.worker();
        let dies = env::var("OWN_PROGRAM_FAILS").as_deref() == Ok("restarted-hook");
        if dies && worker.incarnation() == Incarnation(1) && context.task_index() == 0 {
            std::process::exit(3);
        }
        let maker = context.resources().get::<Maker>("maker").ok_or_else(|| TaskError::fatal("no maker"))?;
        assert_eq!(worker.process_id(), maker.0, "each process has its own");
        let (id, all, host) = (worker.id(), worker.workers(), worker.host());
        let (process, port) = (worker.process_id(), worker.port().unwrap_or(0));
        assert_eq!(worker.address().map(|address| address.port()), worker.port());
        println!("where {id} {all} {host} {process} {port} {} {}", worker.incarnation(), worker.topology());
        Ok(())
    }

    fn execute(&mut self, _input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Counts how often each key has come.
#[derive(Default)]
struct Tally {
    counts: ValueState<u64>,
}

impl Bolt for Tally {
    fn declare(&self) -> Streams {
        Streams::new(["key", "count"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.value_state("counts")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let count = self.counts.update(out, |count| {
            *count += 1;
            *count
        })?;
        out.emit((input.to::<u64>("key")?, count))?;
        Ok(())
    }
}

/// Everything the cases run.
pub fn registry() -> Registry {
    let mut registry = Registry::with_standard();
    registry.resource("maker", make);
    registry.worker_hook(|| Announce);
    registry.hook("watch", Watch::default);
    registry.grouping_with("pick", |settings: &PickSettings| Ok(Pick(settings.task)));
    registry.bolt("where", "Says where its tasks are.", |_: &NoSettings| Ok(Where));
    registry.bolt("tally", "Counts how often each key has come.", |_: &NoSettings| Ok(Tally::default()));
    registry.topology("squares", || squares(1000).build());
    // What it builds depends on the arguments of the process, which it must not.
    registry.topology("changing", || {
        squares(env::args().count() as u64).build().and_then(|topology| {
            let groups = 100 + u32::from(env::args().any(|arg| arg == "worker"));
            topology.with_options(|options| options.key_groups = groups)
        })
    });
    registry.topology("stuck", || stuck().build());
    registry.topology("messaging", || crate::storm::messaging(6, 6).build());
    registry.topology("messaging-many-tasks", || crate::storm::messaging(1, 10).build());
    registry.topology("in-order", || crate::storm::in_order(crate::storm::IN_ORDER).build());
    registry
        .topology("broken", || -> Result<squall::topology::Topology, String> { Err("no luck".to_owned()) });
    registry.topology("panicking", || -> Result<squall::topology::Topology, String> { panic!("too much") });
    registry.topology("wrong", || TopologyBuilder::new("wrong").build());
    registry
}
