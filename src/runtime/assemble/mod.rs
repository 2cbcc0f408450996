//! From a validated topology to a worker full of executors, none of which runs yet.
//!
//! Everything an executor will ever talk to exists before the executor does: run queue and inboxes
//! first, then links, then tasks. So no executor is changed after it was made.
//!
//! One file, because the order of construction is all there is to it: each part is handed what was
//! built before, and can be read from top to bottom.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};

use hdrhistogram::Histogram;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use slog::{Logger, o};
use smol_str::SmolStr;

use crate::api::{
    ComponentInfo, ContextParts, InputInfo, OutputState, SourceMeta, StreamDeclaration, TaskContext,
    WorkerContext, WorkerParts, WorkerResources,
};
use crate::clock::{Clock, Time};
use crate::config::Delivery;
use crate::ids::{Incarnation, LinkId, TaskId, WorkerId};
use crate::logging::panics::guarded;
use crate::metrics::MetricsRegistry;
use crate::runtime::acking::ack_buffer::{AckBuffer, AckerTable};
use crate::runtime::acking::pending::{Pending, ReplayLimit};
use crate::runtime::acking::pending_limit::Window;
use crate::runtime::audit::Audit;
use crate::runtime::ending::Ending;
use crate::runtime::errors::{ErrorReporter, Throttle};
use crate::runtime::executor::Executor;
use crate::runtime::executor::acker::AckerExecutor;
use crate::runtime::executor::bolt::BoltExecutor;
use crate::runtime::executor::bolt_task::BoltTask;
use crate::runtime::executor::coordinator::Coordinator;
use crate::runtime::executor::local_executors::{Subordinates, Superior};
use crate::runtime::executor::spout::{Cycles, SpoutExecutor};
use crate::runtime::executor::spout_task::{Latencies, SpoutTask};
use crate::runtime::executor::step::Common;
use crate::runtime::faults::Faults;
use crate::runtime::flow::charge::Charge;
use crate::runtime::flow::credit_returns::CreditReturns;
use crate::runtime::flow::gauges::Gauges;
use crate::runtime::flow::inbox::{Inbox, InboxSender, inbox};
use crate::runtime::flow::link::{Link, LinkKind};
use crate::runtime::flow::outlet::Outlet;
use crate::runtime::flow::run_queue::RunQueue;
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::process::Process;
use crate::runtime::remote::address::{Address, RemoteExecutor};
use crate::runtime::remote::cycles_elsewhere::CyclesElsewhere;
use crate::runtime::remote::ingress::{Ingress, LinkEnds, PeerWorker, Place};
use crate::runtime::routing::emitter::{Emitter, StreamOut};
use crate::runtime::routing::grouping::{
    Chooser, CustomChooser, KeyGroups, PartialKey, Shuffle, TupleChooser,
};
use crate::runtime::routing::outgoing::{Peer, Wires};
use crate::runtime::routing::subscription::Subscription;
use crate::runtime::routing::target::Target;
use crate::runtime::worker::{Slot, Worker};
use crate::topology::assignment::{Assignment, ackers_for};
use crate::topology::graph::{Component, Constructor, Grouping, InputSpec, Topology};
use crate::topology::plan::{ACKER_COMPONENT, ExecutorId, ExecutorPlan, Part, Plan};
use crate::topology::queue_shares::{QueueShares, queue_places};
use crate::tuple::{BatchLimits, Fields};

/// What a worker is made with beside its topology.
pub struct Surroundings {
    /// The time.
    pub clock: Clock,
    /// What all randomness comes from; `None`: the operating system.
    pub seed: Option<u64>,
    /// Where everything logs.
    pub logger: Logger,
    /// Objects that tasks share.
    pub resources: WorkerResources,
    /// The name of the machine.
    pub host: SmolStr,
    /// Interference, in tests only.
    pub faults: Option<Arc<dyn Faults>>,
    /// The witness of the ackers, in simulations only.
    pub audit: Option<Arc<Audit>>,
    /// Whether blocking components get threads of their own.
    pub dedicated_threads: bool,
    /// Which part of the topology runs here; `None`: all of it.
    pub share: Option<Share>,
}

/// A worker's part in a topology that runs in several.
pub struct Share {
    /// Which worker it is.
    pub worker: WorkerId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// All executors of the topology.
    pub plan: Plan,
    /// Where they run.
    pub assignment: Assignment,
    /// The ways to the other workers, by their ids.
    pub outlets: Vec<Option<Arc<dyn Outlet>>>,
    /// Who decides about the end.
    pub superior: Arc<dyn Superior>,
    /// The membership at the start.
    pub membership: u64,
}

type LinkKey = (ExecutorId, ExecutorId, bool);

struct Assembly {
    topology: Topology,
    plan: Plan,
    around: Surroundings,
    random: StdRng,
    run_queue: Arc<RunQueue>,
    lifecycle: Arc<Lifecycle>,
    outstanding: Arc<AtomicI64>,
    /// All executors, wherever they are; the coordinator here is not among them.
    addresses: Vec<Address>,
    coordinator: InboxSender,
    /// Of the executors here, and of the coordinator, which comes last.
    inboxes: Vec<Option<Inbox>>,
    /// All links of the topology, with their halves that are here.
    links: BTreeMap<LinkKey, (LinkId, Option<Arc<Link>>)>,
    acker_table: Arc<AckerTable>,
    membership: Arc<AtomicU64>,
    cycles_full: Arc<CyclesElsewhere>,
    peers: Vec<Option<PeerWorker>>,
    shares: QueueShares,
    components: Arc<Vec<ComponentInfo>>,
    worker: WorkerContext,
    throttles: Vec<Arc<Throttle>>,
    latencies: Latencies,
    metrics: MetricsRegistry,
    /// What of the user's code panicked as it was called here.
    panics: Vec<String>,
}

/// Builds the worker that runs a topology or its share of it; with a share, also what takes in what
/// the others send.
///
/// # Errors
/// When code of the user's that is called here panics: factories of hooks and groupings, and `prepare`
/// of groupings. Each is named with its component.
pub fn assemble(
    topology: Topology,
    around: Surroundings,
) -> Result<(Worker, Option<Ingress>), AssembleError> {
    let mut assembly = Assembly::new(topology, around);
    let executors = assembly.plan.executors.clone();
    let mut slots: Vec<Option<Slot>> = executors
        .iter()
        .map(|executor| assembly.is_here(executor.id).then(|| assembly.slot(executor)))
        .collect();
    let subordinates = Arc::new(assembly.subordinates());
    slots.push(Some(assembly.coordinator_slot(&subordinates)));
    let ingress = assembly.ingress();
    if !assembly.panics.is_empty() {
        return Err(AssembleError { panics: assembly.panics });
    }
    let Assembly { topology, around, run_queue, lifecycle, components, latencies, metrics, worker, .. } =
        assembly;
    let Surroundings { clock, logger, .. } = around;
    let worker = Worker {
        topology,
        components,
        slots,
        run_queue,
        clock,
        lifecycle,
        latencies,
        metrics,
        logger,
        subordinates,
        process: Process::new(worker),
    };
    Ok((worker, ingress))
}

/// Code of the user's panicked before anything ran.
#[derive(Debug, thiserror::Error)]
#[error("{}", panics.join("; "))]
pub struct AssembleError {
    /// What panicked, in which component, and what it said.
    panics: Vec<String>,
}

impl Assembly {
    fn new(topology: Topology, around: Surroundings) -> Assembly {
        let plan = around.share.as_ref().map_or_else(|| Plan::local(&topology), |share| share.plan.clone());
        let random = match around.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut SysRng).expect("the operating system has randomness"),
        };
        let run_queue = Arc::new(RunQueue::new(plan.executors.len() + 1));
        let mut addresses = Vec::new();
        let mut inboxes = Vec::new();
        for executor in &plan.executors {
            let name = SmolStr::new(part_name(&topology, executor.part));
            let address = match around.share.as_ref().and_then(|share| share.elsewhere(executor.id)) {
                Some((worker, outlet)) => {
                    inboxes.push(None);
                    let gauges = Arc::new(Gauges::new());
                    let remote =
                        RemoteExecutor { executor: executor.id, worker, component: name, gauges, outlet };
                    Address::There(Arc::new(remote))
                }
                None => {
                    let (address, inbox) = inbox(executor.id, name, &run_queue);
                    inboxes.push(Some(inbox));
                    Address::Here(address)
                }
            };
            addresses.push(address);
        }
        let coordinator_id = ExecutorId(plan.executors.len() as u32);
        let (coordinator, its_inbox) = inbox(coordinator_id, SmolStr::new("__coordinator"), &run_queue);
        inboxes.push(Some(its_inbox));
        let lifecycle = Arc::new(Lifecycle::default());
        let errors = &topology.options().errors;
        let throttle = || Arc::new(Throttle::new(errors.limit, errors.interval));
        let membership = around.share.as_ref().map_or(0, |share| share.membership);
        let peers = peers(around.share.as_ref());
        let mut assembly = Assembly {
            components: Arc::new(component_infos(&topology, &plan)),
            worker: worker_context(&topology, &around),
            throttles: topology.components().iter().map(|_| throttle()).collect(),
            links: BTreeMap::new(),
            outstanding: Arc::clone(&lifecycle.outstanding),
            latencies: Arc::new(Mutex::new(Histogram::new(3).expect("three digits are in range"))),
            metrics: MetricsRegistry::default(),
            panics: Vec::new(),
            acker_table: Arc::new(acker_table(&topology, &plan, around.share.as_ref())),
            membership: Arc::new(AtomicU64::new(membership)),
            cycles_full: Arc::new(CyclesElsewhere::new(peers.len())),
            peers,
            shares: queue_places(&topology).shares(topology.options().queue.memory),
            topology,
            plan,
            around,
            random,
            run_queue,
            lifecycle,
            addresses,
            coordinator,
            inboxes,
        };
        assembly.make_links();
        assembly
    }

    /// Whether an executor runs in this process.
    fn is_here(&self, id: ExecutorId) -> bool {
        matches!(self.addresses[id.index()], Address::Here(_))
    }

    /// The inbox of an executor of this process.
    fn own(&self, id: ExecutorId) -> &InboxSender {
        match &self.addresses[id.index()] {
            Address::Here(inbox) => inbox,
            Address::There(_) => unreachable!("only executors of this process are made"),
        }
    }

    /// One link for each ordered pair of executors between which tuples may pass, numbered alike in
    /// every worker. Each has its share of the worker's memory (see `topology::queue_shares`).
    fn make_links(&mut self) {
        let mut keys: Vec<LinkKey> = Vec::new();
        for (target, component) in self.topology.components().iter().enumerate() {
            for input in &component.inputs {
                let source = component_index(&self.topology, &input.component);
                for from in self.plan.executors_of(Part::Component(source)) {
                    for to in self.plan.executors_of(Part::Component(target)) {
                        keys.push((from.id, to.id, input.feedback));
                    }
                }
            }
        }
        keys.sort();
        keys.dedup();
        let queue = &self.topology.options().queue;
        let tuples = queue.capacity.max(queue.batch) as usize;
        let max = Charge { tuples, bytes: self.shares.link_bytes };
        let cycles = self.topology.cycle_edges();
        for (id, key) in keys.into_iter().enumerate() {
            let (id, (from, to, feedback)) = (LinkId(id as u32), key);
            let kind = match (self.plan.executors[from.index()].part, self.plan.executors[to.index()].part) {
                _ if feedback => LinkKind::Feedback,
                (Part::Component(from), Part::Component(to)) if cycles.contains(&(from, to)) => {
                    LinkKind::Round
                }
                _ => LinkKind::Straight,
            };
            let half = match (&self.addresses[from.index()], &self.addresses[to.index()]) {
                (Address::Here(_), Address::Here(_)) => Some(Link::new(id, from, max, kind)),
                (Address::Here(_), Address::There(_)) => Some(Link::to_afar(id, from, max, kind)),
                (Address::There(remote), Address::Here(_)) => {
                    let peer = self.peers[remote.worker.index()].as_ref().expect("it has an executor");
                    Some(Link::from_afar(id, from, max, kind, Arc::clone(&peer.returns)))
                }
                (Address::There(_), Address::There(_)) => None,
            };
            self.links.insert(key, (id, half.map(Arc::new)));
        }
    }

    /// What takes in what other workers send, if there are any.
    fn ingress(&mut self) -> Option<Ingress> {
        let share = self.around.share.as_ref()?;
        let acker_executors = self.plan.executors_of(Part::Acker);
        let first_acker = acker_executors.first().map_or(0, |acker| acker.id.index());
        let place = |executor: &ExecutorPlan| {
            let (inbox, remote) = match &self.addresses[executor.id.index()] {
                Address::Here(inbox) => (Some(inbox.clone()), None),
                Address::There(remote) => (None, Some(Arc::clone(remote))),
            };
            Place {
                worker: share.assignment.worker_of(executor.id),
                tasks: executor.tasks.clone(),
                inbox,
                remote,
                is_spout: self.is_spout(executor.part),
                acker: (executor.part == Part::Acker).then(|| executor.id.index() - first_acker),
            }
        };
        let ends = |(key, (_, half)): (&LinkKey, &(LinkId, Option<Arc<Link>>))| LinkEnds {
            producer: key.0,
            consumer: key.1,
            feedback: key.2,
            link: half.clone(),
        };
        let metas = (1..=self.plan.task_count()).map(|task| self.metas_of(TaskId(task))).collect();
        Some(Ingress {
            me: share.worker,
            places: self.plan.executors.iter().map(place).collect(),
            links: self.links.iter().map(ends).collect(),
            metas,
            peers: std::mem::take(&mut self.peers),
            membership: Arc::clone(&self.membership),
            cycles_full: Arc::clone(&self.cycles_full),
            lifecycle: Arc::clone(&self.lifecycle),
            run_queue: Arc::clone(&self.run_queue),
            coordinator: self.coordinator.clone(),
        })
    }

    /// What receivers are told of the streams of a task.
    fn metas_of(&self, task: TaskId) -> Vec<Arc<SourceMeta>> {
        let Some(Part::Component(index)) = self.plan.part_of(task) else { return Vec::new() };
        let component = &self.topology.components()[index];
        let streams = component.all_streams();
        let meta =
            |(at, stream): (usize, &StreamDeclaration)| Arc::new(source_meta(component, at, stream, task));
        streams.iter().enumerate().map(meta).collect()
    }

    fn is_spout(&self, part: Part) -> bool {
        matches!(part, Part::Component(index) if self.topology.components()[index].is_spout())
    }

    fn take_inbox(&mut self, id: ExecutorId) -> Inbox {
        self.inboxes[id.index()].take().expect("each executor is made once")
    }

    fn common(&mut self, id: ExecutorId) -> Common {
        Common {
            address: self.own(id).clone(),
            inbox: self.take_inbox(id),
            membership: Arc::clone(&self.membership),
            lifecycle: Arc::clone(&self.lifecycle),
            coordinator: self.coordinator.clone(),
            run_queue: Arc::clone(&self.run_queue),
            errors: self.topology.options().errors.clone(),
            faults: self.around.faults.clone(),
        }
    }

    fn slot(&mut self, executor: &ExecutorPlan) -> Slot {
        let address = self.own(executor.id).clone();
        let name = address.component.clone();
        let (body, blocking) = match executor.part {
            Part::Acker => (self.acker(executor), false),
            Part::Component(index) => {
                let blocking =
                    self.topology.components()[index].options.blocking && self.around.dedicated_threads;
                (self.user_executor(executor, index), blocking)
            }
        };
        Slot::new(name, Some(executor.part), blocking, address, body)
    }

    fn acker(&mut self, executor: &ExecutorPlan) -> Executor {
        let first = self.plan.executors_of(Part::Acker)[0].id.index();
        let mut spouts = BTreeMap::new();
        for (index, component) in self.topology.components().iter().enumerate() {
            for spout in
                self.plan.executors_of(Part::Component(index)).iter().filter(|_| component.is_spout())
            {
                spouts.extend(spout.task_ids().map(|task| (task, self.addresses[spout.id.index()].clone())));
            }
        }
        let common = self.common(executor.id);
        Executor::Acker(Box::new(AckerExecutor::new(common, executor.id.index() - first, spouts)))
    }

    fn user_executor(&mut self, executor: &ExecutorPlan, index: usize) -> Executor {
        let component = self.topology.components()[index].clone();
        let tasks: Vec<TaskId> = executor.task_ids().collect();
        match &component.constructor {
            Constructor::Spout(factory) => {
                let tasks = tasks
                    .into_iter()
                    .map(|task| {
                        let (context, state, emitter) = self.task_parts(&component, index, executor, task);
                        let options = self.topology.options();
                        let window = component.options.max_spout_pending.unwrap_or(options.max_spout_pending);
                        let factory = Arc::clone(factory);
                        SpoutTask::new(factory, context, state, emitter, Window::new(window), options.replay)
                    })
                    .collect();
                let downstream = self.downstream(index);
                let own = self.links.values().filter_map(|(_, half)| half.as_ref());
                let feedback = own.filter(|link| link.kind == LinkKind::Feedback).cloned().collect();
                let cycles = Cycles { here: feedback, elsewhere: Arc::clone(&self.cycles_full) };
                let latencies = Arc::clone(&self.latencies);
                let common = self.common(executor.id);
                Executor::Spout(Box::new(SpoutExecutor::new(common, tasks, latencies, downstream, cycles)))
            }
            Constructor::Bolt(factory) => {
                let tasks = tasks
                    .into_iter()
                    .map(|task| {
                        let (context, state, emitter) = self.task_parts(&component, index, executor, task);
                        let tick = component.options.tick.or(self.topology.options().tick);
                        BoltTask::new(Arc::clone(factory), context, state, emitter, tick)
                    })
                    .collect();
                let halves = self.links.range((executor.id, ExecutorId(0), false)..);
                let own = halves.take_while(|((from, ..), _)| *from == executor.id);
                let own = own.filter_map(|(_, (_, half))| half.as_ref());
                let round = own.filter(|link| link.kind != LinkKind::Straight).cloned().collect();
                Executor::Bolt(Box::new(BoltExecutor::new(self.common(executor.id), tasks, round)))
            }
        }
    }

    /// What the executors downstream of a spout show of themselves, and the wires to other workers.
    fn downstream(&self, spout: usize) -> Vec<Arc<Gauges>> {
        let components = self.topology.downstream_of(spout);
        let executors =
            components.into_iter().flat_map(|index| self.plan.executors_of(Part::Component(index)));
        let executors = executors.map(|executor| Arc::clone(self.addresses[executor.id.index()].gauges()));
        let both = |peer: &PeerWorker| [Arc::clone(&peer.wire), Arc::clone(&peer.wires_there)];
        let wires = self.peers.iter().flatten().flat_map(both);
        executors.chain(wires).collect()
    }

    fn task_parts(
        &mut self,
        component: &Component,
        index: usize,
        executor: &ExecutorPlan,
        task: TaskId,
    ) -> (TaskContext, OutputState, Emitter) {
        let options = self.topology.options().clone();
        let seed = self.random.next_u64();
        let logger = self.around.logger.new(o!("component" => component.id.to_string(), "task" => task.0));
        let first_task = self.plan.tasks(Part::Component(index)).start;
        let mut settings = options.settings.clone();
        settings.extend(component.options.settings.clone());
        let context = TaskContext::new(ContextParts {
            topology: self.topology.name.clone(),
            component: component.id.clone(),
            task,
            task_index: (task.0 - first_task) as usize,
            components: Arc::clone(&self.components),
            settings: Arc::new(settings),
            delivery: options.delivery,
            worker: self.worker.clone(),
            metrics: self.metrics.clone(),
            clock: self.around.clock.clone(),
            seed,
            logger: logger.clone(),
        });
        let tracked = options.delivery == Delivery::AtLeastOnce;
        let size_max = usize::try_from(options.queue.tuple_size_max).unwrap_or(usize::MAX);
        let mut state = OutputState::new(
            component.id.clone(),
            component.all_streams(),
            tracked,
            (options.queue.batch, self.shares.batch_bytes),
            size_max,
        );
        for hook in self.topology.hooks.iter().chain(&component.hooks.0) {
            match guarded(|| hook()) {
                Ok(hook) => state.hooks.push(hook),
                Err(panic) => {
                    self.panics.push(format!("{}: the factory of a hook {panic}", component.id));
                }
            }
        }
        let emitter = self.emitter(component, index, executor, task, logger);
        (context, state, emitter)
    }

    fn emitter(
        &mut self,
        component: &Component,
        index: usize,
        executor: &ExecutorPlan,
        task: TaskId,
        logger: Logger,
    ) -> Emitter {
        let options = self.topology.options().clone();
        let tracked = options.delivery == Delivery::AtLeastOnce;
        let mut wires = Wires {
            peers: Vec::new(),
            acks: AckBuffer::default(),
            membership: 0,
            rng: StdRng::seed_from_u64(self.random.next_u64()),
            now: Time::ZERO,
            stalled: false,
            transferred: 0,
            unanchored: 0,
            faults: Vec::new(),
            outstanding: Arc::clone(&self.outstanding),
            audit: self.around.audit.clone(),
        };
        let mut streams = Vec::new();
        for (at, stream) in component.all_streams().into_iter().enumerate() {
            let meta = source_meta(component, at, &stream, task);
            let mut subscriptions = Vec::new();
            for (target, subscriber) in self.topology.clone().components().iter().enumerate() {
                let takes =
                    |input: &&InputSpec| input.component == component.id && input.stream == stream.name;
                for input in subscriber.inputs.iter().filter(takes) {
                    subscriptions.push(self.subscription(input, &meta, target, executor, &mut wires));
                }
            }
            streams.push(StreamOut { meta: Arc::new(meta), subscriptions });
        }
        let ackers = if tracked {
            let ackers = self.plan.executors_of(Part::Acker);
            ackers.iter().map(|acker| self.addresses[acker.id.index()].clone()).collect()
        } else {
            Vec::new()
        };
        let incarnation =
            self.around.share.as_ref().map_or(Incarnation::default(), |share| share.incarnation);
        let pending = (tracked && component.is_spout()).then(|| {
            Pending::new(task, options.message_timeout, incarnation, ReplayLimit::new(options.max_replays))
        });
        Emitter {
            streams,
            wires,
            ackers,
            acker_table: Arc::clone(&self.acker_table),
            pending,
            untracked: Vec::new(),
            errors: ErrorReporter {
                component: component.id.clone(),
                task,
                logger,
                throttle: Arc::clone(&self.throttles[index]),
                gauges: Arc::clone(&self.own(executor.id).gauges),
                lifecycle: Arc::clone(&self.lifecycle),
                coordinator: self.coordinator.clone(),
            },
            coordinator: self.coordinator.clone(),
            tree_now: Time::ZERO,
            failed_now: 0,
            acked_later: 0,
            failed_later: 0,
            unanchored_now: 0,
            max_replays: component.options.max_replays,
        }
    }

    fn subscription(
        &mut self,
        input: &InputSpec,
        meta: &SourceMeta,
        target: usize,
        executor: &ExecutorPlan,
        wires: &mut Wires,
    ) -> Subscription {
        let mut targets = Vec::new();
        for to in self.plan.executors_of(Part::Component(target)) {
            let (_, half) = &self.links[&(executor.id, to.id, input.feedback)];
            let link = Arc::clone(half.as_ref().expect("the producer is here"));
            let address = &self.addresses[to.id.index()];
            let peer = peer_for(wires, address, link);
            let arity = meta.fields.len();
            let full_at =
                BatchLimits::new(self.topology.options().queue.batch, self.shares.batch_bytes, arity);
            let target =
                |(local, task)| Target::new((task, local as u32), peer, address.touched(), arity, full_at);
            targets.extend(to.task_ids().enumerate().map(target));
        }
        if matches!(input.grouping, Grouping::LocalOrShuffle) && targets.iter().any(Target::is_here) {
            targets.retain(Target::is_here);
        }
        let chooser = self.chooser(input, meta, target, &targets);
        Subscription::new(chooser, targets, self.topology.options().load_aware)
    }

    fn chooser(
        &mut self,
        input: &InputSpec,
        meta: &SourceMeta,
        target: usize,
        targets: &[Target],
    ) -> Chooser {
        let positions = |fields: &Fields| -> Vec<usize> {
            let position = |field: &SmolStr| meta.fields.position(field);
            fields.iter().map(|field| position(field).expect("validation checked the fields")).collect()
        };
        let seed = self.random.next_u64();
        let single = targets.len() == 1;
        let each = match &input.grouping {
            Grouping::Direct => TupleChooser::Direct,
            Grouping::Custom(name, factory) => {
                let targets: Vec<TaskId> = targets.iter().map(|target| target.task).collect();
                let context = crate::api::GroupingContext {
                    source: meta.component.clone(),
                    stream: meta.stream.clone(),
                    fields: meta.fields.clone(),
                    target: self.topology.components()[target].id.clone(),
                    task: meta.task,
                };
                let prepared = guarded(|| {
                    let mut grouping = factory();
                    grouping.prepare(&context, &targets);
                    grouping
                });
                match prepared {
                    Ok(grouping) => TupleChooser::Custom(CustomChooser::new(grouping, targets)),
                    Err(panic) => {
                        let target = &context.target;
                        self.panics.push(format!("{target}: preparing its grouping `{name}` {panic}"));
                        return Chooser::First;
                    }
                }
            }
            _ if single => return Chooser::First,
            Grouping::Shuffle | Grouping::LocalOrShuffle => {
                TupleChooser::Shuffle(Shuffle::new(targets.len(), seed))
            }
            Grouping::Fields(fields) => {
                let groups = self.topology.options().key_groups;
                TupleChooser::Fields(KeyGroups::new(positions(fields), groups, targets.len()))
            }
            Grouping::PartialKey(fields) => {
                TupleChooser::PartialKey(PartialKey::new(positions(fields), targets.len()))
            }
            Grouping::All => return Chooser::All,
            Grouping::Global => return Chooser::First,
            Grouping::None => TupleChooser::Random(Box::new(StdRng::seed_from_u64(seed))),
        };
        Chooser::Each(each)
    }

    /// The executors here, as the end of the topology is told to them.
    fn subordinates(&self) -> Subordinates {
        let of = |part: Part| -> Vec<InboxSender> {
            let own = self.plan.executors_of(part).iter();
            own.filter(|executor| self.is_here(executor.id))
                .map(|executor| self.own(executor.id).clone())
                .collect()
        };
        let order = self.topology.topological_order();
        let of_components = |spouts: bool| {
            let components = self.topology.components();
            order.iter().filter(move |index| components[**index].is_spout() == spouts)
        };
        Subordinates::new(
            of_components(true).flat_map(|index| of(Part::Component(*index))).collect(),
            of_components(false).map(|index| of(Part::Component(*index))).collect(),
            of(Part::Acker),
            Arc::clone(&self.lifecycle),
            Arc::clone(&self.run_queue),
        )
    }

    fn coordinator_slot(&mut self, subordinates: &Arc<Subordinates>) -> Slot {
        let address = self.coordinator.clone();
        let (inbox, lifecycle) = (self.take_inbox(address.executor), Arc::clone(&self.lifecycle));
        let subordinates = Arc::clone(subordinates);
        let coordinator = match &self.around.share {
            None => {
                let ending = Ending::new(subordinates.bolts.len(), self.topology.options().drain_timeout);
                Coordinator::alone(inbox, lifecycle, subordinates, ending)
            }
            Some(share) => {
                Coordinator::reporting(inbox, lifecycle, subordinates, Arc::clone(&share.superior))
            }
        };
        let body = Executor::Coordinator(Box::new(coordinator));
        Slot::new(address.component.clone(), None, false, address, body)
    }
}

impl Share {
    /// The worker of an executor and the way there, unless it runs in this one.
    fn elsewhere(&self, executor: ExecutorId) -> Option<(WorkerId, Arc<dyn Outlet>)> {
        let worker = self.assignment.worker_of(executor);
        (worker != self.worker).then(|| (worker, self.outlet(worker)))
    }

    fn outlet(&self, worker: WorkerId) -> Arc<dyn Outlet> {
        let outlet = self.outlets.get(worker.index()).and_then(Option::as_ref);
        Arc::clone(outlet.expect("there is a way to every worker with executors"))
    }
}

/// Who the process is, for user code.
fn worker_context(topology: &Topology, around: &Surroundings) -> WorkerContext {
    let share = around.share.as_ref();
    WorkerContext::new(WorkerParts {
        topology: topology.name.clone(),
        worker: share.map_or(WorkerId::default(), |share| share.worker),
        incarnation: share.map_or(Incarnation::default(), |share| share.incarnation),
        workers: share.map_or(1, |share| share.outlets.len()),
        host: around.host.clone(),
        address: OnceLock::new(),
        settings: topology.options().settings.clone(),
        resources: around.resources.clone(),
        logger: around.logger.clone(),
    })
}

/// The other workers that have executors.
fn peers(share: Option<&Share>) -> Vec<Option<PeerWorker>> {
    let Some(share) = share else { return Vec::new() };
    let peer = |outlet: &Option<Arc<dyn Outlet>>| {
        outlet.as_ref().map(|outlet| PeerWorker {
            outlet: Arc::clone(outlet),
            returns: Arc::new(CreditReturns::new(Arc::clone(outlet))),
            wire: Arc::new(Gauges::new()),
            wires_there: Arc::new(Gauges::new()),
        })
    };
    share.outlets.iter().map(peer).collect()
}

/// Which ackers each spout task uses.
fn acker_table(topology: &Topology, plan: &Plan, share: Option<&Share>) -> AckerTable {
    let count = plan.executors_of(Part::Acker).len();
    let mut by_task = BTreeMap::new();
    for (index, _) in topology.components().iter().enumerate().filter(|(_, component)| component.is_spout()) {
        for executor in plan.executors_of(Part::Component(index)).iter().filter(|_| count > 0) {
            let ackers: Box<[usize]> = match share {
                None => (0..count).collect(),
                Some(share) => ackers_for(plan, &share.assignment, executor.id).into(),
            };
            by_task.extend(executor.task_ids().map(|task| (task, ackers.clone())));
        }
    }
    AckerTable::new(count, by_task)
}

/// What receivers are told of a task's stream.
fn source_meta(component: &Component, at: usize, stream: &StreamDeclaration, task: TaskId) -> SourceMeta {
    SourceMeta {
        component: component.id.clone(),
        stream: stream.name.clone(),
        stream_index: u16::try_from(at).expect("a component has fewer streams"),
        task,
        fields: stream.fields.clone(),
    }
}

fn part_name(topology: &Topology, part: Part) -> &str {
    match part {
        Part::Component(index) => &topology.components()[index].id,
        Part::Acker => ACKER_COMPONENT,
    }
}

fn component_index(topology: &Topology, id: &str) -> usize {
    let position = topology.components().iter().position(|component| component.id == id);
    position.expect("validation checked the inputs")
}

fn component_infos(topology: &Topology, plan: &Plan) -> Vec<ComponentInfo> {
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

/// The place of an executor among a task's peers; added if it is not there.
fn peer_for(wires: &mut Wires, address: &Address, link: Arc<Link>) -> usize {
    let known = wires.peers.iter().position(|peer| Arc::ptr_eq(&peer.link, &link));
    known.unwrap_or_else(|| {
        wires.peers.push(Peer { address: address.clone(), link });
        wires.peers.len() - 1
    })
}
