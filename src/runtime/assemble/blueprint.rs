//! The input of the assembly. Every part of the construction reads it, and none changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use smol_str::SmolStr;

use crate::api::{ComponentInfo, InputInfo, SourceMeta, StreamDeclaration, WorkerContext, WorkerParts};
use crate::checkpoint::TaskName;
use crate::config::StateBackendKind;
use crate::ids::{Incarnation, TaskId, WorkerId};
use crate::runtime::acking::ack_buffer::AckerTable;
use crate::runtime::assemble::setup::{Share, WorkerSetup};
use crate::topology::assignment::ackers_for;
use crate::topology::graph::{Component, Grouping, Topology};
use crate::topology::plan::{ACKER_COMPONENT, ExecutorId, ExecutorPlan, Part, Plan};
use crate::topology::queue_shares::{QueueShares, queue_places};
use crate::tuple::Fields;

/// A topology, the plan of its executors, and the setup of this worker.
pub struct Blueprint {
    /// The topology.
    pub topology: Topology,
    /// All its executors and tasks, whichever worker runs them.
    pub plan: Plan,
    /// The worker's share of them, its clock, its logger and so on.
    pub setup: WorkerSetup,
    /// How the memory for queues is divided. The same in every worker.
    pub queue_shares: QueueShares,
    /// For each component, whether it has event time.
    with_time: Vec<bool>,
}

impl Blueprint {
    /// Without a share, the plan is that of one worker with everything in it.
    pub fn new(topology: Topology, setup: WorkerSetup) -> Blueprint {
        let plan = setup.share.as_ref().map_or_else(|| Plan::local(&topology), |share| share.plan.clone());
        let queue_shares = queue_places(&topology).shares(topology.options().queue.memory);
        let with_time = topology.components_with_time();
        Blueprint { topology, plan, setup, queue_shares, with_time }
    }

    /// Whether a part has event time.
    pub fn has_time(&self, part: Part) -> bool {
        matches!(part, Part::Component(index) if self.with_time[index])
    }

    /// The worker's share, if it is one of several.
    pub fn share(&self) -> Option<&Share> {
        self.setup.share.as_ref()
    }

    /// Which incarnation of its worker the process is.
    pub fn incarnation(&self) -> Incarnation {
        self.share().map_or(Incarnation::default(), |share| share.incarnation)
    }

    /// Whether trees of tuples are tracked.
    pub fn is_tracked(&self) -> bool {
        self.topology.options().delivery.tracks_tuples()
    }

    /// Whether a part is a spout.
    pub fn is_spout(&self, part: Part) -> bool {
        matches!(part, Part::Component(index) if self.topology.components()[index].is_spout())
    }

    /// Whether an executor of the component `target` is chained behind an executor.
    pub fn is_chained(&self, executor: &ExecutorPlan, target: usize) -> bool {
        let next = executor.next.map(|next| self.plan.executors[next.index()].part);
        next == Some(Part::Component(target))
    }

    /// The name of a part in logs and errors.
    pub fn part_name(&self, part: Part) -> &str {
        match part {
            Part::Component(index) => &self.topology.components()[index].id,
            Part::Acker => ACKER_COMPONENT,
        }
    }

    /// The place of a component in the topology.
    pub fn component_index(&self, id: &str) -> usize {
        let position = self.topology.components().iter().position(|component| component.id == id);
        position.expect("validation checked the inputs")
    }

    /// Which ackers each spout task uses.
    pub fn acker_table(&self) -> AckerTable {
        let count = self.plan.executors_of(Part::Acker).len();
        let mut by_task = BTreeMap::new();
        let components = self.topology.components().iter().enumerate();
        for (index, _) in components.filter(|(_, component)| component.is_spout()) {
            for executor in self.plan.executors_of(Part::Component(index)).iter().filter(|_| count > 0) {
                let ackers: Box<[usize]> = match self.share() {
                    None => (0..count).collect(),
                    Some(share) => ackers_for(&self.plan, &share.assignment, executor.id).into(),
                };
                by_task.extend(executor.task_ids().map(|task| (task, ackers.clone())));
            }
        }
        AckerTable::new(count, by_task)
    }

    /// The tasks of components whose executors are wanted.
    pub fn tasks_of(&self, is_wanted: impl Fn(ExecutorId) -> bool) -> BTreeSet<TaskName> {
        let wanted = self.plan.executors.iter().filter(|executor| is_wanted(executor.id));
        let names = wanted.filter_map(|executor| {
            let Part::Component(index) = executor.part else { return None };
            let component = self.topology.components()[index].id.clone();
            let first = self.plan.tasks(executor.part).start;
            Some(executor.task_ids().map(move |task| TaskName::new(component.clone(), task.0 - first)))
        });
        names.flatten().collect()
    }

    /// How many bytes of state a task of a bolt keeps in memory. `None`: all.
    pub fn memory_of_state(&self, bolt: &Component) -> Option<usize> {
        match self.topology.options().state.of_bolt(&bolt.options.state) {
            (StateBackendKind::Memory, _) => None,
            (StateBackendKind::Redb, memory) => Some(usize::try_from(memory).unwrap_or(usize::MAX)),
        }
    }

    /// For each stream of a task: its source, as receivers see it.
    pub fn metas_of(&self, task: TaskId) -> Vec<Arc<SourceMeta>> {
        let Some(Part::Component(index)) = self.plan.part_of(task) else { return Vec::new() };
        let component = &self.topology.components()[index];
        let streams = component.all_streams();
        let meta =
            |(at, stream): (usize, &StreamDeclaration)| Arc::new(source_meta(component, at, stream, task));
        streams.iter().enumerate().map(meta).collect()
    }

    /// How user code sees the process.
    pub fn worker_context(&self) -> WorkerContext {
        let share = self.share();
        WorkerContext::new(WorkerParts {
            topology: self.topology.name.clone(),
            worker: share.map_or(WorkerId::default(), |share| share.worker),
            incarnation: self.incarnation(),
            workers: share.map_or(1, |share| share.outlets.len()),
            host: self.setup.host.clone(),
            address: OnceLock::new(),
            settings: self.topology.options().settings.clone(),
            resources: self.setup.resources.clone(),
            logger: self.setup.logger.clone(),
        })
    }

    /// Whether it can be found out anew for each tuple that comes in which task of the part gets it.
    pub fn groups_repeatably(&self, part: Part) -> bool {
        let Part::Component(index) = part else { return false };
        self.topology.components()[index].inputs.iter().all(|input| input.grouping.is_repeatable())
    }
}

/// How components see each other.
pub fn component_infos(topology: &Topology, plan: &Plan) -> Vec<ComponentInfo> {
    let user = topology.components().iter().enumerate().map(|(index, component)| ComponentInfo {
        id: component.id.clone(),
        tasks: plan.task_ids(Part::Component(index)).collect(),
        inputs: component
            .inputs
            .iter()
            .map(|input| InputInfo {
                component: input.component.clone(),
                stream: input.stream.clone(),
                grouping: input.grouping.to_string(),
                key: match &input.grouping {
                    Grouping::Fields(fields) => fields.clone(),
                    _ => Fields::default(),
                },
            })
            .collect(),
        streams: component.all_streams(),
    });
    let acker = ComponentInfo {
        id: SmolStr::new(ACKER_COMPONENT),
        tasks: plan.task_ids(Part::Acker).collect(),
        inputs: Vec::new(),
        streams: Vec::new(),
    };
    let ackers = (!acker.tasks.is_empty()).then_some(acker);
    user.chain(ackers).collect()
}

/// The source of one stream of a task, as receivers see it.
pub fn source_meta(component: &Component, at: usize, stream: &StreamDeclaration, task: TaskId) -> SourceMeta {
    SourceMeta {
        component: component.id.clone(),
        stream: stream.name.clone(),
        stream_index: u16::try_from(at).expect("a component has fewer streams"),
        task,
        fields: stream.fields.clone(),
    }
}
