//! A topology in several workers, in one thread and in simulated time. Executors, meshes and the core of
//! the master are those of production; processes, sockets and the clock are simulated.
//!
//! ```text
//!   master's core ── start, kill, commands ──▶ SimulatedProcess × n ── bytes ──▶ Network ──▶ …
//!         ▲──────── messages, exits ───────────────┘
//! ```
//!
//! One file, because each turn chooses from everything that could happen next in the whole cluster: first
//! all due events are delivered, then one runnable executor or one poller is stepped.
//!
//! 1. The same topology, seed and calls give the same run, step by step.
//! 2. The audit counts the tuples of each tree over all workers. If a tree is acked while one of its
//!    tuples is still in flight or was lost, in any process, the run fails.

pub mod network;
mod worker;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use smol_str::SmolStr;
use xxhash_rust::xxh3::Xxh3;

use crate::api::WorkerResources;
use crate::checkpoint::MemoryStorage;
use crate::clock::{Clock, Time};
use crate::cluster::control::{FromWorker, ToWorker};
use crate::cluster::master::{
    Core, CoreOptions, Event, Exit, MasterAction, MasterStore, Note, Sources, StoreJob, sources,
};
use crate::cluster::stats::{shapes, stats_of_all};
use crate::config::{NetOptions, WorkerOptions};
use crate::ids::{CheckpointId, WorkerId};
use crate::net::bridge::Bridge;
use crate::net::{Endpoint, Identity, Members, Mesh, NetCounts, Outbox, Secret, TopologyKey, outlet};
use crate::runtime::checkpoint_actions::Parts as CheckpointParts;
use crate::runtime::checkpoint_start;
use crate::runtime::simulated::{Audit, SimulatedSetup, SimulatedWorker};
use crate::runtime::{CheckpointBegin, Share, StopReason, TopologyStats};
use crate::testing::faults::{ActiveFaults, FaultPlan};
use crate::testing::simulation::SimulationError;
use crate::topology::assignment::{Assignment, place};
use crate::topology::graph::Topology;
use crate::topology::plan::{ExecutorId, Plan};
use crate::wal::WalPlace;
use network::{Network, NetworkFaultCounts, Trouble};
use worker::{Links, MasterMessages, Parts, SimulatedProcess};

/// Turns that may follow each other at one point in time; more is reported as a cluster that never rests.
const TURNS_WITHOUT_REST_MAX: u64 = 5_000_000;
/// The budgets of a step; each turn draws one of them.
const BUDGETS: [u32; 5] = [1, 3, 17, 256, 2048];

/// How a simulated cluster is set up.
#[derive(Clone)]
pub struct ClusterOptions {
    /// The seed of all random choices.
    pub seed: u64,
    /// The number of workers.
    pub workers: u16,
    /// `[net]`.
    pub net: NetOptions,
    /// `[worker]`.
    pub worker: WorkerOptions,
    /// What goes wrong inside workers.
    pub faults: FaultPlan,
    /// Objects that tasks find by `TaskContext::resources`.
    pub resources: WorkerResources,
    /// Where checkpoints are kept, if the topology is exactly-once. A cluster that is started with the storage of an
    /// earlier one goes on from its latest checkpoint.
    pub checkpoints: MemoryStorage,
}

impl ClusterOptions {
    /// Options without faults; the seed decides the order of steps.
    pub fn seeded(seed: u64, workers: u16) -> ClusterOptions {
        ClusterOptions {
            seed,
            workers,
            net: NetOptions::default(),
            worker: WorkerOptions::default(),
            faults: FaultPlan::new(),
            resources: WorkerResources::default(),
            checkpoints: MemoryStorage::new(),
        }
    }
}

/// An event that is delivered to a process or to the master at a given time.
#[derive(Debug)]
enum Happening {
    Begin(Endpoint, Members),
    Command(Endpoint, Box<ToWorker>),
    Message(Endpoint, Box<FromWorker>),
    Exited(Endpoint, Exit),
    /// To the master: something was done in the store of checkpoints.
    Stored(Box<Event>),
}

struct Scheduled {
    at: Time,
    number: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// How often each kind of event happened among the workers.
#[derive(Clone, Debug, Default)]
pub struct ClusterCounts {
    /// The faults of the network.
    pub network: NetworkFaultCounts,
    /// The sum of the counters of all meshes, those of ended processes included.
    pub net: NetCounts,
    /// Workers killed by the test.
    pub killed: u64,
    /// Workers stopped by the test.
    pub stopped: u64,
    /// Workers that died and were restarted.
    pub restarted: u64,
    /// Workers that the master replaced, by reason: `silent` or `cut off`.
    pub replaced: BTreeMap<&'static str, u64>,
}

/// Several workers under simulation.
pub struct SimulatedCluster {
    topology: Topology,
    plan: Plan,
    assignment: Assignment,
    options: ClusterOptions,
    clock: Clock,
    random: StdRng,
    faults: Arc<ActiveFaults>,
    audit: Arc<Audit>,
    core: Core,
    /// The store of checkpoints of the master, if the topology is exactly-once.
    store: Option<MasterStore>,
    /// When the last job of the store is done.
    stored_at: Time,
    /// What became of the last savepoint that was asked for.
    savepoint: Option<Result<CheckpointId, String>>,
    processes: BTreeMap<WorkerId, SimulatedProcess>,
    /// For each worker and direction (`true`: to the master), when its last control message arrives. A
    /// later message never arrives before that, so a control channel keeps its order.
    channels: BTreeMap<(WorkerId, bool), Time>,
    network: Network,
    agenda: BinaryHeap<Reverse<Scheduled>>,
    number: u64,
    counts: ClusterCounts,
    trace: Xxh3,
}

impl SimulatedCluster {
    /// Starts a topology, in as many workers as have executors.
    pub fn start(topology: Topology, options: ClusterOptions) -> SimulatedCluster {
        let clock = Clock::simulated();
        let mut random = StdRng::seed_from_u64(options.seed);
        let (plan, assignment) = place(&topology, options.workers, None);
        let workers = assignment.used_workers().len() as u16;
        let bolts = topology.components().iter().filter(|component| !component.is_spout()).count();
        let opened = topology.options().delivery.is_exactly_once().then(|| {
            let logs = WalPlace::Memory(options.checkpoints.clone());
            let storage = options.faults.storage(options.checkpoints.clone());
            let opened =
                checkpoint_start::open(&topology, CheckpointBegin::Resume, &[], storage, &logs, None);
            opened.unwrap_or_else(|error| panic!("{error}"))
        });
        let mut sources = sources(&topology, &plan, &assignment, workers, None);
        if opened.is_some() {
            sources.fill(Sources::None);
        }
        let core = Core::new(CoreOptions {
            sources,
            worker: options.worker.clone(),
            link_lost: options.net.link_lost,
            bolts,
            drain_timeout: topology.options().drain_timeout,
            start_inactive: topology.options().start_inactive,
            checkpoints: opened.as_ref().map(|opened| {
                let parts = CheckpointParts::new(&topology, &plan, usize::from(workers));
                (topology.options().checkpoint_at_pace(), parts, opened.epoch)
            }),
            first_recovery: 0,
            appointment: None,
        });
        let no_log = slog::Logger::root(slog::Discard, slog::o!());
        let store = opened.map(|opened| MasterStore::new(opened.store, no_log));
        let network = Network::new(StdRng::seed_from_u64(random.next_u64()));
        let faults = options.faults.clone().start(options.seed);
        let mut cluster = SimulatedCluster {
            topology,
            plan,
            assignment,
            options,
            clock,
            random,
            faults,
            audit: Arc::default(),
            core,
            store,
            stored_at: Time::ZERO,
            savepoint: None,
            processes: BTreeMap::new(),
            channels: BTreeMap::new(),
            network,
            agenda: BinaryHeap::new(),
            number: 0,
            counts: ClusterCounts::default(),
            trace: Xxh3::new(),
        };
        cluster.step_master(Event::Tick);
        cluster
    }

    /// The workers that have executors.
    pub fn workers(&self) -> Vec<WorkerId> {
        self.core.workers().iter().map(|record| record.worker).collect()
    }

    /// The simulated time since the start.
    pub fn now(&self) -> Duration {
        self.clock.now().since(Time::ZERO)
    }

    /// The counters of all workers. No latencies: simulated workers do not report them.
    pub fn stats(&self) -> TopologyStats {
        let stats = stats_of_all(&self.core.sum(), &shapes(&self.topology, &self.plan), self.now());
        TopologyStats {
            lost: self.core.lost(),
            ended: self.core.is_done(),
            cut_short: self.core.is_cut_short(),
            stopped: self.core.stopped().cloned(),
            checkpoints: self.core.checkpoint_stats(self.clock.now()),
            ..stats
        }
    }

    /// A lower bound of the messages that were lost with a worker and not read again from their source.
    pub fn lost(&self) -> u64 {
        self.core.lost()
    }

    /// How often each kind of event happened so far.
    pub fn counts(&self) -> ClusterCounts {
        let mut counts = self.counts.clone();
        counts.network = self.network.fault_counts;
        self.processes.values().for_each(|process| add(&mut counts.net, process.net_counts()));
        counts
    }

    /// A hash over every turn taken: equal for equal runs.
    pub fn fingerprint(&self) -> u64 {
        self.trace.digest()
    }

    /// Whether the topology has ended.
    pub fn has_ended(&self) -> bool {
        self.core.is_done()
    }

    /// Whether the master has sent the close command to all workers.
    pub fn is_closing(&self) -> bool {
        self.core.is_closing()
    }

    /// Whether the end was cut short.
    pub fn is_cut_short(&self) -> bool {
        self.core.is_cut_short()
    }

    /// Why the run was given up, if it was.
    pub fn failure(&self) -> Option<&str> {
        self.core.failure()
    }

    /// Why the run was ended, if a component could not go on.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.core.stopped()
    }

    /// The state of the master and of each worker as text, for debugging a cluster that makes no progress.
    pub fn state(&self) -> String {
        let mut state = format!("master: {:?}\n", self.core);
        for (worker, process) in &self.processes {
            let seen = process.worker().progress();
            state += &format!("worker {worker}: {seen:?} runs {}\n", process.runs(self.clock.now()));
            state += &process.wire_state();
        }
        state
    }

    // ---- What a test does to it ----

    /// Asks the master to drain the topology.
    pub fn drain(&mut self) {
        self.step_master(Event::Drain);
    }

    /// Has the master let spouts rest.
    pub fn deactivate(&mut self) {
        self.step_master(Event::Deactivate);
    }

    /// Has the master let spouts emit again.
    pub fn activate(&mut self) {
        self.step_master(Event::Activate);
    }

    /// Asks the master for a savepoint in this directory; `stops`: the run ends with it.
    pub fn ask_for_savepoint(&mut self, directory: PathBuf, stops: bool) {
        self.savepoint = None;
        self.step_master(Event::Savepoint { directory, stops });
    }

    /// What became of the last savepoint that was asked for; `None`: it is not known yet.
    pub fn savepoint(&self) -> Option<&Result<CheckpointId, String>> {
        self.savepoint.as_ref()
    }

    /// Kills a worker's process. Returns whether there was one.
    pub fn kill(&mut self, worker: WorkerId) -> bool {
        let killed = self.end_process(worker, Exit::Signal(9));
        self.counts.killed += u64::from(killed);
        killed
    }

    /// Stops a worker's process for `pause`, as SIGSTOP does. Returns whether there was one.
    pub fn stop(&mut self, worker: WorkerId, pause: Duration) -> bool {
        let until = self.clock.now().after(pause);
        let Some(process) = self.processes.get_mut(&worker) else { return false };
        process.stopped_until = until;
        self.counts.stopped += 1;
        true
    }

    /// The faults of the network from one worker to another, to be set by the test.
    pub fn trouble(&mut self, from: WorkerId, to: WorkerId) -> &mut Trouble {
        self.network.trouble(from, to)
    }

    /// Cuts a connection between two workers; see [`Network::cut`]. Returns whether there was one.
    pub fn cut(&mut self, from: WorkerId, to: WorkerId, half_open: bool) -> bool {
        let now = self.clock.now();
        self.network.cut(from, to, half_open, now)
    }

    /// Removes all faults of the network and lets all stopped workers continue.
    pub fn heal(&mut self) {
        self.network.heal();
        let now = self.clock.now();
        self.processes
            .values_mut()
            .for_each(|process| process.stopped_until = process.stopped_until.min(now));
    }

    // ---- Running ----

    /// Takes up to `turns` turns. Time advances whenever nothing is runnable. Returns early when the
    /// topology has ended, or when nothing is runnable and no event is due at any time.
    pub fn run_turns(&mut self, turns: u64) {
        for _ in 0..turns {
            if self.has_ended() || (!self.turn() && !self.pass_time(Time::NEVER)) {
                return;
            }
        }
    }

    /// Runs until the topology has ended.
    ///
    /// # Errors
    /// When it has not ended after `at_most` of simulated time, or a tree was acked too early.
    pub fn run_to_end(&mut self, at_most: Duration) -> Result<TopologyStats, SimulationError> {
        let target = self.clock.now().after(at_most);
        let mut turns = 0;
        while !self.has_ended() {
            if self.turn() {
                turns += 1;
                assert!(
                    turns < TURNS_WITHOUT_REST_MAX,
                    "seed {}: the cluster never rests",
                    self.options.seed
                );
                continue;
            }
            turns = 0;
            self.check()?;
            if !self.has_ended() && !self.pass_time(target) {
                let (seed, stats) = (self.options.seed, Box::new(self.stats()));
                return Err(SimulationError::Unfinished { seed, after: at_most, stats });
            }
        }
        self.check()?;
        Ok(self.stats())
    }

    /// Whether any tree was acked before all of it was processed.
    ///
    /// # Errors
    /// Names the trees.
    pub fn check(&self) -> Result<(), SimulationError> {
        let found = self.audit.violations();
        let seed = self.options.seed;
        if found.is_empty() { Ok(()) } else { Err(SimulationError::FalseAck { seed, found }) }
    }

    /// Advances time to the next event. Returns false, without advancing, if that is after `target`.
    fn pass_time(&mut self, target: Time) -> bool {
        let now = self.clock.now();
        let next = self.next_event();
        if next == Time::NEVER || next > target {
            return false;
        }
        // At least a nanosecond: time must advance even if an event is reported as due now and is not.
        self.clock.advance(next.since(now).max(Duration::from_nanos(1)));
        true
    }

    fn next_event(&self) -> Time {
        let now = self.clock.now();
        let agenda = self.agenda.peek().map_or(Time::NEVER, |Reverse(next)| next.at);
        let of_process = |process: &SimulatedProcess| match process.runs(now) {
            true => process.next_event(),
            false => process.stopped_until,
        };
        let processes = self.processes.values().map(of_process).min().unwrap_or(Time::NEVER);
        agenda.min(processes).min(self.network.next_event()).min(self.core.deadline()).max(now)
    }

    /// Delivers all due events, then steps one runnable executor or poller that the seed chooses.
    /// Returns false if there was nothing to do at this time.
    fn turn(&mut self) -> bool {
        let now = self.clock.now();
        self.happen(now);
        let processes = &self.processes;
        self.network.progress(now, |worker| processes.contains_key(&worker));
        let mut choices: Vec<(WorkerId, Option<ExecutorId>)> = Vec::new();
        for (worker, process) in self.processes.iter().filter(|(_, process)| process.runs(now)) {
            choices.extend(process.worker().runnable(now).into_iter().map(|id| (*worker, Some(id))));
            if process.needs_poll(&self.network, now) {
                choices.push((*worker, None));
            }
        }
        self.listen(now);
        if choices.is_empty() {
            return self.agenda.peek().is_some_and(|Reverse(next)| next.at <= now);
        }
        let (worker, executor) = choices[self.random.random_range(0..choices.len())];
        let Some(process) = self.processes.get_mut(&worker) else { return true };
        self.trace.update(&worker.0.to_le_bytes());
        self.trace.update(&now.0.to_le_bytes());
        match executor {
            Some(id) => {
                let budget = BUDGETS[self.random.random_range(0..BUDGETS.len())];
                self.trace.update(&id.0.to_le_bytes());
                process.worker().step(id, budget);
            }
            None => process.poll(&mut self.network),
        }
        true
    }

    /// Collects what the processes send to the master, and ends the processes that have closed.
    fn listen(&mut self, now: Time) {
        let workers: Vec<WorkerId> = self.processes.keys().copied().collect();
        for worker in workers {
            let Some(process) = self.processes.get_mut(&worker).filter(|process| process.runs(now)) else {
                continue;
            };
            let endpoint = process.endpoint;
            let (messages, ends) =
                process.take_messages(self.options.worker.heartbeat, self.options.net.link_lost);
            for message in messages {
                let at = self.arrival(worker, true, now);
                self.schedule(at, Happening::Message(endpoint, Box::new(message)));
            }
            if ends {
                self.end_process(worker, Exit::Code(0));
            }
        }
    }

    /// When a control message that is sent now arrives.
    fn arrival(&mut self, worker: WorkerId, to_master: bool, now: Time) -> Time {
        let latency = Duration::from_micros(self.random.random_range(10..500));
        let last = self.channels.entry((worker, to_master)).or_default();
        *last = now.after(latency).max(*last);
        *last
    }

    fn schedule(&mut self, at: Time, what: Happening) {
        self.number += 1;
        self.agenda.push(Reverse(Scheduled { at, number: self.number, what }));
    }

    /// Delivers every event that is due. A command to a stopped process is delivered when it continues.
    fn happen(&mut self, now: Time) {
        self.processes.values_mut().filter(|process| process.runs(now)).for_each(SimulatedProcess::catch_up);
        while self.agenda.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Some(Reverse(next)) = self.agenda.pop() else { break };
            match next.what {
                Happening::Begin(endpoint, members) => self.begin(endpoint, &members),
                Happening::Command(endpoint, command) => {
                    let Some(process) = self.processes.get_mut(&endpoint.worker) else { continue };
                    if process.endpoint != endpoint {
                        continue;
                    }
                    process.waiting.push_back(*command);
                    if process.runs(now) {
                        process.catch_up();
                    }
                }
                Happening::Message(endpoint, message) => self.step_master(Event::Message(endpoint, *message)),
                Happening::Exited(endpoint, how) => self.step_master(Event::Exited(endpoint, how)),
                Happening::Stored(event) => self.step_master(*event),
            }
        }
        if self.core.deadline() <= now {
            self.step_master(Event::Tick);
        }
    }

    fn step_master(&mut self, event: Event) {
        let now = self.clock.now();
        for action in self.core.on(event, now) {
            match action {
                MasterAction::Start(endpoint, members) => {
                    let pause = Duration::from_millis(self.random.random_range(1..20));
                    self.channels.insert((endpoint.worker, false), now.after(pause));
                    self.schedule(now.after(pause), Happening::Begin(endpoint, members));
                }
                MasterAction::Send(endpoint, message) => {
                    let at = self.arrival(endpoint.worker, false, now);
                    self.schedule(at, Happening::Command(endpoint, Box::new(message)));
                }
                // Simulated processors are never short.
                MasterAction::Examine(endpoint) => self.step_master(Event::Examined(endpoint, false)),
                MasterAction::Kill(endpoint) => {
                    let is_running = self
                        .processes
                        .get(&endpoint.worker)
                        .is_some_and(|process| process.endpoint == endpoint);
                    if is_running {
                        self.end_process(endpoint.worker, Exit::Signal(9));
                    }
                }
                MasterAction::Store(job) => self.store(job, now),
                MasterAction::AnswerSavepoint(answer) => self.savepoint = Some(answer),
                MasterAction::Note(note) => self.note(&note),
                // Nobody asks here: a simulation has no threads that could wait. No supervisor starts its processes.
                MasterAction::AnswerCheckpoint(..) | MasterAction::Welcome(..) | MasterAction::Done => {}
            }
        }
    }

    /// Does a job of the store. The master is told some time later, in the order of the jobs.
    fn store(&mut self, job: StoreJob, now: Time) {
        let wall_nanos = self.clock.wall_nanos();
        let Some(event) = self.store.as_mut().and_then(|store| store.carry_out(job, wall_nanos)) else {
            return;
        };
        let pause = Duration::from_micros(self.random.random_range(10..5_000));
        self.stored_at = now.after(pause).max(self.stored_at);
        self.schedule(self.stored_at, Happening::Stored(Box::new(event)));
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Died(..) => self.counts.restarted += 1,
            Note::Replaced(_, why) => {
                let kind = if why.contains("links were down") { "cut off" } else { "silent" };
                *self.counts.replaced.entry(kind).or_default() += 1;
            }
            _ => {}
        }
    }

    fn begin(&mut self, endpoint: Endpoint, members: &Members) {
        let (workers, net) = (usize::from(self.options.workers), &self.options.net);
        let outbox = Arc::new(Outbox::new(workers));
        let mut outlets = vec![None; workers];
        for peer in self.assignment.used_workers().into_iter().filter(|peer| *peer != endpoint.worker) {
            outlets[peer.index()] = Some(outlet(&outbox, peer, net.frame_max));
        }
        let to_master = Arc::new(MasterMessages::default());
        let share = Share {
            worker: endpoint.worker,
            incarnation: endpoint.incarnation,
            plan: self.plan.clone(),
            assignment: self.assignment.clone(),
            outlets,
            master: Arc::clone(&to_master) as Arc<dyn crate::runtime::MasterHandle>,
            membership: members.version,
        };
        let around = SimulatedSetup {
            clock: self.clock.clone(),
            seed: self.random.next_u64(),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            resources: self.options.resources.clone(),
            faults: Arc::clone(&self.faults) as Arc<dyn crate::runtime::Faults>,
            audit: Arc::clone(&self.audit),
            checkpoints: Box::new(self.options.checkpoints.clone()),
            logs: WalPlace::Memory(self.options.checkpoints.clone()),
            state_backend: self.options.faults.state_backend(&self.options.checkpoints),
        };
        let (worker, ingress) = SimulatedWorker::with_share(self.topology.clone(), share, around);
        let identity = Identity {
            topology: TopologyKey { name: SmolStr::new(self.topology.name()), run: [7; 16] },
            assignment: self.assignment.version,
            schema: 1,
            worker: endpoint.worker,
            incarnation: endpoint.incarnation,
        };
        let mesh = Mesh::new(identity, Secret::new([9; 32]), net.clone(), self.random.next_u64());
        let bridge = Bridge::new(ingress, Box::new(Links(Arc::clone(&to_master))), self.clock.clone());
        let parts = Parts { worker, mesh, bridge, outbox, to_master };
        let process = SimulatedProcess::new(endpoint, parts, members, self.clock.clone());
        self.processes.insert(endpoint.worker, process);
    }

    fn end_process(&mut self, worker: WorkerId, how: Exit) -> bool {
        let Some(process) = self.processes.remove(&worker) else { return false };
        let now = self.clock.now();
        add(&mut self.counts.net, process.net_counts());
        self.network.died(process.endpoint, now);
        // The exit goes through the same channel, so what the process sent before it arrives first.
        let at = self.arrival(worker, true, now);
        self.schedule(at, Happening::Exited(process.endpoint, how));
        true
    }
}

/// Adds the counters of one mesh.
fn add(sum: &mut NetCounts, one: &NetCounts) {
    sum.frames_out += one.frames_out;
    sum.bytes_out += one.bytes_out;
    sum.frames_in += one.frames_in;
    sum.bytes_in += one.bytes_in;
    sum.duplicates += one.duplicates;
    sum.resent += one.resent;
    sum.lost += one.lost;
    sum.dialed += one.dialed;
    sum.accepted += one.accepted;
    sum.crowded_out += one.crowded_out;
    sum.links_up += one.links_up;
    sum.reconnects += one.reconnects;
    sum.heartbeats_out += one.heartbeats_out;
    sum.heartbeats_in += one.heartbeats_in;
    sum.silences += one.silences;
    sum.superseded += one.superseded;
    let reasons = [
        (&mut sum.bad_frames, &one.bad_frames),
        (&mut sum.refused, &one.refused),
        (&mut sum.refused_by_peer, &one.refused_by_peer),
    ];
    for (sum, one) in reasons {
        one.iter().for_each(|(reason, times)| *sum.entry(*reason).or_default() += times);
    }
}

#[cfg(test)]
mod tests;
