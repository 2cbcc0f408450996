//! Builds the emitter of each task, with a subscription for each subscriber of each of its streams.
//!
//! Custom groupings are built and prepared here, so user code may panic here. Each panic is noted with the
//! component, and the assembly continues. It fails at its end with a list of all panics.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use slog::Logger;
use smol_str::SmolStr;

use crate::api::{CustomGrouping, GroupingContext, SourceMeta};
use crate::clock::Time;
use crate::config::AfterRetries;
use crate::ids::TaskId;
use crate::logging::panics::guarded;
use crate::runtime::acking::ack_buffer::AckBuffer;
use crate::runtime::acking::pending::{Pending, ReplayLimit};
use crate::runtime::assemble::blueprint::{Blueprint, source_meta};
use crate::runtime::assemble::endpoints::Endpoints;
use crate::runtime::assemble::links::Links;
use crate::runtime::assemble::worker_state::WorkerState;
use crate::runtime::errors::ErrorReporter;
use crate::runtime::flow::link::LinkKind;
use crate::runtime::routing::emitted_times::EmittedTimes;
use crate::runtime::routing::emitter::{Emitter, StreamOut};
use crate::runtime::routing::grouping::{
    CustomSelector, KeyGroups, PartialKey, Shuffle, TargetSelector, TupleSelector,
};
use crate::runtime::routing::outgoing::{OutLink, Outgoing};
use crate::runtime::routing::subscription::Subscription;
use crate::runtime::routing::target::Target;
use crate::topology::graph::{Component, Grouping, InputSpec};
use crate::topology::plan::{ExecutorPlan, Part};
use crate::tuple::{BatchLimits, Fields};

/// Builds the emitters of the tasks of one executor.
pub struct Wiring<'a> {
    pub blueprint: &'a Blueprint,
    pub shared: &'a WorkerState,
    pub endpoints: &'a Endpoints,
    /// The executor whose tasks emit.
    pub executor: &'a ExecutorPlan,
    /// Every link of which it is the producer. Its tasks share the list.
    pub out_links: Arc<[OutLink]>,
    /// Generates seeds. They are drawn in a fixed order, so that a simulation repeats with the same seed.
    pub random: &'a mut StdRng,
    /// Panics of user code so far.
    pub panics: &'a mut Vec<String>,
}

/// The links of which an executor is the producer, with the addresses of their consumers.
pub fn out_links(executor: &ExecutorPlan, endpoints: &Endpoints, links: &Links) -> Arc<[OutLink]> {
    let out_link = |(to, link)| OutLink { address: endpoints.address(to).clone(), link: Arc::clone(link) };
    links.of_producer(executor.id).map(out_link).collect()
}

impl Wiring<'_> {
    /// The emitter of a task of the executor; `index` is the place of its component.
    pub fn emitter(&mut self, component: &Component, index: usize, task: TaskId, logger: Logger) -> Emitter {
        let (blueprint, shared) = (self.blueprint, self.shared);
        let options = blueprint.topology.options();
        let is_tracked = blueprint.is_tracked();
        let outgoing = Outgoing {
            links: Arc::clone(&self.out_links),
            acks: AckBuffer::default(),
            membership: 0,
            rng: StdRng::seed_from_u64(self.random.next_u64()),
            now: Time::ZERO,
            must_pause: false,
            chained: Vec::new(),
            transferred: 0,
            unanchored: 0,
            faults: Vec::new(),
            rest: Arc::clone(&shared.lifecycle.rest),
            audit: blueprint.setup.audit.clone(),
        };
        let mut streams = Vec::new();
        for (at, stream) in component.all_streams().into_iter().enumerate() {
            let meta = source_meta(component, at, &stream, task);
            let mut subscriptions = Vec::new();
            for (target, subscriber) in blueprint.topology.components().iter().enumerate() {
                let takes =
                    |input: &&InputSpec| input.component == component.id && input.stream == stream.name;
                for input in subscriber.inputs.iter().filter(takes) {
                    subscriptions.push(self.subscription(input, &meta, target));
                }
            }
            streams.push(StreamOut { meta: Arc::new(meta), subscriptions });
        }
        let ackers = if is_tracked { blueprint.plan.executors_of(Part::Acker) } else { &[] };
        let ackers = ackers.iter().map(|acker| self.endpoints.address(acker.id).clone()).collect();
        let pending = (is_tracked && component.is_spout()).then(|| {
            let limit = ReplayLimit::new(options.max_replays);
            Pending::new(task, options.message_timeout, blueprint.incarnation(), limit)
        });
        let coordinator = &self.endpoints.coordinator;
        Emitter {
            streams,
            outgoing,
            ackers,
            acker_table: Arc::clone(&shared.acker_table),
            pending,
            settled: Vec::new(),
            errors: ErrorReporter {
                component: component.id.clone(),
                task,
                logger,
                throttle: Arc::clone(&shared.throttles[index]),
                gauges: Arc::clone(&self.endpoints.own(self.executor.id).gauges),
                lifecycle: Arc::clone(&shared.lifecycle),
                coordinator: coordinator.clone(),
            },
            coordinator: coordinator.clone(),
            tree_now: Time::ZERO,
            failed_now: 0,
            acked_later: 0,
            failed_later: 0,
            unanchored_now: 0,
            max_replays: component.options.max_replays,
            times: component
                .options
                .event_time
                .as_ref()
                .and_then(|options| EmittedTimes::new(options, &component.all_streams())),
            letters_at_once: component.options.on_error.is_some_and(|it| it.then == AfterRetries::DeadLetter),
        }
    }

    /// The subscription of one input of the component `target`. It has a target for each task of that
    /// component, or, if the grouping is `LocalOrShuffle` and some of them are in this worker, for those.
    fn subscription(&mut self, input: &InputSpec, meta: &SourceMeta, target: usize) -> Subscription {
        if let Some(next) = self.executor.next.filter(|_| self.blueprint.is_chained(self.executor, target)) {
            let local_task = meta.task.0 - self.executor.tasks.start;
            let first = self.blueprint.plan.executors[next.index()].tasks.start;
            return Subscription::chained(TaskId(first + local_task), local_task);
        }
        let options = self.blueprint.topology.options();
        let arity = meta.fields.len();
        let full_at = BatchLimits::new(options.queue.batch, self.blueprint.queue_shares.batch_bytes, arity);
        let mut targets = Vec::new();
        for to in self.blueprint.plan.executors_of(Part::Component(target)) {
            // The links of a producer are in the order of their consumers, of two links the one that closes
            // a cycle second: see `assemble::links`.
            let key = |out: &OutLink| (out.address.executor(), out.link.kind == LinkKind::Feedback);
            let out_link = self.out_links.binary_search_by_key(&(to.id, input.feedback), key);
            let out_link = out_link.expect("there is a link to every subscriber");
            let touched = self.endpoints.address(to.id).touched();
            let target = |(local, task)| Target::new((task, local as u32), out_link, touched, arity, full_at);
            targets.extend(to.task_ids().enumerate().map(target));
        }
        if matches!(input.grouping, Grouping::LocalOrShuffle) && targets.iter().any(Target::is_here) {
            targets.retain(Target::is_here);
        }
        let selector = self.selector(input, meta, target, &targets);
        Subscription::new(selector, targets, options.load_aware)
    }

    /// How a grouping chooses among the targets. With a single target no choice is needed, except for
    /// direct and custom groupings, which may choose no target.
    fn selector(
        &mut self,
        input: &InputSpec,
        meta: &SourceMeta,
        target: usize,
        targets: &[Target],
    ) -> TargetSelector {
        let positions = |fields: &Fields| -> Vec<usize> {
            let position = |field: &SmolStr| meta.fields.position(field);
            fields.iter().map(|field| position(field).expect("validation checked the fields")).collect()
        };
        let seed = self.random.next_u64();
        let single = targets.len() == 1;
        let each = match &input.grouping {
            Grouping::Direct => TupleSelector::Direct,
            Grouping::Custom(name, factory) => {
                let targets = targets.iter().map(|target| target.task).collect();
                match self.custom(name, &**factory, meta, target, targets) {
                    Some(custom) => TupleSelector::Custom(custom),
                    None => return TargetSelector::First,
                }
            }
            _ if single => return TargetSelector::First,
            Grouping::Shuffle | Grouping::LocalOrShuffle => {
                TupleSelector::Shuffle(Shuffle::new(targets.len(), seed))
            }
            Grouping::Fields(fields) => {
                let groups = self.blueprint.topology.options().key_groups;
                TupleSelector::Fields(KeyGroups::new(positions(fields), groups, targets.len()))
            }
            Grouping::PartialKey(fields) => {
                TupleSelector::PartialKey(PartialKey::new(positions(fields), targets.len()))
            }
            Grouping::All => return TargetSelector::All,
            Grouping::Global => return TargetSelector::First,
            Grouping::None => TupleSelector::Random(Box::new(StdRng::seed_from_u64(seed))),
        };
        TargetSelector::Each(each)
    }

    /// Builds and prepares a custom grouping. `None` if it panicked, which is noted.
    fn custom(
        &mut self,
        name: &str,
        factory: &(dyn Fn() -> Box<dyn CustomGrouping> + Send + Sync),
        meta: &SourceMeta,
        target: usize,
        targets: Vec<TaskId>,
    ) -> Option<CustomSelector> {
        let context = GroupingContext {
            source: meta.component.clone(),
            stream: meta.stream.clone(),
            fields: meta.fields.clone(),
            target: self.blueprint.topology.components()[target].id.clone(),
            task: meta.task,
        };
        let prepared = guarded(|| {
            let mut grouping = factory();
            grouping.prepare(&context, &targets);
            grouping
        });
        match prepared {
            Ok(grouping) => Some(CustomSelector::new(grouping, targets)),
            Err(panic) => {
                self.panics.push(format!("{}: preparing its grouping `{name}` {panic}", context.target));
                None
            }
        }
    }
}
