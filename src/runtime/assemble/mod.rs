//! Builds a worker with all its executors from a validated topology. Nothing runs yet.
//!
//! Everything that an executor uses is built before the executor, so no executor is changed after it was
//! built. The files stand in the order of construction:
//!
//! 1. [`setup`]: what the caller passes in; [`blueprint`]: the plan, and what follows from it alone.
//! 2. [`worker_state`]: what all executors share; [`endpoints`]: addresses and inboxes; [`links`]: credit.
//! 3. [`wiring`]: the emitter of a task, from its streams to the links.
//! 4. This file: the executors, the coordinator, and the ingress for what other workers send.

pub mod blueprint;
pub mod endpoints;
pub mod executor_inputs;
pub mod links;
pub mod setup;
pub mod wiring;
pub mod worker_state;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use slog::o;

use crate::api::{ContextParts, OutputState, TaskContext};
use crate::ids::TaskId;
use crate::logging::panics::guarded;
use crate::runtime::acking::pending_limit::PendingLimit;
use crate::runtime::assemble::blueprint::Blueprint;
use crate::runtime::assemble::endpoints::{Endpoints, Inboxes, peers};
use crate::runtime::assemble::executor_inputs::{aligned_inputs, event_times};
use crate::runtime::assemble::links::Links;
use crate::runtime::assemble::setup::{CheckpointSetup, WorkerSetup};
use crate::runtime::assemble::wiring::{Wiring, out_links};
use crate::runtime::assemble::worker_state::WorkerState;
use crate::runtime::checkpoint_actions::Parts;
use crate::runtime::checkpoint_sequence::CheckpointSequence;
use crate::runtime::end_sequence::EndSequence;
use crate::runtime::executor::Executor;
use crate::runtime::executor::acker::AckerExecutor;
use crate::runtime::executor::bolt::BoltExecutor;
use crate::runtime::executor::bolt_task::BoltTask;
use crate::runtime::executor::checkpoint_coordinator::CheckpointCoordinator;
use crate::runtime::executor::checkpoints::StorageSender;
use crate::runtime::executor::end_coordinator::EndCoordinator;
use crate::runtime::executor::executor_answers::ExecutorAnswers;
use crate::runtime::executor::local_executors::LocalExecutors;
use crate::runtime::executor::logged_spout::LoggedSpouts;
use crate::runtime::executor::spout::{Cycles, SpoutExecutor};
use crate::runtime::executor::spout_task::SpoutTask;
use crate::runtime::executor::step::{ExecutorHandles, TaskParts};
use crate::runtime::executor::storage::{StorageExecutor, Store, TaskCounts};
use crate::runtime::executor::worker_checkpoints::WorkerCheckpoints;
use crate::runtime::faults::CheckpointDefect;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::inbox::InboxSender;
use crate::runtime::flow::link::LinkKind;
use crate::runtime::process::Process;
use crate::runtime::remote::address::Address;
use crate::runtime::remote::ingress::{Ingress, PeerWorker, Place};
use crate::runtime::worker::{ExecutorEntry, HostedExecutor, Worker};
use crate::state::StateRegistry;
use crate::topology::graph::{BoltFactory, Component, Constructor, SpoutFactory, Topology};
use crate::topology::plan::{ExecutorPlan, Part};

/// Builds the worker that runs a topology, or its share of the topology. With a share, also builds the
/// ingress, which delivers what other workers send.
///
/// # Errors
/// When user code that is called here panics: factories of hooks and groupings, and `prepare` of
/// groupings. The error lists all panics, each with its component.
pub fn assemble(topology: Topology, setup: WorkerSetup) -> Result<(Worker, Option<Ingress>), AssembleError> {
    let mut assembly = Assembly::new(Blueprint::new(topology, setup));
    let plan = assembly.blueprint.plan.executors.clone();
    let is_stepped_here = |assembly: &Assembly, executor: &ExecutorPlan| {
        executor.behind.is_none() && assembly.endpoints.local(executor.id).is_some()
    };
    let mut executors: Vec<Option<HostedExecutor>> = plan
        .iter()
        .map(|executor| is_stepped_here(&assembly, executor).then(|| assembly.host(executor)))
        .collect();
    let local_executors = Arc::new(assembly.local_executors());
    let checkpoints = assembly.blueprint.setup.checkpoints.take();
    let epoch = checkpoints.as_ref().and_then(|checkpoints| match checkpoints {
        CheckpointSetup::Whole { epoch, .. } => Some(*epoch),
        CheckpointSetup::Share(_) => None,
    });
    executors.push(Some(assembly.host_coordinator(&local_executors, epoch)));
    executors.extend(checkpoints.map(|checkpoints| Some(assembly.host_storage(checkpoints))));
    let coordinator = assembly.endpoints.coordinator.clone();
    let ingress = assembly.ingress();
    if !assembly.panics.is_empty() {
        return Err(AssembleError { panics: assembly.panics });
    }
    let Assembly { blueprint: Blueprint { topology, setup, .. }, shared, .. } = assembly;
    let worker = Worker {
        topology,
        components: shared.components,
        executors,
        run_queue: shared.run_queue,
        clock: setup.clock,
        lifecycle: shared.lifecycle,
        latencies: shared.latencies,
        metrics: shared.metrics,
        logger: setup.logger,
        local_executors,
        coordinator,
        checkpoint_counts: epoch.map(|_| shared.checkpoint_counts),
        savepoints: shared.savepoints,
        process: Process::new(shared.worker),
    };
    Ok((worker, ingress))
}

/// User code panicked while the worker was built.
#[derive(Debug, thiserror::Error)]
#[error("{}", panics.join("; "))]
pub struct AssembleError {
    /// For each panic: the component, what panicked, and the text of the panic.
    panics: Vec<String>,
}

/// A worker under construction: everything that is built before its first executor.
struct Assembly {
    blueprint: Blueprint,
    shared: WorkerState,
    endpoints: Endpoints,
    inboxes: Inboxes,
    links: Links,
    /// The other workers that have executors, by id.
    peers: Vec<Option<PeerWorker>>,
    random: StdRng,
    /// Panics of user code so far.
    panics: Vec<String>,
}

impl Assembly {
    fn new(blueprint: Blueprint) -> Assembly {
        let random = match blueprint.setup.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut SysRng).expect("the operating system has randomness"),
        };
        let shared = WorkerState::new(&blueprint);
        let (endpoints, inboxes) = Endpoints::new(&blueprint, &shared.run_queue);
        let peers = peers(blueprint.share());
        let links = Links::new(&blueprint, &endpoints, &peers);
        Assembly { blueprint, shared, endpoints, inboxes, links, peers, random, panics: Vec::new() }
    }

    /// The ingress for what other workers send, if the worker is one of several.
    fn ingress(&mut self) -> Option<Ingress> {
        let (blueprint, endpoints, shared) = (&self.blueprint, &self.endpoints, &self.shared);
        let share = blueprint.share()?;
        let first_acker =
            blueprint.plan.executors_of(Part::Acker).first().map_or(0, |acker| acker.id.index());
        let place = |executor: &ExecutorPlan| {
            let (inbox, remote) = match endpoints.address(executor.id) {
                Address::Here(inbox) => (Some(inbox.clone()), None),
                Address::There(remote) => (None, Some(Arc::clone(remote))),
            };
            Place {
                worker: share.assignment.worker_of(executor.id),
                tasks: executor.tasks.clone(),
                inbox,
                remote,
                is_spout: blueprint.is_spout(executor.part),
                has_event_time: blueprint.has_time(executor.part),
                acker: (executor.part == Part::Acker).then(|| executor.id.index() - first_acker),
            }
        };
        let metas = (1..=blueprint.plan.task_count()).map(|task| blueprint.metas_of(TaskId(task)));
        Some(Ingress {
            places: blueprint.plan.executors.iter().map(place).collect(),
            links: self.links.ends(),
            metas: metas.collect(),
            peers: std::mem::take(&mut self.peers),
            membership: Arc::clone(&shared.membership),
            cycles_full: Arc::clone(&shared.cycles_elsewhere),
            lifecycle: Arc::clone(&shared.lifecycle),
            run_queue: Arc::clone(&shared.run_queue),
            coordinator: endpoints.coordinator.clone(),
        })
    }

    fn handles(&mut self, executor: &ExecutorPlan) -> ExecutorHandles {
        let shared = &self.shared;
        ExecutorHandles {
            address: self.endpoints.own(executor.id).clone(),
            inbox: self.inboxes.take(executor.id),
            membership: Arc::clone(&shared.membership),
            lifecycle: Arc::clone(&shared.lifecycle),
            coordinator: self.endpoints.coordinator.clone(),
            run_queue: Arc::clone(&shared.run_queue),
            errors: self.blueprint.topology.options().errors.clone(),
            has_event_time: self.blueprint.has_time(executor.part),
            faults: self.blueprint.setup.faults.clone(),
            storage: self.endpoints.storage.clone(),
        }
    }

    /// The defect that a test has planted.
    fn checkpoint_defect(&self) -> Option<CheckpointDefect> {
        self.blueprint.setup.faults.as_ref().and_then(|faults| faults.checkpoint_defect())
    }

    /// Builds an executor of this worker that is stepped for itself, with those that are chained behind it.
    fn host(&mut self, executor: &ExecutorPlan) -> HostedExecutor {
        let mut chain = Vec::new();
        let mut at = Some(executor.id);
        while let Some(id) = at {
            let entry = &self.blueprint.plan.executors[id.index()];
            let address = self.endpoints.own(id).clone();
            chain.push(ExecutorEntry { part: Some(entry.part), address });
            at = entry.next;
        }
        let (body, blocking) = match executor.part {
            Part::Acker => (self.acker(executor), false),
            Part::Component(index) => {
                let component = self.blueprint.topology.components()[index].clone();
                let waits = component.options.blocking || component.options.wal;
                let blocking = waits && self.blueprint.setup.dedicated_threads;
                let body = match &component.constructor {
                    Constructor::Spout(factory) => self.spout(executor, &component, index, factory),
                    Constructor::Bolt(factory) => {
                        Executor::Bolt(Box::new(self.bolt(executor, &component, index, factory)))
                    }
                };
                (body, blocking)
            }
        };
        HostedExecutor::new(chain, blocking, body)
    }

    /// Builds the executor that is chained behind one.
    fn next_in_chain(&mut self, executor: &ExecutorPlan) -> Option<Box<BoltExecutor>> {
        let next = self.blueprint.plan.executors[executor.next?.index()].clone();
        let Part::Component(index) = next.part else { return None };
        let component = self.blueprint.topology.components()[index].clone();
        match &component.constructor {
            Constructor::Bolt(factory) => Some(Box::new(self.bolt(&next, &component, index, factory))),
            Constructor::Spout(_) => None,
        }
    }

    fn acker(&mut self, executor: &ExecutorPlan) -> Executor {
        let plan = &self.blueprint.plan;
        let first = plan.executors_of(Part::Acker)[0].id.index();
        let mut spouts = BTreeMap::new();
        for spout in plan.executors.iter().filter(|executor| self.blueprint.is_spout(executor.part)) {
            let address = self.endpoints.address(spout.id);
            spouts.extend(spout.task_ids().map(|task| (task, address.clone())));
        }
        let handles = self.handles(executor);
        Executor::Acker(Box::new(AckerExecutor::new(handles, executor.id.index() - first, spouts)))
    }

    fn spout(
        &mut self,
        executor: &ExecutorPlan,
        component: &Component,
        index: usize,
        factory: &SpoutFactory,
    ) -> Executor {
        let options = self.blueprint.topology.options();
        let limit = component.options.max_spout_pending.unwrap_or(options.max_spout_pending);
        let replay = options.replay;
        let (logs, batch_bytes) =
            (self.blueprint.setup.logs.as_ref(), self.blueprint.queue_shares.batch_bytes);
        let defect = self.checkpoint_defect();
        let logged = LoggedSpouts::of(&self.blueprint.topology, component, logs, batch_bytes, defect);
        let tasks = self.task_parts(executor, component, index).into_iter();
        let tasks = tasks.map(|parts| {
            let factory = logged.as_ref().map_or_else(|| Arc::clone(factory), LoggedSpouts::factory_of_task);
            SpoutTask::new(factory, parts, PendingLimit::new(limit), replay)
        });
        let downstream = self.downstream(index);
        let cycles =
            Cycles { here: self.links.feedback(), elsewhere: Arc::clone(&self.shared.cycles_elsewhere) };
        let latencies = Arc::clone(&self.shared.latencies);
        let tasks = tasks.collect();
        let handles = self.handles(executor);
        let times = event_times(&self.blueprint, &self.links, executor);
        let next = self.next_in_chain(executor);
        let spout = SpoutExecutor::new(handles, tasks, latencies, downstream, cycles, times, next);
        Executor::Spout(Box::new(spout))
    }

    fn bolt(
        &mut self,
        executor: &ExecutorPlan,
        component: &Component,
        index: usize,
        factory: &BoltFactory,
    ) -> BoltExecutor {
        let tick = component.options.tick.or(self.blueprint.topology.options().tick);
        let on_error = self.blueprint.topology.options().on_error_of(&component.options);
        let tasks = self.task_parts(executor, component, index).into_iter();
        let has_checkpoints = self.endpoints.storage.is_some();
        let key_groups = self.blueprint.topology.options().key_groups;
        let memory = self.blueprint.memory_of_state(component);
        let state_backend = Arc::clone(&self.blueprint.setup.state_backend);
        let tasks = tasks.map(|parts| {
            let mut task = BoltTask::new(Arc::clone(factory), parts, tick, on_error);
            if has_checkpoints {
                task.enable_checkpoints(key_groups);
            }
            if let Some(memory) = memory {
                task.state.store.set_backend(Arc::clone(&state_backend), memory);
            }
            task
        });
        let own = self.links.of_producer(executor.id).map(|(_, link)| link);
        let cycle_links = own.filter(|link| link.kind != LinkKind::Acyclic).cloned().collect();
        let tasks = tasks.collect();
        let handles = self.handles(executor);
        let inputs =
            self.endpoints.storage.as_ref().and_then(|_| {
                aligned_inputs(&self.blueprint, &self.links, executor, self.checkpoint_defect())
            });
        let times = event_times(&self.blueprint, &self.links, executor);
        BoltExecutor::new(handles, tasks, cycle_links, inputs, times, self.next_in_chain(executor))
    }

    /// The gauges that decide whether a spout's tree clock stands still: those of all executors downstream,
    /// and those of the connections between workers.
    fn downstream(&self, spout: usize) -> Vec<Arc<Gauges>> {
        let components = self.blueprint.topology.downstream_of(spout);
        let executors =
            components.into_iter().flat_map(|index| self.blueprint.plan.executors_of(Part::Component(index)));
        let executors = executors.map(|executor| Arc::clone(self.endpoints.address(executor.id).gauges()));
        let both = |peer: &PeerWorker| [Arc::clone(&peer.wire), Arc::clone(&peer.wires_there)];
        executors.chain(self.peers.iter().flatten().flat_map(both)).collect()
    }

    /// What each task of an executor begins with.
    fn task_parts(&mut self, executor: &ExecutorPlan, component: &Component, index: usize) -> Vec<TaskParts> {
        let out_links = out_links(executor, &self.endpoints, &self.links);
        let parts = executor.task_ids().zip(0..).map(|(task, local_task)| {
            let context = self.task_context(component, index, task);
            let mut state = self.output_state(component);
            self.add_hooks(component, &mut state);
            let mut wiring = Wiring {
                blueprint: &self.blueprint,
                shared: &self.shared,
                endpoints: &self.endpoints,
                executor,
                out_links: Arc::clone(&out_links),
                random: &mut self.random,
                panics: &mut self.panics,
            };
            let emitter = wiring.emitter(component, index, task, context.logger().clone());
            TaskParts { context, state, emitter, local_task }
        });
        parts.collect()
    }

    fn task_context(&mut self, component: &Component, index: usize, task: TaskId) -> TaskContext {
        let seed = self.random.next_u64();
        let Blueprint { topology, plan, setup, .. } = &self.blueprint;
        let options = topology.options();
        let mut settings = options.settings.clone();
        settings.extend(component.options.settings.clone());
        TaskContext::new(ContextParts {
            topology: topology.name.clone(),
            component: component.id.clone(),
            task,
            task_index: (task.0 - plan.tasks(Part::Component(index)).start) as usize,
            components: Arc::clone(&self.shared.components),
            settings: Arc::new(settings),
            delivery: options.delivery,
            worker: self.shared.worker.clone(),
            metrics: self.shared.metrics.clone(),
            clock: setup.clock.clone(),
            seed,
            recovery: 0,
            states: StateRegistry::default(),
            logger: setup.logger.new(o!("component" => component.id.to_string(), "task" => task.0)),
        })
    }

    fn output_state(&self, component: &Component) -> OutputState {
        let queue = &self.blueprint.topology.options().queue;
        OutputState::new(
            component.id.clone(),
            component.all_streams(),
            self.blueprint.is_tracked(),
            (queue.batch, self.blueprint.queue_shares.batch_bytes),
            usize::try_from(queue.tuple_size_max).unwrap_or(usize::MAX),
        )
    }

    /// Builds the hooks of a task: those of the topology first, then those of the component.
    fn add_hooks(&mut self, component: &Component, state: &mut OutputState) {
        for hook in self.blueprint.topology.hooks.iter().chain(&component.hooks.0) {
            match guarded(|| hook()) {
                Ok(hook) => state.hooks.push(hook),
                Err(panic) => {
                    self.panics.push(format!("{}: the factory of a hook {panic}", component.id));
                }
            }
        }
    }

    /// The executors of this worker, in the order in which the end of the topology needs them.
    fn local_executors(&self) -> LocalExecutors {
        let of = |part: Part| -> Vec<InboxSender> {
            let executors = self.blueprint.plan.executors_of(part).iter();
            executors.filter_map(|executor| self.endpoints.local(executor.id).cloned()).collect()
        };
        let order = self.blueprint.topology.topological_order();
        let of_components = |spouts: bool| {
            let components = self.blueprint.topology.components();
            order.iter().filter(move |index| components[**index].is_spout() == spouts)
        };
        LocalExecutors::new(
            of_components(true).flat_map(|index| of(Part::Component(*index))).collect(),
            of_components(false).map(|index| of(Part::Component(*index))).collect(),
            of(Part::Acker),
            Arc::clone(&self.shared.lifecycle),
            Arc::clone(&self.shared.run_queue),
        )
    }

    /// What the coordinator decides about checkpoints with.
    fn checkpoint_coordinator(
        &self,
        local_executors: &Arc<LocalExecutors>,
        epoch: u64,
    ) -> Option<Box<CheckpointCoordinator>> {
        let storage = self.endpoints.storage.clone()?;
        let Blueprint { topology, plan, setup, .. } = &self.blueprint;
        let parts = Parts::new(topology, plan, 1);
        Some(Box::new(CheckpointCoordinator {
            sequence: CheckpointSequence::new(topology.options().checkpoint_at_pace(), parts, epoch),
            storage,
            executors: Arc::clone(local_executors),
            answers: ExecutorAnswers::of(local_executors.task_executors()),
            recovery: 0,
            lifecycle: Arc::clone(&self.shared.lifecycle),
            counts: Arc::clone(&self.shared.checkpoint_counts),
            savepoints: Arc::clone(&self.shared.savepoints),
            defect: self.checkpoint_defect(),
            logger: setup.logger.clone(),
        }))
    }

    /// Builds the executor that writes checkpoints.
    fn host_storage(&mut self, checkpoints: CheckpointSetup) -> HostedExecutor {
        let tasks = self.blueprint.tasks_of(|executor| self.endpoints.local(executor).is_some());
        let store = match checkpoints {
            CheckpointSetup::Whole { store, .. } => Store::Whole(store),
            CheckpointSetup::Share(store) => Store::Share { store, tasks },
        };
        let StorageSender { inbox: address, queue } =
            self.endpoints.storage.clone().expect("it has an address where there are checkpoints");
        let inbox = self.inboxes.take(address.executor);
        let Blueprint { topology, plan, .. } = &self.blueprint;
        let key_groups = topology.options().key_groups;
        let counts = TaskCounts { counts: Parts::new(topology, plan, 1).counts(), key_groups };
        let storage = StorageExecutor::new(
            inbox,
            self.endpoints.coordinator.clone(),
            (store, counts),
            queue,
            self.blueprint.setup.logger.clone(),
        );
        let body = Executor::Storage(Box::new(storage));
        let blocking = self.blueprint.setup.dedicated_threads;
        HostedExecutor::new(vec![ExecutorEntry { part: None, address }], blocking, body)
    }

    fn host_coordinator(
        &mut self,
        local_executors: &Arc<LocalExecutors>,
        epoch: Option<u64>,
    ) -> HostedExecutor {
        let address = self.endpoints.coordinator.clone();
        let (inbox, lifecycle) = (self.inboxes.take(address.executor), Arc::clone(&self.shared.lifecycle));
        let local_executors = Arc::clone(local_executors);
        let coordinator = match self.blueprint.share() {
            None => {
                let drain_timeout = self.blueprint.topology.options().drain_timeout;
                let ending = EndSequence::new(local_executors.bolts.len(), drain_timeout);
                let checkpoints =
                    epoch.and_then(|epoch| self.checkpoint_coordinator(&local_executors, epoch));
                EndCoordinator::alone(inbox, lifecycle, local_executors, ending, checkpoints)
            }
            Some(share) => {
                let storage = self.endpoints.storage.clone();
                let checkpoints = storage
                    .map(|storage| Box::new(WorkerCheckpoints::new(storage, Arc::clone(&local_executors))));
                let master = Arc::clone(&share.master);
                EndCoordinator::reporting(inbox, lifecycle, local_executors, master, checkpoints)
            }
        };
        let body = Executor::Coordinator(Box::new(coordinator));
        HostedExecutor::new(vec![ExecutorEntry { part: None, address }], false, body)
    }
}
