//! Event time: watermarks, and timers that follow them, give the same rows whatever the layout and the delivery, and
//! however often the run is killed.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use squall::Timestamp;
use squall::api::EventTime;
use squall::config::{ChainMode, EventTimeOptions};
use squall::testing::Feeder;

use super::*;

pub(super) const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
/// 2026-11-30T10:00:00Z.
pub(super) const BEGIN: i64 = 1_796_032_800 * SECOND;
/// Clicks come up to so much later than others that happened after them.
const OUT_OF_ORDER: i64 = 20;

/// A click: its page, and when it happened, in seconds after [`BEGIN`].
pub(super) type Click = (i64, i64);

/// Each split has clicks of the same hour. Within a split they are out of order, within the bound.
pub(super) fn splits(random: &mut StdRng, count: usize, clicks: i64) -> Vec<Vec<Click>> {
    let split = |_| {
        let mut split: Vec<Click> =
            (0..clicks).map(|nth| (random.random_range(0..4), nth * 3600 / clicks)).collect();
        split.sort_by_cached_key(|(_, at)| at + random.random_range(0..=OUT_OF_ORDER));
        split
    };
    (0..count).map(split).collect()
}

/// What is to be published: the clicks of each page and minute.
fn expected(splits: &[Vec<Click>]) -> Vec<i64> {
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for (page, at) in splits.iter().flatten() {
        *counts.entry((*page, at / 60)).or_default() += 1;
    }
    let mut rows: Vec<i64> =
        counts.into_iter().map(|((page, minute), count)| shown(page, minute, count)).collect();
    rows.sort_unstable();
    rows
}

fn shown(page: i64, minute: i64, count: i64) -> i64 {
    (page * 1000 + minute) * 1000 + count
}

/// Emits the clicks of some splits, a few of one, then a few of another.
pub(super) struct Clicks {
    splits: Arc<Vec<Vec<Click>>>,
    /// The splits of this task, each with its position.
    own: BTreeMap<usize, usize>,
    task: usize,
    has_named: bool,
    calls: usize,
}

impl Clicks {
    pub(super) fn new(splits: &Arc<Vec<Vec<Click>>>) -> Clicks {
        let splits = Arc::clone(splits);
        Clicks { splits, own: BTreeMap::new(), task: 0, has_named: false, calls: 0 }
    }
}

impl Spout for Clicks {
    fn declare(&self) -> Streams {
        Streams::new(["page", "at"])
    }

    fn open(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let (task, tasks) = (context.task_index(), context.parallelism());
        self.own = (task..self.splits.len()).step_by(tasks).map(|split| (split, 0)).collect();
        self.task = task;
        Ok(())
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        let name = |split: usize| format!("split {split}");
        let is_open = |split: usize, position: usize| position < self.splits[split].len();
        if !std::mem::replace(&mut self.has_named, true) {
            for (split, position) in &self.own {
                if is_open(*split, *position) {
                    out.begin_split(&name(*split));
                }
            }
        }
        let open: Vec<usize> =
            self.own.iter().filter(|(at, position)| is_open(**at, **position)).map(|(at, _)| *at).collect();
        if open.is_empty() {
            return Ok(SpoutStatus::Exhausted);
        }
        self.calls += 1;
        let split = open[self.calls / 7 % open.len()];
        out.begin_split(&name(split));
        let position = self.own.entry(split).or_default();
        let (page, at) = self.splits[split][*position];
        let id = MessageId((split * 10_000 + *position) as u64);
        out.emit_tracked((page, Timestamp(BEGIN + at * SECOND)), id)?;
        *position += 1;
        if *position == self.splits[split].len() {
            out.end_split(&name(split));
        }
        Ok(match self.calls.is_multiple_of(16) {
            true => SpoutStatus::IdleFor(Duration::from_millis(1)),
            false => SpoutStatus::Emitted,
        })
    }

    fn is_rewindable(&self) -> bool {
        true
    }

    fn snapshot(&mut self, positions: &mut Positions) -> Result<(), TaskError> {
        self.own.iter().try_for_each(|(split, position)| positions.set(&split.to_string(), position))
    }

    fn restore(&mut self, positions: &Positions) -> Result<(), TaskError> {
        for (split, position) in &mut self.own {
            *position = positions.get(&split.to_string())?.unwrap_or(0);
        }
        Ok(())
    }
}

/// Passes on what it gets.
pub(super) struct Same;

impl Bolt for Same {
    fn declare(&self) -> Streams {
        Streams::new(["page", "at"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        Ok(out.emit((input.i64("page")?, input.timestamp("at")?))?)
    }
}

/// What all tasks of all runs of a test share.
#[derive(Clone, Default)]
struct Watched {
    /// Tuples that came behind the watermark.
    late: Arc<Mutex<u64>>,
    /// Calls of timers before the end of time.
    timely: Arc<Mutex<u64>>,
    /// The watermark with which the counting tasks begin.
    floor: Arc<Mutex<Option<Timestamp>>>,
}

/// Counts the clicks of a page in each minute, and emits a minute when the watermark has reached its end.
struct PerMinute {
    counts: MapState<i64, i64>,
    end: EventTimer,
    last: Option<Timestamp>,
    watched: Watched,
    /// How often a call of a timer fails before it succeeds.
    fails: u32,
    failed: u32,
}

impl PerMinute {
    fn new(watched: &Watched, fails: u32) -> PerMinute {
        PerMinute {
            counts: MapState::default(),
            end: EventTimer::default(),
            last: None,
            watched: watched.clone(),
            fails,
            failed: 0,
        }
    }

    fn look(&mut self, out: &Outputs<'_>) {
        let watermark = out.watermark();
        assert!(
            watermark >= *lock(&self.watched.floor),
            "it is before that of the checkpoint: {watermark:?}"
        );
        assert!(watermark >= self.last, "it went back from {:?} to {watermark:?}", self.last);
        self.last = watermark;
    }
}

impl Bolt for PerMinute {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        self.counts = context.map_state("counts")?;
        self.end = context.event_timer("end")?;
        Ok(())
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        self.look(out);
        let at = input.timestamp("at")?;
        *lock(&self.watched.late) += u64::from(out.watermark().is_some_and(|watermark| at < watermark));
        let until = (at.0.div_euclid(MINUTE) + 1) * MINUTE;
        let count = self.counts.get(out, &until)?.copied().unwrap_or(0);
        self.counts.insert(out, until, count + 1)?;
        if self.end.time(out)?.is_none_or(|first| until < first.0) {
            self.end.set(out, Timestamp(until))?;
        }
        Ok(())
    }

    fn event_timer(
        &mut self,
        end: EventTimer,
        until: Timestamp,
        out: &mut Outputs<'_>,
    ) -> Result<(), TaskError> {
        self.look(out);
        assert!(out.watermark() >= Some(until), "it is not due");
        *lock(&self.watched.timely) += u64::from(out.watermark() < Some(Timestamp(i64::MAX)));
        let count = self.counts.get(out, &until.0)?.copied().unwrap_or(0);
        self.counts.remove(out, until.0)?;
        let next = self.counts.entries(out)?.map(|(until, _)| *until).min();
        if let Some(next) = next {
            end.set(out, Timestamp(next))?;
        }
        let page = out.key()[0].as_i64().unwrap_or(-1);
        let minute = (until.0 - BEGIN) / MINUTE - 1;
        out.emit([shown(page, minute, count)])?;
        if self.failed < self.fails {
            self.failed += 1;
            return Err(TaskError::new("what this call did is taken back"));
        }
        self.failed = 0;
        Ok(())
    }
}

/// Passes on rows, and looks whether they come before the watermark that made them.
struct InOrder;

impl Bolt for InOrder {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let n = input.i64("n")?;
        let until = Timestamp(BEGIN + (n / 1000 % 1000 + 1) * MINUTE);
        assert!(out.watermark().is_none_or(|watermark| watermark < until), "it is late: {n}");
        Ok(out.emit([n])?)
    }
}

/// How a topology is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) spouts: u32,
    /// Executors of the spout.
    pub(super) spout_executors: u32,
    pub(super) same: Option<u32>,
    pub(super) counts: u32,
    pub(super) count_executors: u32,
    pub(super) chain: bool,
    pub(super) batch: u32,
    pub(super) interval: Duration,
    pub(super) alignment_timeout: Option<Duration>,
    pub(super) delivery: Delivery,
    pub(super) fails: u32,
}

impl Layout {
    pub(super) fn draw(random: &mut StdRng, delivery: Delivery) -> Layout {
        let (spout_executors, count_executors) = (random.random_range(1..=2), random.random_range(1..=2));
        Layout {
            spouts: spout_executors * random.random_range(1..=2),
            spout_executors,
            same: random.random_bool(0.5).then(|| random.random_range(1..=2)),
            counts: count_executors * random.random_range(1..=2),
            count_executors,
            chain: random.random_bool(0.5),
            batch: [1, 4, 32][random.random_range(0..3)],
            interval: Duration::from_millis([1, 5, 200][random.random_range(0..3)]),
            alignment_timeout: random
                .random_bool(0.3)
                .then(|| Duration::from_millis(random.random_range(0..4))),
            delivery,
            fails: if random.random_bool(0.3) { 2 } else { 0 },
        }
    }
}

/// Sets what a layout says of the topology. Returns the event time of clicks.
pub(super) fn options(builder: &mut TopologyBuilder, layout: Layout) -> EventTimeOptions {
    builder.options(|options| {
        options.delivery = layout.delivery;
        options.chain = if layout.chain { ChainMode::Auto } else { ChainMode::Off };
        options.queue.batch = layout.batch;
        options.queue.capacity = 64;
        options.watermark_interval = layout.interval;
        if layout.delivery.is_exactly_once() {
            options.checkpoint.alignment_timeout = layout.alignment_timeout;
        } else {
            options.checkpoint = Default::default();
        }
    });
    EventTimeOptions {
        max_out_of_order: Duration::from_secs(OUT_OF_ORDER as u64),
        ..EventTimeOptions::of("at")
    }
}

fn topology(
    splits: &Arc<Vec<Vec<Click>>>,
    layout: Layout,
    published: &Published,
    watched: &Watched,
) -> TopologyBuilder {
    let mut builder = builder();
    let time = options(&mut builder, layout);
    let all = Arc::clone(splits);
    let spout = builder.spout("clicks", move || Clicks::new(&all));
    spout.event_time(time).parallelism(layout.spout_executors).tasks(layout.spouts);
    let from = match layout.same {
        Some(tasks) => {
            builder.bolt("same", || Same).parallelism(tasks).shuffle("clicks");
            "same"
        }
        None => "clicks",
    };
    let (watched, fails) = (watched.clone(), layout.fails);
    let on_error = OnError { retry: 3, backoff_min: Duration::from_millis(1), ..OnError::default() };
    let counts = builder.bolt("counts", move || PerMinute::new(&watched, fails)).on_error(on_error);
    counts.parallelism(layout.count_executors).tasks(layout.counts).fields(from, ["page"]);
    builder.bolt("in-order", || InOrder).shuffle("counts");
    if layout.delivery.is_exactly_once() {
        builder.bolt("sink", published.sink()).shuffle("in-order");
    }
    builder
}

#[test]
fn any_layout_and_delivery_gives_the_same_rows() {
    let mut timely = 0;
    for seed in 0..60 {
        let random = &mut StdRng::seed_from_u64(seed);
        let splits = Arc::new(splits(random, 5, 60));
        let delivery = [Delivery::AtMostOnce, Delivery::AtLeastOnce][random.random_range(0..2)];
        let layout = Layout::draw(random, delivery);
        let (published, watched) = (Published::default(), Watched::default());
        let mut builder = topology(&splits, layout, &published, &watched);
        let capture = Capture::new();
        builder.bolt("sink", capture.bolt()).shuffle("in-order");
        let stats = ended(SimulatedTopology::start(built(builder), SimulationOptions::seeded(seed)));
        let mut rows: Vec<i64> = capture.rows().iter().filter_map(|row| row[0].as_i64()).collect();
        rows.sort_unstable();
        assert_eq!(rows, expected(&splits), "seed {seed}: {layout:?}");
        assert_eq!(*lock(&watched.late), 0, "seed {seed}: {layout:?}");
        assert_eq!(
            stats.components.iter().map(|it| it.restarts).sum::<u64>(),
            0,
            "no assertion of a bolt failed"
        );
        assert_eq!(stats.failed_unanchored, 0, "seed {seed}");
        let with_time = stats.components.iter().filter(|it| !it.id.starts_with("__"));
        assert!(with_time.map(|it| it.event_time).all(|it| it == Some(EventTime::Ended)), "{stats:?}");
        timely += *lock(&watched.timely);
    }
    assert!(timely > 1_000, "{timely} timers were called before the end");
}

/// The least watermark of the counting tasks in the latest checkpoint.
fn floor(storage: &MemoryStorage) -> Option<Timestamp> {
    let store = CheckpointStore::open(Box::new(storage.clone()), "once", 1).expect("it opens");
    let tasks = &store.latest()?.tasks;
    let counts = tasks.iter().filter(|task| task.component == "counts");
    counts.map(|task| task.event_time.watermark).min()?
}

/// Each life has another layout, but for the splits.
#[test]
fn kills_and_rescaling_change_no_row() {
    let (mut restored, mut completed, mut before, mut floors) = (0, 0, 0, 0);
    for seed in 0..40 {
        let random = &mut StdRng::seed_from_u64(seed);
        let splits = Arc::new(splits(random, 5, 400));
        let (storage, published) = (MemoryStorage::seeded(seed), Published::default());
        let watched = Watched::default();
        // A bolt that is gone would leave tuples behind that were on their way to it.
        let same = random.random_bool(0.5).then_some(2);
        for life in 0.. {
            let layout = Layout { same, ..Layout::draw(random, Delivery::ExactlyOnce) };
            let topology = built(topology(&splits, layout, &published, &watched));
            let options =
                SimulationOptions::seeded(random.random_range(0..1000)).checkpoints(storage.clone());
            let mut running = SimulatedTopology::start(topology, options);
            if life == 5 {
                let stats = ended(running);
                assert!(!stats.cut_short && stats.stopped.is_none(), "seed {seed}: {stats:?}");
                break;
            }
            for _ in 0..random.random_range(1..12) {
                running.run_steps(random.random_range(1..60));
                running.advance(Duration::from_millis(random.random_range(0..4)));
                if random.random_bool(0.05) {
                    running.crash(["clicks", "counts", "sink"][random.random_range(0..3)]);
                }
            }
            running.run_steps(random.random_range(1..60));
            let checkpoints = running.stats().checkpoints.expect("it takes checkpoints");
            restored += u32::from(checkpoints.resumed_from.is_some());
            completed += checkpoints.completed;
            before += u32::from(!published.sorted().is_empty());
            if running.has_ended() {
                break;
            }
            let errors = running.stats().components.into_iter().filter_map(|it| it.last_error);
            let errors: Vec<String> = errors.filter(|error| error.contains("panicked")).collect();
            assert_eq!(errors, [""; 0], "seed {seed}: no assertion of a bolt failed");
            kill(running, &storage);
            let floor = floor(&storage);
            floors += u32::from(floor.is_some());
            *lock(&watched.floor) = floor;
        }
        assert_eq!(published.sorted(), expected(&splits), "seed {seed}");
        assert_eq!(*lock(&watched.late), 0, "seed {seed}");
    }
    let all =
        format!("{restored} restored, {completed} completed, {before} after rows, {floors} with a watermark");
    assert!(restored > 30 && completed > 100 && before > 20 && floors > 20, "{all}");
}

#[test]
fn a_run_that_dies_after_any_step_counts_each_click_in_its_minute() {
    let random = &mut StdRng::seed_from_u64(7);
    let splits = Arc::new(splits(random, 2, 10));
    let base = Layout {
        spouts: 2,
        spout_executors: 1,
        same: None,
        counts: 2,
        count_executors: 1,
        chain: true,
        batch: 2,
        interval: Duration::from_millis(1),
        alignment_timeout: None,
        delivery: Delivery::ExactlyOnce,
        fails: 0,
    };
    for layout in [base, Layout { same: Some(2), alignment_timeout: Some(Duration::ZERO), ..base }] {
        let (died, had_published) = dies_after_any_step(&expected(&splits), || {
            let (splits, watched) = (Arc::clone(&splits), Watched::default());
            move |published: &Published, storage: &MemoryStorage| {
                started(built(topology(&splits, layout, published, &watched)), storage)
            }
        });
        assert!(died > 50 && had_published > 3, "{layout:?}: {died} and {had_published}");
    }
}

/// Whether a name was seen in the last ten minutes of event time.
#[derive(Default)]
struct Seen(ValueState<bool>);

impl Bolt for Seen {
    fn declare(&self) -> Streams {
        Streams::new(["n"])
    }

    fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
        let ttl = Ttl::after_write(Duration::from_secs(600)).in_event_time();
        self.0 = context.expiring(ttl).value_state("seen")?;
        Ok(())
    }

    fn execute(&mut self, _: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
        let was_seen = self.0.get(out)?.is_some();
        self.0.set(out, true)?;
        Ok(out.emit([i64::from(was_seen)])?)
    }
}

/// The time to live goes on where it was: neither the restore nor the time that passed meanwhile counts.
#[test]
fn a_time_to_live_in_event_time_outlives_a_kill() {
    let (storage, published, feeder) =
        (MemoryStorage::new(), Published::default(), Feeder::new(["name", "at"]));
    let start = |hours: u32| {
        let mut builder = builder();
        builder.spout("names", feeder.spout()).event_time(EventTimeOptions::of("at"));
        builder.bolt("seen", Seen::default).fields("names", ["name"]);
        builder.bolt("sink", published.sink()).shuffle("seen");
        let options = SimulationOptions::seeded(1).checkpoints(storage.clone());
        SimulatedTopology::start(built(builder), options.starts_after(HOUR * hours))
    };
    let feed = |running: &mut SimulatedTopology, name: &str, minutes: i64| {
        feeder.feed((name, Timestamp(BEGIN + minutes * MINUTE)));
        running.advance(Duration::from_millis(50));
    };
    let mut running = start(0);
    feed(&mut running, "a", 0);
    feed(&mut running, "x", 4);
    running.advance(Duration::from_millis(100));
    kill(running, &storage);
    let mut running = start(3);
    feed(&mut running, "x", 11);
    assert_eq!(published.sorted(), [0, 0, 1], "`x` was seen seven minutes ago");
    feed(&mut running, "a", 11);
    feeder.close();
    ended(running);
    assert_eq!(published.sorted(), [0, 0, 0, 1], "`a` was seen eleven minutes ago");
}

/// A topology of one task that counts per minute, without checkpoints. Its rows go to the capture.
fn counting(capture: &Capture, watched: &Watched) -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("counting");
    builder.options(|options| options.delivery = Delivery::AtMostOnce);
    let watched = watched.clone();
    builder.bolt("counts", move || PerMinute::new(&watched, 0)).fields("clicks", ["page"]);
    builder.bolt("sink", capture.bolt()).shuffle("counts");
    builder
}

fn rows(capture: &Capture) -> Vec<i64> {
    let mut rows: Vec<i64> = capture.rows().iter().filter_map(|row| row[0].as_i64()).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_drain_ends_time_although_the_input_has_no_end() {
    let (capture, feeder) = (Capture::new(), Feeder::new(["page", "at"]));
    let mut builder = counting(&capture, &Watched::default());
    builder.spout("clicks", feeder.spout()).event_time(EventTimeOptions::of("at"));
    let mut running = SimulatedTopology::start(built(builder), SimulationOptions::seeded(1));
    feeder.feed((1, Timestamp(BEGIN)));
    feeder.feed((1, Timestamp(BEGIN + 2 * MINUTE)));
    running.advance(Duration::from_secs(10));
    assert_eq!(rows(&capture), [shown(1, 0, 1)]);
    running.drain();
    ended(running);
    assert_eq!(rows(&capture), [shown(1, 0, 1), shown(1, 2, 1)]);
}

/// What reads the time is not the spout, which emits texts, but the bolt behind it.
#[test]
fn a_bolt_may_read_the_time() {
    struct Parses;

    impl Bolt for Parses {
        fn declare(&self) -> Streams {
            Streams::new(["page", "at"])
        }

        fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
            let line = input.str("line")?;
            let seconds: i64 = line.parse().map_err(|error| TaskError::new(format!("{line}: {error}")))?;
            Ok(out.emit((1, Timestamp(BEGIN + seconds * SECOND)))?)
        }
    }

    for chain in [ChainMode::Auto, ChainMode::Off] {
        let (capture, feeder) = (Capture::new(), Feeder::new(["line"]));
        let mut builder = counting(&capture, &Watched::default());
        builder.options(|options| options.chain = chain);
        builder.spout("lines", feeder.spout());
        let time =
            EventTimeOptions { max_out_of_order: Duration::from_secs(10), ..EventTimeOptions::of("at") };
        builder.bolt("clicks", || Parses).event_time(time).shuffle("lines");
        let mut running = SimulatedTopology::start(built(builder), SimulationOptions::seeded(1));
        for seconds in ["50", "69", "55"] {
            feeder.feed([seconds]);
        }
        running.advance(Duration::from_secs(1));
        assert_eq!(rows(&capture), [0_i64; 0], "{chain:?}: the watermark is ten seconds behind");
        feeder.feed(["70"]);
        running.advance(Duration::from_secs(1));
        assert_eq!(rows(&capture), [shown(1, 0, 2)], "{chain:?}");
        feeder.close();
        ended(running);
        assert_eq!(rows(&capture), [shown(1, 0, 2), shown(1, 1, 2)], "{chain:?}");
    }
}

/// More timers than a step calls, in the executor of the spout that brought the watermark.
#[test]
fn many_timers_are_called_at_once_and_none_waits_for_more_input() {
    #[derive(Default)]
    struct Named(EventTimer);

    impl Bolt for Named {
        fn declare(&self) -> Streams {
            Streams::new(["n"])
        }

        fn prepare(&mut self, context: &TaskContext) -> Result<(), TaskError> {
            context.name_keys();
            self.0 = context.event_timer("end")?;
            Ok(())
        }

        fn execute(&mut self, input: Input<'_>, out: &mut Outputs<'_>) -> Result<(), TaskError> {
            out.set_key([input.i64("page")?])?;
            Ok(self.0.set(out, input.timestamp("at")?)?)
        }

        fn event_timer(
            &mut self,
            _: EventTimer,
            _: Timestamp,
            out: &mut Outputs<'_>,
        ) -> Result<(), TaskError> {
            let page = out.key()[0].as_i64().unwrap_or(-1);
            Ok(out.emit([page])?)
        }
    }

    for chain in [ChainMode::Auto, ChainMode::Off] {
        let (capture, feeder) = (Capture::new(), Feeder::new(["page", "at"]));
        let mut builder = TopologyBuilder::new("many");
        builder.options(|options| options.chain = chain);
        let time =
            EventTimeOptions { max_out_of_order: Duration::from_secs(60), ..EventTimeOptions::of("at") };
        builder.spout("clicks", feeder.spout()).event_time(time);
        builder.bolt("named", Named::default).shuffle("clicks");
        builder.bolt("sink", capture.bolt()).shuffle("named");
        let mut running = SimulatedTopology::start(built(builder), SimulationOptions::seeded(1));
        for page in 0..3_000 {
            feeder.feed((page, Timestamp(BEGIN)));
        }
        running.advance(Duration::from_secs(10));
        assert_eq!(rows(&capture), [0_i64; 0], "{chain:?}");
        feeder.feed((3_000, Timestamp(BEGIN + MINUTE)));
        running.advance(Duration::from_secs(10));
        assert_eq!(rows(&capture), (0..3_000).collect::<Vec<_>>(), "{chain:?}");
        let behind = running.stats().components.into_iter().find(|it| it.id == "named");
        let is_chained = behind.is_some_and(|it| it.chained_behind.is_some());
        assert_eq!(is_chained, chain == ChainMode::Auto);
        feeder.close();
        ended(running);
    }
}

#[test]
fn a_spout_that_brings_nothing_is_waited_for_only_so_long() {
    let (capture, feeder, silent) =
        (Capture::new(), Feeder::new(["page", "at"]), Feeder::new(["page", "at"]));
    let watched = Watched::default();
    let mut builder = counting(&capture, &watched);
    builder.spout("clicks", feeder.spout()).event_time(EventTimeOptions::of("at"));
    let time = EventTimeOptions { idle_after: Some(Duration::from_secs(30)), ..EventTimeOptions::of("at") };
    builder.spout("silent", silent.spout()).event_time(time);
    let counts = watched.clone();
    builder
        .bolt("both", move || PerMinute::new(&counts, 0))
        .fields("clicks", ["page"])
        .fields("silent", ["page"]);
    let both = Capture::new();
    builder.bolt("both-sink", both.bolt()).shuffle("both");
    let mut running = SimulatedTopology::start(built(builder), SimulationOptions::seeded(1));
    feeder.feed((1, Timestamp(BEGIN)));
    feeder.feed((1, Timestamp(BEGIN + MINUTE)));
    running.advance(Duration::from_secs(29));
    assert_eq!((rows(&capture).len(), rows(&both).len()), (1, 0), "`both` waits for `silent`");
    let event_time = |running: &SimulatedTopology, id: &str| {
        running.stats().components.iter().find(|it| it.id == id).and_then(|it| it.event_time)
    };
    assert_eq!(event_time(&running, "both"), Some(EventTime::Unknown));
    running.advance(Duration::from_secs(2));
    assert_eq!(rows(&both), [shown(1, 0, 1)]);
    assert_eq!(event_time(&running, "both"), Some(EventTime::Watermark(Timestamp(BEGIN + MINUTE))));
    silent.feed((1, Timestamp(BEGIN + 30 * SECOND)));
    running.advance(Duration::from_secs(1));
    assert_eq!(*lock(&watched.late), 1, "it came back too late");
    feeder.close();
    silent.close();
    ended(running);
}

/// A spout that could not emit was woken again and again for a split that would have become idle by then: until somebody
/// was to look at it, it took all of a core. Here time stands still, so it never ended.
#[test]
fn a_spout_without_room_is_not_woken_for_a_split_that_brings_nothing() {
    let (capture, feeder) = (Capture::new(), Feeder::new(["page", "at"]));
    let mut builder = TopologyBuilder::new("full");
    builder.options(|options| {
        options.delivery = Delivery::AtMostOnce;
        options.chain = ChainMode::Off;
        options.watermark_interval = Duration::from_secs(3600);
        options.queue.batch = 1;
        options.queue.capacity = 64;
    });
    let time = EventTimeOptions { idle_after: Some(Duration::from_secs(1)), ..EventTimeOptions::of("at") };
    builder.spout("clicks", feeder.spout()).event_time(time);
    builder.bolt("sink", capture.bolt()).shuffle("clicks");
    let mut running = SimulatedTopology::start(built(builder), SimulationOptions::seeded(1));
    feeder.feed((1, Timestamp(BEGIN)));
    running.advance(Duration::from_millis(500));
    running.stall("sink", Duration::from_secs(10));
    for nth in 0..1_000 {
        feeder.feed((1, Timestamp(BEGIN + nth)));
    }
    running.advance(Duration::from_secs(5));
    assert!(capture.rows().len() < 1_000, "the spout waits for room");
    running.advance(Duration::from_secs(10));
    assert_eq!(capture.rows().len(), 1_001);
    feeder.close();
    ended(running);
}

/// Emits once in one split, and then in another one for ever.
struct TwoSplits(i64);

impl Spout for TwoSplits {
    fn declare(&self) -> Streams {
        Streams::new(["at"])
    }

    fn next_tuple(&mut self, out: &mut SpoutOutputs<'_>) -> Result<SpoutStatus, TaskError> {
        out.begin_split(if self.0 == 0 { "slow" } else { "fast" });
        out.emit([Timestamp(BEGIN + self.0 * SECOND)])?;
        self.0 += 1;
        Ok(SpoutStatus::IdleFor(Duration::from_millis(10)))
    }
}

/// The time for which the spout had waited for room was counted when it had room again: then `slow` was idle, although
/// nobody knew whether it had something.
#[test]
fn a_split_is_not_idle_because_the_spout_had_no_room() {
    let capture = Capture::new();
    let mut builder = TopologyBuilder::new("full");
    builder.options(|options| {
        options.delivery = Delivery::AtMostOnce;
        options.chain = ChainMode::Off;
        options.queue.batch = 1;
        options.queue.capacity = 64;
    });
    let time = EventTimeOptions { idle_after: Some(Duration::from_secs(5)), ..EventTimeOptions::of("at") };
    builder.spout("both", || TwoSplits(0)).event_time(time);
    builder.bolt("sink", capture.bolt()).shuffle("both");
    let mut running = SimulatedTopology::start(built(builder), SimulationOptions::seeded(1));
    let event_time = |running: &SimulatedTopology| {
        running.stats().components.iter().find(|it| it.id == "sink").and_then(|it| it.event_time)
    };
    running.advance(Duration::from_secs(1));
    running.stall("sink", Duration::from_secs(30));
    running.advance(Duration::from_secs(31));
    assert!(capture.rows().len() > 100, "it has room again");
    assert_eq!(event_time(&running), Some(EventTime::Watermark(Timestamp(BEGIN))), "it waits for `slow`");
    running.advance(Duration::from_secs(5));
    let behind = event_time(&running);
    assert!(matches!(behind, Some(EventTime::Watermark(at)) if at > Timestamp(BEGIN)), "{behind:?}");
}

/// Such a timer was never called, not even at the end, and nobody learned it.
#[test]
fn a_timer_that_no_event_time_comes_to_is_refused() {
    let (capture, feeder) = (Capture::new(), Feeder::new(["page", "at"]));
    let mut builder = counting(&capture, &Watched::default());
    builder.spout("clicks", feeder.spout());
    let mut running = SimulatedTopology::start(built(builder), SimulationOptions::seeded(1));
    running.advance(Duration::from_secs(1));
    let stats = running.stats();
    let error = stats.stopped.map(|reason| reason.to_string()).unwrap_or_default();
    let expected =
        "`end` follows event time, and none comes to `counts`: set `event_time` of a spout or bolt";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_tuple_without_a_time_goes_on_and_is_reported() {
    let (capture, feeder) = (Capture::new(), Feeder::new(["page", "at"]));
    let mut builder = TopologyBuilder::new("odd");
    builder.spout("clicks", feeder.spout()).event_time(EventTimeOptions::of("at"));
    builder.bolt("sink", capture.bolt()).shuffle("clicks");
    let mut running = SimulatedTopology::start(built(builder), SimulationOptions::seeded(1));
    feeder.feed((1, "yesterday"));
    feeder.feed((2, "2026-11-30T10:00:00Z"));
    running.advance(Duration::from_secs(1));
    let stats = running.stats();
    assert_eq!((capture.rows().len(), stats.components[0].errors), (2, 1));
    let error = stats.components[0].last_error.clone().unwrap_or_default();
    assert!(
        error.contains("no time in the field `at`, which `event_time` names: `yesterday` failed to parse"),
        "{error}"
    );
    let ten = EventTime::Watermark(Timestamp(BEGIN));
    assert_eq!(stats.components[0].event_time, Some(ten));
    feeder.close();
    ended(running);
}
