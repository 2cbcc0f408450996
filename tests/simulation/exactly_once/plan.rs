//! An exactly-once topology drawn from a seed, and what comes of it: computed without squall.
//!
//! ```text
//!   rows, more ──▶ stages (1 to 4, each of one or two of those before) ──▶ of every leaf:
//!                    │ dead letters                        ├─▶ count (by key) ──────────────────┐
//!                    └────────▶ letters ──▶ sink           ├─▶ debit (by key) ─▶ credit (by to) ─┼─▶ sink, files
//!                                                           └─▶ windows (by key) ─▶ in-order ─────┘
//! ```
//!
//! Rows happen at a time of their own, by which `windows` collects them. In some topologies a spout cannot go back, and
//! stands behind a write-ahead log.
//!
//! In some, stages send a part of their rows *back*, to any stage, so that these go round in cycles.
//!
//! What comes of a row follows from the row alone, never from the task that has it or from the order in which rows
//! come. So the result depends on the [`Shape`] only. Everything in a [`Layout`], and the options in [`Setup`], must
//! not change it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use squall::config::EventTimeOptions;

use crate::exactly_once::arranged::Arranged;
use crate::kit::HOUR;
use crate::scenario::mixed;

/// A number that looks random, and that only these two give (SplitMix64). Cheaper than a generator with a seed.
fn hashed(number: u64, salt: u64) -> u64 {
    let mut hash = number.wrapping_add(salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// More rows than this make a run slow and find no more.
const ROWS_MAX: usize = 500;

/// The same for rows that come to stages, where they go round.
const ROWS_IN_CYCLES_MAX: usize = 4_000;

/// The stream on which a stage sends rows back.
pub const BACK: &str = "back";

pub const SECOND: i64 = 1_000_000_000;
/// 2026-11-30T10:00:00Z, when the first rows happen.
pub const BEGIN: i64 = 1_796_032_800 * SECOND;
/// A row comes up to so much later than others of its split that happened after it.
const OUT_OF_ORDER: i64 = 8 * SECOND;
/// What `windows` collects together.
pub const WINDOW: i64 = 10 * SECOND;

/// A row: an id that no other row of its stream has, a key, and when it happened, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub id: i64,
    pub key: i64,
    pub at: i64,
}

impl Row {
    /// The account that the amount of the row goes to. It comes from the account `key`.
    pub fn to(self, keys: u64) -> i64 {
        (hashed(self.id as u64, 7) % keys) as i64
    }

    /// The end of its window.
    pub fn until(self) -> i64 {
        (self.at.div_euclid(WINDOW) + 1) * WINDOW
    }

    pub fn amount(self) -> i64 {
        1 + self.id.rem_euclid(100)
    }

    /// Whether this row is one of those: one in `of`.
    pub fn is_one_in(self, of: i64) -> bool {
        self.id.rem_euclid(of) == 0
    }
}

/// What a stage does with its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Pass,
    /// Emits each twice, and none of one in three.
    Copies,
    /// Gives each another key.
    Rekey,
    /// Holds one in four until its next tick.
    Hold,
    /// Keeps the rows of a key in state, until a timer of the key emits them.
    Wait,
    /// Emits the first of those rows of a key that have the same remainder, as state remembers.
    Distinct,
    /// Fails for one in seven, each time: it becomes a dead letter.
    Poison,
}

const ROLES: [Role; 7] =
    [Role::Pass, Role::Copies, Role::Rekey, Role::Hold, Role::Wait, Role::Distinct, Role::Poison];

impl Role {
    /// Whether it has state by key, so that a row has to come to the task of its key.
    pub fn is_keyed(self) -> bool {
        matches!(self, Role::Wait | Role::Distinct)
    }

    /// Whether rows may come later from it than those that happened after them.
    fn delays(self) -> bool {
        matches!(self, Role::Hold | Role::Wait | Role::Distinct)
    }
}

/// How a stage takes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Shuffle,
    Fields,
    PartialKey,
    /// All tasks get each row, and the one whose turn it is takes it.
    All,
    Global,
    None,
    LocalOrShuffle,
    /// The emitter names the task.
    Direct,
}

/// Where a stage gets rows from: a spout or an earlier stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Spout(usize),
    Stage(usize),
}

pub const SPOUTS: [&str; 2] = ["rows", "more"];

impl Source {
    /// The component.
    pub fn id(self) -> String {
        match self {
            Source::Spout(spout) => SPOUTS[spout].to_owned(),
            Source::Stage(stage) => format!("stage-{stage}"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Stage {
    pub number: usize,
    pub role: Role,
    pub inputs: Vec<(Source, Way)>,
    /// The stage to which it sends a part of its rows, and how that takes them.
    pub back: Option<(usize, Way)>,
}

impl Stage {
    fn id_of(&self, row: Row, copy: u64) -> i64 {
        hashed(hashed(row.id as u64, self.number as u64 + 1), copy) as i64
    }

    /// Whether it sends this row, which it has made, back and nowhere else.
    pub fn sends_back(&self, made: Row) -> bool {
        self.back.is_some() && !hashed(made.id as u64, self.number as u64 + 101).is_multiple_of(3)
    }

    /// The row of a key with this remainder that a [`Role::Distinct`] emits.
    pub fn distinct(&self, row: Row) -> (i64, Row) {
        let remainder = row.id.rem_euclid(10);
        let id = hashed(hashed(row.key as u64, remainder as u64), self.number as u64 + 1) as i64;
        (remainder, Row { id, key: row.key, at: BEGIN + remainder * SECOND })
    }

    /// What comes of a row, but for [`Role::Distinct`].
    pub fn made_of(&self, row: Row, keys: u64) -> Vec<Row> {
        let one = |key| vec![Row { id: self.id_of(row, 0), key, at: row.at }];
        match self.role {
            Role::Copies if row.is_one_in(3) => Vec::new(),
            Role::Copies => (0..2).map(|copy| Row { id: self.id_of(row, copy), ..row }).collect(),
            Role::Rekey => one((hashed(row.id as u64, 11) % keys) as i64),
            Role::Pass | Role::Hold | Role::Wait | Role::Distinct | Role::Poison => one(row.key),
        }
    }
}

/// The rows that spouts and stages make.
struct Made {
    /// All but those that are sent back.
    rows: BTreeMap<Source, Vec<Row>>,
    /// Those that became dead letters.
    dead: Vec<i64>,
}

/// What the result depends on.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Rows of each split.
    pub rows: u64,
    pub keys: u64,
    /// Of each spout.
    pub splits: [u64; 2],
    pub stages: Vec<Stage>,
    /// Whether the rows of the leaves are transfers, too.
    pub transfers: bool,
    /// Whether the rows of the leaves are collected by event time, too.
    pub windows: bool,
    /// The spout that cannot go back, and stands behind a write-ahead log.
    pub logged: Option<usize>,
}

impl Shape {
    fn draw(random: &mut StdRng) -> Shape {
        let splits = [random.random_range(1..=3), random.random_range(0..=2)];
        let spouts = splits.iter().filter(|splits| **splits > 0).count();
        let mut stages: Vec<Stage> = Vec::new();
        for number in 0..random.random_range(1..=4) {
            let before: Vec<Source> =
                (0..spouts).map(Source::Spout).chain((0..number).map(Source::Stage)).collect();
            let mut from = vec![before[random.random_range(0..before.len())]];
            let other = before[random.random_range(0..before.len())];
            // Most have two, because barriers are aligned there.
            if other != from[0] && random.random_bool(0.7) {
                from.push(other);
            }
            let role = ROLES[random.random_range(0..ROLES.len())];
            let inputs = from.into_iter().map(|from| (from, Shape::draw_way(role, from, random))).collect();
            stages.push(Stage { number, role, inputs, back: None });
        }
        let mut shape = Shape {
            rows: random.random_range(1..150),
            keys: random.random_range(1..8),
            splits,
            stages,
            transfers: random.random_bool(0.6),
            windows: false,
            logged: None,
        };
        shape.limit_rows();
        shape
    }

    /// The spouts that there are.
    pub fn spouts(&self) -> impl Iterator<Item = usize> + '_ {
        (0..2).filter(|spout| self.splits[*spout] > 0)
    }

    fn limit_rows(&mut self) {
        while self.rows > 1 && self.of_leaves().len() > ROWS_MAX {
            self.rows /= 2;
        }
    }

    /// Adds links that lead back, if rows do not become more with each round.
    fn draw_cycles(&mut self, random: &mut StdRng) {
        let without = self.clone();
        for _ in 0..random.random_range(1..=2) {
            let [from, to] = [(); 2].map(|()| random.random_range(0..self.stages.len()));
            // A row that comes back in the end, when the bolt has finished, would wait in its state for ever.
            for stage in self.stages.iter_mut().filter(|stage| stage.role == Role::Wait) {
                stage.role = Role::Distinct;
            }
            let ways = match self.stages[to].role {
                role if role.is_keyed() => vec![Way::Fields],
                Role::Hold => vec![Way::Shuffle, Way::Fields, Way::Global],
                _ => vec![
                    Way::Shuffle,
                    Way::Fields,
                    Way::Global,
                    Way::LocalOrShuffle,
                    Way::All,
                    Way::PartialKey,
                ],
            };
            self.stages[from].back = Some((to, ways[random.random_range(0..ways.len())]));
        }
        while self.rows > 10 && self.all_rows().is_none() {
            self.rows /= 2;
        }
        if self.all_rows().is_none() {
            *self = without;
        }
        self.limit_rows();
    }

    /// Whether what goes round could not be shared out among another number of tasks.
    fn keeps_its_tasks(&self) -> bool {
        let ways = self.stages.iter().filter_map(|stage| stage.back);
        ways.into_iter().any(|(_, way)| matches!(way, Way::All | Way::PartialKey))
    }

    /// Whether rows may come back to the stage that they come from.
    pub fn has_cycle(&self) -> bool {
        self.stages.iter().any(|stage| {
            let mut reached = BTreeSet::new();
            let mut open: Vec<usize> = stage.back.iter().map(|(to, _)| *to).collect();
            while let Some(at) = open.pop() {
                if reached.insert(at) {
                    let behind =
                        |next: &&Stage| next.inputs.iter().any(|(from, _)| *from == Source::Stage(at));
                    open.extend(self.stages.iter().filter(behind).map(|next| next.number));
                    open.extend(self.stages[at].back.map(|(to, _)| to));
                }
            }
            reached.contains(&stage.number)
        })
    }

    fn draw_way(role: Role, from: Source, random: &mut StdRng) -> Way {
        if role.is_keyed() {
            return Way::Fields;
        }
        let mut ways = vec![Way::Shuffle, Way::Fields, Way::Global, Way::None, Way::LocalOrShuffle];
        // What is held by these cannot be shared out among another number of tasks.
        if role != Role::Hold {
            ways.extend([Way::PartialKey, Way::All]);
            if let Source::Stage(_) = from {
                ways.push(Way::Direct);
            }
        }
        ways[random.random_range(0..ways.len())]
    }

    /// The spouts and stages that no stage takes rows from.
    pub fn leaves(&self) -> Vec<Source> {
        let spouts = self.spouts().map(Source::Spout);
        let all = spouts.chain((0..self.stages.len()).map(Source::Stage));
        let is_taken = |source: &Source| {
            self.stages.iter().flat_map(|stage| &stage.inputs).any(|(from, _)| from == source)
        };
        all.filter(|source| !is_taken(source)).collect()
    }

    /// The n-th row of a split.
    pub fn row(&self, spout: usize, split: u64, n: u64) -> Row {
        let id = hashed(hashed(spout as u64 * 100 + split, 1 << 32), n) as i64;
        let delay = (hashed(id as u64, 13) % OUT_OF_ORDER as u64) as i64;
        Row { id, key: (hashed(id as u64, 5) % self.keys) as i64, at: BEGIN + n as i64 * SECOND + delay }
    }

    /// What spouts and stages make.
    fn all_rows(&self) -> Option<Made> {
        self.rows_of(|_| true)
    }

    /// What spouts and stages make, if the spout behind a log brings only these rows. `None`: rows that go round become
    /// more and more.
    fn rows_of(&self, is_logged: impl Fn(i64) -> bool) -> Option<Made> {
        let mut rows: BTreeMap<Source, Vec<Row>> = BTreeMap::new();
        let (mut dead, mut distinct) = (Vec::new(), BTreeSet::new());
        // What comes to a stage. Roles look at each row for itself, or at which rows there are, so any order will do.
        let mut coming: Vec<(usize, Row)> = Vec::new();
        let emit =
            |from: Source, row: Row, coming: &mut Vec<(usize, Row)>, rows: &mut BTreeMap<_, Vec<_>>| {
                rows.entry(from).or_default().push(row);
                let takes = |stage: &&Stage| stage.inputs.iter().any(|(source, _)| *source == from);
                coming.extend(self.stages.iter().filter(takes).map(|stage| (stage.number, row)));
            };
        for spout in 0..2 {
            for split in 0..self.splits[spout] {
                for n in 0..self.rows {
                    let row = self.row(spout, split, n);
                    if self.logged != Some(spout) || is_logged(row.id) {
                        emit(Source::Spout(spout), row, &mut coming, &mut rows);
                    }
                }
            }
        }
        let mut came = 0;
        while let Some((number, row)) = coming.pop() {
            came += 1;
            let stage = &self.stages[number];
            let made = match stage.role {
                Role::Poison if row.is_one_in(7) => {
                    dead.push(row.id);
                    Vec::new()
                }
                Role::Distinct => {
                    let (_, made) = stage.distinct(row);
                    Vec::from_iter(distinct.insert((number, made)).then_some(made))
                }
                _ => stage.made_of(row, self.keys),
            };
            for row in made {
                match stage.back {
                    Some((to, _)) if stage.sends_back(row) => coming.push((to, row)),
                    _ => emit(Source::Stage(number), row, &mut coming, &mut rows),
                }
            }
            if came > ROWS_IN_CYCLES_MAX && self.stages.iter().any(|stage| stage.back.is_some()) {
                return None;
            }
        }
        Some(Made { rows, dead })
    }

    fn of_leaves(&self) -> Vec<Row> {
        let Made { rows, .. } = self.all_rows().expect("cycles that grow are not drawn");
        self.among_leaves(&rows)
    }

    fn among_leaves(&self, rows: &BTreeMap<Source, Vec<Row>>) -> Vec<Row> {
        self.leaves().into_iter().filter_map(|leaf| rows.get(&leaf)).flatten().copied().collect()
    }

    /// What is published in the end, if the log has these rows of the spout that stands behind one.
    pub fn reference(&self, logged: &BTreeSet<i64>) -> Reference {
        let made = self.rows_of(|id| logged.contains(&id));
        let Made { dead, rows } = made.expect("cycles that grow are not drawn");
        let mut reference = Reference { letters: dead, ..Reference::default() };
        for row in self.among_leaves(&rows) {
            reference.counted.entry(row.key).or_default().push(row.id);
            if self.windows {
                reference.due.entry(row.key).or_default().insert(row.until());
            }
            if self.transfers {
                reference.credited.entry(row.to(self.keys)).or_default().push(row.id);
            }
        }
        reference.counted.values_mut().chain(reference.credited.values_mut()).for_each(|ids| ids.sort());
        reference.letters.sort();
        reference
    }
}

/// What is published by a run that nothing happens to: ids of rows, in order.
#[derive(Debug, Default)]
pub struct Reference {
    /// By key.
    pub counted: BTreeMap<i64, Vec<i64>>,
    /// By the account that the amount went to.
    pub credited: BTreeMap<i64, Vec<i64>>,
    /// By key: the ends of the windows in which it has rows.
    pub due: BTreeMap<i64, BTreeSet<i64>>,
    pub letters: Vec<i64>,
}

/// Executors and tasks of each component.
#[derive(Clone, Debug)]
pub struct Layout {
    pub spouts: [u32; 2],
    pub stages: Vec<(u32, u32)>,
    pub count: (u32, u32),
    pub debit: (u32, u32),
    pub credit: (u32, u32),
    pub sink: (u32, u32),
}

impl Layout {
    fn draw(stages: usize, random: &mut StdRng) -> Layout {
        let mut tasks = |most| {
            let executors = random.random_range(1..=most);
            (executors, executors * [1, 1, 2][random.random_range(0..3)])
        };
        Layout {
            stages: (0..stages).map(|_| tasks(2)).collect(),
            count: tasks(3),
            debit: tasks(2),
            credit: tasks(2),
            sink: tasks(2),
            spouts: [tasks(3).0, tasks(2).0],
        }
    }
}

/// Where event time comes from, and how it goes on.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Whether each spout has event time.
    pub spouts: [bool; 2],
    /// The stage that has event time of its own.
    pub stage: Option<usize>,
    pub idle_after: Option<Duration>,
    pub interval: Duration,
}

impl Times {
    fn draw(shape: &Shape, random: &mut StdRng) -> Times {
        let mut spouts = [true; 2];
        if random.random_bool(0.2) {
            spouts[random.random_range(0..2)] = false;
        }
        if !shape.spouts().any(|spout| spouts[spout]) {
            spouts = [true; 2];
        }
        let stage = random.random_range(0..shape.stages.len());
        Times {
            spouts,
            stage: random.random_bool(0.2).then_some(stage),
            idle_after: random.random_bool(0.2).then(|| Duration::from_millis(random.random_range(1..20))),
            interval: Duration::from_millis([1, 5, 200][random.random_range(0..3)]),
        }
    }

    /// What a component has event time by.
    pub fn options(&self) -> EventTimeOptions {
        EventTimeOptions {
            max_out_of_order: Duration::from_nanos(OUT_OF_ORDER as u64),
            idle_after: self.idle_after,
            ..EventTimeOptions::of("at")
        }
    }
}

/// How a sink keeps others from its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The store refuses who was replaced, as `postgres` does.
    Owner,
    /// A transaction has a name that no other start uses, so only the store of checkpoints fences.
    Name,
    /// Not at all. This is a defect, which must be found.
    Forgotten,
}

/// A topology, how it is laid out and configured, and what happens to it.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub shape: Shape,
    pub layout: Layout,
    /// Whether each start has another layout.
    pub rescales: bool,
    pub batch: u32,
    pub capacity: u32,
    pub interval: Duration,
    pub timeout: Duration,
    /// Checkpoints at once.
    pub at_once: u32,
    /// When barriers overtake, if one checkpoint is taken at a time.
    pub alignment_timeout: Option<Duration>,
    pub retain: u32,
    pub chained: bool,
    pub load_aware: bool,
    /// Whether `count` has state that expires.
    pub expires: bool,
    /// Where event time comes from, if there is any.
    pub times: Times,
    /// Whether `count` keeps more than memory may have, if its state is on disk.
    pub is_large: bool,
    /// Whether state that is not in use is on disk (`backend = "redb"`).
    pub on_disk: bool,
    /// Whether rows go to files, too.
    pub files: bool,
    pub fence: Fence,
    /// Panics and errors of user code before it behaves.
    pub faults: u64,
    /// How often a task may be crashed from outside.
    pub crashes: u32,
    pub kills: u64,
}

/// No checkpoint but the last, and those that are asked for.
pub const NEVER: Duration = Duration::from_secs(20 * HOUR.as_secs());

/// The first is the shortest there is.
const INTERVALS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(90),
    NEVER,
];

impl Setup {
    pub fn from_seed(seed: u64) -> Setup {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut shape = Shape::draw(random);
        // Drawn apart, so that a seed has the same stages with a cycle and without.
        let apart = &mut StdRng::seed_from_u64(mixed(seed, 23));
        // The same holds for what is drawn here.
        let arranged = Arranged::of(seed);
        let others = &mut StdRng::seed_from_u64(mixed(seed, 41));
        shape.windows = others.random_bool(0.45);
        let logged = shape.spouts().nth(others.random_range(0..shape.spouts().count()));
        // A log is fenced by a lock on its directory, which is not there in memory.
        let is_logged = others.random_bool(0.25) || arranged.is_of_log();
        shape.logged = logged.filter(|_| is_logged && arranged != Arranged::Zombie);
        if others.random_bool(0.3) || arranged.is_of_state() {
            // So many that they have no room in memory.
            shape.keys += 10;
            shape.rows = shape.rows.max(60);
            shape.limit_rows();
        }
        if apart.random_bool(0.4) {
            shape.draw_cycles(apart);
        }
        Setup::of(shape, seed, random)
    }

    /// The same rows and stages, in another layout and with other options.
    pub fn variant(&self, number: u64) -> Setup {
        let random = &mut StdRng::seed_from_u64(mixed(self.seed, number));
        Setup::of(self.shape.clone(), self.seed, random)
    }

    fn of(shape: Shape, seed: u64, random: &mut StdRng) -> Setup {
        let mut setup = Setup {
            seed,
            layout: Layout::draw(shape.stages.len(), random),
            rescales: random.random_bool(0.5),
            batch: [1, 2, 7, 64][random.random_range(0..4)],
            capacity: [64, 256][random.random_range(0..2)],
            interval: INTERVALS[random.random_range(0..INTERVALS.len())],
            timeout: Duration::from_millis([30, 600_000, 600_000][random.random_range(0..3)]),
            at_once: [1, 1, 2, 3][random.random_range(0..4)],
            alignment_timeout: [None, Some(Duration::ZERO), Some(Duration::from_millis(3))]
                [random.random_range(0..3)],
            retain: random.random_range(1..=3),
            chained: random.random_bool(0.5),
            load_aware: random.random_bool(0.7),
            expires: random.random_bool(0.3),
            files: random.random_bool(0.06),
            fence: if random.random_bool(0.5) { Fence::Owner } else { Fence::Name },
            faults: [0, 4, 12][random.random_range(0..3)],
            crashes: 100,
            kills: random.random_range(0..4),
            times: Times::default(),
            is_large: shape.keys > 10,
            on_disk: shape.keys > 10,
            shape,
        };
        setup.times = Times::draw(&setup.shape, random);
        if setup.at_once > 1 {
            setup.alignment_timeout = None;
        }
        setup.rescales &= !setup.shape.keeps_its_tasks();
        if setup.interval == NEVER {
            // All tasks may go back ten times to the same checkpoint, and there is only one.
            setup.faults = setup.faults.min(4);
            setup.crashes = 2;
        }
        setup
    }

    /// The layout of the next start.
    pub fn rescale(&mut self, random: &mut StdRng) {
        if self.rescales {
            let before = std::mem::replace(&mut self.layout, Layout::draw(self.shape.stages.len(), random));
            if let Some(logged) = self.shape.logged {
                // Each of its tasks has a log of its own.
                self.layout.spouts[logged] = before.spouts[logged];
            }
            self.on_disk = self.is_large && random.random_bool(0.7);
        }
    }

    /// Whether no row comes later to `windows` than the watermark allows.
    pub fn is_timely(&self) -> bool {
        let Times { spouts, stage, idle_after, .. } = &self.times;
        let all_have_times = self.shape.spouts().all(|spout| spouts[spout]);
        let delays = |stage: &Stage| stage.role.delays() || stage.back.is_some();
        let is_delayed = self.shape.stages.iter().any(delays) || self.shape.logged.is_some();
        all_have_times && stage.is_none() && idle_after.is_none() && !is_delayed
    }

    /// What the seed drew, for the table of what occurred.
    pub fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = Vec::new();
        for stage in &self.shape.stages {
            kinds.push(format!("role {:?}", stage.role));
            kinds.extend(stage.inputs.iter().map(|(_, way)| format!("grouping {way:?}")));
            if stage.inputs.len() > 1 {
                kinds.push("two inputs".to_owned());
            }
            match stage.back {
                Some((to, _)) if to == stage.number => kinds.push("back to itself".to_owned()),
                Some((to, _)) if to > stage.number => kinds.push("back and forth".to_owned()),
                Some(_) => kinds.push("back to another stage".to_owned()),
                None => {}
            }
        }
        kinds.push(match self.interval {
            NEVER => "interval: never".to_owned(),
            interval => format!("interval: {interval:?}"),
        });
        kinds.push(format!("checkpoints at once: {}", self.at_once));
        kinds.push(match self.alignment_timeout {
            None => "barriers wait for their turn".to_owned(),
            Some(timeout) => format!("barriers overtake after {timeout:?}"),
        });
        kinds.push(format!("fence by {:?}", self.fence));
        for (is_so, what) in [
            (self.shape.transfers, "transfers"),
            (self.files, "files"),
            (self.expires, "state that expires"),
            (self.on_disk, "state on disk"),
            (self.shape.logged.is_some(), "write-ahead log"),
            (self.shape.windows, "event time"),
            (self.shape.windows && self.is_timely(), "event time without late rows"),
            (self.shape.windows && self.times.stage.is_some(), "event time of a stage"),
            (self.shape.windows && self.times.idle_after.is_some(), "splits may be idle"),
            (self.chained, "chained"),
            (self.shape.has_cycle(), "a cycle"),
            (self.shape.has_cycle() && self.rescales, "a cycle with another layout"),
            (self.shape.splits[1] == 0, "one spout"),
            (self.shape.splits[1] > 0, "two spouts"),
        ] {
            if is_so {
                kinds.push(what.to_owned());
            }
        }
        kinds
    }
}
