//! From a validated topology to a worker full of executors, none of which runs yet.
//!
//! Everything an executor will ever talk to exists before the executor does: run queue and inboxes
//! first, then links, then tasks. So no executor is changed after it was made.
//!
//! One file, because the order of construction is all there is to it: each part is handed what was
//! built before, and can be read from top to bottom.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use slog::{Logger, o};
use smol_str::SmolStr;

use crate::api::{
    ComponentInfo, ContextParts, InputInfo, OutputState, SourceMeta, TaskContext, WorkerResources,
};
use crate::clock::{Clock, Time};
use crate::config::Delivery;
use crate::ids::TaskId;
use crate::metrics::MetricsRegistry;
use crate::runtime::ack_buffer::AckBuffer;
use crate::runtime::audit::Audit;
use crate::runtime::coordinator::{Coordinator, Subordinates};
use crate::runtime::emitter::{Emitter, StreamOut};
use crate::runtime::ending::Ending;
use crate::runtime::errors::{ErrorReporter, Throttle};
use crate::runtime::executor::acker::AckerExecutor;
use crate::runtime::executor::bolt::{BoltExecutor, BoltTask};
use crate::runtime::executor::spout::{Latencies, SpoutExecutor, SpoutTask};
use crate::runtime::executor::{Common, Executor, Faults};
use crate::runtime::grouping::{Chooser, CustomChooser, KeyGroups, PartialKey, Shuffle};
use crate::runtime::lifecycle::Lifecycle;
use crate::runtime::link::Link;
use crate::runtime::pending::Pending;
use crate::runtime::queue::{Inbox, InboxSender, inbox};
use crate::runtime::route::{Peer, Subscription, Target, Wires};
use crate::runtime::run_queue::RunQueue;
use crate::runtime::window::Window;
use crate::runtime::worker::{Slot, Worker};
use crate::topology::graph::{Component, Constructor, Grouping, InputSpec, Topology};
use crate::topology::plan::{ACKER_COMPONENT, ExecutorId, ExecutorPlan, Part, Plan};
use crate::tuple::Fields;

/// No link has less credit than this, however many share the worker's memory.
const LINK_BYTES_MIN: u64 = 64 << 10;

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
    /// Interference, in tests only.
    pub faults: Option<Arc<dyn Faults>>,
    /// The witness of the ackers, in simulations only.
    pub audit: Option<Arc<Audit>>,
    /// Whether blocking components get threads of their own.
    pub dedicated_threads: bool,
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
    addresses: Vec<InboxSender>,
    inboxes: Vec<Option<Inbox>>,
    links: BTreeMap<LinkKey, Arc<Link>>,
    components: Arc<Vec<ComponentInfo>>,
    throttles: Vec<Arc<Throttle>>,
    latencies: Latencies,
    metrics: MetricsRegistry,
}

/// Builds the worker that runs all of a topology.
pub fn assemble(topology: Topology, around: Surroundings) -> Worker {
    let mut assembly = Assembly::new(topology, around);
    let executors = assembly.plan.executors.clone();
    let mut slots: Vec<Slot> = executors.iter().map(|executor| assembly.slot(executor)).collect();
    slots.push(assembly.coordinator_slot(&executors));
    let Assembly { topology, around, run_queue, lifecycle, components, latencies, metrics, .. } = assembly;
    let Surroundings { clock, logger, .. } = around;
    Worker { topology, components, slots, run_queue, clock, lifecycle, latencies, metrics, logger }
}

impl Assembly {
    fn new(topology: Topology, around: Surroundings) -> Assembly {
        let plan = Plan::local(&topology);
        let random = match around.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut SysRng).expect("the operating system has randomness"),
        };
        let run_queue = Arc::new(RunQueue::new(plan.executors.len() + 1));
        let mut addresses = Vec::new();
        let mut inboxes = Vec::new();
        for id in 0..=plan.executors.len() {
            let name = plan
                .executors
                .get(id)
                .map_or("__coordinator", |executor| part_name(&topology, executor.part));
            let (address, inbox) = inbox(ExecutorId(id as u32), SmolStr::new(name), &run_queue);
            addresses.push(address);
            inboxes.push(Some(inbox));
        }
        let lifecycle = Arc::new(Lifecycle::default());
        let errors = &topology.options().errors;
        let throttle = || Arc::new(Throttle::new(errors.limit, errors.interval));
        let mut assembly = Assembly {
            components: Arc::new(component_infos(&topology, &plan)),
            throttles: topology.components().iter().map(|_| throttle()).collect(),
            links: BTreeMap::new(),
            outstanding: Arc::clone(&lifecycle.outstanding),
            latencies: Arc::new(Mutex::new(Histogram::new(3).expect("three digits are in range"))),
            metrics: MetricsRegistry::default(),
            topology,
            plan,
            around,
            random,
            run_queue,
            lifecycle,
            addresses,
            inboxes,
        };
        assembly.make_links();
        assembly
    }

    fn coordinator_address(&self) -> &InboxSender {
        self.addresses.last().expect("the coordinator's is always there")
    }

    /// One link for each ordered pair of executors between which tuples may pass. They share the
    /// worker's memory evenly.
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
        let bytes = (queue.memory / keys.len().max(1) as u64).max(LINK_BYTES_MIN) as usize;
        let link = |key: LinkKey| (key, Arc::new(Link::new(key.0, tuples, bytes, key.2)));
        self.links = keys.into_iter().map(link).collect();
    }

    fn take_inbox(&mut self, id: ExecutorId) -> Inbox {
        self.inboxes[id.index()].take().expect("each executor is made once")
    }

    fn common(&mut self, id: ExecutorId) -> Common {
        Common {
            address: self.addresses[id.index()].clone(),
            inbox: self.take_inbox(id),
            lifecycle: Arc::clone(&self.lifecycle),
            coordinator: self.coordinator_address().clone(),
            run_queue: Arc::clone(&self.run_queue),
            errors: self.topology.options().errors.clone(),
            faults: self.around.faults.clone(),
        }
    }

    fn slot(&mut self, executor: &ExecutorPlan) -> Slot {
        let address = self.addresses[executor.id.index()].clone();
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
                        SpoutTask::new(
                            factory,
                            context,
                            state,
                            emitter,
                            Window::new(window),
                            options.max_replays,
                        )
                    })
                    .collect();
                let downstream = self.downstream(index);
                let feedback = self.links.values().filter(|link| link.feedback).cloned().collect();
                let latencies = Arc::clone(&self.latencies);
                let common = self.common(executor.id);
                Executor::Spout(Box::new(SpoutExecutor::new(common, tasks, latencies, downstream, feedback)))
            }
            Constructor::Bolt(factory) => {
                let tasks = tasks
                    .into_iter()
                    .map(|task| {
                        let (context, state, emitter) = self.task_parts(&component, index, executor, task);
                        let options = self.topology.options();
                        let tick = component.options.tick.or(options.tick);
                        let max_replays = component.options.max_replays.or(options.max_replays);
                        BoltTask::new(Arc::clone(factory), context, state, emitter, tick, max_replays)
                    })
                    .collect();
                Executor::Bolt(Box::new(BoltExecutor::new(self.common(executor.id), tasks)))
            }
        }
    }

    /// What the executors downstream of a spout show of themselves.
    fn downstream(&self, spout: usize) -> Vec<Arc<crate::runtime::queue::Gauges>> {
        let components = self.topology.downstream_of(spout);
        let executors =
            components.into_iter().flat_map(|index| self.plan.executors_of(Part::Component(index)));
        executors.map(|executor| Arc::clone(&self.addresses[executor.id.index()].gauges)).collect()
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
            resources: self.around.resources.clone(),
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
            options.queue.batch,
            size_max,
        );
        state.hooks = self.topology.hooks.iter().map(|hook| hook()).collect();
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
            rng: StdRng::seed_from_u64(self.random.next_u64()),
            now: Time::ZERO,
            batch_max: options.queue.batch,
            stalled: false,
            transferred: 0,
            grouping_faults: Vec::new(),
            outstanding: Arc::clone(&self.outstanding),
            audit: self.around.audit.clone(),
        };
        let mut streams = Vec::new();
        for stream in component.all_streams() {
            let meta = SourceMeta {
                component: component.id.clone(),
                stream: stream.name.clone(),
                task,
                fields: stream.fields.clone(),
            };
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
        let pending = (tracked && component.is_spout()).then(|| Pending::new(task, options.message_timeout));
        Emitter {
            streams,
            wires,
            ackers,
            pending,
            untracked: Vec::new(),
            errors: ErrorReporter {
                task,
                logger,
                throttle: Arc::clone(&self.throttles[index]),
                gauges: Arc::clone(&self.addresses[executor.id.index()].gauges),
            },
            coordinator: self.coordinator_address().clone(),
            tree_now: Time::ZERO,
            failed_now: 0,
            acked_later: 0,
            failed_later: 0,
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
            let link = Arc::clone(&self.links[&(executor.id, to.id, input.feedback)]);
            let peer = peer_for(wires, &self.addresses[to.id.index()], link);
            let own = to.task_ids().enumerate();
            targets.extend(own.map(|(local, task)| Target::new(task, local as u32, peer, meta.fields.len())));
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
        match &input.grouping {
            Grouping::Direct => Chooser::Direct,
            Grouping::Custom(_, factory) => {
                let targets: Vec<TaskId> = targets.iter().map(|target| target.task).collect();
                let mut grouping = factory();
                let context = crate::api::GroupingContext {
                    source: meta.component.clone(),
                    stream: meta.stream.clone(),
                    fields: meta.fields.clone(),
                    target: self.topology.components()[target].id.clone(),
                    task: meta.task,
                };
                grouping.prepare(&context, &targets);
                Chooser::Custom(CustomChooser { grouping, targets, chosen: Vec::new() })
            }
            _ if single => Chooser::Only,
            Grouping::Shuffle | Grouping::LocalOrShuffle => {
                Chooser::Shuffle(Shuffle::new(targets.len(), seed))
            }
            Grouping::Fields(fields) => {
                let groups = self.topology.options().key_groups;
                Chooser::Fields(KeyGroups::new(positions(fields), groups, targets.len()))
            }
            Grouping::PartialKey(fields) => {
                Chooser::PartialKey(PartialKey::new(positions(fields), targets.len()))
            }
            Grouping::All => Chooser::All,
            Grouping::Global => Chooser::Global,
            Grouping::None => Chooser::Random(Box::new(StdRng::seed_from_u64(seed))),
        }
    }

    fn coordinator_slot(&mut self, executors: &[ExecutorPlan]) -> Slot {
        let id = ExecutorId(executors.len() as u32);
        let address = self.coordinator_address().clone();
        let of = |part: Part| -> Vec<InboxSender> {
            let own = self.plan.executors_of(part).iter();
            own.map(|executor| self.addresses[executor.id.index()].clone()).collect()
        };
        let order = self.topology.topological_order();
        let is_spout = |index: &usize| self.topology.components()[*index].is_spout();
        let bolts: Vec<Vec<InboxSender>> =
            order.iter().filter(|index| !is_spout(index)).map(|index| of(Part::Component(*index))).collect();
        let spouts = order
            .iter()
            .filter(|index| is_spout(index))
            .flat_map(|index| of(Part::Component(*index)))
            .collect();
        let ending = Ending::new(bolts.len(), self.topology.options().drain_timeout);
        let (lifecycle, run_queue) = (Arc::clone(&self.lifecycle), Arc::clone(&self.run_queue));
        let subordinates = Subordinates::new(spouts, bolts, of(Part::Acker), lifecycle, run_queue);
        let coordinator = Coordinator::alone(
            self.take_inbox(id),
            Arc::clone(&self.lifecycle),
            Arc::new(subordinates),
            ending,
        );
        Slot::new(
            address.component.clone(),
            None,
            false,
            address,
            Executor::Coordinator(Box::new(coordinator)),
        )
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
fn peer_for(wires: &mut Wires, inbox: &InboxSender, link: Arc<Link>) -> usize {
    let known = wires.peers.iter().position(|peer| Arc::ptr_eq(&peer.link, &link));
    known.unwrap_or_else(|| {
        wires.peers.push(Peer { inbox: inbox.clone(), link });
        wires.peers.len() - 1
    })
}
