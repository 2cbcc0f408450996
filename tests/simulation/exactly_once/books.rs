//! What outlives every process of a run: faults of user code, the store that sinks write to, and the sums of accounts
//! at each checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use squall::Timestamp;
use squall::api::Batch;
use squall::ids::CheckpointId;
use squall::prelude::*;

use crate::exactly_once::plan::{Fence, Reference, Role, Setup};
use crate::kit::lock;
use crate::world::Coverage;

/// Where user code may fail or panic.
const PLACES: [&str; 21] = [
    "open",
    "next_tuple",
    "next_tuple of a queue",
    "ack of a queue",
    "snapshot of a spout",
    "restore of a spout",
    "execute",
    "execute of a bolt with state",
    "timer",
    "event timer",
    "tick",
    "flush",
    "finish",
    "pre_commit",
    "committed",
    "prepare of a sink",
    "write",
    "pre_commit of a sink",
    "pre_commit of a sink, after it",
    "commit",
    "commit, after it",
];

/// What decides about faults of user code, over all processes of a run.
pub struct Chaos {
    random: Mutex<StdRng>,
    left: AtomicU64,
    /// Where this seed has more faults than elsewhere, so that the first seeds have all of them; and how many more.
    favoured: &'static str,
    favoured_left: AtomicU64,
    happened: Mutex<Coverage>,
}

/// Where a seed has more faults than elsewhere: in half of them a place that few topologies have.
fn favoured(setup: &Setup) -> &'static str {
    let has = |role: Role| setup.shape.stages.iter().any(|stage| stage.role == role);
    let rare = [
        ("timer", has(Role::Wait)),
        ("tick", has(Role::Hold)),
        ("event timer", setup.shape.windows),
        ("next_tuple of a queue", setup.shape.logged.is_some()),
        ("ack of a queue", setup.shape.logged.is_some()),
    ];
    let is_rare = |place: &&str| rare.iter().any(|(rare, _)| rare == place);
    let common: Vec<&str> = PLACES.into_iter().filter(|place| !is_rare(place)).collect();
    let there: Vec<&str> = rare.iter().filter(|(_, is_there)| *is_there).map(|(place, _)| *place).collect();
    let turn = (setup.seed / 3) as usize;
    match turn % 2 {
        0 if !there.is_empty() => there[turn / 2 % there.len()],
        _ => common[turn / 2 % common.len()],
    }
}

/// What a call does.
#[derive(PartialEq)]
enum Fault {
    None,
    Error,
    Panic,
}

impl Chaos {
    pub fn of(setup: &Setup) -> Arc<Chaos> {
        Arc::new(Chaos {
            random: Mutex::new(StdRng::seed_from_u64(setup.seed)),
            left: AtomicU64::new(setup.faults),
            favoured: favoured(setup),
            favoured_left: AtomicU64::new(if setup.faults > 0 { 2 } else { 0 }),
            happened: Mutex::default(),
        })
    }

    /// What has occurred.
    pub fn happened(&self) -> Coverage {
        std::mem::take(&mut *lock(&self.happened))
    }

    /// Notes that something has occurred.
    pub fn note(&self, what: &str) {
        lock(&self.happened).add(what, 1);
    }

    /// Decides about a place where a fault occurs once in `one_in` calls.
    fn fault(&self, place: &'static str, one_in: u32) -> Fault {
        let is_favoured = place == self.favoured && self.favoured_left.load(Ordering::SeqCst) > 0;
        let (left, one_in) = if is_favoured { (&self.favoured_left, 3) } else { (&self.left, one_in) };
        if left.load(Ordering::SeqCst) == 0 {
            return Fault::None;
        }
        let draw = lock(&self.random).random_range(0..one_in);
        if draw > 1 {
            return Fault::None;
        }
        left.fetch_sub(1, Ordering::SeqCst);
        lock(&self.happened).add(place, 1);
        if draw == 0 { Fault::Error } else { Fault::Panic }
    }

    /// Fails or panics, perhaps.
    pub fn strike(&self, place: &'static str) -> Result<(), TaskError> {
        self.strike_one_in(40, place)
    }

    /// The same for a call that is made once for each checkpoint.
    pub fn strike_of_checkpoint(&self, place: &'static str) -> Result<(), TaskError> {
        self.strike_one_in(6, place)
    }

    fn strike_one_in(&self, one_in: u32, place: &'static str) -> Result<(), TaskError> {
        match self.fault(place, one_in) {
            Fault::None => Ok(()),
            Fault::Error => Err(TaskError::new(place)),
            Fault::Panic => std::panic::resume_unwind(Box::new(place)),
        }
    }

    /// Panics, perhaps: in a call whose errors are losses.
    pub fn panic(&self, place: &'static str, one_in: u32) {
        if self.fault(place, one_in) != Fault::None {
            std::panic::resume_unwind(Box::new(place));
        }
    }
}

/// Which part of a topology a row was published by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Count,
    Credit,
    Letter,
    /// A row of a window of event time.
    Windowed,
    /// The call of a timer in event time. The id is the time that it was set to.
    Due,
    /// A row that came of a write-ahead log.
    Taken,
}

impl Kind {
    pub fn of(number: i64) -> Result<Kind, TaskError> {
        [Kind::Count, Kind::Credit, Kind::Letter, Kind::Windowed, Kind::Due, Kind::Taken]
            .into_iter()
            .find(|kind| *kind as i64 == number)
            .ok_or_else(|| TaskError::fatal("a row of no kind"))
    }
}

/// A row that is published: the `nth` of its kind and key, which came of the row with this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    pub kind: Kind,
    pub key: i64,
    pub nth: i64,
    pub id: i64,
}

/// The name of a transaction: the start that began it, or 0; the task; and a number.
pub type Transaction = (u64, usize, u64);

/// What the sinks write to.
#[derive(Default)]
pub struct Store {
    /// Transactions that are pre-committed.
    pub prepared: BTreeMap<Transaction, Vec<Published>>,
    pub visible: Vec<Published>,
    /// The latest start that has taken the store over.
    owner: u64,
    /// Calls of starts that were replaced, which were refused.
    pub refused: u64,
}

impl Store {
    /// A start takes the store over.
    pub fn claim(&mut self, start: u64) {
        self.owner = self.owner.max(start);
    }

    /// Refuses a start that was replaced.
    ///
    /// # Errors
    /// An error that ends its run.
    pub fn check_owner(&mut self, start: u64, fence: Fence) -> Result<(), TaskError> {
        if fence == Fence::Owner && start < self.owner {
            self.refused += 1;
            return Err(TaskError::fatal("another start has taken the store over"));
        }
        Ok(())
    }
}

/// The sums of the accounts of each task at a checkpoint.
#[derive(Default)]
struct Sums {
    tasks: usize,
    by_task: BTreeMap<(&'static str, usize), i64>,
}

/// What accounts add up to: nothing, because each amount that is added to one is taken from another.
#[derive(Default)]
pub struct Ledger {
    sums: BTreeMap<CheckpointId, Sums>,
    /// Complete checkpoints that were looked at.
    pub checked: u64,
    pub wrong: Vec<String>,
}

impl Ledger {
    /// Notes what the accounts of a task add up to in its part of a checkpoint, which so many tasks take part in.
    pub fn note(&mut self, checkpoint: CheckpointId, task: (&'static str, usize), tasks: usize, sum: i64) {
        let sums = self.sums.entry(checkpoint).or_default();
        sums.tasks = tasks;
        sums.by_task.insert(task, sum);
    }

    /// The checkpoint is complete.
    pub fn check(&mut self, checkpoint: CheckpointId) {
        let Some(sums) = self.sums.get(&checkpoint) else { return };
        let sum: i64 = sums.by_task.values().sum();
        self.checked += 1;
        if sum != 0 || sums.by_task.len() != sums.tasks {
            self.wrong.push(format!(
                "in checkpoint {checkpoint} accounts of {} of {} tasks add up to {sum}: {:?}",
                sums.by_task.len(),
                sums.tasks,
                sums.by_task
            ));
        }
    }
}

/// How far event time was at checkpoints.
#[derive(Default)]
pub struct Watermarks {
    /// Of each checkpoint: how many tasks there are, and the watermark of each that took part.
    noted: BTreeMap<CheckpointId, (usize, BTreeMap<usize, Option<Timestamp>>)>,
    /// The least one of the latest checkpoint that was committed.
    floor: Option<Timestamp>,
}

impl Watermarks {
    /// Notes the watermark of a task in its part of a checkpoint, which so many tasks take part in.
    pub fn note(&mut self, checkpoint: CheckpointId, task: usize, tasks: usize, at: Option<Timestamp>) {
        let (of, noted) = self.noted.entry(checkpoint).or_default();
        *of = tasks;
        noted.insert(task, at);
    }

    /// The checkpoint is complete.
    pub fn commits(&mut self, checkpoint: CheckpointId) {
        let Some((tasks, noted)) = self.noted.get(&checkpoint) else { return };
        if noted.len() == *tasks {
            self.floor = self.floor.max(noted.values().copied().min().flatten());
        }
    }

    /// No task that begins now may have less.
    pub fn floor(&self) -> Option<Timestamp> {
        self.floor
    }
}

/// What a queue has given out, which knows nothing of checkpoints: see [`queue`](crate::exactly_once::queue).
#[derive(Default)]
pub struct Given {
    /// By split: how many.
    pub next: BTreeMap<u64, u64>,
    /// The ids of the rows.
    pub given: BTreeSet<i64>,
    /// Of these: those that it was told are kept now.
    pub acked: BTreeSet<i64>,
    pub wrong: Vec<String>,
}

/// The batches that tasks saw.
#[derive(Default)]
pub struct Batches {
    /// The transaction id of each attempt.
    txids: BTreeMap<CheckpointId, u64>,
    /// The attempt with which each batch was committed.
    committed: BTreeMap<u64, CheckpointId>,
    wrong: Vec<String>,
}

impl Batches {
    /// A batch ends.
    pub fn note(&mut self, batch: Option<Batch>) {
        let Some(Batch { txid, attempt }) = batch else {
            self.wrong.push("a batch ends that has no transaction id".to_owned());
            return;
        };
        let before = *self.txids.entry(attempt).or_insert(txid);
        if before != txid {
            self.wrong.push(format!("attempt {attempt} is of batch {before} and of batch {txid}"));
        }
    }

    /// The batch of this attempt is committed: no other attempt of it was, and each batch before it was tried before.
    pub fn commits(&mut self, attempt: CheckpointId) {
        let Some(txid) = self.txids.get(&attempt).copied() else { return };
        let committed = *self.committed.entry(txid).or_insert(attempt);
        if committed != attempt {
            self.wrong.push(format!("batch {txid} is committed with attempts {committed} and {attempt}"));
        }
        let earlier = self.txids.range(..attempt).map(|(_, txid)| *txid).collect::<BTreeSet<_>>();
        if let Some(left_out) = (1..txid).find(|txid| !earlier.contains(txid)) {
            self.wrong.push(format!("batch {txid} is committed, and batch {left_out} was never tried"));
        }
    }
}

/// Everything that outlives the processes of a run.
#[derive(Clone)]
pub struct Books {
    pub batches: Arc<Mutex<Batches>>,
    pub chaos: Arc<Chaos>,
    pub store: Arc<Mutex<Store>>,
    pub ledger: Arc<Mutex<Ledger>>,
    pub watermarks: Arc<Mutex<Watermarks>>,
    pub queue: Arc<Mutex<Given>>,
    /// Where the bolt `file` writes to.
    pub files: Arc<tempfile::TempDir>,
}

impl Books {
    pub fn of(setup: &Setup) -> Books {
        Books {
            chaos: Chaos::of(setup),
            store: Arc::default(),
            ledger: Arc::default(),
            watermarks: Arc::default(),
            queue: Arc::default(),
            batches: Arc::default(),
            files: Arc::new(tempfile::tempdir().expect("there is room")),
        }
    }

    /// How many rows were acknowledged to the queue and are not published: a process that begins now has them of its log.
    pub fn only_in_log(&self) -> usize {
        let (store, queue) = (lock(&self.store), lock(&self.queue));
        let taken = store.visible.iter().filter(|row| row.kind == Kind::Taken).count();
        queue.acked.len().saturating_sub(taken)
    }

    /// How many rows the queue has given out that nobody has: they were in the memory of a process that was killed.
    pub fn lost_before_log(&self) -> usize {
        let (store, queue) = (lock(&self.store), lock(&self.queue));
        queue.given.len() - store.visible.iter().filter(|row| row.kind == Kind::Taken).count()
    }

    /// The rows in the files with final names.
    fn in_files(&self, rescales: bool) -> Result<Vec<Published>, String> {
        let mut rows = Vec::new();
        for entry in std::fs::read_dir(self.files.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "csv") {
                // Nobody removes what a task left that is not there any more.
                if rescales {
                    continue;
                }
                return Err(format!("{} was left over", path.display()));
            }
            for line in std::fs::read_to_string(&path).map_err(|error| error.to_string())?.lines() {
                let values: Vec<i64> = line.split(',').filter_map(|value| value.parse().ok()).collect();
                let [kind, key, nth, id] = values[..] else { return Err(format!("a torn row: {line:?}")) };
                let kind = Kind::of(kind).map_err(|_| format!("a row of no kind: {line:?}"))?;
                rows.push(Published { kind, key, nth, id });
            }
        }
        Ok(rows)
    }

    /// Compares what was published with what a run publishes that nothing happens to.
    ///
    /// # Errors
    /// Says what is different.
    pub fn verdict(&self, setup: &Setup) -> Result<(), String> {
        let ledger = lock(&self.ledger);
        // What a barrier has overtaken is in no account yet.
        let is_in_accounts = setup.alignment_timeout.is_none();
        if let Some(wrong) = ledger.wrong.first().filter(|_| is_in_accounts) {
            return Err(wrong.clone());
        }
        if let Some(wrong) = lock(&self.batches).wrong.first() {
            return Err(wrong.clone());
        }
        let store = lock(&self.store);
        let queue = lock(&self.queue);
        compare(setup, &queue, &store.visible)?;
        if setup.files {
            let in_files = self.in_files(setup.rescales)?;
            compare(setup, &queue, &in_files).map_err(|what| format!("in files: {what}"))?;
        }
        let last = store.owner;
        let left: Vec<&Transaction> = store
            .prepared
            .keys()
            // What a replaced start pre-committed after the last one began belongs to nobody.
            .filter(|(start, ..)| *start == 0 || *start == last)
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("not everything was committed: {left:?}")) }
    }
}

/// The rows of the spout behind a log, among those that were published.
fn taken(queue: &Given, rows: &[Published]) -> Result<BTreeSet<i64>, String> {
    let mut taken = BTreeSet::new();
    for row in rows.iter().filter(|row| row.kind == Kind::Taken) {
        if !taken.insert(row.id) {
            return Err(format!("row {} came of the log twice", row.id));
        }
    }
    if let Some(wrong) = queue.wrong.first() {
        return Err(wrong.clone());
    }
    if let Some(lost) = queue.acked.difference(&taken).next() {
        return Err(format!("row {lost} was acknowledged to its queue, and is lost"));
    }
    match taken.difference(&queue.given).next() {
        Some(other) => Err(format!("row {other} was never given out by its queue")),
        None => Ok(taken),
    }
}

fn compare(setup: &Setup, queue: &Given, rows: &[Published]) -> Result<(), String> {
    let taken = taken(queue, rows)?;
    let Reference { counted, credited, due, letters } = setup.shape.reference(&taken);
    let mut found: BTreeMap<(Kind, i64), Vec<(i64, i64)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.kind != Kind::Taken) {
        found.entry((row.kind, row.key)).or_default().push((row.nth, row.id));
    }
    let mut expected: BTreeMap<(Kind, i64), Vec<i64>> = BTreeMap::new();
    for (key, ids) in counted {
        if setup.shape.windows {
            expected.insert((Kind::Windowed, key), ids.clone());
        }
        expected.insert((Kind::Count, key), ids);
    }
    expected.extend(credited.into_iter().map(|(key, ids)| ((Kind::Credit, key), ids)));
    expected.extend(Some(((Kind::Letter, 0), letters)).filter(|(_, ids)| !ids.is_empty()));
    expected.extend(due.into_iter().map(|(key, until)| ((Kind::Due, key), Vec::from_iter(until))));
    for (of, ids) in expected {
        let (mut nths, mut found): (Vec<i64>, Vec<i64>) =
            found.remove(&of).unwrap_or_default().into_iter().unzip();
        nths.sort_unstable();
        found.sort_unstable();
        let calls = found.len() as i64;
        if of.0 == Kind::Due && !setup.is_timely() {
            // A window that rows come late for has one call more for these.
            found.dedup();
        }
        // The list of a key has no gap and no row twice. Letters have no order.
        let gap_free = of.0 == Kind::Letter || nths == (1..=calls).collect::<Vec<_>>();
        if !gap_free || found != ids {
            return Err(format!("{of:?}: {} rows, and not {}: {nths:?}", found.len(), ids.len()));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(format!("rows that nobody emitted: {found:?}")) }
}
