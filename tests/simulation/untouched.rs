//! A worker is killed while messages are under way. Those whose trees touched it come again; those
//! whose trees did not must not notice.
//!
//! ```text
//!   numbers ──fields(n)──▶ first ──fields(n)──▶ second      4 workers, 50 ms of way between them
//! ```
//!
//! The numbers say by themselves which tasks they touch. The spout emits one in each step, so that each
//! has a tree and a block of its own: trees of one block stand and fall together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::api::FailureCause;
use squall::config::AutoOr;
use squall::ids::WorkerId;
use squall::prelude::*;
use squall::testing::cluster::{ClusterOptions, SimulatedCluster};
use squall::topology::place;
use squall::topology::plan::Part;

use crate::kit::{HOUR, lock};

const NUMBERS: u64 = 600;
const WORKERS: u16 = 4;
const TASKS: usize = 8;

/// What happened to the numbers.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    emitted: u64,
    acked: BTreeSet<u64>,
    failed: BTreeMap<u64, Vec<FailureCause>>,
    /// The tasks that each was executed by, by component.
    executed: BTreeMap<(&'static str, u64), Vec<usize>>,
}

/// Emits one number each millisecond, and again what failed.
struct Steady {
    notes: Notes,
    again: Vec<u64>,
}

impl Spout for Steady {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let mut books = lock(&self.notes.0);
        let n = match self.again.pop() {
            Some(n) => n,
            None if books.emitted < NUMBERS => {
                books.emitted += 1;
                books.emitted - 1
            }
            None => return Ok(SpoutStatus::Exhausted),
        };
        drop(books);
        out.emit_tracked([n as i64], MessageId(n))?;
        Ok(SpoutStatus::IdleFor(Duration::from_millis(1)))
    }

    fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
        lock(&self.notes.0).acked.insert(id.0);
        Ok(())
    }

    fn fail(&mut self, id: MessageId, failure: &Failure, _: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
        lock(&self.notes.0).failed.entry(id.0).or_default().push(failure.cause);
        self.again.push(id.0);
        Ok(())
    }
}

/// Notes what it is given, and passes it on.
struct Noting {
    component: &'static str,
    task: usize,
    notes: Notes,
}

impl Bolt for Noting {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.task = context.task_index();
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        lock(&self.notes.0).executed.entry((self.component, n as u64)).or_default().push(self.task);
        Ok(out.emit([n])?)
    }
}

fn topology(notes: &Notes) -> squall::topology::Topology {
    let mut builder = TopologyBuilder::new("untouched");
    builder.options(|options| options.ackers = AutoOr::Fixed(1));
    let for_spout = notes.clone();
    builder.spout("numbers", move || Steady { notes: for_spout.clone(), again: Vec::new() });
    for (component, from) in [("first", "numbers"), ("second", "first")] {
        let notes = notes.clone();
        let noting = move || Noting { component, task: 0, notes: notes.clone() };
        builder.bolt(component, noting).parallelism(TASKS as u32).fields(from, ["n"]);
    }
    builder.build().expect("a valid topology")
}

/// Where each task of a component runs, and where the acker does.
struct Map {
    tasks: BTreeMap<&'static str, Vec<WorkerId>>,
    acker: WorkerId,
}

impl Map {
    fn of(topology: &squall::topology::Topology) -> Map {
        let (plan, assignment) = place(topology, WORKERS, None);
        let workers = |part: Part| -> Vec<WorkerId> {
            let executors = plan.executors_of(part).iter();
            executors
                .flat_map(|executor| executor.tasks.clone().map(|_| assignment.worker_of(executor.id)))
                .collect()
        };
        let component = |id: &'static str| {
            let at = topology.components().iter().position(|component| component.id == id);
            (id, workers(Part::Component(at.expect("the topology has the component"))))
        };
        Map { tasks: ["numbers", "first", "second"].map(component).into(), acker: workers(Part::Acker)[0] }
    }

    /// A worker that has neither the spout nor the acker.
    fn victim(&self) -> WorkerId {
        let spared = [self.tasks["numbers"][0], self.acker];
        (0..WORKERS).map(WorkerId).find(|worker| !spared.contains(worker)).expect("there are more than two")
    }

    /// Whether a number comes by a worker, whichever tasks executed it.
    fn touches(&self, books: &Books, n: u64, worker: WorkerId) -> bool {
        let at = |component: &'static str| &books.executed[&(component, n)];
        let is_there =
            |component: &'static str| at(component).iter().any(|task| self.tasks[component][*task] == worker);
        is_there("first") || is_there("second")
    }
}

/// Only what touched the killed worker is replayed, and only for that reason. If it fails, one death
/// makes a topology do again what was never in danger: the rest of it has to process all twice.
#[test]
fn trees_that_did_not_touch_a_killed_worker_are_left_alone() {
    for seed in 0..5 {
        let notes = Notes::default();
        let topology = topology(&notes);
        let map = Map::of(&topology);
        let mut cluster = SimulatedCluster::start(topology, ClusterOptions::seeded(seed, WORKERS));
        for (from, to) in (0..WORKERS).flat_map(|from| (0..WORKERS).map(move |to| (from, to))) {
            if from != to {
                cluster.trouble(WorkerId(from), WorkerId(to)).delay = Duration::from_millis(50);
            }
        }
        while lock(&notes.0).emitted < NUMBERS / 2 {
            cluster.run_turns(1);
        }
        let open: Vec<u64> = {
            let books = lock(&notes.0);
            (0..books.emitted).filter(|n| !books.acked.contains(n)).collect()
        };
        let victim = map.victim();
        assert!(cluster.kill(victim), "seed {seed}: it runs");
        let stats = cluster.run_to_end(HOUR).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(stats.pending, 0, "seed {seed}");
        let books = lock(&notes.0);
        assert_eq!(books.acked.len() as u64, NUMBERS, "seed {seed}");

        let (touched, untouched): (Vec<u64>, Vec<u64>) =
            (0..NUMBERS).partition(|n| map.touches(&books, *n, victim));
        let are_open = |numbers: &[u64]| open.iter().filter(|n| numbers.contains(n)).count();
        assert!(are_open(&untouched) > 0 && are_open(&touched) > 0, "seed {seed}: {open:?} were under way");
        let failed_in_vain: Vec<&u64> = untouched.iter().filter(|n| books.failed.contains_key(n)).collect();
        assert_eq!(failed_in_vain, [&0; 0], "seed {seed}: they touched other workers only");
        for (n, component) in untouched.iter().flat_map(|n| [(n, "first"), (n, "second")]) {
            assert_eq!(
                books.executed[&(component, *n)].len(),
                1,
                "seed {seed}: {n} came to {component} again"
            );
        }
        let causes: Vec<FailureCause> = books.failed.values().flatten().copied().collect();
        assert!(causes.iter().all(|cause| *cause == FailureCause::Lost), "seed {seed}: {causes:?}");
    }
}
