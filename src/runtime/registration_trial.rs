//! Which states a topology registers, found out before anything of it is started.
//!
//! A bolt registers its states in `prepare`. So an instance of each bolt that kept state in a checkpoint is built, prepared
//! and dropped. What a bolt does in `prepare` besides, it does here once more; so this is done only where a start gives
//! up or deletes checkpoints, which nobody gets back if the topology does not fit: when it goes back to an earlier
//! checkpoint, or begins with a savepoint. A plain `--resume` deletes nothing, and is the way back after each crash: there
//! tasks find out when they are built (`executor::task_snapshots`).
//!
//! The same holds for an instance that cannot be built or prepared here, because it needs a resource of the process that
//! does not exist yet, for example. It counts as one that fits.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use smol_str::SmolStr;

use crate::api::{ContextParts, TaskContext, WorkerContext, WorkerParts, WorkerResources};
use crate::checkpoint::{LeftBehind, Manifest};
use crate::clock::Clock;
use crate::ids::{Incarnation, WorkerId, is_reserved_name};
use crate::logging::panics::guarded;
use crate::metrics::MetricsRegistry;
use crate::runtime::assemble::blueprint::component_infos;
use crate::runtime::executor::restore_error::misfit;
use crate::runtime::process::host_name;
use crate::state::{StateDescription, StateRegistry};
use crate::topology::assignment::place;
use crate::topology::graph::{Component, Constructor, Topology};
use crate::topology::plan::{Part, Plan};

/// What bolts see of the process while they are tried.
#[derive(Clone)]
pub struct Trial {
    /// The objects that they find by `TaskContext::resources`.
    pub resources: WorkerResources,
    /// In how many workers the topology is to run.
    pub workers: u16,
}

/// The states of a checkpoint that the topology does not register, or registers as another kind, apart from what is left
/// behind: what is wrong, component by component.
pub(super) fn unregistered(
    topology: &Topology,
    manifest: &Manifest,
    left_behind: &LeftBehind,
    trial: &Trial,
) -> Vec<String> {
    let mut kept: BTreeMap<&SmolStr, Vec<&StateDescription>> = BTreeMap::new();
    for entry in &manifest.tasks {
        let left = left_behind.states_of(Some(manifest.checkpoint), &entry.component);
        for state in entry.states.iter().filter(|state| !is_reserved_name(&state.name)) {
            let of_component = kept.entry(&entry.component).or_default();
            if !left.contains(&state.name) && of_component.iter().all(|known| known.name != state.name) {
                of_component.push(state);
            }
        }
    }
    let (plan, _) = place(topology, trial.workers.max(1), None);
    let mut differences = Vec::new();
    for (index, component) in topology.components().iter().enumerate() {
        let Some(states) = kept.get(&component.id).filter(|states| !states.is_empty()) else { continue };
        let Some(registry) = registered(topology, &plan, index, component, trial) else { continue };
        if let Err(error) = registry.check(states) {
            differences.push(misfit(&component.id, &error).why);
        }
    }
    differences
}

/// What the first task of a bolt registers. `None`: that cannot be found out here.
fn registered(
    topology: &Topology,
    plan: &Plan,
    index: usize,
    component: &Component,
    trial: &Trial,
) -> Option<StateRegistry> {
    let Constructor::Bolt(factory) = &component.constructor else { return None };
    let context = context(topology, plan, index, component, trial)?;
    let prepared = guarded(|| {
        let mut bolt = factory()?;
        bolt.prepare(&context)
    });
    // What the instance reports when it is dropped is of no interest.
    matches!(prepared, Ok(Ok(()))).then(|| context.states().clone())
}

fn context(
    topology: &Topology,
    plan: &Plan,
    index: usize,
    component: &Component,
    trial: &Trial,
) -> Option<TaskContext> {
    let options = topology.options();
    let mut settings = options.settings.clone();
    settings.extend(component.options.settings.clone());
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let worker = WorkerContext::new(WorkerParts {
        topology: topology.name().into(),
        worker: WorkerId::default(),
        incarnation: Incarnation::default(),
        workers: trial.workers.max(1).into(),
        host: host_name(),
        address: OnceLock::new(),
        settings: options.settings.clone(),
        resources: trial.resources.clone(),
        logger: logger.clone(),
    });
    Some(TaskContext::new(ContextParts {
        topology: topology.name().into(),
        component: component.id.clone(),
        task: plan.task_ids(Part::Component(index)).next()?,
        task_index: 0,
        components: Arc::new(component_infos(topology, plan)),
        settings: Arc::new(settings),
        delivery: options.delivery,
        worker,
        metrics: MetricsRegistry::default(),
        clock: Clock::real(),
        seed: 0,
        recovery: 0,
        states: StateRegistry::default(),
        logger,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Bolt, Input, Outputs, TaskError};
    use crate::checkpoint::{RunState, TaskEntry};
    use crate::ids::CheckpointId;
    use crate::state::StateKind;
    use crate::testing::FixedSpout;
    use crate::topology::TopologyBuilder;
    use crate::tuple::Value;

    type Prepare = fn(&TaskContext) -> Result<(), TaskError>;

    struct Registers(Prepare);

    impl Bolt for Registers {
        fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
            (self.0)(context)
        }

        fn execute(&mut self, _: Input<'_>, _: &mut Outputs<'_>) -> Result<(), TaskError> {
            unreachable!("it is only prepared")
        }
    }

    fn topology(prepare: Prepare) -> Topology {
        let mut builder = TopologyBuilder::new("words");
        builder.spout("words", || FixedSpout::new(["word"], [vec![Value::from("storm")]]));
        builder.bolt("count", move || Registers(prepare)).parallelism(3).shuffle("words");
        builder.build().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// A checkpoint in which `count` keeps these.
    fn manifest(states: &[(&str, StateKind)]) -> Manifest {
        let state = |(name, kind): &(&str, StateKind)| StateDescription {
            name: (*name).into(),
            kind: *kind,
            rust_type: "i64".to_owned(),
        };
        let entry = |task_index| TaskEntry {
            component: "count".into(),
            task_index,
            tasks: 2,
            files: Vec::new(),
            positions: [].into(),
            states: states.iter().map(state).collect(),
            names_keys: false,
            event_time: Default::default(),
        };
        Manifest {
            checkpoint: CheckpointId { epoch: 1, number: 7 },
            topology: "words".into(),
            key_groups: 1024,
            taken_at: 0,
            run: RunState::Running,
            txid: 0,
            tasks: vec![entry(0), entry(1)],
        }
    }

    fn found(prepare: Prepare, states: &[(&str, StateKind)], left: &[&str]) -> Vec<String> {
        let manifest = manifest(states);
        let left = left.iter().map(|state| ("count".into(), (*state).into()));
        let left_behind = LeftBehind::of(manifest.checkpoint, left);
        let resources = WorkerResources::default();
        resources.set("limit", 7_i64);
        unregistered(&topology(prepare), &manifest, &left_behind, &Trial { resources, workers: 1 })
    }

    #[test]
    fn what_is_not_registered_is_named_once_for_all_tasks() {
        let prepare: Prepare = |context| {
            assert_eq!((context.component(), context.task_index(), context.parallelism()), ("count", 0, 3));
            assert!(context.resources().get::<i64>("limit").is_some());
            context.value_state::<i64>("counts").map(drop)
        };
        let kept = [("counts", StateKind::Value), ("__held", StateKind::Operator)];
        assert_eq!(found(prepare, &kept, &[]), [""; 0]);
        assert_eq!(found(prepare, &[], &[]), [""; 0]);
        let more = [&kept[..], &[("last", StateKind::Map)]].concat();
        assert_eq!(
            found(prepare, &more, &[]),
            [
                "the checkpoint has `count.last` (map<i64>), and the topology has `count.counts` (value<i64>): register \
              it as it was, or leave it behind with `--allow-dropped-state count.last`"
            ]
        );
        assert_eq!(found(prepare, &more, &["last"]), [""; 0]);
        let other = found(prepare, &[("counts", StateKind::List)], &[]);
        let expected =
            "state `counts` is list<i64> in the checkpoint, and the component registers it as value<i64>";
        assert!(other.len() == 1 && other[0].starts_with(expected), "{other:?}");
        assert_eq!(found(prepare, &[("counts", StateKind::List)], &["counts"]), [""; 0]);
    }

    /// Its tasks find out.
    #[test]
    fn what_cannot_be_prepared_here_fits() {
        let kept = [("counts", StateKind::Value)];
        let fails: Prepare = |_| Err(TaskError::new("there is no server"));
        assert_eq!(found(fails, &kept, &[]), [""; 0]);
        assert_eq!(found(|_| panic!("no server"), &kept, &[]), [""; 0]);
    }
}
