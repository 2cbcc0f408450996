//! A topology with everything that may go wrong in it, drawn from a seed.
//!
//! ```text
//!  spouts (1..2) ──▶ bolts (1..4, each of one or two of those before) ──▶ sink
//!                      │ dead letters                    ▲ of every leaf
//!                      └─────────▶ dead ─────────────────┘
//! ```

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use squall::api::CustomGrouping;
use squall::config::{AutoOr, ChainMode};
use squall::prelude::*;
use squall::testing::FaultPlan;
use squall::topology::TopologyBuilder;
use squall::topology::builder::BoltDeclarer;

/// How a bolt takes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Shuffle,
    Fields,
    PartialKey,
    All,
    Global,
    None,
    LocalOrShuffle,
    Two,
}

const WAYS: [Way; 8] = [
    Way::Shuffle,
    Way::Fields,
    Way::PartialKey,
    Way::All,
    Way::Global,
    Way::None,
    Way::LocalOrShuffle,
    Way::Two,
];

/// What a bolt does with its tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Emits each so many times.
    Pass { copies: u32 },
    /// Holds so many, emits one tuple for them, acks them.
    Join { size: usize },
    /// Holds each until the next tick or flush.
    Keep,
    /// Sends each round so many times before it lets it go.
    Loop { rounds: i64 },
}

#[derive(Clone, Debug)]
pub struct SpoutPlan {
    pub id: String,
    pub executors: u32,
    pub tasks: u32,
    /// Messages of each task.
    pub messages: u64,
    /// Messages between pauses.
    pub burst: u32,
    pub pause: Duration,
    /// Whether it ends while messages are open, to live again when one fails.
    pub ends_early: bool,
    pub panic_share: f64,
    pub err_share: f64,
}

#[derive(Clone, Debug)]
pub struct BoltPlan {
    pub id: String,
    pub role: Role,
    pub executors: u32,
    pub tasks: u32,
    pub inputs: Vec<(String, Way)>,
    pub tick: Option<Duration>,
    pub err_share: f64,
    pub panic_share: f64,
    /// Whether some messages can never pass; only with `max_replays`.
    pub poison: bool,
    /// Whether somebody takes its dead letters.
    pub dead_letters: bool,
    pub is_leaf: bool,
}

/// Whether neighbours run fused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaining {
    /// None does.
    Off,
    /// Those that happen to have as many tasks as each other.
    AsDrawn,
    /// All components are given as many tasks as each other, so that most may.
    Aligned,
}

/// What a seed comes to.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub chaining: Chaining,
    pub delivery: Delivery,
    pub ackers: u32,
    pub timeout: Duration,
    pub pending: AutoOr<u32>,
    pub max_replays: Option<u32>,
    pub batch: u32,
    pub capacity: u32,
    pub load_aware: bool,
    pub payload: usize,
    pub spouts: Vec<SpoutPlan>,
    pub bolts: Vec<BoltPlan>,
    pub sink_executors: u32,
    pub sink_tasks: u32,
    pub sink_ways: Vec<Way>,
    pub faults: FaultPlan,
    /// Turns of the troubled part of the run, each with at most one command from outside.
    pub turns: u32,
    /// How many of them have one.
    pub command_share: f64,
}

fn one_of<T: Copy>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())]
}

/// 0 as often as not.
fn rarely(random: &mut StdRng, most: f64) -> f64 {
    if random.random_bool(0.5) { 0.0 } else { random.random_range(0.0..most) }
}

impl Scenario {
    pub fn from_seed(seed: u64) -> Scenario {
        let random = &mut StdRng::seed_from_u64(seed);
        let delivery = if random.random_bool(0.15) { Delivery::AtMostOnce } else { Delivery::AtLeastOnce };
        let max_replays = random.random_bool(0.35).then(|| random.random_range(0..5));
        let mut spouts: Vec<_> =
            (0..random.random_range(1..=2)).map(|n| SpoutPlan::draw(n, random)).collect();
        let bolts = BoltPlan::draw_all(&spouts, max_replays.is_some(), random);
        // A join that no tick ends is ended by `finish`, or it keeps a partner from every message for
        // ever; and that is called when no spout has more.
        let endless = bolts.iter().any(|bolt| matches!(bolt.role, Role::Join { .. }) && bolt.tick.is_none());
        let windows = if endless { &[64, 128][..] } else { &[1, 2, 5, 16, 64] };
        spouts.iter_mut().for_each(|spout| spout.ends_early |= endless);
        let batch = one_of(random, &[1, 2, 3, 8, 64]);
        let leaves = bolts.iter().filter(|bolt| bolt.is_leaf).count();
        // Drawn apart, so that a seed draws everything else as it did before there were chains.
        let apart = &mut StdRng::seed_from_u64(mixed(seed, 5));
        let chaining =
            one_of(apart, &[Chaining::Off, Chaining::AsDrawn, Chaining::Aligned, Chaining::Aligned]);
        let scenario = Scenario {
            chaining,
            delivery,
            ackers: random.random_range(1..=3),
            timeout: Duration::from_millis(random.random_range(300..4_000)),
            pending: if random.random_bool(0.3) {
                AutoOr::Auto
            } else {
                AutoOr::Fixed(one_of(random, windows))
            },
            max_replays,
            batch,
            capacity: batch * one_of(random, &[1, 1, 2, 5, 16]),
            load_aware: random.random_bool(0.7),
            // A batch fits a link in bytes, too: into a cycle, one that does not may fill its reserve.
            payload: if random.random_bool(0.1) { 60_000 / batch as usize } else { 8 },
            sink_executors: 2,
            sink_tasks: random.random_range(1..=2),
            sink_ways: (0..leaves).map(|_| one_of(random, &WAYS)).collect(),
            spouts,
            bolts,
            faults: draw_faults(random),
            turns: random.random_range(20..200),
            command_share: random.random_range(0.0..0.3),
        };
        scenario.aligned(apart)
    }

    /// With as many tasks of each component as of the others, if that is its way.
    fn aligned(mut self, random: &mut StdRng) -> Scenario {
        if self.chaining == Chaining::Aligned {
            let executors = random.random_range(1..=2);
            let tasks = executors * random.random_range(1..=2);
            self.spouts.iter_mut().for_each(|spout| (spout.executors, spout.tasks) = (executors, tasks));
            self.bolts.iter_mut().for_each(|bolt| (bolt.executors, bolt.tasks) = (executors, tasks));
            (self.sink_executors, self.sink_tasks) = (executors, tasks);
            // More tasks than were drawn leave less memory for each link.
            self.payload = 8;
        }
        self
    }

    /// The topology, with spouts and bolts made by these functions of the plans.
    pub fn builder<S: Spout + 'static, B: Bolt + 'static, K: Bolt + 'static>(
        &self,
        spout: impl Fn(&SpoutPlan) -> S + Clone + Send + Sync + 'static,
        bolt: impl Fn(&BoltPlan) -> B + Clone + Send + Sync + 'static,
        sink: impl Fn(bool) -> K + Clone + Send + Sync + 'static,
    ) -> TopologyBuilder {
        let mut builder = TopologyBuilder::new("simulated");
        builder.options(|options| {
            options.delivery = self.delivery;
            options.ackers = AutoOr::Fixed(self.ackers);
            options.message_timeout = Some(self.timeout);
            options.max_spout_pending = self.pending;
            options.max_replays = self.max_replays;
            options.load_aware = self.load_aware;
            if self.chaining == Chaining::Off {
                options.chain = ChainMode::Off;
            }
            (options.queue.batch, options.queue.capacity) = (self.batch, self.capacity);
            (options.queue.memory, options.queue.tuple_size_max) = (1 << 20, 1 << 16);
            options.errors.restart_min = Duration::from_millis(5);
            options.errors.restart_max = Duration::from_millis(100);
        });
        for plan in &self.spouts {
            let (spout, of) = (spout.clone(), plan.clone());
            builder.spout(&plan.id, move || spout(&of)).parallelism(plan.executors).tasks(plan.tasks);
        }
        for plan in &self.bolts {
            let (bolt, of) = (bolt.clone(), plan.clone());
            let mut declared = builder.bolt(&plan.id, move || bolt(&of));
            declared = declared.parallelism(plan.executors).tasks(plan.tasks);
            for (from, way) in &plan.inputs {
                declared = take(declared, (from, "default"), *way);
            }
            if matches!(plan.role, Role::Loop { .. }) {
                declared = declared.shuffle((plan.id.as_str(), "again")).feedback();
            }
            if let Some(tick) = plan.tick {
                declared.tick(tick);
            }
        }
        let (of_sink, of_dead) = (sink.clone(), sink);
        let mut declared = builder.bolt("sink", move || of_sink(false));
        declared = declared.parallelism(self.sink_executors.min(self.sink_tasks)).tasks(self.sink_tasks);
        for (leaf, way) in self.bolts.iter().filter(|bolt| bolt.is_leaf).zip(&self.sink_ways) {
            declared = take(declared, (&leaf.id, "default"), *way);
        }
        let lettered: Vec<_> = self.bolts.iter().filter(|bolt| bolt.dead_letters).collect();
        if !lettered.is_empty() {
            let mut declared = builder.bolt("dead", move || of_dead(true));
            for bolt in lettered {
                declared = declared.shuffle((bolt.id.as_str(), "dead-letter"));
            }
        }
        builder
    }

    /// Components that can be crashed or stalled.
    pub fn components(&self) -> Vec<String> {
        let spouts = self.spouts.iter().map(|spout| spout.id.clone());
        let bolts = self.bolts.iter().map(|bolt| bolt.id.clone());
        let acker = (self.delivery == Delivery::AtLeastOnce).then(|| "__acker".to_owned());
        spouts.chain(bolts).chain(["sink".to_owned()]).chain(acker).collect()
    }

    /// The leaves that every message of a spout comes to.
    pub fn leaves_of<'a>(&'a self, spout: &str) -> Vec<&'a str> {
        let mut reached: Vec<&BoltPlan> = Vec::new();
        for bolt in &self.bolts {
            let is_reached = |from: &String| from == spout || reached.iter().any(|bolt| bolt.id == *from);
            if bolt.inputs.iter().any(|(from, _)| is_reached(from)) {
                reached.push(bolt);
            }
        }
        reached.into_iter().filter(|bolt| bolt.is_leaf).map(|bolt| bolt.id.as_str()).collect()
    }
}

fn draw_faults(random: &mut StdRng) -> FaultPlan {
    let plan = FaultPlan::new()
        .drop_batches(rarely(random, 0.05))
        .crash_tasks(rarely(random, 0.03))
        .lose_acks(rarely(random, 0.03))
        .heal_after(random.random_range(50..400));
    if random.random_bool(0.3) { plan.duplicate_inits() } else { plan }
}

impl SpoutPlan {
    fn draw(n: usize, random: &mut StdRng) -> SpoutPlan {
        let executors = random.random_range(1..=2);
        SpoutPlan {
            id: format!("spout-{n}"),
            executors,
            tasks: executors * random.random_range(1..=2),
            messages: random.random_range(1..=30),
            burst: random.random_range(1..=8),
            pause: Duration::from_millis(random.random_range(1..60)),
            ends_early: random.random_bool(0.6),
            panic_share: rarely(random, 0.04),
            err_share: rarely(random, 0.04),
        }
    }
}

impl BoltPlan {
    fn draw_all(spouts: &[SpoutPlan], may_poison: bool, random: &mut StdRng) -> Vec<BoltPlan> {
        let mut bolts: Vec<BoltPlan> = Vec::new();
        for n in 0..random.random_range(spouts.len()..=4) {
            let before: Vec<String> = match spouts.get(n) {
                // Each spout has a bolt that takes it.
                Some(spout) => vec![spout.id.clone()],
                None => spouts.iter().map(|s| &s.id).chain(bolts.iter().map(|b| &b.id)).cloned().collect(),
            };
            let mut from = vec![one_of(random, &(0..before.len()).collect::<Vec<_>>())];
            let second = random.random_range(0..before.len());
            if random.random_bool(0.3) && !from.contains(&second) {
                from.push(second);
            }
            let inputs: Vec<_> =
                from.into_iter().map(|at| (before[at].clone(), one_of(random, &WAYS))).collect();
            for bolt in &mut bolts {
                bolt.is_leaf &= !inputs.iter().any(|(from, _)| *from == bolt.id);
            }
            bolts.push(BoltPlan::draw(n, inputs, may_poison, random));
        }
        bolts
    }

    fn draw(n: usize, inputs: Vec<(String, Way)>, may_poison: bool, random: &mut StdRng) -> BoltPlan {
        let role = match random.random_range(0..10) {
            0..4 => Role::Pass { copies: one_of(random, &[1, 1, 2, 3]) },
            4..6 => Role::Join { size: random.random_range(2..=4) },
            6..8 => Role::Keep,
            _ => Role::Loop { rounds: random.random_range(1..=3) },
        };
        let executors = random.random_range(1..=2);
        let tick = random.random_bool(0.4) || role == Role::Keep;
        BoltPlan {
            id: format!("bolt-{n}"),
            role,
            executors,
            tasks: executors * random.random_range(1..=2),
            inputs,
            tick: tick.then(|| Duration::from_millis(random.random_range(20..300))),
            err_share: rarely(random, 0.03),
            panic_share: rarely(random, 0.01),
            poison: may_poison && random.random_bool(0.5),
            dead_letters: random.random_bool(0.5),
            is_leaf: true,
        }
    }
}

fn take<'a>(bolt: BoltDeclarer<'a>, from: (&str, &str), way: Way) -> BoltDeclarer<'a> {
    match way {
        Way::Shuffle => bolt.shuffle(from),
        Way::Fields => bolt.fields(from, ["key"]),
        Way::PartialKey => bolt.partial_key(from, ["key"]),
        Way::All => bolt.all(from),
        Way::Global => bolt.global(from),
        Way::None => bolt.none(from),
        Way::LocalOrShuffle => bolt.local_or_shuffle(from),
        Way::Two => bolt.custom(from, "two", || Two),
    }
}

/// The first and the last of the targets.
struct Two;

impl CustomGrouping for Two {
    fn choose(&mut self, _tuple: &[Value], targets: &[TaskId], chosen: &mut Vec<TaskId>) {
        chosen.extend(targets.first());
        chosen.extend(targets.last().filter(|last| Some(*last) != targets.first()));
    }
}

/// A number that only this seed and salt give.
pub fn mixed(seed: u64, salt: u64) -> u64 {
    StdRng::seed_from_u64(seed ^ salt).next_u64()
}
