//! The components of a topology of [`plan`](crate::exactly_once::plan), which fail and panic where [`Chaos`] decides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall::Timestamp;
use squall::api::{Positions, TwoPhaseBolt, TwoPhaseSink};
use squall::clock::Clock;
use squall::components::file::{File, FileSettings};
use squall::config::{AfterRetries, ChainMode, OnError, StateBackendKind, limits};
use squall::ids::CheckpointId;
use squall::prelude::*;
use squall::topology::Topology;
use squall::topology::builder::BoltDeclarer;

use crate::exactly_once::books::{Batches, Books, Chaos, Kind, Ledger, Published, Store, Transaction};
use crate::exactly_once::plan::{BACK, Fence, Role, Row, SPOUTS, Setup, Shape, Source, Stage, Way};
use crate::exactly_once::queue::Queue;
use crate::exactly_once::windows;
use crate::kit::{HOUR, lock};

/// After so long, rows that are held or kept are emitted.
const HELD_FOR: Duration = Duration::from_millis(25);
const KEPT_FOR: Duration = Duration::from_millis(15);

/// What comes to sinks.
pub const PUBLISHED: [&str; 4] = ["kind", "key", "nth", "id"];

/// What spouts and stages emit.
pub const FIELDS: [&str; 3] = ["id", "key", "at"];

/// The row that an input is.
pub fn row_of(input: &Input<'_>) -> Result<Row, TaskError> {
    Ok(Row { id: input.i64("id")?, key: input.i64("key")?, at: input.timestamp("at")?.0 })
}

/// The splits that a task of a spout has.
pub fn own_splits(splits: u64, context: &TaskContext) -> impl Iterator<Item = u64> {
    let (task, tasks) = (context.task_index() as u64, context.parallelism() as u64);
    (0..splits).filter(move |split| split % tasks == task)
}

/// Each task of a spout has some of its splits.
struct Rows {
    shape: Arc<Shape>,
    chaos: Arc<Chaos>,
    spout: usize,
    /// The splits of this task, and the next row of each.
    splits: Vec<(u64, u64)>,
    at: usize,
    /// Whether event time waits for all of its splits.
    has_named: bool,
}

impl Spout for Rows {
    fn declare(&self) -> Streams {
        Streams::new(FIELDS)
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let own = own_splits(self.shape.splits[self.spout], context);
        self.splits = own.map(|split| (split, 0)).collect();
        self.chaos.strike("open")
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        self.at += 1;
        let (rows, at) = (self.shape.rows, self.at);
        let mut open: Vec<&mut (u64, u64)> =
            self.splits.iter_mut().filter(|(_, next)| *next < rows).collect();
        if open.is_empty() {
            return Ok(SpoutStatus::Exhausted);
        }
        self.chaos.strike("next_tuple")?;
        let name = |split: u64| format!("split {split}");
        if !std::mem::replace(&mut self.has_named, true) {
            open.iter().for_each(|(split, _)| out.begin_split(&name(*split)));
        }
        let chosen = at % open.len();
        let (split, next) = &mut *open[chosen];
        out.begin_split(&name(*split));
        let row = self.shape.row(self.spout, *split, *next);
        out.emit((row.id, row.key, Timestamp(row.at)))?;
        *next += 1;
        if *next == rows {
            out.end_split(&name(*split));
        }
        match at % 4 {
            0 => Ok(SpoutStatus::IdleFor(Duration::from_millis(3))),
            _ => Ok(SpoutStatus::Emitted),
        }
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        self.chaos.strike("snapshot of a spout")?;
        self.splits.iter().try_for_each(|(split, next)| positions.set(&split.to_string(), next))
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        for (split, next) in &mut self.splits {
            *next = positions.get(&split.to_string())?.unwrap_or(0);
        }
        self.chaos.strike("restore of a spout")
    }
}

/// A stage: see [`Role`].
struct StageBolt {
    shape: Arc<Shape>,
    stage: Stage,
    chaos: Arc<Chaos>,
    task: usize,
    tasks: usize,
    /// The tasks of each component that takes the direct stream.
    direct: Vec<Vec<TaskId>>,
    held: Vec<HeldTuple>,
    waiting: ValueState<Vec<(i64, i64)>>,
    timer: Timer,
    seen: MapState<i64, bool>,
}

impl StageBolt {
    fn new(shape: &Arc<Shape>, stage: &Stage, chaos: &Arc<Chaos>) -> StageBolt {
        StageBolt {
            shape: Arc::clone(shape),
            stage: stage.clone(),
            chaos: Arc::clone(chaos),
            task: 0,
            tasks: 1,
            direct: Vec::new(),
            held: Vec::new(),
            waiting: ValueState::default(),
            timer: Timer::default(),
            seen: MapState::default(),
        }
    }

    fn emit(&self, row: Row, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        if self.stage.sends_back(row) {
            return Ok(out.emit_to(BACK, (row.id, row.key, Timestamp(row.at)))?);
        }
        out.emit((row.id, row.key, Timestamp(row.at)))?;
        for tasks in &self.direct {
            let task = tasks[row.id.rem_euclid(tasks.len() as i64) as usize];
            out.emit_direct(task, "direct", (row.id, row.key, Timestamp(row.at)))?;
        }
        Ok(())
    }

    fn emit_made_of(&self, row: Row, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.stage.made_of(row, self.shape.keys).into_iter().try_for_each(|row| self.emit(row, out))
    }

    /// Whether a row that all tasks get is to be taken by this one.
    fn takes(&self, row: Row, input: &Input<'_>) -> bool {
        let from_all = |(from, way): &(Source, Way)| {
            *way == Way::All && from.id() == input.source_component() && input.source_stream() != BACK
        };
        let back_to_all = |from: &Stage| {
            from.back == Some((self.stage.number, Way::All))
                && input.source_stream() == BACK
                && input.source_component() == Source::Stage(from.number).id()
        };
        let is_shared = self.stage.inputs.iter().any(from_all) || self.shape.stages.iter().any(back_to_all);
        !is_shared || row.id.rem_euclid(self.tasks as i64) == self.task as i64
    }

    fn release(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for held in std::mem::take(&mut self.held) {
            let row = Row { id: held.i64("id")?, key: held.i64("key")?, at: held.timestamp("at")?.0 };
            for row in self.stage.made_of(row, self.shape.keys) {
                if self.stage.sends_back(row) {
                    out.emit_anchored(BACK, &[&held], (row.id, row.key, Timestamp(row.at)))?;
                    continue;
                }
                out.emit_anchored("default", &[&held], (row.id, row.key, Timestamp(row.at)))?;
                for tasks in &self.direct {
                    let task = tasks[row.id.rem_euclid(tasks.len() as i64) as usize];
                    out.emit_direct(task, "direct", (row.id, row.key, Timestamp(row.at)))?;
                }
            }
            out.ack(held);
        }
        Ok(())
    }
}

impl Bolt for StageBolt {
    fn declare(&self) -> Streams {
        Streams::new(FIELDS).direct_stream("direct", FIELDS).stream(BACK, FIELDS)
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        (self.task, self.tasks) = (context.task_index(), context.parallelism());
        let own = Source::Stage(self.stage.number);
        let takes_direct = |stage: &&Stage| stage.inputs.contains(&(own, Way::Direct));
        let targets = self.shape.stages.iter().filter(takes_direct);
        self.direct =
            targets.map(|stage| context.tasks_of(&Source::Stage(stage.number).id()).to_vec()).collect();
        match self.stage.role {
            Role::Wait => {
                self.waiting = context.value_state("waiting")?;
                self.timer = context.timer("due")?;
            }
            Role::Distinct => self.seen = context.map_state("seen")?,
            Role::Pass | Role::Copies | Role::Rekey | Role::Hold | Role::Poison => {}
        }
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let row = row_of(&input)?;
        if !self.takes(row, &input) {
            return Ok(());
        }
        match self.stage.role {
            Role::Poison => {
                if row.is_one_in(7) {
                    return Err(TaskError::quiet("it fails each time"));
                }
                return self.emit_made_of(row, out);
            }
            Role::Hold if row.is_one_in(4) => {
                self.held.push(out.hold(input));
                return Ok(());
            }
            Role::Wait => {
                self.waiting.update(out, |rows| rows.push((row.id, row.at)))?;
                if !self.timer.is_set(out)? {
                    self.timer.set(out, KEPT_FOR)?;
                }
            }
            Role::Distinct => {
                let (remainder, row) = self.stage.distinct(row);
                if !self.seen.insert(out, remainder, true)? {
                    self.emit(row, out)?;
                }
            }
            Role::Pass | Role::Copies | Role::Rekey | Role::Hold => self.emit_made_of(row, out)?,
        }
        self.chaos.strike("execute")
    }

    fn timer(&mut self, _: Timer, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let key = out.key()[0].as_i64().unwrap_or_default();
        let rows = self.waiting.get(out)?.cloned().unwrap_or_default();
        self.waiting.clear(out)?;
        rows.into_iter().try_for_each(|(id, at)| self.emit_made_of(Row { id, key, at }, out))?;
        self.chaos.strike("timer")
    }

    /// It fails before it gives tuples away, because those would fail with it.
    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.chaos.strike("tick")?;
        self.release(out)
    }

    fn flush(&mut self, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.chaos.panic("flush", 400);
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.release(out)?;
        if self.stage.role == Role::Wait {
            let mut kept = Vec::new();
            self.waiting.for_each(out, |_, key, rows| {
                kept.push((key[0].as_i64().unwrap_or_default(), rows));
                Ok(())
            })?;
            for (key, rows) in kept {
                out.set_key([key])?;
                self.waiting.clear(out)?;
                self.timer.clear(out)?;
                rows.into_iter().try_for_each(|(id, at)| self.emit_made_of(Row { id, key, at }, out))?;
            }
        }
        self.chaos.panic("finish", 6);
        Ok(())
    }
}

/// How long the date of a row is kept.
const RECENT: Duration = Duration::from_millis(20);

/// Counts by key, and keeps the ids. If `expires`, the counts have a time to live that none reaches, and the dates of the
/// last rows of the key one that most reach: none may be seen that has.
struct Count {
    chaos: Arc<Chaos>,
    batches: Arc<Mutex<Batches>>,
    expires: bool,
    counts: ValueState<i64>,
    ids: ListState<i64>,
    recent: Option<(ListState<i64>, Clock)>,
    /// A value that fills memory, if there is to be one.
    ballast: Option<ValueState<String>>,
}

/// The bytes of [`Count::ballast`].
const BALLAST: usize = 24_000;

/// What the ballast of a key is after so many rows.
fn ballast_of(count: i64) -> String {
    char::from(b'a' + count.rem_euclid(26) as u8).to_string().repeat(BALLAST)
}

impl Count {
    fn look_at_recent(&self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let Some((recent, clock)) = &self.recent else { return Ok(()) };
        let now = clock.wall_nanos();
        let is_old = |date: &i64| now - date >= RECENT.as_nanos() as i64;
        if recent.items(out)?.iter().any(is_old) {
            return Err(TaskError::fatal("a date has expired and is seen"));
        }
        Ok(recent.push(out, now)?)
    }
}

impl Bolt for Count {
    fn declare(&self) -> Streams {
        Streams::new(PUBLISHED)
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.ids = context.list_state("ids")?;
        if let Some(ballast) = &mut self.ballast {
            *ballast = context.value_state("ballast")?;
        }
        if self.expires {
            self.counts = context.expiring(Ttl::after_access(HOUR * 10_000)).value_state("counts")?;
            let recent = context.expiring(Ttl::after_write(RECENT)).list_state("recent")?;
            self.recent = Some((recent, context.clock().clone()));
        } else {
            self.counts = context.value_state("counts")?;
        }
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let count = self.counts.update(out, |count| {
            *count += 1;
            *count
        })?;
        let id = input.i64("id")?;
        self.ids.push(out, id)?;
        if self.ids.items(out)?.len() as i64 != count {
            return Err(TaskError::fatal("one state is older than the other"));
        }
        if let Some(ballast) = self.ballast {
            let expected = if count == 1 { String::new() } else { ballast_of(count - 1) };
            if ballast.get(out)?.map_or("", String::as_str) != expected {
                return Err(TaskError::fatal("a large value is older or newer than the count"));
            }
            ballast.set(out, ballast_of(count))?;
        }
        self.look_at_recent(out)?;
        out.emit([Kind::Count as i64, input.i64("key")?, count, id])?;
        self.chaos.strike("execute of a bolt with state")
    }

    fn pre_commit(&mut self, _: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        lock(&self.batches).note(out.batch());
        self.chaos.strike("pre_commit")
    }

    fn committed(&mut self, checkpoint: CheckpointId, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        lock(&self.batches).commits(checkpoint);
        self.chaos.strike_of_checkpoint("committed")
    }
}

/// Takes the amount of each row from the account `key`.
struct Debit {
    shape: Arc<Shape>,
    books: Books,
    task: usize,
    /// Tasks with accounts, of both bolts.
    tasks: usize,
    balances: ValueState<i64>,
}

/// What both bolts with accounts do.
fn balance(balances: ValueState<i64>, out: &mut Outputs<'_>) -> Result<i64, TaskError> {
    let mut sum = 0;
    balances.for_each(out, |_, _, balance| {
        sum += balance;
        Ok(())
    })?;
    Ok(sum)
}

fn tasks_with_accounts(context: &TaskContext) -> usize {
    context.tasks_of("debit").len() + context.tasks_of("credit").len()
}

impl Bolt for Debit {
    fn declare(&self) -> Streams {
        Streams::new(["to", "amount", "id"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        (self.task, self.tasks) = (context.task_index(), tasks_with_accounts(context));
        self.balances = context.value_state("balances")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let row = row_of(&input)?;
        self.balances.update(out, |balance| *balance -= row.amount())?;
        out.emit([row.to(self.shape.keys), row.amount(), row.id])?;
        self.books.chaos.strike("execute of a bolt with state")
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let sum = balance(self.balances, out)?;
        lock(&self.books.ledger).note(checkpoint, ("debit", self.task), self.tasks, sum);
        Ok(())
    }

    fn committed(&mut self, checkpoint: CheckpointId, _: &mut Outputs<'_>) -> Result<(), TaskError> {
        lock(&self.books.ledger).check(checkpoint);
        Ok(())
    }
}

/// Adds each amount to the account `to`. Holds one transfer in five until a tick: these are part of its snapshot.
struct Credit {
    ledger: Arc<Mutex<Ledger>>,
    chaos: Arc<Chaos>,
    task: usize,
    tasks: usize,
    held: Vec<HeldTuple>,
    balances: ValueState<i64>,
    ids: ListState<i64>,
}

impl Credit {
    fn add(&self, to: i64, amount: i64, id: i64, out: &mut Outputs<'_>) -> Result<[i64; 4], TaskError> {
        self.balances.update(out, |balance| *balance += amount)?;
        self.ids.push(out, id)?;
        Ok([Kind::Credit as i64, to, self.ids.items(out)?.len() as i64, id])
    }
}

impl Bolt for Credit {
    fn declare(&self) -> Streams {
        Streams::new(PUBLISHED)
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        (self.task, self.tasks) = (context.task_index(), tasks_with_accounts(context));
        self.balances = context.value_state("balances")?;
        self.ids = context.list_state("ids")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let (to, amount, id) = (input.i64("to")?, input.i64("amount")?, input.i64("id")?);
        if id.rem_euclid(5) == 0 {
            // The account begins in the call that the grouping gave its key to. One that begins in `tick` is a key that
            // the bolt names itself, and such keys do not move to other tasks.
            self.balances.update(out, |_| ())?;
            self.held.push(out.hold(input));
            return Ok(());
        }
        let row = self.add(to, amount, id, out)?;
        out.emit(row)?;
        self.chaos.strike("execute of a bolt with state")
    }

    fn tick(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        for held in std::mem::take(&mut self.held) {
            let to = held.i64("to")?;
            out.set_key([to])?;
            let row = self.add(to, held.i64("amount")?, held.i64("id")?, out)?;
            out.emit_anchored("default", &[&held], row)?;
            out.ack(held);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.tick(out)
    }

    fn pre_commit(&mut self, checkpoint: CheckpointId, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let mut sum = balance(self.balances, out)?;
        for held in &self.held {
            sum += held.i64("amount")?;
        }
        lock(&self.ledger).note(checkpoint, ("credit", self.task), self.tasks, sum);
        Ok(())
    }
}

/// Publishes rows when a checkpoint is complete.
struct Sink {
    chaos: Arc<Chaos>,
    store: Arc<Mutex<Store>>,
    fence: Fence,
    /// The number of the start that it is part of.
    start: u64,
    task: usize,
    tasks: usize,
    next: u64,
    open: Vec<Published>,
}

impl Sink {
    /// The first part of the names of its transactions.
    fn name(&self) -> u64 {
        match self.fence {
            Fence::Owner | Fence::Forgotten => 0,
            Fence::Name => self.start,
        }
    }
}

impl TwoPhaseSink for Sink {
    type Transaction = Transaction;

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        (self.task, self.tasks) = (context.task_index(), context.parallelism());
        self.chaos.strike("prepare of a sink")
    }

    fn begin(&mut self) -> Result<Transaction, TaskError> {
        self.next += 1;
        Ok((self.name(), self.task, self.next))
    }

    fn write(&mut self, _: &mut Transaction, input: Input<'_>) -> Result<(), TaskError> {
        self.chaos.strike("write")?;
        let kind = Kind::of(input.i64("kind")?)?;
        let (key, nth, id) = (input.i64("key")?, input.i64("nth")?, input.i64("id")?);
        self.open.push(Published { kind, key, nth, id });
        Ok(())
    }

    fn pre_commit(&mut self, transaction: &mut Transaction) -> Result<(), TaskError> {
        self.chaos.strike_of_checkpoint("pre_commit of a sink")?;
        {
            let mut store = lock(&self.store);
            store.check_owner(self.start, self.fence)?;
            store.prepared.insert(*transaction, std::mem::take(&mut self.open));
        }
        self.chaos.strike_of_checkpoint("pre_commit of a sink, after it").inspect_err(|_| {
            self.open = lock(&self.store).prepared.remove(transaction).unwrap_or_default();
        })
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), TaskError> {
        self.chaos.strike_of_checkpoint("commit")?;
        {
            let mut store = lock(&self.store);
            store.check_owner(self.start, self.fence)?;
            let rows = store.prepared.remove(transaction).unwrap_or_default();
            store.visible.extend(rows);
        }
        self.chaos.strike_of_checkpoint("commit, after it")
    }

    fn abort_others(&mut self, keep: &[Transaction]) -> Result<(), TaskError> {
        let mut store = lock(&self.store);
        store.check_owner(self.start, self.fence)?;
        store.claim(self.start);
        let is_own = |(start, task, _): &Transaction| *start <= self.start && task % self.tasks == self.task;
        store.prepared.retain(|transaction, _| !is_own(transaction) || keep.contains(transaction));
        let own = keep.iter().filter(|(start, task, _)| (*start, *task) == (self.name(), self.task));
        self.next = own.map(|(.., number)| *number).max().unwrap_or(0);
        Ok(())
    }
}

/// Emits what the sink publishes of a dead letter.
fn letter(input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
    let id = input.field("values")?.as_map().and_then(|values| values.get("id")?.as_i64());
    let id = id.ok_or_else(|| TaskError::fatal("a dead letter without its values"))?;
    Ok(out.emit([Kind::Letter as i64, 0, 0, id])?)
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
        Way::Direct => bolt.direct((from.0, "direct")),
    }
}

/// Errors of [`Chaos`] succeed in the end.
pub fn patient() -> OnError {
    OnError { retry: 50, backoff_min: Duration::from_millis(1), ..OnError::default() }
}

/// The topology, as the start with this number has it. The first start is number 1.
pub fn topology(setup: &Setup, books: &Books, start: u64) -> Topology {
    let mut builder = TopologyBuilder::new("exactly-once");
    let (shape, layout) = (Arc::new(setup.shape.clone()), &setup.layout);
    for spout in shape.spouts() {
        let (of, chaos) = (Arc::clone(&shape), Arc::clone(&books.chaos));
        let (tasks, id) = (layout.spouts[spout], SPOUTS[spout]);
        let declared = if shape.logged == Some(spout) {
            let kept = books.clone();
            builder.spout(id, move || Queue::new(&of, &kept, spout)).wal()
        } else {
            builder.spout(id, move || {
                let (shape, chaos) = (Arc::clone(&of), Arc::clone(&chaos));
                Rows { shape, chaos, spout, splits: Vec::new(), at: 0, has_named: false }
            })
        };
        let declared = declared.parallelism(tasks);
        if shape.windows && setup.times.spouts[spout] {
            declared.event_time(setup.times.options());
        }
    }
    for (stage, (executors, tasks)) in shape.stages.iter().zip(layout.stages.iter().copied()) {
        let (of, planned, chaos) = (Arc::clone(&shape), stage.clone(), Arc::clone(&books.chaos));
        let bolt = builder
            .bolt(Source::Stage(stage.number).id(), move || StageBolt::new(&of, &planned, &chaos))
            .parallelism(executors)
            .tasks(tasks);
        let mut bolt = bolt.on_error(match stage.role {
            Role::Poison => OnError { retry: 1, then: AfterRetries::DeadLetter, ..patient() },
            _ => patient(),
        });
        if stage.role == Role::Hold {
            bolt = bolt.tick(HELD_FOR);
        }
        if shape.windows && setup.times.stage == Some(stage.number) {
            bolt = bolt.event_time(setup.times.options());
        }
        for (from, way) in &stage.inputs {
            bolt = take(bolt, (&from.id(), "default"), *way);
        }
        for from in &shape.stages {
            if let Some((_, way)) = from.back.filter(|(to, _)| *to == stage.number) {
                bolt = take(bolt, (&Source::Stage(from.number).id(), BACK), way).feedback();
            }
        }
    }
    add_ends(&mut builder, setup, books, &shape, start);
    builder.options(|options| {
        options.delivery = Delivery::ExactlyOnce;
        options.load_aware = setup.load_aware;
        options.queue.batch = setup.batch;
        options.queue.capacity = setup.capacity;
        options.checkpoint.interval = setup.interval;
        options.checkpoint.timeout = setup.timeout;
        options.checkpoint.max_concurrent = setup.at_once;
        options.checkpoint.alignment_timeout = setup.alignment_timeout;
        options.checkpoint.retain = setup.retain;
        options.watermark_interval = setup.times.interval;
        if setup.on_disk {
            options.state.backend = StateBackendKind::Redb;
            options.state.memory = limits::STATE_MEMORY_MIN;
        }
        options.chain = if setup.chained { ChainMode::Auto } else { ChainMode::Off };
    });
    builder.build().unwrap_or_else(|errors| panic!("{errors}"))
}

/// Adds what stands behind the leaves: counts, accounts, dead letters, sinks and files.
fn add_ends(builder: &mut TopologyBuilder, setup: &Setup, books: &Books, shape: &Arc<Shape>, start: u64) {
    let layout = &setup.layout;
    let (chaos, expires, is_large) = (Arc::clone(&books.chaos), setup.expires, setup.is_large);
    let batches = Arc::clone(&books.batches);
    let new = move || Count {
        chaos: Arc::clone(&chaos),
        batches: Arc::clone(&batches),
        expires,
        counts: ValueState::default(),
        ids: ListState::default(),
        recent: None,
        ballast: is_large.then(ValueState::default),
    };
    let mut count = builder.bolt("count", new).parallelism(layout.count.0).tasks(layout.count.1);
    for leaf in shape.leaves() {
        count = count.fields(&leaf.id(), ["key"]);
    }
    count.on_error(patient());
    if shape.transfers {
        let (of, kept) = (Arc::clone(shape), books.clone());
        let new = move || Debit {
            shape: Arc::clone(&of),
            books: kept.clone(),
            task: 0,
            tasks: 0,
            balances: ValueState::default(),
        };
        let mut debit = builder.bolt("debit", new).parallelism(layout.debit.0).tasks(layout.debit.1);
        for leaf in shape.leaves() {
            debit = debit.fields(&leaf.id(), ["key"]);
        }
        debit.on_error(patient());
        let (ledger, chaos) = (Arc::clone(&books.ledger), Arc::clone(&books.chaos));
        let new = move || Credit {
            ledger: Arc::clone(&ledger),
            chaos: Arc::clone(&chaos),
            task: 0,
            tasks: 0,
            held: Vec::new(),
            balances: ValueState::default(),
            ids: ListState::default(),
        };
        let credit = builder.bolt("credit", new).parallelism(layout.credit.0).tasks(layout.credit.1);
        credit.tick(HELD_FOR).fields("debit", ["to"]).on_error(patient());
    }
    if shape.windows {
        windows::add(builder, setup, books, shape);
    }
    if let Some(logged) = shape.logged {
        let taken = builder.bolt_fn("taken", Streams::new(PUBLISHED), |input, out| {
            Ok(out.emit([Kind::Taken as i64, 0, 0, input.i64("id")?])?)
        });
        taken.shuffle(SPOUTS[logged]).on_error(patient());
    }
    let poisoned: Vec<String> = shape
        .stages
        .iter()
        .filter(|stage| stage.role == Role::Poison)
        .map(|stage| Source::Stage(stage.number).id())
        .collect();
    if !poisoned.is_empty() {
        let mut letters = builder.bolt_fn("letters", Streams::new(PUBLISHED), letter);
        for stage in &poisoned {
            letters = letters.shuffle((stage.as_str(), "dead-letter"));
        }
        letters.on_error(patient());
    }
    let (chaos, store, fence) = (Arc::clone(&books.chaos), Arc::clone(&books.store), setup.fence);
    let new = move || {
        let (chaos, store) = (Arc::clone(&chaos), Arc::clone(&store));
        TwoPhaseBolt::new(Sink { chaos, store, fence, start, task: 0, tasks: 1, next: 0, open: Vec::new() })
    };
    let sink = builder.bolt("sink", new).parallelism(layout.sink.0).tasks(layout.sink.1);
    from_all(sink, shape, !poisoned.is_empty()).on_error(patient());
    if setup.files {
        let path = format!("{}/{{task}}-{{seq}}.csv", books.files.path().display());
        let settings = serde_json::json!({ "path": path, "header": false });
        let settings: FileSettings = serde_json::from_value(settings).expect("these are its settings");
        let file = builder.bolt_with("files", move || File::new(settings.clone()));
        let file = file.parallelism(layout.sink.0).tasks(layout.sink.1);
        from_all(file, shape, !poisoned.is_empty()).on_error(patient());
    }
}

/// A bolt that publishes takes the rows of everything that emits some.
fn from_all<'a>(bolt: BoltDeclarer<'a>, shape: &Shape, has_letters: bool) -> BoltDeclarer<'a> {
    let mut bolt = bolt.shuffle("count");
    if shape.transfers {
        bolt = bolt.shuffle("credit");
    }
    if shape.windows {
        bolt = bolt.shuffle("in-order");
    }
    if shape.logged.is_some() {
        bolt = bolt.shuffle("taken");
    }
    if has_letters {
        bolt = bolt.shuffle("letters");
    }
    bolt
}
