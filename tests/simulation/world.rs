//! What surrounds a simulated topology: a source that survives its spouts, bolts that misbehave, and
//! the book of what arrived where.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::prelude::*;

use crate::kit::lock;
use crate::scenario::{BoltPlan, Role, SpoutPlan, mixed};

/// Messages of this many are poison for bolts that know poison.
const POISON: i64 = 7;

/// What became of a message, as its source knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// To be emitted, for the first time or again.
    Waiting,
    /// Emitted.
    Open,
    Acked,
    /// Failed for good.
    Given,
}

/// What happened how often, over all runs.
#[derive(Clone, Debug, Default)]
pub struct Coverage(pub BTreeMap<String, u64>);

impl Coverage {
    pub fn add(&mut self, what: impl Into<String>, times: u64) {
        if times > 0 {
            *self.0.entry(what.into()).or_default() += times;
        }
    }

    pub fn merge(&mut self, other: Coverage) {
        other.0.into_iter().for_each(|(what, times)| self.add(what, times));
    }
}

/// The messages of one spout task.
type Source = BTreeMap<u64, Fate>;

struct Books {
    random: StdRng,
    sources: BTreeMap<(String, usize), Source>,
    /// By leaf: the messages it let through to the sink.
    arrived: BTreeMap<String, BTreeSet<i64>>,
    /// At most once: every copy that came to a sink task, which must be its own.
    copies: BTreeSet<(usize, String, i64)>,
    dead: BTreeSet<i64>,
    wrong: Vec<String>,
    healed: bool,
    coverage: Coverage,
}

/// Shared by all components of one run, which is single-threaded.
#[derive(Clone)]
pub struct World {
    books: Arc<Mutex<Books>>,
    tracked: bool,
    payload: usize,
}

/// A number for a message that is unique in its run.
fn message(spout: &str, task: usize, n: u64) -> i64 {
    let spout = i64::from(spout.ends_with('1'));
    ((spout * 16 + task as i64) * 1_000) + n as i64
}

impl World {
    pub fn new(seed: u64, tracked: bool, payload: usize) -> World {
        let books = Books {
            random: StdRng::seed_from_u64(mixed(seed, 1)),
            sources: BTreeMap::new(),
            arrived: BTreeMap::new(),
            copies: BTreeSet::new(),
            dead: BTreeSet::new(),
            wrong: Vec::new(),
            healed: false,
            coverage: Coverage::default(),
        };
        World { books: Arc::new(Mutex::new(books)), tracked, payload }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    /// From now on user code behaves.
    pub fn heal(&self) {
        self.books().healed = true;
    }

    pub fn note(&self, what: &str) {
        self.books().coverage.add(what, 1);
    }

    pub fn coverage(&self) -> Coverage {
        self.books().coverage.clone()
    }

    /// Whether a misdeed of that probability happens now.
    fn strikes(&self, share: f64, what: &str) -> bool {
        let mut books = self.books();
        let strikes = share > 0.0 && !books.healed && books.random.random_bool(share);
        if strikes {
            books.coverage.add(what, 1);
        }
        strikes
    }

    /// A panic that prints nothing: thousands of them are part of the test.
    fn panic(&self) -> ! {
        resume_unwind(Box::new("by the simulation"))
    }

    pub fn spout(&self, plan: &SpoutPlan) -> SimSpout {
        SimSpout { world: self.clone(), plan: plan.clone(), task: 0, queue: VecDeque::new(), burst: 0 }
    }

    pub fn bolt(&self, plan: &BoltPlan) -> SimBolt {
        SimBolt { world: self.clone(), plan: plan.clone(), task: 0, held: Vec::new() }
    }

    pub fn sink(&self, dead: bool) -> SimSink {
        SimSink { world: self.clone(), dead, task: 0 }
    }

    /// What is wrong at the end of a run: `leaves` names the bolts that each message of a spout must
    /// have come through.
    pub fn verdict<'a>(&self, max_replays: bool, leaves: impl Fn(&str) -> Vec<&'a str>) -> Vec<String> {
        let books = self.books();
        let mut wrong = books.wrong.clone();
        for ((spout, task), source) in &books.sources {
            for (n, fate) in source {
                let id = message(spout, *task, *n);
                match fate {
                    Fate::Acked => {}
                    Fate::Given if max_replays => continue,
                    fate => {
                        wrong.push(format!("message {id} of {spout} ended as {fate:?}"));
                        continue;
                    }
                }
                for leaf in leaves(spout).into_iter().filter(|_| self.tracked && !books.dead.contains(&id)) {
                    if !books.arrived.get(leaf).is_some_and(|arrived| arrived.contains(&id)) {
                        wrong.push(format!("message {id} of {spout} was acked and never came to {leaf}"));
                    }
                }
            }
        }
        wrong
    }
}

/// Emits the messages of its task's source that are waiting; what was open when it was built again
/// is emitted again.
pub struct SimSpout {
    world: World,
    plan: SpoutPlan,
    task: usize,
    queue: VecDeque<u64>,
    burst: u32,
}

impl SimSpout {
    fn set(&self, n: u64, from: Fate, to: Fate) {
        let mut books = self.world.books();
        let source = books.sources.get_mut(&(self.plan.id.clone(), self.task));
        let fate = source.and_then(|source| source.get_mut(&n)).expect("it is a message of this source");
        let was = std::mem::replace(fate, to);
        if was != from {
            let text = format!("{} of {} became {to:?} and was {was:?}, not {from:?}", n, self.plan.id);
            books.wrong.push(text);
        }
    }

    fn all_done(&self) -> bool {
        let books = self.world.books();
        let source = &books.sources[&(self.plan.id.clone(), self.task)];
        source.values().all(|fate| matches!(fate, Fate::Acked | Fate::Given))
    }
}

impl Spout for SimSpout {
    fn declare(&self) -> Streams {
        Streams::new(["ids", "key", "path", "round", "payload"])
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.task = context.task_index();
        let messages = self.plan.messages;
        if self.world.strikes(self.plan.err_share, "spout open failed") {
            return Err(TaskError::quiet("by the simulation"));
        }
        let mut books = self.world.books();
        let source = books.sources.entry((self.plan.id.clone(), self.task));
        let source = source.or_insert_with(|| (0..messages).map(|n| (n, Fate::Waiting)).collect());
        for (n, fate) in source {
            if matches!(fate, Fate::Open | Fate::Waiting) {
                *fate = Fate::Waiting;
                self.queue.push_back(*n);
            }
        }
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        if self.burst >= self.plan.burst {
            self.burst = 0;
            return Ok(SpoutStatus::IdleFor(self.plan.pause));
        }
        self.burst += 1;
        if self.world.strikes(self.plan.err_share, "next_tuple failed") {
            return Err(TaskError::quiet("by the simulation"));
        }
        let Some(n) = self.queue.pop_front() else {
            let ends = self.plan.ends_early || self.all_done();
            return Ok(if ends { SpoutStatus::Exhausted } else { SpoutStatus::Idle });
        };
        let id = message(&self.plan.id, self.task, n);
        let payload = Value::str("x".repeat(self.world.payload));
        self.set(n, Fate::Waiting, Fate::Open);
        out.emit_tracked((Value::list([Value::from(id)]), id % 5, id, 0, payload), MessageId(n))?;
        if self.world.tracked && self.world.strikes(self.plan.panic_share, "next_tuple panicked") {
            self.world.panic();
        }
        Ok(SpoutStatus::Emitted)
    }

    fn ack(&mut self, id: MessageId) -> Result<(), TaskError> {
        self.set(id.0, Fate::Open, Fate::Acked);
        if self.world.strikes(self.plan.err_share, "spout ack failed") {
            return Err(TaskError::quiet("by the simulation"));
        }
        Ok(())
    }

    fn fail(&mut self, id: MessageId, failure: &Failure, _: &mut SpoutOutputs<'_>) -> Result<(), TaskError> {
        self.world.note(&format!("failure: {}", failure.cause));
        if failure.is_final {
            self.world.note("failed for good");
            self.set(id.0, Fate::Open, Fate::Given);
        } else {
            self.world.note("replayed");
            self.set(id.0, Fate::Open, Fate::Waiting);
            self.queue.push_back(id.0);
        }
        Ok(())
    }
}

/// A bolt of some role that fails, panics, holds and drops.
pub struct SimBolt {
    world: World,
    plan: BoltPlan,
    task: usize,
    held: Vec<HeldTuple>,
}

fn ids_of(value: &Value) -> Vec<i64> {
    value.as_list().unwrap_or_default().iter().filter_map(Value::as_i64).collect()
}

impl SimBolt {
    /// A path that no other copy has: of the tuple, through this task, the n-th.
    fn path(&self, path: i64, copy: u32) -> i64 {
        let bolt = u64::from(self.plan.id.as_bytes()[self.plan.id.len() - 1]);
        let place = bolt << 40 | (self.task as u64) << 32 | u64::from(copy);
        mixed(mixed(path as u64, 3), place) as i64
    }

    /// Emits one tuple for all that are held, and acks them.
    fn join(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let ids: BTreeSet<i64> = self.held.iter().flat_map(|held| ids_of(&held.values()[0])).collect();
        let Some(first) = self.held.first() else { return Ok(()) };
        let path = self.held.iter().fold(0, |path, held| self.path(path, 1) ^ held.i64("path").unwrap_or(0));
        let row = (
            Value::list(ids.iter().map(|id| Value::from(*id))),
            first.i64("key")?,
            self.path(path, 0),
            0,
            first.field("payload")?.clone(),
        );
        out.emit_anchored("default", &self.held.iter().collect::<Vec<_>>(), row)?;
        if self.held.len() > 1 {
            self.world.note("joined");
        }
        self.held.drain(..).for_each(|held| out.ack(held));
        Ok(())
    }

    /// Lets go of one held tuple in one of the ways there are.
    fn release(&mut self, held: HeldTuple, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.world.strikes(self.plan.err_share, "held tuple dropped") {
            return Ok(());
        }
        if self.world.strikes(self.plan.err_share, "held tuple failed") {
            out.fail(held);
            return Ok(());
        }
        let values = held.values();
        let path = self.path(held.i64("path")?, 0);
        let row = (values[0].clone(), values[1].clone(), path, 0, values[4].clone());
        out.emit_anchored("default", &[&held], row)?;
        out.ack(held);
        Ok(())
    }
}

impl Bolt for SimBolt {
    fn declare(&self) -> Streams {
        let fields = ["ids", "key", "path", "round", "payload"];
        let streams = Streams::new(fields);
        if matches!(self.plan.role, Role::Loop { .. }) { streams.stream("again", fields) } else { streams }
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.task = context.task_index();
        if self.world.strikes(self.plan.err_share, "prepare failed") {
            return Err(TaskError::quiet("by the simulation"));
        }
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let poisoned = self.plan.poison && ids_of(&input.values()[0]).iter().any(|id| id % POISON == 0);
        if poisoned || self.world.strikes(self.plan.err_share, "execute failed") {
            return Err(TaskError::quiet("by the simulation"));
        }
        if self.world.strikes(self.plan.panic_share, "execute panicked") {
            self.world.panic();
        }
        let (path, round) = (input.i64("path")?, input.i64("round")?);
        let row = |path: i64, round: i64| {
            let values = input.values();
            (values[0].clone(), values[1].clone(), path, round, values[4].clone())
        };
        match self.plan.role {
            Role::Pass { copies } => {
                for copy in 0..copies {
                    out.emit(row(self.path(path, copy), 0))?;
                    // Half of the copies are out when this one goes wrong.
                    if self.world.strikes(self.plan.err_share / 4.0, "execute failed half-way") {
                        return Err(TaskError::quiet("by the simulation"));
                    }
                }
            }
            Role::Loop { rounds } if round < rounds => {
                self.world.note("went round");
                out.emit_to("again", row(self.path(path, 1), round + 1))?;
            }
            Role::Loop { .. } => out.emit(row(self.path(path, 0), 0))?,
            Role::Keep => {
                let held = out.hold(input);
                if self.world.strikes(self.plan.err_share, "timeout reset") {
                    out.reset_timeout(&held);
                }
                self.held.push(held);
                if self.world.strikes(self.plan.err_share, "execute failed after a hold") {
                    return Err(TaskError::quiet("by the simulation"));
                }
            }
            Role::Join { size } => {
                self.held.push(out.hold(input));
                if self.held.len() >= size {
                    self.join(out)?;
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.world.note("ticked");
        if self.world.strikes(self.plan.panic_share, "tick panicked") {
            self.world.panic();
        }
        if matches!(self.plan.role, Role::Join { .. }) {
            return self.join(out);
        }
        while let Some(held) = self.held.pop() {
            self.release(held, out)?;
        }
        Ok(())
    }

    fn flush(&mut self, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.world.strikes(self.plan.panic_share, "flush panicked") {
            self.world.panic();
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if !self.held.is_empty() {
            self.world.note("finished with held tuples");
        }
        self.tick(out)
    }
}

/// Writes down what arrives.
pub struct SimSink {
    world: World,
    dead: bool,
    task: usize,
}

impl Bolt for SimSink {
    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.task = context.task_index();
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, _out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let mut books = self.world.books();
        if self.dead {
            let values = input.field("values")?.as_map().and_then(|values| values.get("ids").cloned());
            books.dead.extend(ids_of(&values.unwrap_or_default()));
            books.coverage.add("dead letter", 1);
            return Ok(());
        }
        let leaf = input.source_component().to_owned();
        let copy = (self.task, leaf.clone(), input.i64("path")?);
        let is_new = books.copies.insert(copy);
        if self.world.tracked {
            books.coverage.add("came twice, as it may", u64::from(!is_new));
        } else if !is_new {
            books.wrong.push(format!("at most once, and twice at the sink: {input:?}"));
        }
        books.arrived.entry(leaf).or_default().extend(ids_of(&input.values()[0]));
        Ok(())
    }
}
